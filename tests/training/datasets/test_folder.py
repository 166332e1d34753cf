import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.engine.images import DecodeLimits, InputSpec, decode_image
from training.datasets.folder import open_folder
from training.datasets.image_set import DataError, Source

SPEC = InputSpec(height=16, width=16, colour_mode="RGB")
ROOT = Path(__file__).parents[3]
OPEN = """
import sys, hashlib
from pathlib import Path
from service.engine.images import InputSpec
from training.datasets.folder import open_folder
source = open_folder(Path(sys.argv[1]), InputSpec(height=16, width=16, colour_mode="RGB"), Path(sys.argv[2]))
print(hashlib.sha256(source.test.images.tobytes() + source.train.images.tobytes()).hexdigest())
"""

MakeImage = Callable[..., bytes]
Fill = Callable[..., Path]


@pytest.fixture
def fill(tmp_path: Path, make_image: MakeImage) -> Fill:
    """Writes small PNGs, all different, at the given paths below one folder."""

    def write(*paths: str) -> Path:
        for path in paths:
            file = tmp_path / "photos" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(make_image("PNG", size=(20, 30), mode="RGB", seed=len(list(_files(tmp_path)))))
        return tmp_path / "photos"

    return write


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _images(source: Source) -> dict[bytes, int | None]:
    """Every image of a source by its pixels, with its label."""
    found: dict[bytes, int | None] = {}
    for part in (source.train, source.test):
        for number, image in enumerate(part.images):
            found[image.tobytes()] = None if part.labels is None else int(part.labels[number])
    return found


def _spoil(files: list[Path]) -> None:
    """Overwrites files with zeros, keeping what a cache is keyed by: their size and time of last change."""
    for file in files:
        status = file.stat()
        file.write_bytes(bytes(status.st_size))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _numbered(count: int) -> list[str]:
    return [f"{number:03d}.png" for number in range(count)]


def test_every_image_is_decoded_as_the_service_would(fill: Fill, cache: Path) -> None:
    root = fill("one.png", "deep/er/two.PNG", "deep/three.png")
    expected = {decode_image(file.read_bytes(), SPEC, DecodeLimits()).tobytes() for file in _files(root)}
    assert set(_images(open_folder(root, SPEC, cache))) == expected


def test_the_second_time_nothing_is_decoded(fill: Fill, cache: Path) -> None:
    """The files are emptied behind the cache's back, with size and time kept."""
    root = fill(*_numbered(20))
    first = open_folder(root, SPEC, cache)
    _spoil(_files(root))
    second = open_folder(root, SPEC, cache)
    assert second.skipped == ()
    np.testing.assert_array_equal(first.train.images, second.train.images)
    np.testing.assert_array_equal(first.test.images, second.test.images)


@pytest.mark.parametrize("change", ["content", "new file", "resize rule"])
def test_a_change_makes_another_cache(fill: Fill, cache: Path, make_image: MakeImage, change: str) -> None:
    root, spec = fill(*_numbered(3)), SPEC
    open_folder(root, spec, cache)
    if change == "content":
        (root / "001.png").write_bytes(make_image("PNG", size=(33, 33), mode="RGB", seed=77))
    elif change == "new file":
        fill("new.png")
    else:
        spec = InputSpec(height=16, width=16, colour_mode="RGB", resize="contain")
    expected = {decode_image(file.read_bytes(), spec, DecodeLimits()).tobytes() for file in _files(root)}
    assert set(_images(open_folder(root, spec, cache))) == expected
    assert len(list(cache.iterdir())) == 2


def test_jpegs_are_decoded_by_the_rule_of_the_spec_and_kept_apart(
    tmp_path: Path, cache: Path, make_image: MakeImage
) -> None:
    """A spec from before there was a choice finds the cache that it filled then."""
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.jpg").write_bytes(make_image("JPEG", size=(160, 130), mode="RGB", seed=number))
    scaled = SPEC.model_copy(update={"scaled_jpeg": True})
    found = []
    for spec in (SPEC, scaled):
        found.append(set(_images(open_folder(root, spec, cache))))
        assert found[-1] == {decode_image(file.read_bytes(), spec, DecodeLimits()).tobytes() for file in _files(root)}
    assert not found[0] & found[1]
    old = InputSpec.model_validate_json('{"height": 16, "width": 16, "colour_mode": "RGB", "resize": "cover"}')
    assert set(_images(open_folder(root, old, cache))) == found[0]
    assert len(list(cache.iterdir())) == 2


def test_a_folder_per_class_gives_labels(fill: Fill, cache: Path) -> None:
    root = fill("cat/1.png", "dog/1.png", "cat/kittens/2.png", "ant/1.png")
    source = open_folder(root, SPEC, cache)
    assert source.class_names == ("ant", "cat", "dog")
    for label, name in enumerate(source.class_names):
        for file in _files(root / name):
            assert _images(source)[decode_image(file.read_bytes(), SPEC, DecodeLimits()).tobytes()] == label


@pytest.mark.parametrize(
    "paths", [("1.png", "2.png"), ("all/1.png", "all/2.png"), ("cat/1.png", "dog/1.png", "stray.png")]
)
def test_anything_else_is_unlabelled(fill: Fill, cache: Path, paths: tuple[str, ...]) -> None:
    source = open_folder(fill(*paths), SPEC, cache)
    assert source.class_names is None
    assert source.train.labels is None
    assert source.test.labels is None


def test_about_a_tenth_is_held_out_and_new_files_do_not_reshuffle(fill: Fill, cache: Path) -> None:
    root = fill(*_numbered(200))
    before = open_folder(root, SPEC, cache)
    assert 10 <= len(before.test) <= 30
    fill(*(f"new/{name}" for name in _numbered(20)))
    after = open_folder(root, SPEC, cache)
    assert {image.tobytes() for image in before.test.images} <= {image.tobytes() for image in after.test.images}
    assert {image.tobytes() for image in before.train.images} <= {image.tobytes() for image in after.train.images}


@pytest.mark.parametrize("count", [2, 3])
def test_even_tiny_folders_have_both_splits(fill: Fill, cache: Path, count: int) -> None:
    source = open_folder(fill(*_numbered(count)), SPEC, cache)
    assert len(source.train) >= 1
    assert len(source.test) >= 1
    assert len(source.train) + len(source.test) == count


def test_unreadable_files_are_listed_with_the_reason(fill: Fill, cache: Path) -> None:
    root = fill("cat/1.png", "dog/1.png")
    (root / "cat" / "cut.png").write_bytes((root / "cat" / "1.png").read_bytes()[:200])
    (root / "notes.jpg").write_text("not an image")
    (root / "empty.gif").touch()
    (root / "gone.png").symlink_to(root / "nowhere")
    os.mkfifo(root / "pipe.png")
    for _ in range(2):  # decoded, then from the cache
        source = open_folder(root, SPEC, cache)
        reasons = {item.path: item.reason for item in source.skipped}
        assert sorted(reasons) == ["cat/cut.png", "empty.gif", "gone.png", "notes.jpg", "pipe.png"]
        assert "truncated or corrupt" in reasons["cat/cut.png"]
        assert "found bytes starting with 6e 6f 74" in reasons["notes.jpg"]
        assert reasons["empty.gif"] == "The image is empty (0 bytes)."
        assert "No such file" in reasons["gone.png"]
        assert reasons["pipe.png"] == "Not a regular file."
        assert len(_images(source)) == 2


def test_hidden_files_folders_and_other_files_are_ignored(fill: Fill, cache: Path) -> None:
    root = fill("1.png", "2.png", ".hidden.png", ".thumbnails/1.png", "sub/.cache/1.png")
    (root / "readme.txt").write_text("hello")
    source = open_folder(root, SPEC, cache)
    assert len(_images(source)) == 2
    assert source.skipped == ()


def test_links_are_followed_and_loops_are_harmless(fill: Fill, cache: Path, tmp_path: Path) -> None:
    root = fill("sub/1.png", "sub/2.png")
    shutil.copytree(root / "sub", tmp_path / "elsewhere")
    (root / "sub" / "up").symlink_to(root)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    source = open_folder(root, SPEC, cache)
    assert len(source.train) + len(source.test) == 4
    assert source.class_names == ("linked", "sub")


def test_a_name_that_is_not_utf8_is_no_obstacle(fill: Fill, cache: Path) -> None:
    root = fill("1.png", "2.png")
    (root / "1.png").rename(os.fsdecode(os.fsencode(root) + b"/caf\xe9.png"))
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9-2.png")).write_text("broken")
    for _ in range(2):
        source = open_folder(root, SPEC, cache)
        assert len(_images(source)) == 2
        assert [item.path for item in source.skipped] == ["caf\udce9-2.png"]


def test_a_folder_without_images_is_refused(fill: Fill, cache: Path) -> None:
    root = fill(".hidden.png")
    with pytest.raises(DataError, match=r"photos: expected images \(.*\.jpg.*\), found none"):
        open_folder(root, SPEC, cache)


def test_a_folder_with_one_readable_image_is_refused(fill: Fill, cache: Path) -> None:
    root = fill("1.png")
    (root / "broken.jpg").write_text("not an image")
    with pytest.raises(DataError, match=r"expected at least two readable images, found 1; broken\.jpg: Expected an"):
        open_folder(root, SPEC, cache)


def test_a_cache_that_cannot_be_written_says_what_to_do(fill: Fill, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match=r"taken/.*: expected to keep 2,304 bytes .*--cache-dir"):
        open_folder(fill(*_numbered(3)), SPEC, tmp_path / "taken")


@pytest.mark.parametrize("damage", ["state", "array cut", "array gone"])
def test_a_damaged_cache_is_made_again(fill: Fill, cache: Path, damage: str) -> None:
    root = fill(*_numbered(5))
    before = _images(open_folder(root, SPEC, cache))
    state, array = next(cache.glob("*/state.json")), next(cache.glob("*/images.npy"))
    if damage == "state":
        state.write_text('{"files_done": 5, "ski')
    elif damage == "array cut":
        os.truncate(array, 1000)
    else:
        array.unlink()
    assert _images(open_folder(root, SPEC, cache)) == before


def test_a_killed_run_goes_on_where_it_was(cache: Path, tmp_path: Path) -> None:
    """Killed with SIGKILL; then every file is spoilt, so that whatever is decoded afterwards is seen to be missing."""
    root = tmp_path / "photos"
    root.mkdir()
    Image.linear_gradient("L").resize((1600, 1200)).convert("RGB").save(root / "0.jpg")
    photo = (root / "0.jpg").read_bytes()
    for number in range(1, 600):
        (root / f"{number}.jpg").write_bytes(photo)
    process = subprocess.Popen([sys.executable, "-c", OPEN, root, cache], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not list(cache.glob("*/state.json")):
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.communicate()
    done = json.loads(next(cache.glob("*/state.json")).read_text())["files_done"]
    assert 0 < done < 600

    _spoil(_files(root))
    source = open_folder(root, SPEC, cache)
    assert len(source.skipped) == 600 - done
    assert len(source.train) + len(source.test) == done
    assert list(_images(source)) == [decode_image(photo, SPEC, DecodeLimits()).tobytes()]


def test_two_processes_at_once_agree(fill: Fill, cache: Path, tmp_path: Path) -> None:
    root = fill(*_numbered(150))
    arguments = [sys.executable, "-c", OPEN, str(root), str(cache)]
    processes = [
        subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(3)
    ]
    answers = {process.communicate()[0] for process in processes}
    source = open_folder(root, SPEC, tmp_path / "another cache")
    alone = subprocess.run(
        [*arguments[:-1], str(tmp_path / "another cache")], cwd=ROOT, capture_output=True, check=True
    )
    assert answers == {alone.stdout}
    assert len(source.train) + len(source.test) == 150
    assert len(list(cache.iterdir())) == 1
