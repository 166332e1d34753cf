"""The benchmark of GPUs runs without one, measures every way, and counts what a graph needs as one would by hand."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from serving import roofline

ROOT = Path(__file__).parents[2]
WAYS = ("session.run", "io binding", "engine")


def test_every_way_is_measured_for_every_precision_and_batch(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    bundle, out = make_bundle(precisions=("float16",)), tmp_path / "gpu.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", "cpu", "--bundles", str(bundle)]
    command += ["--workloads", "--batches", "1", "3", "--seconds", "0.01", "--side", "32", "--clients", "2"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--out", str(out)], env=environ, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    rows = {(row["precision"], row["way"], row["batch"]): row["images_per_s"] for row in found["rows"]}
    wanted = {(way, batch) for way in WAYS for batch in (1, 3)} | {("http", 3)}
    assert set(rows) == {(precision, *each) for precision in ("float32", "float16") for each in wanted}
    assert min(rows.values()) > 0
    assert min(found["peaks"]["flops"].values()) > 0
    assert [each["precision"] for each in found["bounds"]] == ["float32", "float16"]
    assert "at best" in done.stdout


def test_the_cost_of_a_graph_is_what_its_layers_add_up_to(tiny_bundle: Path, tmp_path: Path) -> None:
    encoder = roofline.graph_cost(tiny_bundle / "encoder.onnx")
    pixels, latents = 28 * 28, 4
    assert encoder.flops == 2 * 2 * pixels * latents
    assert (encoder.input_bytes, encoder.output_bytes) == (pixels, 2 * latents * 4)
    assert encoder.weight_bytes == 4 * (2 * pixels * latents + latents + 1)
    assert encoder.node_bytes == pixels * (1 + 4 + 8 + 8 + 4 + 4) + 2 * latents * 4


def test_convolutions_count_their_groups_strides_and_direction(tmp_path: Path) -> None:
    weights = [
        numpy_helper.from_array(np.zeros((6, 2, 3, 3), np.float32), "down"),
        numpy_helper.from_array(np.zeros((6, 5, 2, 2), np.float32), "up"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "down"], ["small"], group=2, strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["small", "up"], ["y"], strides=[2, 2]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5, 8, 8])
    graph = helper.make_graph(nodes, "layers", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "x.onnx")
    down = 2 * (6 * 4 * 4) * (2 * 3 * 3)
    up = 2 * (6 * 4 * 4) * (5 * 2 * 2)
    assert roofline.graph_cost(tmp_path / "x.onnx").flops == down + up


def test_a_bound_is_the_tightest_limit_and_large_batches_share_the_weights() -> None:
    cost = roofline.Cost(flops=10, input_bytes=4, output_bytes=1, node_bytes=95, weight_bytes=320)
    peaks = roofline.Peaks(flops={"float32": 100.0, "float16": 1000.0}, memory_bytes=500.0, upload_bytes=48.0)
    one, many = (roofline.bound(cost, peaks, "float32", batch) for batch in (1, 64))
    assert one.best == one.memory == pytest.approx(500 / 325)
    assert (many.compute, many.memory, many.memory_by_node, many.upload) == (10, 50, 5, 12)
    assert many.best == 10
    assert roofline.bound(cost, peaks, "float16", 64).best == 12
