"""Collections of a server that is killed, and of one with several processes."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("lancedb", reason="needs the extra 'search'")

Serve = Callable[..., contextlib.AbstractContextManager[httpx.Client]]
ITEMS = "/collections/shop/items"


@contextlib.contextmanager
def mortal(models: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server that may be killed, and its address, once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["--models", str(models), "--port", str(port), "--log-level", "error", "--collections", str(folder)]
    process = subprocess.Popen([Path(sys.executable).parent / "simvae-serve", *words])
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while True:
            assert process.poll() is None
            assert time.monotonic() < end
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{address}/health/ready").status_code == 200:
                    break
            time.sleep(0.1)
        yield process, address
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_what_was_acknowledged_is_there_after_the_server_was_killed(
    tiny_bundle: Path, tmp_path: Path, make_image: Callable[..., bytes]
) -> None:
    images = [make_image(seed=seed) for seed in range(10)]
    acknowledged: list[str] = []

    def add_for_ever(address: str, writer: int) -> None:
        with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=address, timeout=30) as client:
            for batch in range(10_000):
                names = [f"{writer}/{batch}/{n}" for n in range(10)]
                files = [("image", (name, image)) for name, image in zip(names, images, strict=True)]
                answer = client.post(ITEMS, files=files)
                assert (answer.status_code, answer.json()["added"]) == (200, 10)
                acknowledged.extend(names)

    with mortal(tiny_bundle, tmp_path) as (process, address):
        writers = [threading.Thread(target=add_for_ever, args=(address, writer)) for writer in range(3)]
        for thread in writers:
            thread.start()
        end = time.monotonic() + 60
        while len(acknowledged) < 200:
            assert time.monotonic() < end
            time.sleep(0.01)
        process.kill()
        for thread in writers:
            thread.join()
    with mortal(tiny_bundle, tmp_path) as (_, address), httpx.Client(base_url=address, timeout=30) as client:
        count = client.get("/collections/shop").json()["items"]
        assert count >= len(acknowledged)
        assert count % 10 == 0, "a request is there whole or not at all"
        for at in range(0, len(acknowledged), 50):
            names = acknowledged[at : at + 50]
            query = {"queries": [{"id": name} for name in names], "k": 1, "metric": "euclidean"}
            answer = client.post("/collections/shop/search", json=query)
            assert answer.status_code == 200, answer.text  # 404 if one of them is not there
            for name, hits in zip(names, answer.json()["results"], strict=True):
                assert hits[0]["id"].split("/")[2] == name.split("/")[2], "the same image, added another time"
                assert hits[0]["scores"]["euclidean"] == pytest.approx(0, abs=1e-5)
        assert client.post(ITEMS, files={"image": ("after", images[0])}).json()["added"] == 1


@pytest.mark.slow
def test_workers_share_a_collection(
    serve: Serve, tiny_bundle: Path, tmp_path: Path, make_image: Callable[..., bytes]
) -> None:
    with serve(tiny_bundle, "--workers", "2", "--collections", str(tmp_path)) as client:
        address = client.base_url
        for number in range(12):
            # A connection of its own each time, which the kernel gives to either worker.
            image = make_image(seed=number)
            with httpx.Client(base_url=address, timeout=60) as one:
                assert one.post(ITEMS, files={"x": (str(number), image)}).json()["added"] == 1
            with httpx.Client(base_url=address, timeout=60) as other:
                assert other.get("/collections/shop").json()["items"] == number + 1
                found = other.post("/collections/shop/search", content=image, params={"k": 1}).json()
                assert found["results"][0][0]["id"] == str(number)
