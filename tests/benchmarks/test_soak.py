"""A soak finds what grows and what is answered wrongly, and its mixture is answered as it says."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import soak
from serving.mixture import LARGEST, mixture
from serving.open_loop import AT_ONCE, Arrival, drive
from serving.process import Footprint
from serving.request import GAVE_UP, Answer
from serving.started import started
from serving.targets import service
from serving.workload import prepare

STEADY = Footprint(100 << 20, 20, 9)


def findings(last: Footprint = STEADY, wrong: int = 0) -> soak.Findings:
    laps = [soak.Lap(100 * (number + 1), 50.0, STEADY) for number in range(soak.LAPS)]
    laps[0] = replace(laps[0], footprint=Footprint(200 << 20, 99, 99))  # warm-up is not compared
    laps[-1] = replace(laps[-1], footprint=last)
    return soak.Findings(tuple(laps), +Counter({("one-1", 200, True): 2000, ("one-1", 500, False): wrong}))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (findings(wrong=3), "one-1: found status 500, 3 times"),
        (
            findings(replace(STEADY, memory_bytes=102 << 20)),
            "memory: expected growth under 2% after warm-up, found 2.0%",
        ),
        (findings(replace(STEADY, descriptors=21)), "descriptors: expected 20 as after warm-up, found 21"),
        (findings(replace(STEADY, threads=10)), "threads: expected 9 as after warm-up, found 10"),
    ],
)
def test_each_target_is_told_when_it_is_missed(found: soak.Findings, words: str) -> None:
    assert soak.missed(found) == [words]


def test_what_stays_as_it_is_misses_none() -> None:
    assert soak.missed(findings()) == []
    assert soak.missed(findings(replace(STEADY, memory_bytes=101 << 20))) == []


def test_every_request_of_the_mixture_is_answered_as_it_says(folder: Path) -> None:
    workload = prepare("mlp28", folder)
    requests = mixture(workload)
    answers: list[Answer] = []
    with started(service(1), workload, folder, soak.SETTINGS) as server:
        drive(server.port, [Arrival(AT_ONCE, request) for request in requests], 4, answers.append)
    assert len(answers) == len(requests)
    assert {(one.request.kind, one.status) for one in answers if one.status not in one.request.expected} == set()
    expected = {status for request in requests for status in request.expected}
    assert expected == {GAVE_UP, 200, 400, 404, 405, 406, 408, 413, 415, 422, 504}
    assert max(request.images for request in requests) == LARGEST
    assert [request.kind for request in mixture(workload)] == [request.kind for request in requests]


def test_a_run_prints_every_lap_and_kind_and_its_exit_status_says_whether_a_target_was_missed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = soak.main(["--requests", "400", "--connections", "4", "--folder", str(folder)])
    text = capsys.readouterr().out
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    kinds = {request.kind for request in mixture(prepare("mlp28", folder))}
    assert kinds <= {row.split(" | ")[0][2:] for row in rows}
    assert len(rows) == 1 + soak.LAPS + 1 + len(kinds)
    assert rows[soak.LAPS].startswith("| 400 |")
    assert ("Missed: " in text, "Every target was met." in text) == (status == 1, status == 0)


def test_fewer_requests_than_laps_are_refused() -> None:
    with pytest.raises(SystemExit, match="expected --requests of at least 20, one a lap; found 7"):
        soak.main(["--requests", "7"])
