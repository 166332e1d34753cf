"""A bundle is what torch computes, complete, verified, and there entirely or not at all."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import export.bundle_writer
from export.bundle_writer import Exported, export_run
from export.graphs import OPSET, DecoderGraph, EncoderGraph
from export.parity import BATCHES, ParityError
from service.engine.bundle import read_bundle
from service.engine.images import InputSpec
from service.engine.model import Model
from training.build import make_fabric
from training.checkpoint import CheckpointError
from training.datasets.image_set import ImageSet, Source
from training.overrides import load_preset, with_overrides
from training.restore import load_run
from training.run_directory import RunDirectory, new_record
from training.trainer import train

CPU = torch.device("cpu")


@pytest.mark.parametrize("batch", BATCHES)
def test_the_served_model_is_torch_at_every_batch_size(
    exported: Exported, run: RunDirectory, sample: Source, batch: int
) -> None:
    model, torch_model = Model.load(exported.path, device="cpu"), load_run(run, CPU).model
    images = sample.test.images[:batch].copy()
    with torch.no_grad():
        mean, log_variance = EncoderGraph(torch_model)(torch.from_numpy(images))
        decoded = DecoderGraph(torch_model)(mean)
    found = model.encode(images)
    assert np.abs(found.mean - mean.numpy()).max() < 1e-4
    assert np.abs(np.log(found.variance) - log_variance.numpy()).max() < 1e-4
    assert np.abs(model.decode(mean.numpy()).astype(int) - decoded.numpy()).max() <= 1
    assert exported.parity.embedding < 1e-4
    assert exported.parity.image <= 1


def test_each_graph_is_one_file_with_a_fixed_opset_and_a_free_batch(exported: Exported) -> None:
    assert {file.name for file in exported.path.iterdir()} == {
        "manifest.json", "encoder.onnx", "decoder.onnx", "golden.npz",
    }  # fmt: skip
    for name, kind in (("encoder", onnx.TensorProto.UINT8), ("decoder", onnx.TensorProto.FLOAT)):
        graph = onnx.load(exported.path / f"{name}.onnx", load_external_data=False)
        onnx.checker.check_model(graph, full_check=True)
        assert [entry.version for entry in graph.opset_import if not entry.domain] == [OPSET]
        assert not any(tensor.external_data for tensor in graph.graph.initializer)
        entry = graph.graph.input[0].type.tensor_type
        assert entry.elem_type == kind
        assert entry.shape.dim[0].dim_param


def test_a_bundle_says_nothing_of_the_machine_that_made_it(exported: Exported) -> None:
    folder = str(Path(export.bundle_writer.__file__).parent).encode()
    for file in exported.path.iterdir():
        assert folder not in file.read_bytes()


def test_the_manifest_holds_prior_calibration_typicality_and_origin(exported: Exported, run: RunDirectory) -> None:
    manifest = read_bundle(exported.path).manifest
    assert manifest == exported.manifest
    assert (manifest.name, manifest.version, manifest.objective) == ("sample", 1, "simvae")
    assert (manifest.embedding.sigma2, manifest.embedding.tau2) == pytest.approx((0.13, 0.87))
    assert manifest.embedding.calibration is not None
    assert len(manifest.typicality.quantiles) == 101
    assert manifest.typicality.quantiles[0] < manifest.typicality.quantiles[-1] < 1
    assert manifest.source.run == run.name
    assert manifest.source.data == "fashion-mnist-sample, 1600 training images"


def test_half_of_the_held_out_images_reconstruct_worse_than_the_median(exported: Exported, sample: Source) -> None:
    model = Model.load(exported.path, device="cpu")
    errors = model.reconstruct(sample.test.images.copy()).squared_error
    shares = exported.manifest.typicality.share_above(errors)
    assert float(np.mean(shares)) == pytest.approx(0.5, abs=0.02)
    assert exported.manifest.typicality.share_above(np.float32([0, 1])).tolist() == [1, 0]


def test_every_export_is_a_new_version(run: RunDirectory, sample: Source, tmp_path: Path) -> None:
    for version in ("1", "9"):
        (tmp_path / "fashion" / version).mkdir(parents=True)
    assert export_run(run, tmp_path / "fashion", sample).path.name == "10"


def test_scores_are_carried_over_if_they_are_of_the_model_that_is_exported(
    run: RunDirectory, sample: Source, tmp_path: Path
) -> None:
    neighbours = {"knn_cosine": None, "knn_euclidean": 0.25, "knn_weighted": 0.3}
    latents = {"linear": 0.5, "mlp": 0.6, **neighbours, "squared_error": 0.1}
    bounds, images = {"elbo": -1.0, "importance_weighted": -0.5}, {"train_images": 5, "test_images": 7}
    scores = {"representations": [latents], "likelihood": bounds, "health": {"active_units": 3}, **images}
    step, found = load_run(run, CPU).step, []
    try:
        for content in ({"step": step, **scores}, {"step": step - 1, **scores}, {"step": step, "rows": [latents]}):
            run.evaluation.write_text(json.dumps(content))
            found.append(export_run(run, tmp_path / "scored", sample).manifest.evaluation)
    finally:
        run.evaluation.unlink()
    known = {name: value for name, value in latents.items() if value is not None}
    assert found[0] == {**known, **bounds, **images, "active_units": 3}
    assert found[1:] == [{}, {}]


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((45, 31, 3), ["objective.flat=true", "views.count=4", "optimiser.precision=bf16-mixed"]),
        ((33, 33, 3), ["network.encoder=mlp", "network.hidden=[9]", "objective.likelihood=bernoulli", "views.count=1"]),
    ],
)
def test_every_shape_prior_and_likelihood_can_be_exported(
    tmp_path: Path, shape: tuple[int, int, int], settings: list[str]
) -> None:
    config = with_overrides(load_preset("tiny"), ["epochs=1", "optimiser.batch=8", *settings])
    images = np.random.default_rng(0).integers(0, 256, (12, *shape), dtype=np.uint8)
    spec = InputSpec(height=shape[0], width=shape[1], colour_mode="RGB")
    source = Source("noise", spec, ImageSet(images[:10]), ImageSet(images[10:]))
    run = RunDirectory(tmp_path / "noise")
    run.create(new_record("/photos/noise", source, config, preset="tiny", command="simvae-train"))
    assert train(run, config, source, fabric=make_fabric("cpu", config.optimiser.precision))
    manifest = export_run(run, tmp_path / "models" / "noise", source).manifest
    assert manifest.input.shape == shape
    assert manifest.source.data == "noise, 10 training images"
    assert (manifest.embedding.tau2 is None) == config.objective.flat


class Wrong(torch.nn.Module):
    """An encoder that answers something else when traced than when run."""

    def __init__(self, right: torch.nn.Module) -> None:
        super().__init__()
        self.right = right

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_variance = self.right(images)
        return (mean + 2e-4 if torch.compiler.is_compiling() else mean), log_variance


def test_a_graph_that_differs_from_torch_is_not_exported(
    run: RunDirectory, sample: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.bundle_writer, "EncoderGraph", lambda model: Wrong(EncoderGraph(model)))
    with pytest.raises(ParityError, match=r"expected embeddings within 0\.0001 of torch, found 0\.0002"):
        export_run(run, tmp_path / "wrong", sample)
    assert not list(tmp_path.iterdir())


def test_a_name_that_no_url_could_hold_is_refused(run: RunDirectory, sample: Source, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a model name"):
        export_run(run, tmp_path / "My Model", sample)


def test_a_run_without_checkpoint_is_refused_and_nothing_is_left(
    run: RunDirectory, sample: Source, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_bytes((run.path / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match="found no file"):
        export_run(RunDirectory(tmp_path / "run"), tmp_path / "models" / "sample", sample)
    assert not (tmp_path / "models").exists()


def test_a_source_with_fewer_images_than_a_parity_batch_is_enough(
    run: RunDirectory, sample: Source, tmp_path: Path
) -> None:
    few = dataclasses.replace(sample, test=dataclasses.replace(sample.test, images=sample.test.images[:2], labels=None))
    assert read_bundle(export_run(run, tmp_path / "few", few).path).golden().images.shape == (2, 28, 28, 1)
