"""A folder becomes rows with paths; what is bad is named; what goes wrong otherwise is never passed over."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.embed_files import find_images as found_by_the_service
from service.engine.formats import IMAGE_SUFFIXES
from simvae_client import UnreachableError
from simvae_client.folders import find_images

Ask = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, make_image: Callable[..., bytes]) -> Path:
    """Nine images, four that are bad in different ways, and what is none."""
    root = tmp_path / "photos"
    for number in range(9):
        place = root / ("a" if number % 2 else "b")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.PNG").write_bytes(make_image(seed=number))
    (root / "a" / "broken.jpg").write_bytes(make_image("JPEG")[:80])
    (root / "a" / "text.png").write_text("no image")
    (root / "empty.png").write_bytes(b"")
    (root / "b" / "gone.png").symlink_to(root / "nowhere.png")
    (root / "notes.txt").write_text("no image")
    (root / ".hidden.png").write_bytes(make_image())
    (root / ".cache").mkdir()
    (root / ".cache" / "0.png").write_bytes(make_image())
    return root


@pytest.mark.parametrize("batch_images", [1, 4, 64])
def test_rows_have_paths_and_bad_images_have_reasons(address: str, ask: Ask, folder: Path, batch_images: int) -> None:
    found = ask(address, "embed_folder", folder, settings={"batch_images": batch_images}, variance=True)
    good = sorted(f"{'a' if number % 2 else 'b'}/{number}.PNG" for number in range(9))
    assert list(found.paths) == good
    expected = ask(address, "embed", [folder / path for path in good], variance=True)
    assert np.abs(found.embeddings.vectors - expected.vectors).max() < 1e-6
    assert np.abs(found.embeddings.variances - expected.variances).max() < 1e-6
    assert [bad.path for bad in found.bad] == ["a/broken.jpg", "a/text.png", "b/gone.png", "empty.png"]
    assert "truncated" in found.bad[0].reason
    assert "No such file" in found.bad[2].reason


def test_an_image_too_large_to_be_sent_is_bad_and_the_others_are_not(
    start: Callable[..., str], ask: Ask, folder: Path, make_image: Callable[..., bytes]
) -> None:
    (folder / "b" / "large.png").write_bytes(make_image(size=(100, 100)))
    found = ask(start(max_body_bytes=4000), "embed_folder", folder)
    assert len(found.paths) == len(found.embeddings) == 9
    assert [bad.path for bad in found.bad if "bytes" in bad.reason and "accepted" in bad.reason] == ["b/large.png"]


@pytest.mark.parametrize("dtype", ["float16", "int8", "ubinary"])
def test_options_are_those_of_embed(address: str, ask: Ask, folder: Path, dtype: str) -> None:
    found = ask(address, "embed_folder", folder, dtype=dtype, normalize=True)
    expected = ask(address, "embed", [folder / path for path in found.paths], dtype=dtype, normalize=True)
    assert found.embeddings.vectors.dtype == expected.vectors.dtype
    assert (found.embeddings.vectors == expected.vectors).all()
    assert found.embeddings.scale == expected.scale


def test_an_empty_folder_has_no_rows(address: str, ask: Ask, tmp_path: Path) -> None:
    found = ask(address, "embed_folder", tmp_path)
    assert (found.paths, found.bad, found.embeddings.vectors.shape) == ((), (), (0, 4))


def test_a_folder_that_is_not_there_is_an_error(address: str, ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ask(address, "embed_folder", tmp_path / "nowhere")


def test_a_service_that_goes_away_in_between_is_an_error_and_no_shorter_result(
    peer: Any, ask: Ask, folder: Path
) -> None:
    peer.will_answer(content=b"half of it", cut=True, times=4)
    with pytest.raises(UnreachableError, match="/embed"):
        ask(peer.url, "embed_folder", folder, settings={"batch_images": 4})


def test_progress_counts_every_image_once(address: str, ask: Ask, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    ask(address, "embed_folder", folder, settings={"batch_images": 4}, progress=lambda *told: seen.append(told))
    assert seen == [(4, 13), (8, 13), (12, 13), (13, 13)]


def test_a_bar_is_drawn_on_standard_error(
    address: str, ask: Ask, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(address, "embed_folder", folder, progress=True)
    shown = capsys.readouterr()
    assert "13/13" in shown.err
    assert shown.out == ""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(ModuleNotFoundError, match="needs rich"):
        ask(address, "embed_folder", folder, progress=True)


def test_a_folder_holds_the_same_images_for_the_client_and_for_simvae_embed(folder: Path) -> None:
    for suffix in IMAGE_SUFFIXES:
        (folder / f"by-suffix{suffix}").touch()
    assert find_images(folder) == found_by_the_service(folder)
    assert len(find_images(folder)) == 13 + len(IMAGE_SUFFIXES)
