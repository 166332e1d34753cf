"""Every precision is served as it was exported, costs what the manifest says, and is refused where it is absurd."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export.bundle_writer import Exported, export_run
from export.encoders import ENCODER_FILES, write_lower_encoders
from export.graphs import EncoderGraph, write_encoder
from export.parity import BATCHES, ParityError, torch_outputs
from service.engine.bundle import MANIFEST, BundleError, Precision, file_sha256, read_bundle
from service.engine.model import Model
from training.datasets.image_set import ImageSet, Source
from training.evaluation.probes import Codes, knn_accuracy
from training.generative import GenerativeModel
from training.restore import load_run
from training.run_directory import RunDirectory

CPU = torch.device("cpu")
LOWER: tuple[Precision, ...] = ("float16", "int8")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, run: RunDirectory, sample: Source) -> Exported:
    target: Path = tmp_path_factory.mktemp("models") / "sample"
    return export_run(run, target, sample, (*LOWER, "float32", "int8"))


@pytest.fixture
def model(run: RunDirectory) -> GenerativeModel:
    model = load_run(run, CPU).model
    assert isinstance(model, GenerativeModel)
    return model


def test_the_bundle_has_each_precision_once_and_float32_first(bundle: Exported) -> None:
    encoders = read_bundle(bundle.path).manifest.encoders
    assert {each.precision: each.file for each in encoders} == ENCODER_FILES
    assert [each.precision for each in encoders] == ["float32", *LOWER]
    assert {file.name for file in bundle.path.iterdir()} == {
        *ENCODER_FILES.values(), "manifest.json", "decoder.onnx", "golden.npz",
    }  # fmt: skip
    half, eighth = ((bundle.path / each.file).stat().st_size for each in encoders[1:])
    assert eighth < half < (bundle.path / "encoder.onnx").stat().st_size


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("batch", BATCHES)
def test_served_is_torch_within_what_the_manifest_says(
    bundle: Exported, model: GenerativeModel, sample: Source, batch: int, precision: Precision
) -> None:
    images = sample.test.images[:batch].copy()
    expected = torch_outputs(EncoderGraph(model), images)
    found = Model.load(bundle.path, device="cpu", precision=precision).encode(images)
    graph = bundle.manifest.encoder(precision)
    assert graph.versus_float32 is not None
    assert 1e-6 < np.abs(found.mean - expected[0]).max() <= graph.parity + 1e-5
    assert np.abs(np.log(found.variance) - expected[1]).max() <= graph.versus_float32.log_variance_parity + 1e-5


@pytest.mark.parametrize("precision", LOWER)
def test_the_manifest_tells_what_a_slow_comparison_finds(
    bundle: Exported, sample: Source, precision: Precision
) -> None:
    found = bundle.manifest.encoder(precision).versus_float32
    assert found is not None
    accuracies, means = [], []
    for each in ("float32", precision):
        served = Model.load(bundle.path, device="cpu", precision=each)
        known, asked = (served.encode(part.images.copy()).mean for part in (sample.train, sample.test))
        assert sample.train.labels is not None
        assert sample.test.labels is not None
        codes = Codes(known, sample.train.labels, test=asked, test_labels=sample.test.labels, device=CPU)
        accuracies.append(knn_accuracy(codes, cosine=True))
        means.append(asked / np.linalg.norm(asked, axis=1, keepdims=True))
    assert found.knn_accuracy == pytest.approx(accuracies[1], abs=0.003)
    assert found.knn_loss_points == pytest.approx(100 * (accuracies[0] - accuracies[1]), abs=0.3)
    assert found.cosine == pytest.approx(float((means[0] * means[1]).sum(1).mean()), abs=1e-5)
    assert 0.99 < found.cosine < 1
    assert 0.8 < found.overlap < 1


def test_float16_is_nearer_to_float32_than_int8(bundle: Exported) -> None:
    half, eighth = bundle.manifest.encoders[1:]
    assert half.versus_float32 is not None
    assert eighth.versus_float32 is not None
    assert half.parity < eighth.parity / 2
    assert half.versus_float32.overlap > eighth.versus_float32.overlap


@pytest.mark.gpu
def test_a_gpu_gives_float16_within_what_torch_rounds(bundle: Exported, sample: Source) -> None:
    here, there = (Model.load(bundle.path, device=device, precision="float16") for device in ("cpu", "cuda"))
    images, found = sample.test.images[:64].copy(), bundle.manifest.encoder("float16").versus_float32
    assert found is not None
    assert np.abs(here.encode(images).mean - there.encode(images).mean).max() <= max(1e-3, found.tolerance)


def sign(path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    for spec in manifest["encoders"]:
        spec["sha256"] = file_sha256(path / spec["file"])
    (path / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("precision", LOWER)
def test_a_graph_that_was_changed_is_refused_even_if_signed(
    bundle: Exported, tmp_path: Path, precision: Precision
) -> None:
    path = Path(shutil.copytree(bundle.path, tmp_path / "1"))
    file = path / ENCODER_FILES[precision]
    graph = onnx.load(file)
    weight = max(
        (each for each in graph.graph.initializer if each.data_type == onnx.TensorProto.FLOAT),
        key=lambda each: np.prod(each.dims),
    )
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.2), weight.name))
    onnx.save(graph, file)
    with pytest.raises(BundleError, match=rf"{file.name}: expected sha256"):
        Model.load(path, precision=precision)
    sign(path)
    with pytest.raises(BundleError, match=rf"{file.name}: expected golden mean within .* found a difference of"):
        Model.load(path, precision=precision)
    Model.load(path)


def test_the_graph_of_another_precision_is_refused(bundle: Exported, tmp_path: Path) -> None:
    path = Path(shutil.copytree(bundle.path, tmp_path / "1"))
    shutil.copy(path / ENCODER_FILES["int8"], path / ENCODER_FILES["float16"])
    sign(path)
    with pytest.raises(BundleError, match="expected golden mean within"):
        Model.load(path, precision="float16")


def test_an_unlabelled_source_is_measured_by_its_neighbours_alone(
    model: GenerativeModel, sample: Source, tmp_path: Path
) -> None:
    bare = dataclasses.replace(sample, train=ImageSet(sample.train.images), test=ImageSet(sample.test.images))
    write_encoder(EncoderGraph(model).eval(), model.shape, tmp_path / "encoder.onnx")
    (encoder,) = write_lower_encoders(model, ["int8"], bare, 0, tmp_path)
    found = encoder.spec.versus_float32
    assert found is not None
    assert (found.knn_accuracy, found.knn_loss_points) == (None, None)
    assert 0.8 < found.overlap < 1


def test_int8_calibrated_on_other_images_than_it_is_for_is_refused_and_nothing_written(
    run: RunDirectory, sample: Source, tmp_path: Path
) -> None:
    dark = dataclasses.replace(sample, train=dataclasses.replace(sample.train, images=sample.train.images // 200))
    with pytest.raises(
        ParityError,
        match=r"expected int8 embeddings with a cosine of at least 0\.98 .* found 0\.\d+ and .* points; nothing was "
        r"exported: export without --precision int8\.",
    ):
        export_run(run, tmp_path / "dark", dark, ["float16", "int8"])
    assert not list(tmp_path.iterdir())


def test_weights_beyond_the_range_of_float16_are_refused(
    model: GenerativeModel, sample: Source, tmp_path: Path
) -> None:
    with torch.no_grad():
        for layer, factor in ((model.encoder[0], 1e5), (model.encoder[2], 1e-5)):
            layer.weight.mul_(factor)
            layer.bias.mul_(1e5 if factor > 1 else 1)
    encoder = EncoderGraph(model).eval()
    write_encoder(encoder, model.shape, tmp_path / "encoder.onnx")
    assert all(np.isfinite(output).all() for output in torch_outputs(encoder, sample.test.images[:9].copy()))
    with pytest.raises(ParityError, match="expected float16 embeddings"):
        write_lower_encoders(model, ["float16"], sample, 0, tmp_path)
