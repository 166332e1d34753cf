"""The script measures a running service and says which targets it missed."""

from pathlib import Path

import overload
import pytest
from serving.started import started
from serving.targets import service
from serving.workload import prepare


def test_clients_that_leave_are_counted_and_their_queue_is_seen_to_be_empty(folder: Path) -> None:
    workload = prepare("mlp28", folder)
    with started(service(1), workload, folder) as server:
        found = overload.measure_hang_up(workload, server, 0.2)
    assert 0 <= found.clients <= 64
    assert found.settled_s < 30
    assert 0 < found.before_ms < 1e4
    assert 0 < found.after_ms < 1e4


def test_the_peak_of_requests_that_fail_is_refused(folder: Path) -> None:
    workload = prepare("mlp28", folder)
    with started(service(1), workload, folder) as server:
        requests = overload.written(workload, server, "odd", 1, query="?no_such_option=1")
        with pytest.raises(SystemExit, match=r"odd requests: expected status 200 for all, found \{400: "):
            overload.peak(server, requests, 0.2)


@pytest.mark.slow
def test_a_run_prints_every_table_and_its_exit_status_says_whether_a_target_was_missed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = overload.main(["--quick", "--seconds", "0.5", "--folder", str(folder)])
    text = capsys.readouterr().out
    assert all(f"\n| {share:g} × |" in text for share in overload.SHARES)
    assert "| interactive, beside bulk |" in text
    assert "clients that leave at once" in text
    assert ("Missed: " in text, "Every target was met." in text) == (status == 1, status == 0)
