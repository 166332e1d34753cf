"""Evaluation measures what it says, with labels and without, and its pictures can be drawn."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import training.evaluation.evaluate
import training.report.pictures
from training.config import Config
from training.datasets.image_set import ImageSet, Source
from training.evaluation.evaluate import Evaluation, evaluate
from training.health import active_units, held_out_metrics, to_pixels
from training.model import SimVae
from training.objectives.simvae import Prior
from training.report.pictures import plot_curves, plot_reconstructions, plot_samples
from training.restore import TrainedRun, decode_latents, encode_images, load_run
from training.run_directory import RunDirectory, RunRecord, code_version, now
from training.build import make_fabric
from training.trainer import train

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path: Path, tiny_config: Config, blobs: Source) -> RunDirectory:
    directory = RunDirectory(tmp_path / "blobs")
    directory.create(
        RunRecord(
            source="blobs",
            input=blobs.input,
            images=len(blobs.train),
            preset="tiny",
            config=tiny_config,
            code_version=code_version(),
            command="simvae-train blobs",
            created=now(),
        )
    )
    assert train(directory, tiny_config, blobs, fabric=make_fabric("cpu", "32-true"))
    return directory


@pytest.fixture
def trained(run: RunDirectory) -> TrainedRun:
    return load_run(run, CPU)


def test_the_model_pca_and_raw_pixels_stand_side_by_side(trained: TrainedRun, blobs: Source) -> None:
    result = evaluate(trained, blobs, CPU)
    assert [row.name for row in result.rows] == ["SimVAE", "PCA", "raw pixels"]
    assert [row.dimensions for row in result.rows] == [8, 8, 784]
    raw = result.rows[2]
    assert raw.linear == raw.knn_cosine == raw.knn_euclidean == 1.0  # four squares in four corners
    assert (result.train_images, result.test_images, result.step) == (128, 32, trained.step)
    assert np.isfinite([result.elbo, result.elbo_standard_error]).all()


def test_without_labels_only_what_needs_none_is_measured(trained: TrainedRun, blobs: Source) -> None:
    unlabelled = dataclasses.replace(
        blobs, train=ImageSet(blobs.train.images), test=ImageSet(blobs.test.images), class_names=None
    )
    found, labelled = evaluate(trained, unlabelled, CPU), evaluate(trained, blobs, CPU)
    assert all(row.linear is row.knn_cosine is row.knn_euclidean is None for row in found.rows)
    assert found.rows[0].squared_error == labelled.rows[0].squared_error
    assert (found.elbo, found.active_units) == (labelled.elbo, labelled.active_units)


def test_reconstruction_errors_are_those_of_the_decoder_at_the_mean(trained: TrainedRun, blobs: Source) -> None:
    pixels = to_pixels(torch.from_numpy(blobs.test.images.copy()))
    with torch.no_grad():
        rebuilt = trained.model.decode(trained.model.encode(pixels).mean)
    expected = (rebuilt - pixels).square().mean().item()
    assert evaluate(trained, blobs, CPU).rows[0].squared_error == pytest.approx(expected, rel=1e-4)


def test_the_evaluation_is_plain_json_with_its_protocol(trained: TrainedRun, blobs: Source) -> None:
    result: Evaluation = evaluate(trained, blobs, CPU)
    content = json.loads(json.dumps(result.as_json()))
    assert "k = 20" in content["protocol"]
    assert content["rows"][0]["knn_cosine"] == result.rows[0].knn_cosine


def test_the_restored_model_has_the_averaged_weights(run: RunDirectory, trained: TrainedRun) -> None:
    checkpoint = torch.load(run.checkpoint, weights_only=True)
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, checkpoint["ema"][name]), name
        assert not torch.equal(value, checkpoint["model"][name]), name


def test_held_out_metrics_repeat_and_leave_gradients_alone(trained: TrainedRun, blobs: Source) -> None:
    config = trained.record.config
    first, second = (held_out_metrics(trained.model, blobs.test.images, config, CPU) for _ in range(2))
    assert first == second
    assert all(parameter.grad is None for parameter in trained.model.parameters())


def test_nothing_is_computed_on_more_views_at_once_than_training_does(trained: TrainedRun, blobs: Source) -> None:
    sizes: list[int] = []
    trained.model.encoder.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    held_out_metrics(trained.model, blobs.train.images, trained.record.config, CPU)
    assert max(sizes) == trained.record.config.optimiser.batch == 32
    assert sum(sizes) == 128 * 2 + 128


def test_a_large_source_is_measured_on_as_many_images_as_fit(
    trained: TrainedRun, blobs: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.evaluation.evaluate, "_PROBE_BYTES", 20 * 4 * 28 * 28)
    result = evaluate(trained, blobs, CPU)
    assert (result.train_images, result.test_images) == (20, 20)
    assert result.rows[2].linear is not None


def test_one_test_image_of_a_class_never_trained_on_is_measured_without_an_error_bar(
    trained: TrainedRun, blobs: Source
) -> None:
    train = ImageSet(blobs.train.images[:3], np.zeros(3, np.int64))
    test = ImageSet(blobs.test.images[:1], np.array([3]))
    result = evaluate(trained, dataclasses.replace(blobs, train=train, test=test), CPU)
    assert result.elbo_standard_error is None
    assert [row.linear for row in result.rows] == [0, 0, 0]
    json.dumps(result.as_json(), allow_nan=False)


def test_images_that_are_all_the_same_are_measured_without_a_warning(trained: TrainedRun, blobs: Source) -> None:
    alike = np.full((6, 28, 28, 1), 128, np.uint8)
    same = dataclasses.replace(blobs, train=ImageSet(alike), test=ImageSet(alike[:2]))
    result = evaluate(trained, same, CPU)
    assert result.rows[1].squared_error == pytest.approx(0, abs=1e-9)
    assert result.active_units == 0


def test_active_units_are_those_whose_mean_varies() -> None:
    means = torch.tensor([[0.0, 5.0, 1.0], [0.19, 5.0, -1.0]])
    assert active_units(means) == 1
    assert active_units(means * 2) == 2


def test_encoding_nothing_and_decoding_a_round_trip_have_the_right_shapes(trained: TrainedRun, blobs: Source) -> None:
    assert encode_images(trained.model, blobs.test.images[:0], CPU).shape == (0, 8)
    latents = encode_images(trained.model, blobs.test.images[:3], CPU)
    images = decode_latents(trained.model, latents, CPU)
    assert images.shape == (3, 28, 28, 1)
    assert images.min() >= 0
    assert images.max() <= 1


def test_the_report_is_three_pictures(run: RunDirectory, trained: TrainedRun, blobs: Source) -> None:
    run.report.mkdir()
    plot_curves(run.read_metrics(), run.report / "curves.png")
    plot_reconstructions(trained, blobs.test.images[:5], CPU, run.report / "reconstructions.png")
    plot_samples(trained, blobs.test.images, CPU, run.report / "samples.png")
    for picture in run.report.glob("*.png"):
        with Image.open(picture) as image:
            assert image.width > 600
            assert len(set(image.convert("L").tobytes())) > 20
    assert len(list(run.report.iterdir())) == 3


def test_samples_under_a_flat_prior_are_views_of_contents_that_images_have(
    trained: TrainedRun, blobs: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.model.prior = Prior(0.999, flat=True)
    drawn: list[np.ndarray] = []

    def decode(model: SimVae, latents: np.ndarray, device: torch.device) -> np.ndarray:
        drawn.append(latents)
        return decode_latents(model, latents, device)

    monkeypatch.setattr(training.report.pictures, "decode_latents", decode)
    plot_samples(trained, blobs.test.images[:4], CPU, tmp_path / "samples.png")
    contents = encode_images(trained.model, blobs.test.images[:4], CPU)
    assert np.abs(drawn[0].reshape(4, 12, 8) - contents[:, None]).max() < 0.2
