"""Fixtures that every test may use: small bundles that need no torch and no training, and encoded images.

`tiny_bundle` and `tiny_rgb_bundle` are directories `<session tmp>/models/<name>/1`, written with the types of
`service.engine.bundle` and valid in every respect; `tiny_models` is the `models/` above both. The networks are random
but fixed: a linear encoder with 4 latent dimensions and a linear decoder. `make_bundle` writes a variant of one, also
with encoders of lower precision, whose weights are rounded as the precision says.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from service.engine.bundle import (
    MANIFEST,
    Calibration,
    EmbeddingSpec,
    FileSpec,
    GraphSpec,
    Manifest,
    Precision,
    SourceSpec,
    TypicalitySpec,
    VersusFloat32,
    golden_name,
)
from service.engine.images import InputSpec, Pixels

DIM = 4
OPSET = 20
VERSUS_FLOAT32 = VersusFloat32(
    tolerance=0.002, log_variance_parity=0.01, cosine=0.999, overlap=0.9, images_per_second=1e4, speed=1.5
)

MakeBundle = Callable[..., Path]
MakeImage = Callable[..., bytes]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips tests marked `gpu` where ONNX Runtime has no CUDA."""
    if item.get_closest_marker("gpu") and "CUDAExecutionProvider" not in ort.get_available_providers():
        pytest.skip("needs onnxruntime-gpu")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with `tiny` (grey, 28 × 28) and `tiny-rgb` (colour, 32 × 32), version 1 of each."""
    models = tmp_path_factory.mktemp("repository") / "models"
    write_bundle(models, InputSpec(height=28, width=28, colour_mode="L"), name="tiny")
    write_bundle(models, InputSpec(height=32, width=32, colour_mode="RGB", background=(255, 255, 255)), name="tiny-rgb")
    return models


@pytest.fixture(scope="session")
def tiny_bundle(tiny_models: Path) -> Path:
    """The bundle `tiny@1`: grey, 28 × 28, 4 latent dimensions, calibrated. Shared, so copy it before changing it."""
    return tiny_models / "tiny" / "1"


@pytest.fixture(scope="session")
def tiny_rgb_bundle(tiny_models: Path) -> Path:
    """The bundle `tiny-rgb@1`: colour, 32 × 32, white background. Shared, so copy it before changing it."""
    return tiny_models / "tiny-rgb" / "1"


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """Writes a bundle of one's own: `make_bundle(name="other", version=2, height=8, embedding={"tau2": None})`."""

    def make(
        *, height: int = 28, width: int = 28, colour_mode: str = "L", scaled_jpeg: bool = False, **changes: Any
    ) -> Path:
        spec = InputSpec.model_validate(
            {"height": height, "width": width, "colour_mode": colour_mode, "scaled_jpeg": scaled_jpeg}
        )
        return write_bundle(tmp_path / "models", spec, **changes)

    return make


@pytest.fixture(scope="session")
def make_image() -> MakeImage:
    """Encodes an image: `make_image("JPEG", size=(40, 30), mode="RGB", seed=1)`; further arguments go to Pillow."""

    def make(
        format: str = "PNG",  # noqa: A002
        *,
        size: tuple[int, int] = (28, 28),
        mode: str = "L",
        seed: int = 0,
        **save: Any,
    ) -> bytes:
        noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
        image = Image.fromarray(noise[..., :3]).convert(mode)
        if mode in {"RGBA", "LA"}:
            image.putalpha(Image.fromarray(noise[..., 3]))
        buffer = io.BytesIO()
        image.save(buffer, format, **save)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def png(make_image: MakeImage) -> bytes:
    """One grey 28 × 28 PNG."""
    return make_image()


def write_bundle(
    models: Path,
    spec: InputSpec,
    *,
    name: str = "tiny",
    version: int = 1,
    embedding: dict[str, Any] | None = None,
    seed: int = 0,
    precisions: Sequence[Precision] = (),
) -> Path:
    """Writes `<models>/<name>/<version>`; `embedding` overrides fields of its `EmbeddingSpec`."""
    path = models / name / str(version)
    path.mkdir(parents=True)
    size = int(np.prod(spec.shape))
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, size**-0.5, (2, size, DIM)).astype(np.float32)
    decoder_weight = rng.normal(0, 60, (DIM, size)).astype(np.float32)
    onnx.save(_decoder(spec, decoder_weight), path / "decoder.onnx")
    images = rng.integers(0, 256, (3, *spec.shape), dtype=np.uint8)
    encoders, golden = [], {"images": images}
    for precision in ("float32", *precisions):
        mean_weight, log_variance_weight = _rounded(weights, precision)
        encoders.append(_write_encoder(path, _encoder(spec, mean_weight, log_variance_weight), precision))
        flat = images.reshape(3, -1).astype(np.float32) / 255
        mean, log_variance = flat @ mean_weight, flat @ log_variance_weight - 3
        outputs = {"mean": mean, "log_variance": log_variance}
        outputs["decoded"] = _decode(mean, decoder_weight).reshape(images.shape)
        golden |= {golden_name(field, precision): value for field, value in outputs.items()}
    np.savez(path / "golden.npz", **golden)
    manifest = Manifest(
        name=name,
        version=version,
        created="2026-11-22T12:00:00+00:00",
        objective="simvae",
        source=SourceSpec(run="none", code_version="0", data="random weights", command="none"),
        input=spec,
        embedding=EmbeddingSpec.model_validate(
            {"dim": DIM, "sigma2": 0.13, "tau2": 0.87, "calibration": Calibration(slope=0.8, intercept=-0.1)}
            | (embedding or {})
        ),
        typicality=TypicalitySpec(quantiles=tuple(np.linspace(0.0, 0.5, 11).tolist())),
        encoders=tuple(encoders),
        decoder=GraphSpec(file="decoder.onnx", sha256=_sha256(path / "decoder.onnx"), opset=OPSET, parity=0.0),
        golden=FileSpec(file="golden.npz", sha256=_sha256(path / "golden.npz")),
    )
    (path / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    return path


def _write_encoder(path: Path, graph: onnx.ModelProto, precision: Precision) -> GraphSpec:
    file = path / ("encoder.onnx" if precision == "float32" else f"encoder.{precision}.onnx")
    onnx.save(graph, file)
    versus = None if precision == "float32" else VERSUS_FLOAT32
    measured = {"opset": OPSET, "precision": precision, "parity": 0.0, "versus_float32": versus}
    return GraphSpec(file=file.name, sha256=_sha256(file), **measured)


def _rounded(weights: NDArray[np.float32], precision: Precision) -> NDArray[np.float32]:
    match precision:
        case "float32":
            return weights
        case "float16":
            return weights.astype(np.float16).astype(np.float32)
        case "int8":
            step = np.abs(weights).max() / np.float32(127)
            return np.rint(weights / step) * step


def _decode(latents: NDArray[np.float32], weight: NDArray[np.float32]) -> Pixels:
    return np.clip(np.round(latents @ weight + 128), 0, 255).astype(np.uint8)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _encoder(spec: InputSpec, mean: NDArray[np.float32], log_variance: NDArray[np.float32]) -> onnx.ModelProto:
    bias = np.full(DIM, -3, np.float32)
    return _graph(
        [
            helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["wide", "white"], ["scaled"]),
            helper.make_node("Flatten", ["scaled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "mean_weight"], ["mean"]),
            helper.make_node("Gemm", ["flat", "log_variance_weight", "bias"], ["log_variance"]),
        ],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *spec.shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", DIM]) for name in ("mean", "log_variance")],
        white=np.float32(255),
        mean_weight=mean,
        log_variance_weight=log_variance,
        bias=bias,
    )


def _decoder(spec: InputSpec, weight: NDArray[np.float32]) -> onnx.ModelProto:
    return _graph(
        [
            helper.make_node("Gemm", ["latents", "weight", "grey"], ["flat"]),
            helper.make_node("Round", ["flat"], ["whole"]),
            helper.make_node("Clip", ["whole", "black", "white"], ["clipped"]),
            helper.make_node("Reshape", ["clipped", "shape"], ["shaped"]),
            helper.make_node("Cast", ["shaped"], ["images"], to=TensorProto.UINT8),
        ],
        [helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", DIM])],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *spec.shape])],
        weight=weight,
        grey=np.full(weight.shape[1], 128, np.float32),
        black=np.float32(0),
        white=np.float32(255),
        shape=np.array([-1, *spec.shape], np.int64),
    )


def _graph(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    **constants: Any,
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model
