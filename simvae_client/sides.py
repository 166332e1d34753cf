"""The two sides of a comparison: images, or embeddings that are there already."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from simvae_client.batches import Body
from simvae_client.errors import FingerprintError
from simvae_client.images import Images, as_sequence, encoded
from simvae_client.results import Embeddings

__all__ = ["expected_of", "sides_body"]


def expected_of(fingerprint: str | None, sides: Sequence[Images | Embeddings]) -> str | None:
    """The fingerprint that the model must have.

    Args:
        fingerprint: That every model must have, if it matters.
        sides: Those that are embeddings must have it too.

    Raises:
        FingerprintError: They contradict each other.
    """
    expected = fingerprint
    for side in sides:
        if isinstance(side, Embeddings):
            found = side.model.fingerprint
            if expected not in {None, found}:
                raise FingerprintError(str(expected), found)
            expected = found
    return expected


def sides_body(sides: Mapping[str, Images | Embeddings], options: Mapping[str, Any]) -> Body:
    """Both sides as JSON.

    Raises:
        OSError: A file cannot be read.
        ValueError: Embeddings in bits, which have no values to compare, or of length 1, which have lost theirs for
            all but the cosine.
    """
    cosine_only = options.get("metrics") == ["cosine"]
    content = {name: _items(side, cosine_only=cosine_only) for name, side in sides.items()} | dict(options)
    return Body(json.dumps(content).encode(), "application/json", ())


def _items(side: Images | Embeddings, *, cosine_only: bool) -> list[Any]:
    if not isinstance(side, Embeddings):
        return [base64.b64encode(encoded(image)).decode() for image in as_sequence(side)]
    if side.vectors.dtype.kind == "u":
        raise ValueError("Expected embeddings that have values, found bits (ubinary); embed with another dtype.")
    if side.normalized and not cosine_only:
        text = "Expected embeddings as the model gives them, found normalized ones, whose cosine alone is the same; "
        raise ValueError(f'{text}pass metrics=["cosine"], or embed without normalize.')
    vectors = (side.vectors.astype("<f4") * (1.0 if side.scale is None else side.scale)).tolist()
    if side.variances is None:
        return [{"embedding": vector} for vector in vectors]
    pairs = zip(vectors, side.variances.tolist(), strict=True)
    return [{"embedding": vector, "variance": variance} for vector, variance in pairs]
