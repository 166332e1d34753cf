"""What a server and all it started hold is counted, and nobody else's."""

import subprocess
import sys

import pytest
from serving.process import Footprint, footprint, memory_bytes

_HOLDER = """
import subprocess, sys, threading
files, threads, size, children = map(int, sys.argv[1:])
held = [open("/dev/null") for _ in range(files)]
stop = threading.Event()
for _ in range(threads):
    threading.Thread(target=stop.wait, daemon=True).start()
memory = bytearray(b"x" * size)
sleep = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
others = [subprocess.Popen(sleep, stdin=sys.stdin, stdout=subprocess.PIPE) for _ in range(children)]
for other in others:
    other.stdout.readline()
print(flush=True)
sys.stdin.read()
"""


def held(files: int = 0, threads: int = 0, size: int = 0, children: int = 0) -> Footprint:
    words = [sys.executable, "-c", _HOLDER, *map(str, (files, threads, size, children))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = footprint(process)
        assert memory_bytes(process) == pytest.approx(found.memory_bytes, rel=0.05)
        process.communicate()
    return found


def test_descriptors_threads_and_memory_of_a_process_are_counted() -> None:
    nothing, something = held(), held(files=5, threads=3, size=50 << 20)
    assert something.descriptors == nothing.descriptors + 5
    assert something.threads == nothing.threads + 3
    assert something.memory_bytes - nothing.memory_bytes == pytest.approx(50 << 20, rel=0.1)


def test_processes_that_it_started_count_too() -> None:
    alone, family = held(), held(children=2)
    assert family.threads == alone.threads + 2
    assert family.descriptors == alone.descriptors + 2 * (1 + 3)  # a pipe to each here, and the three of each
