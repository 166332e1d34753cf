"""What a run shows, and that it can be asked to stop."""

import os
import signal
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.observers import TensorBoardObserver, stop_on_signals


def test_a_resumed_curve_keeps_what_was_done_and_hides_what_is_done_again(tmp_path: Path) -> None:
    with TensorBoardObserver(tmp_path, 0) as board:
        for step, elbo in ((8, 1.0), (16, 2.0), (24, -1.0)):
            board.epoch({"step": step, "elbo": elbo}, [])
    with TensorBoardObserver(tmp_path, 16) as board:
        board.epoch({"step": 24, "elbo": 3.0}, [])
    events = EventAccumulator(str(tmp_path)).Reload()  # type: ignore[no-untyped-call]
    assert [(event.step, event.value) for event in events.Scalars("elbo")] == [(8, 1.0), (16, 2.0), (24, 3.0)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_the_second_is_not_caught(number: signal.Signals) -> None:
    handled: list[int] = []
    before = signal.signal(number, lambda received, _frame: handled.append(received))
    try:
        with stop_on_signals(Console(quiet=True)) as stop:
            assert not stop()
            os.kill(os.getpid(), number)
            assert stop()
            assert not handled
            os.kill(os.getpid(), number)
            assert handled == [number]
    finally:
        signal.signal(number, before)
