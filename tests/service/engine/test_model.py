"""A model that loads gives the vectors it was exported with; one that would not is refused."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from service.engine.bundle import MANIFEST, BundleError, file_sha256, read_bundle
from service.engine.device import Sessions, open_sessions
from service.engine.errors import DeviceError, InferenceError
from service.engine.model import Model
from service.engine.providers import GpuOptions


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "tiny" / "1"))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def rewrite(bundle: Path, file: str, change: Callable[[onnx.ModelProto], None]) -> None:
    """Changes a graph and signs the change, as a wrong export would."""
    graph = onnx.load(bundle / file)
    change(graph)
    onnx.save(graph, bundle / file)
    resign(bundle, file)


def resign(bundle: Path, file: str) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    for spec in (*manifest["encoders"], manifest["decoder"], manifest["golden"]):
        if spec["file"] == file:
            spec["sha256"] = file_sha256(bundle / file)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("bundle_name", ["tiny_bundle", "tiny_rgb_bundle"])
def test_a_loaded_model_gives_its_golden_outputs(bundle_name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(bundle_name)
    model, golden = Model.load(path, device="cpu"), read_bundle(path).golden()
    assert (model.device, model.provider) == ("cpu", "CPUExecutionProvider")
    assert model.fingerprint == model.manifest.fingerprint("float32")
    encoded = model.encode(golden.images)
    np.testing.assert_allclose(encoded.mean, golden.mean, atol=1e-5)
    np.testing.assert_allclose(encoded.variance, np.exp(golden.log_variance), rtol=1e-4)
    np.testing.assert_allclose(model.decode(golden.mean).astype(int), golden.decoded, atol=1)


def test_a_batch_gives_what_its_items_give(tiny_bundle: Path) -> None:
    model, images = Model.load(tiny_bundle), noise(33, 28, 28, 1)
    batched = model.reconstruct(images)
    single = [model.reconstruct(image[None]) for image in images]
    np.testing.assert_allclose(batched.embeddings.mean, [s.embeddings.mean[0] for s in single], atol=1e-5)
    np.testing.assert_allclose(batched.embeddings.variance, [s.embeddings.variance[0] for s in single], atol=1e-5)
    np.testing.assert_allclose(batched.pixels.astype(int), [s.pixels[0] for s in single], atol=1)


@pytest.mark.parametrize(("worth_s", "sessions"), [(0.0, 2), (math.inf, 1)])
def test_a_second_encoder_with_more_threads_is_opened_only_where_it_would_gain_time(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, worth_s: float, sessions: int
) -> None:
    opened: list[int | None] = []

    def count(files: Sequence[Path], device: str, threads: int | None = None, *more: Any) -> Sessions:
        opened.append(threads)
        return open_sessions(files, device, threads, *more)

    monkeypatch.setattr("service.engine.model.open_sessions", count)
    monkeypatch.setattr("service.engine.cpu.WORTH_DIVIDING_S", worth_s)
    model, images = Model.load(tiny_bundle, device="cpu", threads=1, threads_alone=2), noise(1, 28, 28, 1)
    assert opened == [1, 2][:sessions]
    np.testing.assert_allclose(model.encode(images, alone=True).mean, model.encode(images).mean, atol=1e-5)
    assert 0 < model.lone_s() < 1


def test_buckets_change_nothing(tiny_bundle: Path, as_on_gpus: Callable[..., Model]) -> None:
    plain, padded = Model.load(tiny_bundle, device="cpu"), as_on_gpus(tiny_bundle)
    for size in (1, 2, 3, 5, 8, 9):
        a, b = (model.reconstruct(noise(size, 28, 28, 1, seed=size)) for model in (plain, padded))
        assert len(b.embeddings) == len(b.pixels) == len(b.squared_error) == size
        np.testing.assert_allclose(a.embeddings.mean, b.embeddings.mean, atol=1e-5)
        np.testing.assert_allclose(a.squared_error, b.squared_error, atol=1e-5)
    assert len(padded.encode(noise(0, 28, 28, 1))) == 0


def test_a_thread_uses_the_gpu_that_it_warmed_up_and_others_share_the_first(
    tiny_bundle: Path, as_on_gpus: Callable[..., Model]
) -> None:
    model = as_on_gpus(tiny_bundle, gpus=3)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(model.warm_up, 4, 2).result()
        pool.submit(model.reconstruct, noise(5, 28, 28, 1)).result()
    model.encode(noise(9, 28, 28, 1))
    used = [(list(each.encoder._buffers), list(each.decoder._buffers)) for each in model.replicas]
    assert used == [([16], []), ([], []), ([4, 1, 2, 8], [4, 1, 2, 8])]


def test_the_squared_error_is_the_mean_over_pixels_in_unit_range(tiny_rgb_bundle: Path) -> None:
    model, images = Model.load(tiny_rgb_bundle), noise(4, 32, 32, 3)
    result = model.reconstruct(images)
    expected = ((images / 255 - result.pixels / 255) ** 2).reshape(4, -1).mean(axis=1)
    np.testing.assert_allclose(result.squared_error, expected, rtol=1e-6)


def test_no_images_give_empty_results(tiny_bundle: Path) -> None:
    result = Model.load(tiny_bundle).reconstruct(np.empty((0, 28, 28, 1), np.uint8))
    assert result.embeddings.mean.shape == result.embeddings.variance.shape == (0, 4)
    assert result.pixels.shape == (0, 28, 28, 1)
    assert result.squared_error.shape == (0,)


@pytest.mark.parametrize("images", [noise(28, 28, 1), noise(2, 28, 28, 3), noise(2, 28, 28, 1).astype(np.float32)])
def test_wrong_arrays_are_refused_before_the_graph_sees_them(tiny_bundle: Path, images: np.ndarray) -> None:
    model = Model.load(tiny_bundle)
    with pytest.raises(ValueError, match=r"Expected images of uint8 .* found"):
        model.encode(images)
    with pytest.raises(ValueError, match=r"Expected latents of float32 .* found"):
        model.decode(np.zeros((2, 5), np.float32))


def scale_weight(name: str, factor: float) -> Callable[[onnx.ModelProto], None]:
    def change(graph: onnx.ModelProto) -> None:
        weight = next(each for each in graph.graph.initializer if each.name == name)
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(factor), name))

    return change


@pytest.mark.parametrize(
    ("file", "weight", "output"),
    [
        ("encoder.onnx", "mean_weight", "mean"),
        ("encoder.onnx", "log_variance_weight", "log_variance"),
        ("decoder.onnx", "weight", "images"),
    ],
)
def test_a_graph_that_does_not_give_its_golden_outputs_is_refused(
    bundle: Path, file: str, weight: str, output: str
) -> None:
    rewrite(bundle, file, scale_weight(weight, 1.1))
    with pytest.raises(BundleError, match=rf"{file}: expected golden {output} within .* on cpu, found a difference of"):
        Model.load(bundle)


def test_a_graph_that_fails_on_the_golden_images_is_refused(bundle: Path) -> None:
    def look_outside(graph: onnx.ModelProto) -> None:
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(1, 28 * 28 + 1), "index"))
        graph.graph.node[1].input[0] = "moved"
        graph.graph.node.insert(1, onnx.helper.make_node("Gather", ["flat", "index"], ["moved"], axis=1))

    rewrite(bundle, "decoder.onnx", look_outside)
    with pytest.raises(BundleError, match="expected golden outputs, but a graph fails"):
        Model.load(bundle)


def test_a_graph_that_gives_no_number_is_refused(bundle: Path) -> None:
    rewrite(bundle, "encoder.onnx", scale_weight("mean_weight", float("nan")))
    with pytest.raises(BundleError, match="found a difference of nan"):
        Model.load(bundle)


def rename_output(graph: onnx.ModelProto) -> None:
    graph.graph.output[0].name = graph.graph.node[3].output[0] = "mu"


def fix_batch(graph: onnx.ModelProto) -> None:
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for output in graph.graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 1


def other_size(graph: onnx.ModelProto) -> None:
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 14
    graph.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 56


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_output, r"expected outputs mean tensor\(float\)\['N', 4\], log_variance .* found mu"),
        (other_size, r"expected inputs images tensor\(uint8\)\['N', 28, 28, 1\], found .*\['N', 14, 56, 1\]"),
        (fix_batch, "expected any batch size in images, found 1 fixed"),
    ],
)
def test_a_graph_with_other_ports_than_the_manifest_says_is_refused(
    bundle: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    rewrite(bundle, "encoder.onnx", change)
    with pytest.raises(BundleError, match=message):
        Model.load(bundle)


def test_a_file_that_is_no_graph_is_refused(bundle: Path) -> None:
    (bundle / "encoder.onnx").write_bytes(b"not a graph")
    resign(bundle, "encoder.onnx")
    with pytest.raises(BundleError, match=r"encoder\.onnx: expected a graph that ONNX Runtime loads, found"):
        Model.load(bundle)


def test_a_precision_that_was_not_exported_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="expected an encoder in float16, found float32"):
        Model.load(tiny_bundle, precision="float16")


PRECISIONS = ("float32", "float16", "int8")


def test_every_precision_is_another_graph_with_another_fingerprint(make_bundle: Callable[..., Path]) -> None:
    path = make_bundle(precisions=PRECISIONS[1:])
    models = [Model.load(path, device="cpu", precision=precision) for precision in PRECISIONS]
    assert [model.precision for model in models] == list(PRECISIONS)
    assert len({model.fingerprint for model in models}) == 3
    means = [model.encode(noise(5, 28, 28, 1)).mean for model in models]
    assert all(0 < np.abs(means[0] - other).max() < 0.1 for other in means[1:])


@pytest.mark.parametrize("other", ["encoder.onnx", "encoder.float16.onnx"])
def test_a_graph_of_another_precision_is_refused(make_bundle: Callable[..., Path], other: str) -> None:
    bundle = make_bundle(precisions=PRECISIONS[1:])
    shutil.copy(bundle / other, bundle / "encoder.int8.onnx")
    resign(bundle, "encoder.int8.onnx")
    with pytest.raises(BundleError, match=r"encoder\.int8\.onnx: expected golden mean within 0\.002 on cpu, found"):
        Model.load(bundle, precision="int8")


@pytest.mark.parametrize(("tolerance", "accepted"), [(0.002, False), (0.2, True)])
def test_a_lower_precision_may_differ_by_as_much_as_its_export_found_and_no_more(
    make_bundle: Callable[..., Path], tolerance: float, accepted: bool
) -> None:
    bundle = make_bundle(precisions=["int8"])
    rewrite(bundle, "encoder.int8.onnx", scale_weight("mean_weight", 1.02))
    edit_tolerance(bundle, tolerance)
    if accepted:
        Model.load(bundle, precision="int8")
    else:
        with pytest.raises(BundleError, match=r"encoder\.int8\.onnx: expected golden mean within 0\.002 on cpu"):
            Model.load(bundle, precision="int8")


def edit_tolerance(bundle: Path, tolerance: float) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    for spec in manifest["encoders"][1:]:
        spec["versus_float32"]["tolerance"] = tolerance
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_an_infinite_embedding_is_an_error_and_not_a_vector(bundle: Path) -> None:
    def blow_up(graph: onnx.ModelProto) -> None:
        bias = next(each for each in graph.graph.initializer if each.name == "bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, 200, np.float32), "bias"))

    rewrite(bundle, "encoder.onnx", blow_up)
    golden = vars(read_bundle(bundle).golden())
    np.savez(bundle / "golden.npz", **golden | {"log_variance": golden["log_variance"] + np.float32(203)})
    resign(bundle, "golden.npz")
    with pytest.raises(InferenceError, match="no finite embedding"):
        Model.load(bundle).encode(noise(1, 28, 28, 1))


@pytest.mark.gpu
def test_the_gpu_gives_what_the_cpu_gives(tiny_bundle: Path) -> None:
    cpu, gpu = Model.load(tiny_bundle, device="cpu"), Model.load(tiny_bundle, device="cuda")
    gpu.warm_up(8)
    for size in (1, 3, 8):
        images = noise(size, 28, 28, 1, seed=size)
        np.testing.assert_allclose(gpu.encode(images).mean, cpu.encode(images).mean, atol=1e-4)


@pytest.mark.gpu
def test_two_gpus_give_the_same_and_each_its_golden_outputs(tiny_bundle: Path) -> None:
    try:
        model = Model.load(tiny_bundle, device="cuda:0,1")
    except DeviceError as error:
        pytest.skip(str(error))
    images = noise(5, 28, 28, 1)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(model.warm_up, 8, 1).result()
        second = pool.submit(model.encode, images).result()
    np.testing.assert_allclose(model.encode(images).mean, second.mean, atol=1e-5)


@pytest.mark.gpu
def test_tensorrt_gives_what_the_cpu_gives_and_keeps_its_engines(tiny_bundle: Path, tmp_path: Path) -> None:
    cpu, options = Model.load(tiny_bundle, device="cpu"), GpuOptions(tensorrt_cache=tmp_path)
    try:
        model = Model.load(tiny_bundle, device="tensorrt", gpu=options)
    except DeviceError as error:
        pytest.skip(str(error))
    model.warm_up(8)
    assert list(tmp_path.rglob("*.engine"))
    for size in (1, 3, 8):
        images = noise(size, 28, 28, 1, seed=size)
        np.testing.assert_allclose(model.encode(images).mean, cpu.encode(images).mean, atol=1e-3)
