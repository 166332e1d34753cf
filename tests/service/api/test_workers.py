"""The supervisor of several processes, with a target of its own."""

import subprocess
import sys

import pytest

FORKS = """
import os
import signal
import time

from service.api.workers import Supervisor

forks = 0


def count():
    global forks
    forks += 1


def strike():
    if forks == 2:
        os.kill(os.getpid(), signal.SIGTERM)


def work(serving, index):
    print(forks, flush=True)
    serving.set()
    if forks == 1:
        os._exit(1)
    if forks == 3:
        os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(20)


os.register_at_fork(before=count, after_in_child=strike)
Supervisor(work, (), 1, at_death=lambda index: print(index, flush=True)).run()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are not forks")
def test_a_signal_that_meets_a_fork_before_it_begins_ends_it() -> None:
    """The first dies and is replaced; the second is struck at once, when it still has its supervisor's handlers.

    Whoever counts on them is told of each death, with the number of the one that died, 0 here.
    """
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=False)
    assert [line for line in done.stdout.splitlines() if line.isdecimal()] == ["1", "0", "0", "3"], "the rest is logs"
