"""The engine as a library, on a real bundle: every way in gives the same vectors, and one bad image hurts no other."""

import asyncio
import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.engine.engine import Embedding, Embeddings, Engine, Reconstruction
from service.engine.errors import DeviceError, NotReadyError, QueueFullError, RequestTooLargeError
from service.engine.images import (
    DecodeLimits,
    ImageError,
    ImageTooLargeError,
    UndecodableImageError,
    UnsupportedFormatError,
)
from service.engine.model import Model
from service.engine.runtime import Runtime

WAIT_S = 20
CORRUPT = b"\x89PNG\r\n\x1a\n and then nothing"


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    with Engine.load(tiny_bundle) as engine:
        yield engine


def test_path_bytes_and_array_give_the_same_vector(engine: Engine, png: bytes, tmp_path: Path) -> None:
    file = tmp_path / "image"
    file.write_bytes(png)
    pixels = np.array(Image.open(io.BytesIO(png)))
    embeddings = engine.embed([file, png, pixels, pixels[..., None]])
    np.testing.assert_array_equal(embeddings.mean, np.broadcast_to(embeddings.mean[0], (4, 4)))
    np.testing.assert_array_equal(embeddings.variance, np.broadcast_to(embeddings.variance[0], (4, 4)))


def test_embedding_is_what_the_weights_say(engine: Engine, png: bytes, tiny_bundle: Path) -> None:
    pixels = np.array(Image.open(io.BytesIO(png)))
    direct = engine.model.encode(pixels[None, ..., None])
    embeddings = engine.embed([png])
    np.testing.assert_allclose(embeddings.mean, direct.mean, atol=1e-6)
    np.testing.assert_allclose(embeddings.variance, direct.variance, atol=1e-6)
    assert embeddings.mean.dtype == embeddings.variance.dtype == np.float32


def test_many_images_give_what_each_gives_alone_and_in_order(engine: Engine, make_image: Callable[..., bytes]) -> None:
    images = [make_image("JPEG", size=(40 + i, 60 - i), mode="RGB", seed=i) for i in range(30)] * 6
    together = engine.embed(images)
    alone = [engine.embed([image]).mean[0] for image in images[:30]]
    np.testing.assert_allclose(together.mean, np.tile(alone, (6, 1)), atol=1e-5)


def test_no_images_give_no_embeddings(engine: Engine) -> None:
    empty = engine.embed([])
    assert empty.mean.shape == empty.variance.shape == (0, 4)
    assert engine.reconstruct([]) == []
    assert engine.submit([], "embed").future.result(0) == []


def test_a_corrupt_image_disturbs_no_other(engine: Engine, png: bytes) -> None:
    expected = engine.embed([png]).mean[0]
    images = [png] * 40
    images[7], images[20] = CORRUPT, b"text"
    outcomes = engine.submit(images, "embed").future.result(WAIT_S)
    assert isinstance(outcomes[7], UndecodableImageError)
    assert isinstance(outcomes[20], UnsupportedFormatError)
    for index in set(range(40)) - {7, 20}:
        outcome = outcomes[index]
        assert isinstance(outcome, Embedding)
        np.testing.assert_allclose(outcome.mean, expected, atol=1e-5)


def test_the_first_bad_image_is_named_by_its_index(engine: Engine, png: bytes, tmp_path: Path) -> None:
    with pytest.raises(UndecodableImageError, match="Image 2: The PNG image is truncated"):
        engine.embed([png, png, CORRUPT, b"text"])
    with pytest.raises(UnsupportedFormatError, match="Image 0: "):
        engine.reconstruct([b"text"])
    with pytest.raises(UndecodableImageError, match=r"Image 1: .*missing\.png: the file cannot be read: No such file"):
        engine.embed([png, tmp_path / "missing.png"])


@pytest.mark.parametrize("images", [b"one image", Path("one.png"), ["one.png"], [None], [3]])
def test_what_is_no_list_of_images_is_a_mistake_of_the_caller(engine: Engine, images: object) -> None:
    with pytest.raises(ValueError, match=r"Expected .* found"):
        engine.embed(images)
    assert engine.runtime.load == 0


def test_a_reconstruction_is_the_decoded_embedding_with_its_error(engine: Engine, png: bytes) -> None:
    first, second = engine.reconstruct([png, png])
    assert isinstance(first, Reconstruction)
    np.testing.assert_allclose(first.embedding.mean, engine.embed([png]).mean[0], atol=1e-5)
    np.testing.assert_array_equal(first.pixels, engine.model.decode(first.embedding.mean[None])[0])
    pixels = np.array(Image.open(io.BytesIO(png))).astype(float)[..., None]
    expected = ((pixels - first.pixels) ** 2).mean() / 255**2
    assert first.squared_error == pytest.approx(expected, rel=1e-5)
    assert first.typicality == pytest.approx(1 - expected / 0.5, abs=1e-5)  # the bundle's quantiles are 0 to 0.5
    assert second.squared_error == first.squared_error


def test_similarity_takes_images_and_embeddings_alike(engine: Engine, make_image: Callable[..., bytes]) -> None:
    images = [make_image(seed=seed) for seed in range(3)]
    metrics = ["cosine", "log_likelihood_ratio", "probability_same"]
    of_images = engine.similarity(images, images[:2], metrics)
    of_embeddings = engine.similarity(engine.embed(images), images[:2], metrics)
    for metric in metrics:
        assert of_images[metric].shape == (3, 2)
        np.testing.assert_allclose(of_images[metric], of_embeddings[metric], rtol=1e-5)
    assert (np.diag(of_images["probability_same"]) > 0.5).all()


def test_pixels_of_the_models_own_shape_are_held_to_the_limit_too(tiny_bundle: Path) -> None:
    runtime = Runtime(limits=DecodeLimits(max_pixels=28 * 28 - 1))
    engine = Engine.load(tiny_bundle, runtime=runtime)
    with pytest.raises(ImageError, match="at most 783"):
        engine.embed([np.zeros(engine.manifest.input.shape, np.uint8)])
    runtime.close()


def test_a_request_is_refused_whole_when_it_does_not_fit(tiny_bundle: Path, png: bytes) -> None:
    runtime = Runtime(max_items=10, max_bytes=10 * len(png), limits=DecodeLimits(max_pixels=28 * 28))
    engine = Engine.load(tiny_bundle, runtime=runtime)
    with pytest.raises(RequestTooLargeError):
        engine.submit([png] * 11, "embed")
    with pytest.raises(RequestTooLargeError):
        engine.submit([np.zeros((100, 100), np.uint8)], "embed")
    accepted, refused = [], 0
    for _ in range(50):
        try:
            accepted.append(engine.submit([png] * 8, "embed"))
        except QueueFullError:
            refused += 1
    assert refused
    for ticket in accepted:
        assert len(ticket.future.result(WAIT_S)) == 8
    assert len(engine.embed([png] * 100)) == 100, "the library waits for room"
    with pytest.raises(ImageTooLargeError):
        engine.embed([np.zeros((29, 28), np.uint8)])
    runtime.close()
    with pytest.raises(NotReadyError):
        engine.submit([png], "embed")


def test_a_file_larger_than_the_queue_is_not_read(tiny_bundle: Path, png: bytes, tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    file.write_bytes(png + bytes(100))
    runtime = Runtime(max_bytes=len(png) + 99)
    with pytest.raises(ImageTooLargeError, match=r"large\.png: the file has"):
        Engine.load(tiny_bundle, runtime=runtime).embed([file])
    runtime.close()


def test_two_models_share_one_runtime(tiny_bundle: Path, tiny_rgb_bundle: Path, png: bytes) -> None:
    runtime = Runtime()
    engines = [Engine.load(path, runtime=runtime) for path in (tiny_bundle, tiny_rgb_bundle)]
    expected = [engine.embed([png]).mean[0] for engine in engines]
    assert engines[0].fingerprint != engines[1].fingerprint
    tickets = [(i % 2, engines[i % 2].submit([png] * 3, "embed")) for i in range(40)]
    for which, ticket in tickets:
        for outcome in ticket.future.result(WAIT_S):
            assert isinstance(outcome, Embedding)
            np.testing.assert_allclose(outcome.mean, expected[which], atol=1e-5)
    for engine in engines:
        engine.close()
    assert runtime.alive, "an engine does not end what it did not make"
    runtime.close()


def test_bulk_gives_the_same_vectors_but_never_takes_all_cores_for_one_image(
    tiny_bundle: Path, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime(runners=1)
    engine = Engine.load(tiny_bundle, runtime=runtime)
    encode, ways = engine.model.encode, list[bool]()

    def record(pixels: np.ndarray, *, alone: bool = False) -> Embeddings:
        ways.append(alone)
        return encode(pixels, alone=alone)

    monkeypatch.setattr(engine.model, "encode", record)
    vectors = [engine.embed([png], priority=priority).mean for priority in ("bulk", "interactive")]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert ways == [False, True]
    (seen,) = engine.reconstruct([png], priority="bulk")
    np.testing.assert_allclose(seen.embedding.mean, vectors[0][0], atol=1e-5)
    (outcome,) = engine.submit([png], "embed", priority="bulk").future.result(WAIT_S)
    assert isinstance(outcome, Embedding)
    runtime.close()


def test_latents_are_decoded_as_reconstructions_are_however_many(
    engine: Engine, make_image: Callable[..., bytes]
) -> None:
    seen = engine.reconstruct([make_image(seed=seed) for seed in range(100)])
    latents = np.stack([each.embedding.mean for each in seen])
    decoded = engine.decode(latents)
    np.testing.assert_array_equal(decoded, np.stack([each.pixels for each in seen]))
    np.testing.assert_array_equal(engine.decode(latents[:1], priority="bulk"), decoded[:1])
    assert engine.decode(latents[:0]).shape == (0, 28, 28, 1)


@pytest.mark.parametrize(
    ("latents", "text"),
    [
        (np.zeros((1, 4)), r"Latent 0: expected float32 of shape \[4\], found float64 of shape \[4\]"),
        (np.zeros((2, 5), np.float32), r"Latent 0: .*found float32 of shape \[5\]"),
        (np.array([[0, 0, 0, 0], [0, np.nan, 0, 0]], np.float32), "Latent 1: expected finite"),
    ],
)
def test_what_is_no_latent_is_refused_before_anything_is_queued(latents: np.ndarray, text: str, engine: Engine) -> None:
    with pytest.raises(ValueError, match=text):
        engine.decode(latents)
    assert engine.runtime.load == 0


def test_an_event_loop_is_woken_in_its_own_thread(engine: Engine, png: bytes) -> None:
    async def client(loop: asyncio.AbstractEventLoop) -> int:
        ticket = engine.submit([png] * 5, "reconstruct", deadline_s=WAIT_S, post=loop.call_soon_threadsafe)
        outcomes = await asyncio.wrap_future(ticket.future)
        assert ticket.timings.inference_s > 0
        return sum(isinstance(outcome, Reconstruction) for outcome in outcomes)

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(client(loop) for _ in range(20)))

    assert asyncio.run(main()) == [5] * 20


def test_threads_may_share_an_engine(engine: Engine, make_image: Callable[..., bytes]) -> None:
    images = [make_image(seed=seed) for seed in range(20)]
    expected = engine.embed(images).mean
    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(lambda i: engine.embed([images[i % 20], images[(i + 1) % 20]]).mean, range(60)))
    for i, result in enumerate(results):
        np.testing.assert_allclose(result, expected[[i % 20, (i + 1) % 20]], atol=1e-5)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_is_embedded(engine: Engine, make_image: Callable[..., bytes], kind: str) -> None:
    assert np.isfinite(engine.embed([make_image(kind, mode="RGB", size=(50, 31))]).mean).all()


def test_several_gpus_are_all_warm_before_the_first_image_and_share_the_work(
    tiny_bundle: Path, as_on_gpus: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, model = Model.load(tiny_bundle, device="cpu"), as_on_gpus(tiny_bundle, gpus=2)
    monkeypatch.setattr(Model, "load", lambda *_, **__: model)
    recorders = []
    with contextlib.closing(Runtime(max_batch=4)) as runtime:
        engine = Engine.load(tiny_bundle, device="cuda:0,1", runtime=runtime)
        for replica in model.replicas:
            assert list(replica.encoder._buffers) == list(replica.decoder._buffers) == [4, 1, 2]
            assert replica.encoder._recorder == replica.decoder._recorder
            recorders.append(replica.encoder._recorder)
        assert len({*recorders, threading.get_ident()}) == 3
        meeting = threading.Barrier(2, timeout=WAIT_S)
        for replica in model.replicas:  # neither is done before the other has begun
            monkeypatch.setattr(replica.encoder, "run", together(meeting, replica.encoder.run))
        images = list(np.random.default_rng(0).integers(0, 256, (16, 28, 28, 1), dtype=np.uint8))
        found = engine.embed(images)
    np.testing.assert_allclose(found.mean, expected.encode(np.stack(images)).mean, atol=1e-5)


def test_an_engine_that_cannot_be_warmed_up_leaves_no_threads_behind(
    tiny_bundle: Path, as_on_gpus: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(max_batch: int, replica: int) -> None:
        raise DeviceError(f"GPU {replica} cannot run {max_batch}.")

    model, before = as_on_gpus(tiny_bundle), threading.active_count()
    monkeypatch.setattr(model, "warm_up", fail)
    monkeypatch.setattr(Model, "load", lambda *_, **__: model)
    with pytest.raises(DeviceError, match="GPU 0 cannot run 64"):
        Engine.load(tiny_bundle, device="cuda:0,1")
    assert threading.active_count() == before


def together(meeting: threading.Barrier, run: Callable[[np.ndarray], list[np.ndarray]]) -> Callable[..., object]:
    """A run that begins with another beside it, the first time."""
    first = iter([True])

    def gated(batch: np.ndarray) -> list[np.ndarray]:
        if next(first, False):
            meeting.wait()
        return run(batch)

    return gated


def test_errors_of_images_are_one_family() -> None:
    for error in (ImageTooLargeError, UndecodableImageError, UnsupportedFormatError):
        assert issubclass(error, ImageError)
