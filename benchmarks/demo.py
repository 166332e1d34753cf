"""The whole path on FashionMNIST: train, evaluate, export, serve, and ask over HTTP. `make demo` runs it.

Every number it prints under "Over HTTP" comes from embeddings the running service returned. It fails when the kNN
accuracy is below what the preset reaches, or when neighbours are not mostly of the query's class. It leaves nothing
behind unless told where: `python benchmarks/demo.py --keep runs/demo`.
"""

import argparse
import contextlib
import io
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service.engine.images import Pixels, encode_png
from training.datasets.sources import Source, open_source
from training.evaluation.probes import Codes, knn_accuracy

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]

MODEL = "demo"
QUERIES = 200
NEIGHBOURS = 5
MIN_ACCURACY = 0.845
ITEMS_PER_REQUEST = 256
START_S = 60.0
STOP_S = 45.0


def main() -> int:
    """Runs every stage, and returns 0 if the result is good enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="RUN", help="directory for the run, which is kept")
    keep: Path | None = parser.parse_args().keep
    # Ending it from outside must end the service and remove the folder, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="simvae-demo-") as folder:
        run, models = keep or Path(folder) / "run", Path(folder) / "models"
        stage("Training", "simvae-train", "fashion-mnist", "--preset", "demo", "--out", str(run))
        stage("Evaluation, beside raw pixels and PCA of the same size", "simvae-evaluate", str(run))
        stage("Export", "simvae-export", str(run), str(models / MODEL))
        with served(models) as address:
            return ask(address, open_source("fashion-mnist"))


def stage(title: str, command: str, *arguments: str) -> None:
    """Runs one of the project's own commands, as a user would."""
    print(f"\n── {title}\n$ {command} {' '.join(arguments)}", flush=True)
    status = subprocess.run([beside_python(command), *arguments], check=False).returncode
    if status:
        raise SystemExit(f"{command} ended with status {status}.")


def beside_python(command: str) -> str:
    """The path of a command in the environment that runs this script."""
    return str(Path(sys.executable).parent / command)


@contextlib.contextmanager
def served(models: Path) -> Iterator[str]:
    """Serves a model repository on a free port, gives the address once it is ready, and stops it afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    print(f"\n── Over HTTP\n$ simvae-serve --models {models} --port {port}", flush=True)
    arguments = ["--models", str(models), "--port", str(port), "--log-level", "warning"]
    server = subprocess.Popen([beside_python("simvae-serve"), *arguments])
    try:
        wait_until_ready(server, address)
        yield address
    finally:
        server.terminate()
        server.wait(STOP_S)


def wait_until_ready(server: subprocess.Popen[bytes], address: str) -> None:
    """Returns when the service answers that it is ready."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"simvae-serve ended with status {server.returncode} before it was ready.")
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{address}/health/ready", timeout=5).close()
            return
        time.sleep(0.1)
    raise SystemExit(f"simvae-serve was not ready after {START_S:.0f} s.")


def ask(address: str, source: Source) -> int:
    """Embeds both splits, measures them as `simvae-evaluate` does, and looks at neighbours one by one."""
    train_labels, test_labels, names = labels(source)
    started = time.perf_counter()
    train, test = (embed(address, split.images) for split in (source.train, source.test))
    seconds = time.perf_counter() - started
    print(f"{len(train) + len(test):,} images embedded in {seconds:.0f} s, {train.shape[1]} dimensions each")
    nearest = find_nearest(test[:QUERIES], train)
    found = train_labels[nearest]
    show_neighbours(found, test_labels, names)
    other = int(np.flatnonzero(train_labels != test_labels[0])[0])
    compare(address, source.test.images[:1], source.train.images[[nearest[0, 0], other]])
    codes = Codes(train, train_labels, test=test, test_labels=test_labels, device=torch.device("cpu"))
    accuracy = knn_accuracy(codes, cosine=False)
    same_class = float((found == test_labels[:QUERIES, None]).mean())
    print(f"\nkNN accuracy on the test set: {accuracy:.4f}, at least {MIN_ACCURACY} expected")
    print(f"neighbours of the query's own class: {same_class:.1%}, more than half expected")
    return 0 if accuracy >= MIN_ACCURACY and same_class > 0.5 else 1


def labels(source: Source) -> tuple[Labels, Labels, Sequence[str]]:
    """The labels of both splits and the names of the classes, which this source has."""
    if source.train.labels is None or source.test.labels is None or source.class_names is None:
        raise SystemExit(f"{source.name}: expected a source with labels.")
    return source.train.labels, source.test.labels, source.class_names


def embed(address: str, images: Pixels) -> Vectors:
    """Sends uint8 images [N, H, W, C] as `.npy` batches and returns the embeddings [N, D]."""
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    parts = []
    for start in range(0, len(images), ITEMS_PER_REQUEST):
        body = io.BytesIO()
        np.save(body, images[start : start + ITEMS_PER_REQUEST])
        parts.append(np.load(io.BytesIO(post(f"{address}/embed", body.getvalue(), headers)), allow_pickle=False))
    return np.concatenate(parts)


def post(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Sends one request; an error answer ends the demo with the service's own words."""
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{url} answered {error.code}: {error.read().decode()}") from error


def find_nearest(queries: Vectors, bank: Vectors) -> NDArray[np.intp]:
    """Indices [N, NEIGHBOURS] of the bank's nearest vectors by Euclidean distance, nearest first."""
    distances = (bank**2).sum(axis=1) - 2 * queries @ bank.T
    return np.argsort(distances, axis=1)[:, :NEIGHBOURS]


def show_neighbours(found: Labels, test_labels: Labels, names: Sequence[str]) -> None:
    """Prints, for the first test image of each class, the classes of its nearest training images."""
    print(f"\nquery         classes of its {NEIGHBOURS} nearest training images")
    for label, name in enumerate(names):
        query = int(np.flatnonzero(test_labels[:QUERIES] == label)[0])
        print(f"{name:<14}{', '.join(names[other] for other in found[query])}")


def compare(address: str, query: Pixels, near_and_other: Pixels) -> None:
    """Asks /similarity for one test image against its nearest training image and one of another class."""
    answer = similarity(address, query, near_and_other)
    print("\nfirst test image and …      P(same content)   cosine")
    rows = zip(answer["probability_same"][0], answer["cosine"][0], strict=True)
    for name, (probability, cosine) in zip(("its nearest neighbour", "one of another class"), rows, strict=True):
        print(f"{name:<28}{probability:15.3f}   {cosine:6.3f}")


def similarity(address: str, left: Pixels, right: Pixels) -> dict[str, list[list[float]]]:
    """Compares images [L, H, W, C] with images [R, H, W, C], sent as PNG in base64."""
    sides: dict[str, Sequence[str]] = {
        name: [b64encode(encode_png(image)).decode() for image in images]
        for name, images in (("left", left), ("right", right))
    }
    body = json.dumps(sides | {"metrics": ["cosine", "probability_same"]}).encode()
    answer = json.loads(post(f"{address}/similarity", body, {"Content-Type": "application/json"}))
    return dict(answer["similarity"])


if __name__ == "__main__":
    sys.exit(main())
