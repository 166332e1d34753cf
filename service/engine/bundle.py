"""The bundle on disk: whether the files beside its manifest are the ones it speaks of.

Reading a bundle is pure file work. Running its graphs, and comparing them with the golden outputs, is
`service.engine.model`.
"""

import functools
import hashlib
import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.engine.manifest import (
    SCHEMA_VERSION,
    BundleError,
    Calibration,
    EmbeddingSpec,
    FileSpec,
    GraphSpec,
    Manifest,
    Precision,
    SourceSpec,
    TypicalitySpec,
    VersusFloat32,
)

__all__ = [
    "MANIFEST",
    "Bundle",
    "BundleError",
    "Calibration",
    "EmbeddingSpec",
    "FileSpec",
    "Golden",
    "GraphSpec",
    "Manifest",
    "Precision",
    "SourceSpec",
    "TypicalitySpec",
    "VersusFloat32",
    "file_sha256",
    "find_bundles",
    "golden_name",
    "read_bundle",
]

MANIFEST = "manifest.json"


@dataclass(frozen=True, eq=False)
class Golden:
    """A few images with the outputs of one precision: torch's in float32, else the exporting machine's.

    Attributes:
        images: uint8 of shape [N, H, W, C].
        mean: float32 of shape [N, D].
        log_variance: float32 of shape [N, D].
        decoded: decoder(mean); uint8 of shape [N, H, W, C].
    """

    images: NDArray[np.uint8]
    mean: NDArray[np.float32]
    log_variance: NDArray[np.float32]
    decoded: NDArray[np.uint8]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest parses and whose files have the hashes it names."""

    path: Path
    manifest: Manifest

    def file(self, spec: FileSpec) -> Path:
        """The path of one of the bundle's files."""
        return self.path / spec.file

    def golden(self, precision: Precision = "float32") -> Golden:
        """The golden arrays.

        Args:
            precision: Of the encoder that gave the outputs; all but float32 have arrays with their name.

        Raises:
            BundleError: The file does not hold them, or they are of other shapes than the manifest says.
        """
        file = self.file(self.manifest.golden)
        try:
            with np.load(file, allow_pickle=False) as arrays:
                found = {field.name: arrays[golden_name(field.name, precision)] for field in fields(Golden)}
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise BundleError(f"{file}: expected the golden arrays, found {error}; export the bundle again.") from error
        count, pixels, latents = len(found["images"]), self.manifest.input.shape, (self.manifest.embedding.dim,)
        expected = {"images": pixels, "mean": latents, "log_variance": latents, "decoded": pixels}
        for name, shape in expected.items():
            array = found[name]
            if (
                array.shape != (count, *shape)
                or array.dtype != (np.uint8 if shape is pixels else np.float32)
                or not count
            ):
                raise BundleError(
                    f"{file}: expected {name} for {max(count, 1)} images of shape {list(shape)}, "
                    f"found {array.dtype} of shape {list(array.shape)}; export the bundle again."
                )
        return Golden(**found)


def golden_name(field: str, precision: Precision) -> str:
    """What a field of `Golden` is called in the file."""
    return field if field == "images" or precision == "float32" else f"{field}_{precision}"


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
        try:
            found = file_sha256(file)
        except OSError as error:
            raise BundleError(f"{file}: expected a readable file, found {error.strerror or error}.") from error
        if found != spec.sha256:
            raise BundleError(f"{file}: expected sha256 {spec.sha256}, found {found}; the file was changed or damaged.")
    return Bundle(path, manifest)


def find_bundles(models: Path) -> list[Path]:
    """Lists the bundles of a model repository, `<models>/<name>/<version>/manifest.json`, or `models` if it is one.

    They are in the order of their names, and of the numbers of their versions.

    Raises:
        BundleError: The directory is missing or holds no bundle.
    """
    if (models / MANIFEST).is_file():
        return [models]
    found = [
        manifest.parent
        for manifest in models.glob(f"*/*/{MANIFEST}")
        if not any(part.startswith(".") for part in manifest.relative_to(models).parts)  # half-written, or not meant
    ]
    if not found:
        what = "no directory there" if not models.is_dir() else "no bundle in it"
        raise BundleError(
            f"{models}: expected bundles at <name>/<version>/{MANIFEST}, found {what}; simvae-export makes one."
        )
    return sorted(found, key=lambda path: (path.parent.name, len(path.name), path.name))  # 9 comes before 10


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, functools.partial(hashlib.sha256, usedforsecurity=False)).hexdigest()


def _read_manifest(path: Path) -> Manifest:
    try:
        text = path.read_bytes()
        content = json.loads(text)
    except OSError as error:
        raise BundleError(f"{path}: expected a readable manifest, found {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: expected JSON, found {error}.") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{path}: expected schema_version {SCHEMA_VERSION}, found {version!r}; export it again with this version."
        )
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the manifest"
        found = f"{problem.get('input')!r:.100}"
        raise BundleError(f"{path}: expected a valid {where}, found {found} ({problem['msg']}).") from error
