"""`manifest.json`, the contract between export and service, as types. Knows no files."""

import hashlib
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.engine.images import InputSpec

__all__ = [
    "SCHEMA_VERSION",
    "BundleError",
    "Calibration",
    "EmbeddingSpec",
    "FileSpec",
    "GraphSpec",
    "Manifest",
    "Precision",
    "SourceSpec",
    "TypicalitySpec",
    "VersusFloat32",
]

SCHEMA_VERSION: Literal[1] = 1

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PerDimension = float | tuple[float, ...]
Precision = Literal["float32", "float16", "int8"]


class BundleError(Exception):
    """A bundle that must not be served; the message says file, expected and found in one sentence."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileSpec(_Part):
    """A file of the bundle, by name (never a path) and hash."""

    file: FileName
    sha256: Sha256


class VersusFloat32(_Part):
    """What an encoder of lower precision loses and gains, measured by the export beside the float32 encoder.

    Attributes:
        tolerance: How far golden outputs may be from those of the exporting machine when the bundle is loaded: twice
            what another arithmetic changed there. Where that is less than float32 is allowed, the latter holds.
        log_variance_parity: Largest absolute difference of a held-out image's log variance from torch.
        cosine: Mean cosine similarity of the two embeddings of a held-out image; 1 is the same direction.
        overlap: Share of a held-out image's 20 nearest training images, by cosine, that both encoders find.
        knn_accuracy: Share of the held-out images that those 20 classify correctly; null without labels.
        knn_loss_points: By how many percentage points float32 classifies better; null without labels.
        images_per_second: On one thread of the machine that exported, in batches of 32.
        speed: The same as a multiple of what float32 did in turns with it; above 1 is faster.
    """

    tolerance: float = Field(ge=0)
    log_variance_parity: float = Field(ge=0)
    cosine: float = Field(ge=-1, le=1)
    overlap: float = Field(ge=0, le=1)
    knn_accuracy: float | None = Field(default=None, ge=0, le=1)
    knn_loss_points: float | None = Field(default=None, ge=-100, le=100)
    images_per_second: float = Field(gt=0)
    speed: float = Field(gt=0)


class GraphSpec(FileSpec):
    """An ONNX graph.

    Attributes:
        opset: The version of the default operator set.
        precision: Of weights and arithmetic; inputs and outputs are the same for all.
        parity: Largest absolute difference from torch that the export measured on held-out images: of means, in latent
            units, for an encoder (for float32 of log variances too); in grey levels for a decoder.
        versus_float32: Of every precision but float32.
    """

    opset: int
    precision: Precision = "float32"
    parity: float = Field(ge=0)
    versus_float32: VersusFloat32 | None = None

    @model_validator(mode="after")
    def _check_measured(self) -> "GraphSpec":
        if (self.precision == "float32") != (self.versus_float32 is None):
            raise ValueError("versus_float32 must be there for every precision but float32")
        return self


class Calibration(_Part):
    """P(same content) = sigmoid(slope · LLR + intercept + logit prior), fitted on held-out views."""

    slope: float = Field(gt=0)
    intercept: float


class EmbeddingSpec(_Part):
    """The latent space: its size and prior, σ² within and τ² between contents, one number or one per dimension.

    A `tau2` of null means the flat p(y), under which no calibrated similarity exists.
    """

    dim: int = Field(ge=1)
    sigma2: PerDimension
    tau2: PerDimension | None
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _check_prior(self) -> "EmbeddingSpec":
        for name, value in (("sigma2", self.sigma2), ("tau2", self.tau2)):
            values = np.atleast_1d(np.asarray(1.0 if value is None else value))
            if values.size not in {1, self.dim} or not (np.isfinite(values).all() and (values > 0).all()):
                raise ValueError(f"{name} must be one positive number or {self.dim} of them, found {value}")
        return self


class TypicalitySpec(_Part):
    """Squared reconstruction errors of held-out images at evenly spaced quantiles from 0 to 1, ascending."""

    quantiles: Annotated[tuple[float, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _check_ascending(self) -> "TypicalitySpec":
        if any(a > b for a, b in zip(self.quantiles, self.quantiles[1:], strict=False)):
            raise ValueError("quantiles must ascend")
        return self

    def share_above(self, squared_error: NDArray[np.float32]) -> NDArray[np.float32]:
        """The share of held-out images that reconstruct worse than each given error, 0 to 1; same shape."""
        levels = np.linspace(0.0, 1.0, len(self.quantiles))
        return (1.0 - np.interp(squared_error, self.quantiles, levels)).astype(np.float32)


class SourceSpec(_Part):
    """Where the model came from: enough to find, and repeat, the run.

    Attributes:
        run: Name of the run directory.
        code_version: Version of this project that trained it, with the commit when there was one.
        data: The source of the images and how many were trained on.
        command: What repeats the training.
    """

    run: str
    code_version: str
    data: str
    command: str


class Manifest(_Part):
    """`manifest.json`: the contract between export and service."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: ModelName
    version: int = Field(ge=1)
    created: str
    objective: str
    source: SourceSpec
    input: InputSpec
    embedding: EmbeddingSpec
    typicality: TypicalitySpec
    encoders: Annotated[tuple[GraphSpec, ...], Field(min_length=1)]
    decoder: GraphSpec
    golden: FileSpec
    evaluation: dict[str, float] = Field(default_factory=dict)

    @property
    def reference(self) -> str:
        """`name@version`, as requests and headers write it."""
        return f"{self.name}@{self.version}"

    def encoder(self, precision: Precision) -> GraphSpec:
        """The encoder graph of a precision.

        Raises:
            BundleError: The bundle has none.
        """
        for graph in self.encoders:
            if graph.precision == precision:
                return graph
        found = ", ".join(graph.precision for graph in self.encoders)
        raise BundleError(
            f"{self.reference}: expected an encoder in {precision}, found {found}; export it or choose that."
        )

    def fingerprint(self, precision: Precision) -> str:
        """16 hexadecimal digits that change whenever something that changes a vector does."""
        parts = [self.encoder(precision).sha256, precision, self.input.model_dump_json()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
