"""Evaluation measures what it says, with labels and without, for every kind of model, and its JSON is the contract."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import training.evaluation.evaluate
from training.build import build_model, make_fabric
from training.config import Config
from training.datasets.image_set import ImageSet, Source
from training.evaluation.evaluate import STAGES, Evaluation, evaluate
from training.evaluation.mlp import mlp_probe
from training.evaluation.probes import Codes, linear_probe
from training.evaluation.representations import model_features, pca_features
from training.evaluation.split import split_training
from training.evaluation.targets import Target
from training.evaluation.weighted_neighbours import weighted_neighbours
from training.generative import GenerativeModel
from training.health import held_out_metrics
from training.overrides import with_overrides
from training.restore import TrainedRun, decode_latents, encode_images, feature_images, load_run
from training.run_directory import RunDirectory, RunRecord, new_record
from training.trainer import train

CPU = torch.device("cpu")


def record_of(config: Config, source: Source) -> RunRecord:
    return new_record(source.name, source, config, preset="tiny", command="simvae-train blobs")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config, blobs: Source) -> RunDirectory:
    directory = RunDirectory(tmp_path_factory.mktemp("runs") / "blobs")
    directory.create(record_of(tiny_config, blobs))
    assert train(directory, tiny_config, blobs, fabric=make_fabric("cpu", "32-true"))
    return directory


@pytest.fixture(scope="module")
def trained(run: RunDirectory) -> TrainedRun:
    return load_run(run, CPU)


@pytest.fixture(scope="module")
def result(trained: TrainedRun, blobs: Source) -> Evaluation:
    return evaluate(trained, blobs, CPU)


def untrained(config: Config, source: Source, *settings: str) -> TrainedRun:
    config = with_overrides(config.model_dump(exclude_defaults=True), list(settings))
    model = build_model(config, source.input.shape).eval()
    return TrainedRun(record_of(config, source), model, 0)


def test_the_model_pca_and_raw_pixels_stand_side_by_side(
    result: Evaluation, trained: TrainedRun, tiny_config: Config
) -> None:
    rows = {row.name: row for row in result.representations}
    assert list(rows) == ["latents", "features", "PCA", "raw pixels"]
    assert [row.dimensions for row in rows.values()] == [8, 256, 8, 784]
    raw = rows["raw pixels"]
    assert raw.linear == raw.knn_cosine == raw.knn_euclidean == raw.knn_weighted == 1.0  # four squares in four corners
    assert raw.mlp is raw.gmm is None
    assert raw.style == {}
    for name in ("latents", "features", "PCA"):
        assert list(rows[name].style) == ["crop_x", "crop_y", "log_area", "log_aspect", "flip"]
    assert (result.train_images, result.validation_images, result.test_images) == (128, 13, 32)
    assert (result.objective, result.seed, result.step) == ("simvae", tiny_config.seed, trained.step)


def test_the_json_is_the_contract(result: Evaluation, run: RunDirectory) -> None:
    content = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert set(content) == {
        "protocol", "objective", "seed", "step", "train_images", "validation_images", "test_images",
        "representations", "likelihood", "health", "similarity",
    }  # fmt: skip
    assert content["protocol"]["name"] == "simvae-evaluation-4"
    assert "k = 20" in content["protocol"]["text"]
    latents = content["representations"][0]
    assert set(latents) == {
        "name", "dimensions", "linear", "mlp", "knn_cosine", "knn_euclidean", "knn_weighted", "gmm", "style",
        "squared_error", "chosen",
    }  # fmt: skip
    assert set(latents["gmm"]) == {"accuracy", "nmi", "ari"}
    assert latents["style"]["crop_x"]["measure"] == "r2"
    assert latents["style"]["flip"]["measure"] == "accuracy"
    assert 0.4 < latents["style"]["flip"]["chance"] < 0.7
    assert set(latents["chosen"]) == {"linear_l2", "mlp_weight_decay", "knn_k", "knn_temperature"}
    assert content["likelihood"]["samples"] == 64
    assert content["likelihood"]["importance_weighted"] > content["likelihood"]["elbo"]
    health = content["health"]
    assert len(health["kl_per_dimension"]) == 8
    assert health["rho"] == [pytest.approx(0.87)]
    assert health["sigma_x"] == pytest.approx(run.read_metrics()[-1]["held_out_sigma_x"])
    assert 1 <= health["lidar"] <= 8
    assert content["similarity"]["pairs"] == 64
    assert set(content["similarity"]["reliability"][0]) == {"predicted", "observed", "count"}


def test_an_evaluation_repeats_and_can_leave_the_baselines_out(
    result: Evaluation, trained: TrainedRun, blobs: Source
) -> None:
    told: list[str] = []
    short = evaluate(trained, blobs, CPU, told.append, baselines=False)
    assert short.representations == result.representations[:2]
    assert (short.likelihood, short.health, short.similarity) == (result.likelihood, result.health, result.similarity)
    assert len(told) == STAGES[False]


def test_without_labels_only_what_needs_none_is_measured(
    result: Evaluation, trained: TrainedRun, blobs: Source
) -> None:
    unlabelled = dataclasses.replace(
        blobs, train=ImageSet(blobs.train.images), test=ImageSet(blobs.test.images), class_names=None
    )
    found = evaluate(trained, unlabelled, CPU, baselines=False)
    assert all(row.linear is row.mlp is row.knn_cosine is row.gmm is None for row in found.representations)
    assert found.representations[0].squared_error == result.representations[0].squared_error
    assert found.representations[0].style == result.representations[0].style
    assert (found.likelihood, found.health, found.similarity) == (result.likelihood, result.health, result.similarity)


def test_factors_that_a_source_knows_are_read_from_clean_images(trained: TrainedRun, blobs: Source) -> None:
    def known(images: ImageSet) -> ImageSet:
        brightness = images.images.mean((1, 2, 3)).astype(np.float64)
        assert images.labels is not None
        return ImageSet(images.images, factors={"brightness": brightness, "row": images.labels // 2})

    source = dataclasses.replace(blobs, train=known(blobs.train), test=known(blobs.test))
    style = evaluate(trained, source, CPU, baselines=False).representations[1].style
    assert style["factor:brightness"].measure == "r2"
    assert style["factor:row"].measure == "accuracy"
    assert style["factor:row"].linear > 0.9


@pytest.mark.parametrize(
    ("settings", "score"),
    [
        (["objective.name=simclr"], "cosine"),
        (["objective.name=vae"], "cosine"),
        (["objective.flat=true"], "cosine"),
        (["objective.posterior=structured", "objective.rho=per-dimension"], "log_likelihood_ratio"),
    ],
)
def test_every_kind_of_model_is_measured_as_far_as_it_goes(
    tiny_config: Config, blobs: Source, settings: list[str], score: str
) -> None:
    small = dataclasses.replace(blobs, train=ImageSet(blobs.train.images), test=ImageSet(blobs.test.images))
    model = untrained(tiny_config, small, *settings)
    found = evaluate(model, small, CPU, baselines=False)
    assert found.similarity is not None
    assert found.similarity.score == score
    generative = isinstance(model.model, GenerativeModel)
    assert (found.likelihood is not None) == generative
    assert (found.representations[0].squared_error is not None) == generative
    assert (found.health.kl_per_dimension is not None) == (
        settings[0] not in {"objective.name=simclr", "objective.flat=true"}
    )
    assert (len(found.health.rho) if found.health.rho else None) == (8 if score != "cosine" else None)
    assert bool(found.health.alarms) == generative  # that nothing is learned yet shows where the scale means something
    json.dumps(found.as_json(), allow_nan=False)


def test_test_labels_choose_no_setting(result: Evaluation, trained: TrainedRun, blobs: Source) -> None:
    assert blobs.train.labels is not None
    assert blobs.test.labels is not None
    codes = [encode_images(trained.model, part.images, CPU) for part in (blobs.train, blobs.test)]
    train, test = (torch.from_numpy(part) for part in codes)
    wrong = Target("class", blobs.train.labels, np.random.default_rng(0).permutation(blobs.test.labels))
    split = split_training(blobs.train.labels, trained.record.config.seed)
    voted = weighted_neighbours(Codes(codes[0], wrong.train, test=codes[1], test_labels=wrong.test, device=CPU), split)
    chosen = {
        "knn_k": voted.count,
        "knn_temperature": voted.temperature,
        "linear_l2": linear_probe(train, test, wrong, split).chosen,
        "mlp_weight_decay": mlp_probe(train, test, [wrong], split, trained.record.config.seed).chosen,
    }
    assert chosen == result.representations[0].chosen


def test_features_and_errors_are_those_of_the_model(trained: TrainedRun, blobs: Source, result: Evaluation) -> None:
    images = blobs.test.images
    latents, features = model_features(trained.model, CPU)
    assert np.array_equal(latents.of(images), encode_images(trained.model, images, CPU))
    assert np.array_equal(features.of(images), feature_images(trained.model, images, CPU))
    assert isinstance(trained.model, GenerativeModel)
    rebuilt = decode_latents(trained.model, latents.of(images), CPU)
    expected = float(np.square(rebuilt - images / 255).mean())
    assert result.representations[0].squared_error == pytest.approx(expected, rel=1e-4)


def test_principal_components_are_the_best_linear_code() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (50, 6, 6, 1), dtype=np.uint8)
    pixels = images.reshape(50, -1) / 255
    spectrum = np.linalg.svd(pixels - pixels.mean(0), compute_uv=False) ** 2
    assert pca_features(images, 5).squared_error(images) == pytest.approx(spectrum[5:].sum() / pixels.size, rel=1e-4)
    assert pca_features(images, 99).squared_error(images) == pytest.approx(0, abs=1e-9)


def test_a_large_source_is_measured_on_as_many_images_as_fit(
    trained: TrainedRun, blobs: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.evaluation.evaluate, "_PROBE_BYTES", 20 * 4 * 28 * 28)
    found = evaluate(trained, blobs, CPU, baselines=False)
    assert (found.train_images, found.validation_images, found.test_images) == (20, 2, 20)
    assert found.representations[0].linear is not None


def test_one_test_image_of_a_class_never_trained_on_is_measured_without_an_error_bar(
    trained: TrainedRun, blobs: Source
) -> None:
    train = ImageSet(blobs.train.images[:3], np.zeros(3, np.int64))
    test = ImageSet(blobs.test.images[:1], np.array([3]))
    found = evaluate(trained, dataclasses.replace(blobs, train=train, test=test), CPU)
    assert [row.linear for row in found.representations] == [0, 0, 0, 0]
    assert found.likelihood is not None
    assert found.likelihood.elbo_se is found.likelihood.importance_weighted_se is found.similarity is None
    assert found.health.lidar is None
    json.dumps(found.as_json(), allow_nan=False)


def test_images_that_are_all_the_same_are_measured_without_a_warning(trained: TrainedRun, blobs: Source) -> None:
    alike = np.full((6, 28, 28, 1), 128, np.uint8)
    same = dataclasses.replace(blobs, train=ImageSet(alike), test=ImageSet(alike[:4]))
    found = evaluate(trained, same, CPU)
    assert found.representations[2].squared_error == pytest.approx(0, abs=1e-9)
    assert found.health.active_units == 0
    assert any("Only 0 of 8" in alarm for alarm in found.health.alarms)


def test_a_broken_model_is_reported_and_not_hidden(tiny_config: Config, blobs: Source) -> None:
    model = untrained(tiny_config, blobs, "objective.sigma_x=10")
    for parameter in model.model.parameters():
        parameter.data.zero_()
    unlabelled = dataclasses.replace(blobs, train=ImageSet(blobs.train.images), test=ImageSet(blobs.test.images))
    found = evaluate(model, unlabelled, CPU, baselines=False)
    assert found.similarity is not None
    assert (found.similarity.eer, found.similarity.auc) == (0.5, 0.5)
    assert any("latent dimensions" in alarm for alarm in found.health.alarms)
    assert any("no better than the mean image" in alarm for alarm in found.health.alarms)


def test_the_restored_model_has_the_averaged_weights(run: RunDirectory, trained: TrainedRun) -> None:
    checkpoint = torch.load(run.checkpoint, weights_only=True)
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, checkpoint["ema"][name]), name
    for name, weights in trained.model.named_parameters():
        assert not torch.equal(weights, checkpoint["model"][name]), name


def test_held_out_metrics_repeat_and_leave_gradients_alone(trained: TrainedRun, blobs: Source) -> None:
    config = trained.record.config
    first, second = (held_out_metrics(trained.model, blobs.test.images, config, CPU) for _ in range(2))
    assert first == second
    assert all(parameter.grad is None for parameter in trained.model.parameters())


def test_nothing_is_computed_on_more_views_at_once_than_training_does(trained: TrainedRun, blobs: Source) -> None:
    sizes: list[int] = []
    handle = trained.model.encoder.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    held_out_metrics(trained.model, blobs.train.images, trained.record.config, CPU)
    handle.remove()
    assert max(sizes) == trained.record.config.optimiser.batch == 32
    assert sum(sizes) == 128 * 2 + 128


def test_encoding_nothing_and_decoding_a_round_trip_have_the_right_shapes(trained: TrainedRun, blobs: Source) -> None:
    assert encode_images(trained.model, blobs.test.images[:0], CPU).shape[0] == 0
    latents = encode_images(trained.model, blobs.test.images[:3], CPU)
    assert isinstance(trained.model, GenerativeModel)
    images = decode_latents(trained.model, latents, CPU)
    assert images.shape == (3, 28, 28, 1)
    assert images.min() >= 0
    assert images.max() <= 1
