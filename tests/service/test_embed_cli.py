"""`simvae-embed` as a user runs it: a process, a folder, files."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from service.embed_files import find_images, open_writer
from service.embed_folder import Skipped, embed_folder
from service.engine.engine import Engine
from service.engine.runtime import Runtime

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tiny_bundle: Path, tmp_path: Path) -> Run:
    def run(*arguments: object, model: Path = tiny_bundle) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command(), *map(str, arguments), "--model", str(model)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def command() -> list[str]:
    return [sys.executable, "-c", "from service.embed_cli import main; main()"]


@pytest.fixture
def photos(tmp_path: Path, make_image: Callable[..., bytes]) -> Path:
    """Five good images in two folders, one of them oddly named; one bad; and three files that are none."""
    folder = tmp_path / "photos"
    files = {
        "b.png": make_image(seed=1),
        "a/z.JPG": make_image("JPEG", mode="RGB", size=(60, 40), seed=2),
        "a/a.webp": make_image("WEBP", mode="RGB", seed=3),
        "a/[bold] ü.gif": make_image("GIF", seed=4),
        "c.tiff": make_image("TIFF", seed=5),
        "broken [red].png": make_image(seed=6)[:100],
        "notes.txt": b"text",
        ".hidden.png": make_image(seed=7),
        ".cache/x.png": make_image(seed=8),
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


GOOD = ["a/[bold] ü.gif", "a/a.webp", "a/z.JPG", "b.png", "c.tiff"]


def test_a_folder_becomes_an_array_and_its_list_of_files(run: Run, photos: Path, tiny_bundle: Path) -> None:
    result = run(photos, "out.npy")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert "skipped broken [red].png: The PNG image is truncated" in result.stderr
    assert "5 of 6 images embedded with tiny@1" in result.stderr
    assert result.stderr.rstrip().endswith("skipped: broken [red].png")
    array = np.load(photos.parent / "out.npy")
    lines = [json.loads(line) for line in (photos.parent / "out.jsonl").read_text().splitlines()]
    assert lines == [{"row": row, "path": path} for row, path in enumerate(GOOD)]
    with Engine.load(tiny_bundle) as engine:
        expected = engine.embed([photos / path for path in GOOD]).mean
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, expected, atol=1e-5)
    assert sorted(path.name for path in photos.parent.iterdir()) == ["out.jsonl", "out.npy", "photos"]


def test_a_folder_becomes_parquet_that_knows_its_model(run: Run, photos: Path, tiny_bundle: Path) -> None:
    result = run(photos, "out.parquet", "--normalize", "--variance", "--batch", 2)
    assert result.returncode == 0, result.stderr
    table = pq.read_table(photos.parent / "out.parquet")
    assert table["path"].to_pylist() == GOOD
    with Engine.load(tiny_bundle) as engine:
        expected = engine.embed([photos / path for path in GOOD])
        assert table.schema.metadata[b"model"] == b"tiny@1"
        assert table.schema.metadata[b"fingerprint"].decode() == engine.fingerprint
    length = np.linalg.norm(expected.mean, axis=1, keepdims=True)
    np.testing.assert_allclose(table["embedding"].to_pylist(), expected.mean / length, atol=1e-5)
    np.testing.assert_allclose(table["variance"].to_pylist(), expected.variance / length**2, atol=1e-5)


def test_the_precision_picks_the_encoder(run: Run, photos: Path, make_bundle: Callable[..., Path]) -> None:
    bundle = make_bundle(precisions=["int8"])
    assert run(photos, "out.npy", "--precision", "int8", model=bundle).returncode == 0
    with Engine.load(bundle, precision="int8") as engine:
        expected = engine.embed([photos / path for path in GOOD]).mean
    np.testing.assert_allclose(np.load(photos.parent / "out.npy"), expected, atol=1e-6)
    refused = run(photos, "none.npy", "--precision", "float16", model=bundle)
    assert refused.returncode == 1
    assert "expected an encoder in float16, found float32, int8" in refused.stderr


def test_variances_stand_in_the_lines(run: Run, photos: Path) -> None:
    assert run(photos, "out.npy", "--variance").returncode == 0
    line = json.loads((photos.parent / "out.jsonl").read_text().splitlines()[0])
    assert len(line["variance"]) == 4
    assert min(line["variance"]) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "out.npy"), "nowhere: expected a folder or file that can be used, found: No such file"),
        (("photos", "nowhere/out.npy"), "expected a folder or file that can be used, found: No such file"),
        (("photos", "out.csv"), "Expected an output that ends in .npy or .parquet, found out.csv."),
        (("photos/.cache", "out.npy", "--device", "cuda:x"), "Expected the device auto, cpu, cuda, cuda:N"),
        (("empty", "out.npy"), "Expected at least one readable image in empty, found none."),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_no_file(
    run: Run, photos: Path, arguments: tuple[str, ...], message: str
) -> None:
    (photos.parent / "empty").mkdir()
    result = run(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in photos.parent.iterdir()) == ["empty", "photos"]


def test_only_bad_images_are_a_failure_and_an_older_result_stays(run: Run, photos: Path) -> None:
    for path in GOOD:
        (photos / path).unlink()
    (photos.parent / "out.npy").write_bytes(b"older")
    result = run(photos, "out.npy")
    assert result.returncode == 1
    assert "Expected at least one readable image" in result.stderr
    assert (photos.parent / "out.npy").read_bytes() == b"older"


def test_a_model_that_is_none_is_one_sentence(run: Run, photos: Path) -> None:
    result = run(photos, "out.npy", model=photos)
    assert result.returncode == 1
    assert "manifest.json: expected a readable manifest, found No such file or directory." in result.stderr


def test_help_has_examples() -> None:
    result = subprocess.run([*command(), "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "simvae-embed photos photos.npy --model models/fashion/1" in result.stdout


def test_memory_does_not_grow_and_order_holds_over_many_chunks(
    tiny_bundle: Path, tmp_path: Path, make_image: Callable[..., bytes]
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number:02}.png").write_bytes(make_image(seed=number) if number % 10 else b"bad")
    loads: list[int] = []
    told: list[tuple[int, int]] = []
    runtime = Runtime(max_items=12, max_batch=4, on_batch=lambda size, _: loads.append(size))
    engine = Engine.load(tiny_bundle, runtime=runtime)
    paths = find_images(folder)

    def progress(files: int, bad: list[Skipped]) -> None:
        told.append((files, len(bad)))
        assert runtime.load <= 8, "no more than two chunks are on their way"

    with open_writer(tmp_path / "out.npy", engine, variance=False) as writer:
        skipped = embed_folder(engine, folder, paths, writer, progress=progress)
    assert [each.path for each in skipped] == ["00.png", "10.png", "20.png", "30.png", "40.png"]
    assert (sum(files for files, _ in told), sum(bad for _, bad in told)) == (50, 5)
    assert max(loads) <= 4
    kept = [path for path in paths if path not in {each.path for each in skipped}]
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy"), engine.embed([folder / path for path in kept]).mean, atol=1e-5
    )
    runtime.close()


def test_an_interrupted_run_leaves_no_file(tiny_bundle: Path, tmp_path: Path, make_image: Callable[..., bytes]) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    large = tmp_path / "many" / ".large"
    large.write_bytes(make_image("PNG", size=(1500, 1500), mode="RGB"))
    for number in range(300):
        (folder / f"{number}.png").symlink_to(large)
    arguments = [str(folder), str(tmp_path / "out.npy"), "--model", str(tiny_bundle), "--batch", "2"]
    process = subprocess.Popen(
        [*command(), *arguments],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TERM": "dumb"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # background jobs ignore it
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) not in {0, 1}
    assert [path.name for path in tmp_path.iterdir()] == ["many"]
