"""What the service answers, as small frozen objects that say which model it is of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from simvae_client.errors import FingerprintError

__all__ = [
    "BadImage",
    "Dtype",
    "Embeddings",
    "Floats",
    "FolderEmbeddings",
    "Metric",
    "ModelCard",
    "ModelId",
    "Models",
    "Reconstructions",
    "Similarity",
    "one_model",
]

Dtype = Literal["float32", "float16", "int8", "ubinary"]
Metric = Literal["cosine", "euclidean", "log_likelihood_ratio", "probability_same"]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ModelId:
    """Which model answered.

    Attributes:
        name: Its name.
        version: Its number.
        fingerprint: Of everything that changes a vector; only vectors of one fingerprint can be compared.
    """

    name: str
    version: int
    fingerprint: str

    @property
    def reference(self) -> str:
        """As `model=` takes it."""
        return f"{self.name}@{self.version}"


def one_model(models: Sequence[ModelId]) -> ModelId:
    """The model of all parts of a result.

    Raises:
        FingerprintError: They are of several; the service changed to another one in between.
    """
    for other in models:
        if other.fingerprint != models[0].fingerprint:
            raise FingerprintError(models[0].fingerprint, other.fingerprint)
    return models[0]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """A vector for each image, in order.

    Attributes:
        model: Whose they are.
        vectors: Shape [N, D], of the dtype that was asked for; ubinary is uint8, [N, ⌈D/8⌉].
        variances: Posterior variances, shape [N, D], if they were asked for; those before `normalize`.
        scale: Of int8: value ≈ integer × scale.
        normalized: Whether the vectors were scaled to length 1.
    """

    model: ModelId
    vectors: NDArray[Any]
    variances: Floats | None = None
    scale: float | None = None
    normalized: bool = False

    def __len__(self) -> int:
        return len(self.vectors)

    @classmethod
    def stack(cls, parts: Sequence[Self]) -> Self:
        """All rows of some embeddings, at least one of them, that were asked for with the same options.

        Raises:
            FingerprintError: They are of several models.
        """
        model = one_model([part.model for part in parts])
        variances = [part.variances for part in parts if part.variances is not None]
        vectors = np.concatenate([part.vectors for part in parts])
        joined = np.concatenate(variances) if variances else None
        return cls(model, vectors, joined, parts[0].scale, parts[0].normalized)


@dataclass(frozen=True)
class BadImage:
    """A file of a folder that has no embedding.

    Attributes:
        path: Below the folder, with slashes.
        reason: A sentence.
    """

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class FolderEmbeddings:
    """A folder's images as vectors.

    Attributes:
        paths: Below the folder, with slashes, sorted; one for each row.
        embeddings: The rows.
        bad: What looked like an image by its name and could not be embedded, sorted too.
    """

    paths: tuple[str, ...]
    embeddings: Embeddings
    bad: tuple[BadImage, ...]


@dataclass(frozen=True, eq=False)
class Reconstructions:
    """What the model thinks it saw.

    Attributes:
        model: Whose they are.
        images: A PNG for each image.
        squared_errors: Mean over pixels, in units of [0, 1]; shape [N].
        typicalities: Share of held-out images that reconstruct worse; shape [N].
    """

    model: ModelId
    images: tuple[bytes, ...]
    squared_errors: Floats
    typicalities: Floats

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def stack(cls, parts: Sequence[Self]) -> Self:
        """All of some.

        Raises:
            FingerprintError: They are of several models.
        """
        return cls(
            one_model([part.model for part in parts]),
            tuple(image for part in parts for image in part.images),
            np.concatenate([part.squared_errors for part in parts]),
            np.concatenate([part.typicalities for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class Similarity:
    """How alike images are; each with each, shape [left, right], or pair by pair, shape [N].

    Attributes:
        model: By which.
        cosine: Of the embeddings.
        euclidean: Likewise.
        log_likelihood_ratio: Evidence in nats that two images share their content.
        probability_same: The same as a calibrated probability, for the prior that was given.
    """

    model: ModelId
    cosine: Floats | None = None
    euclidean: Floats | None = None
    log_likelihood_ratio: Floats | None = None
    probability_same: Floats | None = None


@dataclass(frozen=True)
class ModelCard:
    """A model that is loaded.

    Attributes:
        id: Name, version, fingerprint.
        dim: Of its embeddings.
        shape: Height, width and channels of the pixels it takes.
        precision: Of the encoder.
        metrics: That it defines.
        manifest: All that its bundle says.
    """

    id: ModelId
    dim: int
    shape: tuple[int, int, int]
    precision: str
    metrics: tuple[Metric, ...]
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class Models:
    """What is loaded.

    Attributes:
        default: The `name@version` that answers when none is named; None if one must be.
        cards: One for each model and version.
    """

    default: str | None
    cards: tuple[ModelCard, ...]
