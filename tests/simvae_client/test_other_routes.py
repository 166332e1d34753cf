"""Reconstructions, similarities and models are what the service says, in numpy."""

import base64
import io
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from simvae_client import BadImageError, Embeddings, FingerprintError, ModelId, ProblemError

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def contents(make_image: Callable[..., bytes]) -> list[bytes]:
    return [make_image(seed=seed) for seed in range(5)]


def test_reconstructions_of_many_requests_are_in_order(address: str, ask: Ask, contents: list[bytes]) -> None:
    found = ask(address, "reconstruct", contents, settings={"batch_images": 2})
    images = [base64.b64encode(content).decode() for content in contents]
    expected = httpx.post(f"{address}/reconstruct", json={"images": images}).json()["reconstructions"]
    assert len(found) == 5
    assert [base64.b64encode(image).decode() for image in found.images] == [each["image"] for each in expected]
    assert np.allclose(found.squared_errors, [each["squared_error"] for each in expected])
    assert np.allclose(found.typicalities, [each["typicality"] for each in expected])
    assert Image.open(io.BytesIO(found.images[0])).size == (28, 28)
    assert ask(address, "reconstruct", []).images == ()
    with pytest.raises(BadImageError, match="image 3: "):
        ask(address, "reconstruct", [*contents[:3], b"bad"], settings={"batch_images": 2})


def test_images_and_their_embeddings_are_equally_alike(address: str, ask: Ask, contents: list[bytes]) -> None:
    known = ask(address, "embed", contents, variance=True)
    images = ask(address, "similarity", contents[:2], contents, prior=0.01)
    mixed = ask(address, "similarity", contents[:2], known, prior=0.01)
    for metric in ("cosine", "euclidean", "log_likelihood_ratio", "probability_same"):
        assert getattr(images, metric).shape == (2, 5)
        assert np.allclose(getattr(images, metric), getattr(mixed, metric), atol=1e-4)
    assert images.model == known.model
    pairs = ask(address, "similarity", known, contents, pairs=True, metrics=["cosine"])
    assert np.allclose(pairs.cosine, 1, atol=1e-4)
    assert pairs.euclidean is None
    assert np.allclose(ask(address, "similarity", contents).cosine.diagonal(), 1, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_embeddings_of_fewer_bits_are_compared_by_their_values(
    address: str, ask: Ask, contents: list[bytes], dtype: str
) -> None:
    known = ask(address, "embed", contents, dtype=dtype)
    found = ask(address, "similarity", contents, known, pairs=True, metrics=["euclidean"])
    lengths = np.linalg.norm(ask(address, "embed", contents).vectors, axis=1)
    assert (found.euclidean < 0.05 * lengths).all()


def test_embeddings_that_cannot_be_compared_are_refused(address: str, ask: Ask, contents: list[bytes]) -> None:
    with pytest.raises(ValueError, match="ubinary"):
        ask(address, "similarity", ask(address, "embed", contents, dtype="ubinary"), metrics=["cosine"])
    with pytest.raises(ProblemError, match="variance"):
        ask(address, "similarity", ask(address, "embed", contents))


def test_of_normalized_embeddings_only_the_cosine_is_told(address: str, ask: Ask, contents: list[bytes]) -> None:
    known = ask(address, "embed", contents, normalize=True, variance=True)
    for metrics in (None, ["cosine", "euclidean"]):
        with pytest.raises(ValueError, match="embed without normalize"):
            ask(address, "similarity", contents, known, metrics=metrics)
    found = ask(address, "similarity", contents, known, metrics=["cosine"])
    assert np.allclose(found.cosine, ask(address, "similarity", contents).cosine, atol=1e-4)


def test_embeddings_of_another_model_are_refused(address: str, ask: Ask, contents: list[bytes]) -> None:
    other, mine = (ask(address, "embed", contents, variance=True, model=model) for model in ("tiny-rgb", "tiny"))
    with pytest.raises(FingerprintError) as caught:
        ask(address, "similarity", contents, other)
    assert (caught.value.expected, caught.value.found) == (other.model.fingerprint, mine.model.fingerprint)
    with pytest.raises(FingerprintError):
        ask("http://localhost:1", "similarity", mine, other)
    with pytest.raises(FingerprintError):
        ask("http://localhost:1", "similarity", mine, settings={"fingerprint": "another"})


def test_a_bad_image_of_a_side_is_named(address: str, ask: Ask, contents: list[bytes]) -> None:
    with pytest.raises(BadImageError, match="right image 1: ") as caught:
        ask(address, "similarity", contents, [contents[0], b"bad"])
    assert (caught.value.side, caught.value.index) == ("right", 1)


def test_rows_of_two_models_are_never_stacked() -> None:
    one, other = (
        Embeddings(ModelId("photos", version, f"f{version}"), np.zeros((2, 4), np.float32)) for version in (1, 2)
    )
    assert len(Embeddings.stack([one, one])) == 4
    with pytest.raises(FingerprintError):
        Embeddings.stack([one, other])


def test_models_are_listed_with_what_they_take(address: str, ask: Ask) -> None:
    found = ask(address, "models")
    assert found.default == "tiny@1"
    cards = {card.id.name: card for card in found.cards}
    assert (cards["tiny"].shape, cards["tiny-rgb"].shape) == ((28, 28, 1), (32, 32, 3))
    assert cards["tiny"].dim == 4
    assert cards["tiny"].precision == "float32"
    assert "probability_same" in cards["tiny"].metrics
    assert cards["tiny"].manifest["objective"] == "simvae"
    assert len({card.id.fingerprint for card in found.cards}) == 2
