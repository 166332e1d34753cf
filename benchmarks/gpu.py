"""How fast a GPU embeds, on every way from bare ONNX Runtime to HTTP, beside what it could do at best.

    python benchmarks/gpu.py --device cuda --out gpu.json           the shipped bundle and two workloads
    python benchmarks/gpu.py --device tensorrt --workloads          the shipped bundle alone, through TensorRT
    python benchmarks/gpu.py --device cpu --seconds 0.2             no GPU is needed to see that it runs

For each bundle and each precision it has, at batches of 1 to 256: `session.run` with arrays, buffers that stay on the
device, CUDA graphs, `Engine.embed` with arrays, and over HTTP `.npy` files of the largest batch from a few clients.
Every way's embeddings are compared with those of `session.run` before it is timed. The roofline divides matrix
products, memory and uploads, measured through ONNX Runtime, by what the encoder's graph needs of each. Bare ways use
the first GPU of the device, engine and server all of them. The workloads are trained for a moment, which needs torch.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from serving.forms import Rows
from serving.roofline import Bound, Peaks, bound, graph_cost, measure_peaks, rate
from serving.ways import Subject, Way, over_http, ways

from service.engine.images import Pixels
from service.engine.place import read_place
from training.run_directory import code_version

ROOT = Path(__file__).resolve().parents[1]
BATCHES = tuple(1 << power for power in range(9))
SIDES = {"cpu": 1024}
SIDE = 8192  # what fills a CPU leaves a GPU idle
TOLERANCE = 5e-3


@dataclass(frozen=True)
class Row:
    """How fast one way was."""

    bundle: str
    precision: str
    way: str
    batch: int
    images_per_s: float


def main() -> None:
    """Measures and prints."""
    options = _options()
    peaks = measure_peaks(_first(options.device), options.side, options.seconds)
    print(describe(peaks), flush=True)
    rows, bounds = list[Row](), list[dict[str, Any]]()
    for subject in subjects(options):
        largest = bound(graph_cost(subject.encoder), peaks, subject.precision, max(options.batches))
        bounds.append({"bundle": str(subject.bundle), "precision": subject.precision, **asdict(largest)})
        found = list(measure(subject, options))
        print(table(subject, found, largest), flush=True)
        rows += found
    if options.out:
        content = {
            "code_version": code_version(),
            "onnxruntime": onnxruntime.__version__,
            "device": options.device,
            "peaks": asdict(peaks),
            "bounds": bounds,
            "rows": [asdict(row) for row in rows],
        }
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def subjects(options: argparse.Namespace) -> Iterator[Subject]:
    """Each bundle in each of its precisions."""
    bundles = list(options.bundles)
    if options.workloads:
        from serving.workload import prepare  # noqa: PLC0415 - it trains, and torch may be absent

        bundles += [prepare(name, options.folder, precisions=("float16",)).bundle for name in options.workloads]
    for bundle in bundles:
        subject = Subject(bundle, "float32", options.device, options.folder / "tensorrt")
        for encoder in subject.manifest.encoders:
            yield replace(subject, precision=encoder.precision)


def measure(subject: Subject, options: argparse.Namespace) -> Iterator[Row]:
    """Every way at every batch, and HTTP at the largest."""
    shape = subject.manifest.input.shape
    images = np.random.default_rng(0).integers(0, 256, (max(options.batches), *shape), dtype=np.uint8)
    expected = next(ways(subject, len(images))).run(images)
    for batch in sorted(options.batches, key=lambda size: (size < len(images), size)):  # see DeviceGraph.warm_up
        for way in ways(subject, batch):
            yield timed(subject, way, batch, images, expected, options.seconds)
    for cuda_graphs in (False, True)[: 1 + subject.can_record]:
        with over_http(subject, len(images), options.clients, cuda_graphs=cuda_graphs) as way:
            yield timed(subject, way, len(images), images, expected, options.seconds)


def timed(subject: Subject, way: Way, batch: int, images: Pixels, expected: Rows, seconds: float) -> Row:
    """Compares what a way gives, then times it.

    Raises:
        SystemExit: It gives other embeddings.
    """
    which = np.arange(way.images) % len(images)
    given = images[which]
    difference = float(np.abs(way.run(given) - expected[which]).max())
    if not difference <= TOLERANCE:
        raise SystemExit(
            f"{way.name}, {subject.bundle}: expected the embeddings of session.run within {TOLERANCE:g}, "
            f"found a difference of {difference:g}"
        )
    images_per_s = way.images * rate(lambda: way.run(given), seconds)
    return Row(str(subject.bundle), subject.precision, way.name, batch, images_per_s)


def describe(peaks: Peaks) -> str:
    """One line."""
    products = ", ".join(f"{precision} {value / 1e12:.2f} TFLOP/s" for precision, value in peaks.flops.items())
    moved = f"memory {peaks.memory_bytes / 1e9:.0f} GB/s, upload {peaks.upload_bytes / 1e9:.1f} GB/s"
    return f"matrix products {products}; {moved}"


def table(subject: Subject, rows: Iterable[Row], largest: Bound) -> str:
    """Images per second, ways across and batches down, and the roofline below."""
    found = {(row.way, row.batch): row.images_per_s for row in rows}
    names, batches = (list(dict.fromkeys(each[place] for each in found)) for place in (0, 1))
    lines = [
        f"\n{subject.bundle}, {subject.precision}, images/s\n",
        f"| batch | {' | '.join(names)} |",
        "|---:" * (1 + len(names)) + "|",
    ]
    for batch in sorted(batches):
        cells = [f"{found[name, batch]:,.0f}" if (name, batch) in found else "" for name in names]
        lines.append(f"| {batch} | {' | '.join(cells)} |")
    lines.append(
        f"\nat best {largest.best:,.0f}: arithmetic {largest.compute:,.0f}, memory {largest.memory:,.0f} "
        f"({largest.memory_by_node:,.0f} node by node), upload {largest.upload:,.0f}"
    )
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, cuda:N,M, tensorrt likewise, or cpu")
    parser.add_argument("--bundles", nargs="*", type=Path, default=[ROOT / "models" / "fashion" / "1"])
    parser.add_argument("--workloads", nargs="*", default=["mlp28", "resnet64"], metavar="NAME", help="mlp28, resnet64")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES, metavar="N")
    parser.add_argument("--seconds", type=float, default=2.0, help="of every figure")
    parser.add_argument("--clients", type=int, default=4, help="of the server")
    parser.add_argument("--side", type=int, help="of the matrices that show the peaks")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "runs" / "gpu", help="for workloads, and engines of TensorRT"
    )
    parser.add_argument("--out", type=Path, help="a JSON file for every number")
    options = parser.parse_args()
    kind = read_place(options.device).kind
    if kind == "auto":
        parser.error("expected a device that is cuda, tensorrt or cpu, found auto")
    options.side = options.side or SIDES.get(kind, SIDE)
    return options


def _first(device: str) -> str:
    """The first GPU of a device."""
    place = read_place(device)
    return f"{place.kind}:{place.gpus[0]}" if place.gpus else device


if __name__ == "__main__":
    main()
