"""What the cores could do at best without HTTP: a process for each that decodes and runs, or only runs, in batches."""

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

from serving.peers.work import Work

__all__ = ["measure"]


def measure(bundle: Path, images: Path, batch: int, seconds: float, *, decode: bool) -> float:
    """Images per second of one process for each core, each with a session of one thread.

    Args:
        bundle: The version folder.
        images: A folder of encoded images.
        batch: Images of one run.
        seconds: How long, after a moment to warm up.
        decode: Whether images are decoded for every run, or once before.
    """
    count = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    arguments = (bundle, images, batch, seconds, decode, barrier, results)
    workers = [context.Process(target=_work, args=arguments) for _ in range(count)]
    for worker in workers:
        worker.start()
    rate: float = sum(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    return rate


def _work(bundle: Path, images: Path, batch: int, seconds: float, decode: bool, barrier: Any, results: Any) -> None:
    work = Work(bundle)
    contents = [file.read_bytes() for file in sorted(images.iterdir())]
    ready = [work.decode(content) for content in contents]
    done, at = 0, 0
    barrier.wait()
    start = time.perf_counter()
    began = None
    while True:
        now = time.perf_counter()
        if began is None and now - start > 0.2 * seconds:
            began, done = now, 0
        if began is not None and now - began >= seconds:
            break
        items = [(at + offset) % len(contents) for offset in range(batch)]
        work.run([work.decode(contents[item]) if decode else ready[item] for item in items])
        at, done = at + batch, done + batch
    results.put(done / (now - began))
