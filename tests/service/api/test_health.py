from collections.abc import Callable
from typing import Any

import httpx
import pytest

from service.engine import device
from service.engine.errors import DeviceLostError
from service.engine.lane import Lane
from service.engine.runtime import Work
from service.engine.ticket import Ticket


def health(client: httpx.Client, kind: str) -> tuple[int, str]:
    answer = client.get(f"/health/{kind}")
    body = answer.json()
    return answer.status_code, body.get("state") or body["detail"]


def assert_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:simvae:problem:not-ready"
    assert int(answer.headers["retry-after"]) >= 1


def test_a_server_with_models_lives_and_is_ready(client: httpx.Client) -> None:
    assert health(client, "live") == (200, "ready")
    assert health(client, "ready") == (200, "ready")


@pytest.mark.parametrize("kind", ["live", "ready"])
def test_a_probe_may_ask_for_the_head_alone(kind: str, client: httpx.Client) -> None:
    answer = client.head(f"/health/{kind}")
    assert (answer.status_code, answer.content) == (200, b"")


def test_while_models_load_it_lives_is_not_ready_and_refuses_work(start: Callable[..., Any], png: bytes) -> None:
    with device._creating:  # the lock that every session waits for, so loading lasts as long as the test wants
        running = start(wait=False)
        assert health(running.client, "live") == (200, "loading")
        assert health(running.client, "ready") == (503, "The service is not ready: loading.")
        assert_refused(running.client.post("/embed", content=png))
        assert_refused(running.client.get("/models"))
    running.wait_for(lambda: health(running.client, "ready") == (200, "ready"))
    assert running.client.post("/embed", content=png).status_code == 200


@pytest.mark.parametrize("death", [SystemExit(), DeviceLostError("The GPU cuda:0 has failed.")])
def test_a_dead_inference_thread_or_gpu_ends_readiness_and_liveness_and_leaves_nobody_waiting(
    start: Callable[..., Any], png: bytes, death: BaseException
) -> None:
    running = start()

    def die(_: object) -> list[Any]:
        raise death

    engine = running.repository.get(None)
    ticket: Ticket[Any] = Ticket(1)
    engine.runtime.submit(ticket, [Work(1, bytes)], Lane(die, 1), engine.model.device)
    ticket.future.result(20)
    running.wait_for(lambda: not engine.runtime.alive)
    for kind in ("live", "ready"):
        assert_refused(running.client.get(f"/health/{kind}"))
    assert_refused(running.client.post("/embed", content=png))


def test_draining_ends_readiness_first_and_still_answers(start: Callable[..., Any], png: bytes) -> None:
    running = start()
    running.repository.begin_drain()
    assert health(running.client, "live") == (200, "draining")
    assert health(running.client, "ready") == (503, "The service is not ready: draining.")
    assert running.client.post("/embed", content=png).status_code == 200


def test_models_are_listed_with_their_manifests(client: httpx.Client) -> None:
    answer = client.get("/models").json()
    assert answer["default"] == "tiny@1"
    assert [card["reference"] for card in answer["models"]] == ["tiny@1", "tiny-rgb@1"]
    card = answer["models"][0]
    assert card == client.get("/models/tiny").json() == client.get("/models/tiny@1").json()
    assert card["manifest"]["input"]["height"] == 28
    assert card["provider"] == "CPUExecutionProvider"
    assert (card["precision"], card["precisions"]) == ("float32", ["float32"])
    assert len(card["metrics"]) == 4
