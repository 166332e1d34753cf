"""The client asks when it said it would, waits for nobody, and leaves no request unaccounted for."""

import socket
from collections.abc import Sequence

import numpy as np
import pytest
from serving.open_loop import AT_ONCE, Arrival, closed, drive, poisson
from serving.request import BROKEN, GAVE_UP, Answer, Request, http_request


def request(path: str, body: bytes = b"x", patience_s: float = 20.0) -> Request:
    return Request(path, http_request(path, {}, body), patience_s=patience_s)


def driven(port: int, arrivals: Sequence[Arrival], connections: int = 8) -> list[Answer]:
    answers: list[Answer] = []
    drive(port, arrivals, connections, answers.append)
    return answers


def test_every_request_is_answered_once_with_its_own_status_and_retry_after(peer) -> None:
    paths = ["/ok", "/busy", "/chunked"] * 40
    answers = driven(peer.port, [Arrival(0.001 * number, request(path)) for number, path in enumerate(paths)])
    assert sorted(answer.request.kind for answer in answers) == sorted(paths)
    assert {(answer.request.kind, answer.status, answer.retry_after_s) for answer in answers} == {
        ("/ok", 200, None),
        ("/busy", 429, 3.0),
        ("/chunked", 200, None),
    }
    assert peer.seen == {"/ok": 40, "/busy": 40, "/chunked": 40}


def test_the_closed_loop_reuses_its_connections(peer) -> None:
    answers: list[Answer] = []
    drive(peer.port, closed([request("/ok")], 0.3), 4, answers.append)
    assert {answer.status for answer in answers} == {200}
    assert len(answers) == peer.seen["/ok"] > 4 >= peer.connections


def test_latency_counts_from_when_a_request_was_due_though_the_server_stalled(peer) -> None:
    """A client that counts from sending would report nine quick answers and one slow one."""
    stall_s = 0.3
    answers = driven(peer.port, [Arrival(0.01 * number, request("/stall_first")) for number in range(10)], 1)
    assert [answer.due_s for answer in answers] == pytest.approx([0.01 * number for number in range(10)])
    assert all(answer.done_s - answer.due_s >= stall_s - answer.due_s for answer in answers)
    assert all(answer.sent_s >= stall_s for answer in answers[1:])


def test_the_open_loop_sends_though_nobody_was_answered(peer) -> None:
    """Each of the five is answered only when the fifth is there."""
    answers = driven(peer.port, [Arrival(0.01 * number, request("/crowd")) for number in range(5)])
    assert [answer.status for answer in answers] == [200] * 5


def test_never_more_connections_than_allowed(peer) -> None:
    answers = driven(peer.port, [Arrival(0.0, request("/ok")) for _ in range(100)], 3)
    assert len(answers) == 100
    assert peer.connections <= 3


def test_a_body_larger_than_the_socket_takes_at_once_arrives_whole(peer) -> None:
    body = bytes(20_000_000)
    (answer,) = driven(peer.port, [Arrival(AT_ONCE, request("/ok", body))])
    assert answer.status == 200
    assert peer.body_bytes == len(body)


def test_an_answer_before_the_body_was_sent_counts(peer) -> None:
    arrivals = [Arrival(AT_ONCE, request("/early", bytes(20_000_000))), Arrival(0.1, request("/ok"))]
    assert [answer.status for answer in driven(peer.port, arrivals, 1)] == [413, 200]


@pytest.mark.parametrize("path", ["/broken", "/mute"])
def test_an_answer_that_ends_too_early_is_broken_and_the_next_has_a_new_connection(peer, path: str) -> None:
    answers = driven(peer.port, [Arrival(AT_ONCE, request(path)), Arrival(AT_ONCE, request("/ok"))], 1)
    assert [answer.status for answer in answers] == [BROKEN, 200]


def test_nobody_who_listens_is_broken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert [answer.status for answer in driven(port, [Arrival(AT_ONCE, request("/ok"))] * 3)] == [BROKEN] * 3


def test_a_kept_alive_connection_that_the_server_had_closed_is_no_failure(peer) -> None:
    """The server may close an idle connection just as it is used again; whoever asks then asks once more."""
    answers = driven(peer.port, [Arrival(AT_ONCE, request("/only_once")) for _ in range(6)], 1)
    assert [answer.status for answer in answers] == [200] * 6
    assert peer.seen["/only_once"] == 11  # all but the first were sent twice


def test_a_client_whose_patience_ends_hangs_up(peer) -> None:
    (answer,) = driven(peer.port, [Arrival(AT_ONCE, request("/silent", patience_s=0.05))])
    assert answer.status == GAVE_UP
    assert answer.done_s - answer.sent_s >= 0.05
    assert peer.left.wait(20)


def test_gaps_are_exponential_and_requests_come_in_turn() -> None:
    requests = [request("/ok"), request("/busy")]
    arrivals = list(poisson(requests, 1000.0, 20.0, seed=3))
    gaps = np.diff([0.0, *(arrival.due_s for arrival in arrivals)])
    assert len(arrivals) == pytest.approx(20_000, abs=5 * 20_000**0.5)
    assert gaps.mean() == pytest.approx(1e-3, rel=0.05)
    assert gaps.std() == pytest.approx(1e-3, rel=0.05)  # of an exponential it is the mean; of a fixed pace it is 0
    assert all(0 < arrival.due_s < 20.0 for arrival in arrivals)
    assert [arrival.request for arrival in arrivals[:4]] == requests * 2
    assert list(poisson(requests, 1000.0, 20.0, seed=3)) == arrivals
