"""The bundle on disk: what its manifest says, and whether the files beside it are the ones it speaks of.

Reading a bundle is pure file work. Running its graphs, and comparing them with the golden outputs, is
`service.engine.model`.
"""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.engine.images import InputSpec

__all__ = [
    "MANIFEST",
    "Bundle",
    "BundleError",
    "Calibration",
    "EmbeddingSpec",
    "FileSpec",
    "GraphSpec",
    "Manifest",
    "Precision",
    "SourceSpec",
    "TypicalitySpec",
    "file_sha256",
    "find_bundles",
    "read_bundle",
]

MANIFEST = "manifest.json"
SCHEMA_VERSION: Literal[1] = 1

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PerDimension = float | tuple[float, ...]
Precision = Literal["float32", "float16", "int8"]


class BundleError(Exception):
    """A bundle that must not be served; the message says file, expected and found in one sentence."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileSpec(_Part):
    """A file of the bundle, by name (never a path) and hash."""

    file: FileName
    sha256: Sha256


class GraphSpec(FileSpec):
    """An ONNX graph.

    Attributes:
        opset: The version of the default operator set.
        precision: Of weights and arithmetic; inputs and outputs are the same for all.
        parity: Largest absolute difference from torch that the export measured, in latent units for an encoder
            and grey levels for a decoder.
    """

    opset: int
    precision: Precision = "float32"
    parity: float = Field(ge=0)


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
    """Squared reconstruction errors of training images at evenly spaced quantiles from 0 to 1, ascending."""

    quantiles: Annotated[tuple[float, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _check_ascending(self) -> "TypicalitySpec":
        if any(a > b for a, b in zip(self.quantiles, self.quantiles[1:], strict=False)):
            raise ValueError("quantiles must ascend")
        return self

    def share_above(self, squared_error: NDArray[np.float32]) -> NDArray[np.float32]:
        """The share of training images that reconstruct worse than each given error, 0 to 1; same shape."""
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


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest parses and whose files have the hashes it names."""

    path: Path
    manifest: Manifest

    def file(self, spec: FileSpec) -> Path:
        """The path of one of the bundle's files."""
        return self.path / spec.file

    def golden(self) -> dict[str, NDArray[np.generic]]:
        """The golden arrays: `images`, `mean`, `log_variance`, and `decoded` = decoder(mean)."""
        with np.load(self.file(self.manifest.golden), allow_pickle=False) as arrays:
            return dict(arrays)


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle and checks every file against its hash.

    Args:
        path: The directory that holds `manifest.json`.

    Raises:
        BundleError: Something is missing, of another schema version, changed, or outside the directory.
    """
    manifest = _read_manifest(path / MANIFEST)
    for spec in (*manifest.encoders, manifest.decoder, manifest.golden):
        file = path / spec.file
        if not file.is_file():
            raise BundleError(f"{file}: expected a file of the bundle, found none; export the bundle again.")
        if not file.resolve().is_relative_to(path.resolve()):
            raise BundleError(f"{file}: expected a file inside the bundle, found a link to {file.resolve()}.")
        found = file_sha256(file)
        if found != spec.sha256:
            raise BundleError(f"{file}: expected sha256 {spec.sha256}, found {found}; the file was changed or damaged.")
    return Bundle(path, manifest)


def find_bundles(models: Path) -> list[Path]:
    """Lists the bundles of a model repository, `<models>/<name>/<version>/manifest.json`, or `models` if it is one.

    Raises:
        BundleError: The directory is missing or holds no bundle.
    """
    if (models / MANIFEST).is_file():
        return [models]
    manifests = models.glob(f"*/*/{MANIFEST}")
    found = sorted(manifest.parent for manifest in manifests if not manifest.parent.name.startswith("."))
    if not found:
        what = "no directory there" if not models.is_dir() else "no bundle in it"
        raise BundleError(
            f"{models}: expected bundles at <name>/<version>/{MANIFEST}, found {what}; simvae-export makes one."
        )
    return found


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, functools.partial(hashlib.sha256, usedforsecurity=False)).hexdigest()


def _read_manifest(path: Path) -> Manifest:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path}: expected a readable manifest, found {error.strerror or error}.") from error
    except ValueError as error:
        raise BundleError(f"{path}: expected JSON, found {error}.") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{path}: expected schema_version {SCHEMA_VERSION}, found {version!r}; export it again with this version."
        )
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the manifest"
        found = problem.get("input")
        raise BundleError(f"{path}: expected a valid {where}, found {found!r} ({problem['msg']}).") from error
