"""Through buffers that stay where they are, a graph gives what it gives without them, to whoever asks."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from service.engine.device import open_sessions
from service.engine.errors import DeviceError, DeviceLostError
from service.engine.graph import DeviceGraph, bucket
from service.engine.providers import GpuOptions

LATENTS = ("mean", "log_variance")
SIZES = [*range(1, 10), 31, 32, 33]


def images(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, 28, 28, 1), dtype=np.uint8)


def addresses(graph: DeviceGraph) -> dict[int, list[int]]:
    return {
        size: [value._ortvalue.data_ptr() for value in (each.input, *each.outputs)]
        for size, each in graph._buffers.items()
    }


@pytest.fixture
def session(tiny_bundle: Path) -> ort.InferenceSession:
    ((session,),) = open_sessions([tiny_bundle / "encoder.onnx"], "cpu", threads=1).replicas
    return session


@pytest.fixture
def graph(session: ort.InferenceSession) -> DeviceGraph:
    return DeviceGraph(session, LATENTS, None)


def test_every_size_gives_what_the_session_gives(graph: DeviceGraph, session: ort.InferenceSession) -> None:
    for size in SIZES:
        batch = images(size, seed=size)
        for found, expected in zip(graph.run(batch), session.run(LATENTS, {"images": batch}), strict=True):
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_outputs_come_in_the_order_asked_for(graph: DeviceGraph, session: ort.InferenceSession) -> None:
    turned = DeviceGraph(session, LATENTS[::-1], None)
    np.testing.assert_array_equal(turned.run(images(3))[0], graph.run(images(3))[1])


def test_floating_point_goes_in_and_pixels_come_out(tiny_bundle: Path) -> None:
    ((decoder,),) = open_sessions([tiny_bundle / "decoder.onnx"], "cpu", threads=1).replicas
    latents = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    (found,) = DeviceGraph(decoder, ("images",), None).run(latents)
    assert (found.dtype, found.shape) == (np.uint8, (5, 28, 28, 1))
    np.testing.assert_allclose(found.astype(int), decoder.run(None, {"latents": latents})[0], atol=1)


def test_buffers_are_made_once_for_each_bucket_and_never_move(graph: DeviceGraph) -> None:
    for size in SIZES:
        graph.run(images(size))
    first = addresses(graph)
    assert list(first) == [1, 2, 4, 8, 16, 32, 64]
    for size in reversed(SIZES):
        graph.run(images(size))
    assert addresses(graph) == first


def test_nothing_of_a_batch_is_left_for_the_next(graph: DeviceGraph) -> None:
    graph.run(np.full((7, 28, 28, 1), 255, np.uint8))
    few = images(5)
    np.testing.assert_array_equal(graph.run(few)[0], graph.run(np.concatenate([few, 0 * few])[:8])[0][:5])
    assert not graph._buffers[8].host[5:].any()
    np.testing.assert_array_equal(graph._buffers[8].input.numpy()[5:], 0)


def test_a_result_outlives_the_runs_that_follow(graph: DeviceGraph) -> None:
    mean = graph.run(images(4, seed=1))[0]
    before = mean.copy()
    graph.run(images(4, seed=2))
    np.testing.assert_array_equal(mean, before)


def test_a_batch_need_not_be_contiguous(graph: DeviceGraph) -> None:
    batch = images(16)[::2]
    assert not batch.flags.c_contiguous
    np.testing.assert_array_equal(graph.run(batch)[0], graph.run(batch.copy())[0])


def test_threads_that_share_a_graph_do_not_mix_their_batches(graph: DeviceGraph, session: ort.InferenceSession) -> None:
    batches = [images(1 + seed % 7, seed=seed) for seed in range(200)]
    expected = [session.run(["mean"], {"images": batch})[0] for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda batch: graph.run(batch)[0], batches))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(("most", "sizes"), [(48, [64, 1, 2, 4, 8, 16, 32]), (2, [2, 1]), (1, [1])])
def test_the_warm_up_runs_every_bucket_the_largest_and_the_smallest_first(
    graph: DeviceGraph, most: int, sizes: list[int]
) -> None:
    graph.warm_up(most)
    assert list(graph._buffers) == sizes
    assert bucket(most) == sizes[0]


def test_cuda_graphs_are_of_one_size_and_of_the_thread_that_warmed_up(session: ort.InferenceSession) -> None:
    graph = DeviceGraph(session, LATENTS, None, cuda_graphs=True)

    def recorded(size: int) -> str:
        options = graph._options(size)
        assert options is not None
        number: str = options.get_run_config_entry("gpu_graph_id")
        return number

    assert recorded(4) == "-1"
    graph.warm_up(4)
    assert [recorded(size) for size in (1, 2, 4)] == ["1", "2", "4"]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(recorded, 4).result() == "-1"
        pool.submit(graph.warm_up, 4).result()
        assert pool.submit(recorded, 4).result() == "4"
    assert recorded(4) == "-1"


def test_a_recording_that_does_not_follow_its_input_is_refused(
    session: ort.InferenceSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, run, recorded = DeviceGraph(session, LATENTS, None, cuda_graphs=True), session.run_with_iobinding, set()

    def replay(binding: ort.IOBinding, options: ort.RunOptions) -> None:
        number = options.get_run_config_entry("gpu_graph_id")
        if number == "-1" or number not in recorded:
            run(binding, options)
            recorded.add(number)

    monkeypatch.setattr(session, "run_with_iobinding", replay)
    with pytest.raises(DeviceError, match=r"Expected CUDA graphs to give the same mean, found .* in batches of 4"):
        graph.warm_up(4)


def test_a_gpu_that_fails_is_lost_and_one_that_is_full_is_not(
    graph: DeviceGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(text: str) -> Callable[..., None]:
        def run(*_: object) -> None:
            raise RuntimeError(text)

        return run

    monkeypatch.setattr(graph._session, "run_with_iobinding", fail("CUDA failure 700: an illegal memory access ; x"))
    with pytest.raises(DeviceLostError, match="has failed; start again: CUDA failure 700"):
        graph.run(images(1))
    monkeypatch.setattr(graph._session, "run_with_iobinding", fail("CUDA failure 2: out of memory ; x"))
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        graph.run(images(1))
    assert not isinstance(caught.value, DeviceError)


@pytest.mark.gpu
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_a_gpu_gives_what_the_cpu_gives_with_and_without_cuda_graphs(
    tiny_bundle: Path, session: ort.InferenceSession, cuda_graphs: bool
) -> None:
    files, options = [tiny_bundle / "encoder.onnx"], GpuOptions(cuda_graphs)
    ((there,),) = open_sessions(files, "cuda", options=options).replicas
    graph = DeviceGraph(there, LATENTS, 0, cuda_graphs=cuda_graphs)
    graph.warm_up(64)
    for size in [*SIZES, *reversed(SIZES)]:
        batch = images(size, seed=size)
        expected = session.run(["mean"], {"images": batch})[0]
        np.testing.assert_allclose(graph.run(batch)[0], expected, atol=1e-4)


@pytest.mark.gpu
def test_cuda_graphs_and_threads_that_have_none_give_the_same(tiny_bundle: Path) -> None:
    options = GpuOptions(cuda_graphs=True)
    ((there,),) = open_sessions([tiny_bundle / "encoder.onnx"], "cuda", options=options).replicas
    graph = DeviceGraph(there, LATENTS, 0, cuda_graphs=True)
    graph.warm_up(8)
    assert graph._recorder == threading.get_ident()
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(graph.run, images(size)) for size in (1, 3, 8, 5) * 5]
        for size, other in zip((1, 3, 8, 5) * 5, others, strict=True):
            np.testing.assert_array_equal(graph.run(images(size))[0], other.result()[0])
