"""A request is repeated when nothing was done about it yet, as late as the service asks, and only so often."""

import asyncio
import email.utils
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvae_client import AsyncClient, BusyError, Client, NotReadyError, Retries, ServerError, UnreachableError
from simvae_client.answers import read_models
from simvae_client.flows import Flow, Question, Send, Wait, Work, ask
from simvae_client.jobs import Job

AGAIN = (429, 503)
NO_MODELS = b'{"default": null, "models": []}'
Ask = Callable[..., Any]


def busy(status: int = 429, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()})


@given(st.integers(0, 5), st.sampled_from(AGAIN), st.integers(1, 30))
def test_the_wait_is_what_the_service_asks_for_and_at_most_a_quarter_more(
    attempt: int, status: int, asked_s: int
) -> None:
    wait_s = Retries().wait_s(attempt, busy(status, retry_after=str(asked_s)))
    assert wait_s is not None
    assert asked_s <= wait_s <= 1.25 * asked_s


@given(st.integers(0, 20), st.floats(0.3, 100))
def test_without_a_word_of_the_service_waits_double_up_to_the_longest(attempt: int, longest_wait_s: float) -> None:
    retries = Retries(limit=21, longest_wait_s=longest_wait_s)
    expected_s = min(0.25 * 2**attempt, longest_wait_s)
    for outcome in (busy(), busy(retry_after="soon"), httpx.ConnectError("refused"), httpx.ConnectTimeout("slow")):
        wait_s = retries.wait_s(attempt, outcome)
        assert wait_s is not None
        assert expected_s <= wait_s <= 1.25 * expected_s


def test_a_date_is_a_wait_until_then() -> None:
    wait_s = Retries(longest_wait_s=90).wait_s(0, busy(retry_after=email.utils.formatdate(time.time() + 60)))
    assert wait_s is not None
    assert 50 < wait_s < 80


def test_who_asks_for_too_long_a_wait_is_not_asked_again() -> None:
    assert Retries(longest_wait_s=5).wait_s(0, busy(retry_after="6")) is None


@pytest.mark.parametrize("status", [200, 400, 401, 404, 408, 413, 422, 500, 502, 504])
def test_other_answers_are_final(status: int) -> None:
    assert Retries().wait_s(0, busy(status, retry_after="1")) is None


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError])
def test_what_may_have_been_sent_is_not_sent_again(error: type[httpx.RequestError]) -> None:
    assert Retries().wait_s(0, error("broken")) is None


def test_the_same_is_sent_until_the_limit_with_a_wait_in_between() -> None:
    flow = ask(Question("/models", read_models, method="GET"), None, Retries(limit=2))
    steps = [next(flow)]
    steps += [flow.send(busy(retry_after="3") if isinstance(steps[-1], Send) else None) for _ in range(4)]
    with pytest.raises(BusyError):
        flow.send(busy(retry_after="3"))
    assert [type(step) for step in steps] == [Send, Wait, Send, Wait, Send]
    assert steps[0] == steps[2] == steps[4]


def test_a_busy_service_is_asked_again(peer: Any, ask: Ask) -> None:
    for status in AGAIN:
        peer.will_answer(status, retry_after="0.01")
    peer.will_answer(content=NO_MODELS)
    found = ask(peer.url, "models", settings={"retries": Retries(limit=2)})
    assert found.cards == ()
    assert len(peer.asked) == 3


@pytest.mark.parametrize(("status", "error"), [(429, BusyError), (503, NotReadyError), (500, ServerError)])
def test_whoever_gives_up_says_what_the_service_said(peer: Any, ask: Ask, status: int, error: type[Exception]) -> None:
    peer.will_answer(status, b"<h1>proxy</h1>", times=2, retry_after="0.01")
    with pytest.raises(error, match=f"{status} .*proxy"):
        ask(peer.url, "models", settings={"retries": Retries(limit=1)})
    assert len(peer.asked) == (1 if status == 500 else 2)


def test_a_service_that_is_not_there_yet_is_waited_for(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(UnreachableError, match="/models") as caught:
        ask(url, "models")
    assert isinstance(caught.value.__cause__, httpx.ConnectError)

    def answer_once() -> None:
        with socket.create_server(("127.0.0.1", port)) as listener:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(NO_MODELS), NO_MODELS))

    late = threading.Timer(0.4, answer_once)
    late.start()
    assert ask(url, "models", settings={"retries": Retries(limit=8)}).default is None
    late.join()


def test_a_server_that_never_answers_is_left(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UnreachableError) as caught:
            ask(url, "models", settings={"timeout_s": 0.2, "retries": Retries()})
    assert isinstance(caught.value.__cause__, httpx.ReadTimeout)


def fail() -> Flow[None]:
    yield Work(lambda: 1 / 0)


def wait_for_an_hour() -> Flow[None]:
    yield Wait(3600)


def test_the_first_failure_ends_what_waits_behind_it() -> None:
    def job() -> Job[None, list[None]]:
        return Job([fail(), wait_for_an_hour()], [1, 1], list)

    async def ask_async() -> None:
        async with AsyncClient() as client:
            await client._run(job())

    with Client() as client, pytest.raises(ZeroDivisionError):
        client._run(job())
    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask_async())


def test_the_service_is_told_how_long_the_answer_is_waited_for(peer: Any, ask: Ask) -> None:
    peer.will_answer(content=NO_MODELS)
    ask(peer.url, "models", settings={"timeout_s": 12.5, "api_key": "secret"})
    assert peer.asked[0]["X-Request-Timeout"] == "12.5"
    assert peer.asked[0]["X-API-Key"] == "secret"


def test_a_path_in_the_address_is_kept(peer: Any, ask: Ask) -> None:
    for url in (f"{peer.url}/behind/a/proxy", f"{peer.url}/behind/a/proxy/"):
        peer.will_answer(content=NO_MODELS)
        ask(url, "models")
        assert peer.asked.pop()["path"] == "/behind/a/proxy/models"


@pytest.mark.parametrize("name", ["timeout_s", "in_flight", "batch_images"])
def test_a_setting_of_nothing_is_refused(ask: Ask, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected more than 0, found 0"):
        ask("http://localhost:1", "models", settings={name: 0})
