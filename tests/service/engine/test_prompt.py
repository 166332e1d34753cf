"""The short way through a model gives what the engine gives, or nothing, and never another's result."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.engine.engine import Engine
from service.engine.images import encode_png
from service.engine.prompt import Prompt, PromptResult


@pytest.fixture
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    with Engine.load(tiny_bundle, device="cpu") as engine:
        yield engine


@pytest.fixture
def batches() -> list[int]:
    return []


@pytest.fixture
def prompt(engine: Engine, batches: list[int]) -> Prompt:
    return Prompt(
        engine.model, engine.runtime.limits, 16, engine.statistics["embed"], lambda items, _: batches.append(items)
    )


def embed(prompt: Prompt, images: list[bytes]) -> list[PromptResult | None]:
    async def ask() -> list[PromptResult | None]:
        loop = asyncio.get_running_loop()
        results: list[asyncio.Future[PromptResult | None]] = [loop.create_future() for _ in images]
        for image, result in zip(images, results, strict=True):
            prompt.put(image, result.set_result, loop.call_soon)
        return list(await asyncio.wait_for(asyncio.gather(*results), 20))

    return asyncio.run(ask())


def pngs(count: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    return [encode_png(rng.integers(0, 256, (28, 28, 1), dtype=np.uint8)) for _ in range(count)]


def test_many_images_get_each_their_own_embedding(engine: Engine, prompt: Prompt) -> None:
    images = pngs(50)
    expected = engine.embed(images).mean
    found = embed(prompt, images)
    assert np.allclose([result.means[0] for result in found if result is not None], expected, atol=1e-5)
    assert None not in found


def test_what_one_turn_brings_shares_batches_no_larger_than_allowed(prompt: Prompt, batches: list[int]) -> None:
    embed(prompt, pngs(50))
    assert sum(batches) == 50
    assert max(batches) <= 16
    assert len(batches) < 50


def test_a_bad_image_gets_nothing_and_harms_no_other(engine: Engine, prompt: Prompt) -> None:
    images = pngs(3)
    images[1] = images[1][:60]
    first, bad, last = embed(prompt, images)
    assert bad is None
    assert first is not None
    assert last is not None
    assert np.allclose(first.means, engine.embed([images[0]]).mean, atol=1e-5)
    assert np.allclose(last.means, engine.embed([images[2]]).mean, atol=1e-5)


def test_nothing_but_bad_images_runs_no_model(prompt: Prompt, batches: list[int]) -> None:
    assert embed(prompt, [b"\x89PNG\r\n\x1a\n"]) == [None]
    assert batches == []


def test_a_model_that_fails_leaves_nobody_waiting(prompt: Prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(prompt._model, "encode", fail)
    assert embed(prompt, pngs(3)) == [None, None, None]


def test_the_wait_grows_with_what_waits(prompt: Prompt) -> None:
    assert prompt.wait_s == 0
    later = list[object]()
    for image in pngs(3):
        prompt.put(image, lambda _: None, later.append)
    assert prompt.wait_s == pytest.approx(3 * prompt.cost_s)
    assert len(later) == 1


def test_images_of_other_sizes_and_modes_are_fitted_as_ever(engine: Engine, prompt: Prompt, tmp_path: Path) -> None:
    file = tmp_path / "colour.png"
    Image.effect_noise((40, 20), 60).convert("RGB").save(file)
    (found,) = embed(prompt, [file.read_bytes()])
    assert found is not None
    assert np.allclose(found.means, engine.embed([file]).mean, atol=1e-5)
