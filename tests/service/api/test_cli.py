"""The real command in a process of its own: how it starts, refuses to start, and ends."""

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

COMMAND = Path(sys.executable).parent / "simvae-serve"


@contextlib.contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and its address as it logged it."""
    process = subprocess.Popen(
        [COMMAND, "--port", "0", "--log-format", "json", *arguments],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        url = next(json.loads(line)["url"] for line in process.stderr if '"listening"' in line)
        for _ in range(1000):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            time.sleep(0.02)
        yield process, url
    finally:
        process.kill()
        process.communicate()


def refused(*arguments: str, **environment: str) -> str:
    """What a command that must not start says."""
    done = subprocess.run(
        [COMMAND, "--port", "0", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_answers_what_was_accepted_and_exits_with_0(
    number: signal.Signals, tiny_bundle: Path, png: bytes
) -> None:
    with serving("--models", str(tiny_bundle)) as (process, url):
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port or 0), timeout=30) as connection:
            head = f"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: {len(png)}\r\n\r\n".encode()
            connection.sendall(head + png[:100])
            time.sleep(0.2)
            process.send_signal(number)
            time.sleep(0.5)
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{url}/health/live")
            connection.sendall(png[100:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert process.wait(20) == 0


def test_a_signal_ends_a_stream_with_where_to_go_on(
    tiny_bundle: Path, png: bytes, streaming: Callable[..., Any]
) -> None:
    line = json.dumps({"image": base64.b64encode(png).decode()}).encode() + b"\n"
    with serving("--models", str(tiny_bundle)) as (process, url):
        with streaming(httpx.URL(url)) as stream:
            stream.send(line)
            assert stream.line()["index"] == 0
            process.terminate()
            last = stream.line()
            assert (last["resume_at"], last["error"]["type"]) == (1, "urn:simvae:problem:not-ready")
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["problem"] for line in lines if line["event"] == "request" and line["route"] == "/embed"] == [
        "not-ready"
    ]
    assert not [line for line in lines if line["level"] in {"error", "critical"}]


def test_the_drain_ends_after_its_timeout(tiny_bundle: Path) -> None:
    with serving("--models", str(tiny_bundle), SIMVAE_DRAIN_TIMEOUT_S="1") as (process, url):
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port or 0), timeout=30) as connection:
            connection.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nnever complete")
            time.sleep(0.2)
            process.terminate()
            assert process.wait(20) == 0


def test_a_damaged_bundle_is_one_sentence_and_exit_code_1(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    (bundle / "encoder.onnx").write_bytes(b"damaged")
    said = refused("--models", str(bundle))
    last = said.splitlines()[-1]
    assert re.fullmatch(r"simvae-serve: .*encoder\.onnx: expected sha256 .* found .*\.", last)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--models", "nowhere"], "no directory there"),
        (["--device", "tpu"], "--device"),
        (["--default-model", "other"], "expected the default model 'other', found tiny@1"),
        (["--precision", "int8"], "int8"),
        (["--host", "192.0.2.1"], "192.0.2.1"),
    ],
)
def test_what_cannot_be_served_is_one_sentence_and_exit_code_1(
    arguments: list[str], words: str, tiny_bundle: Path
) -> None:
    assert words in refused("--models", str(tiny_bundle), *arguments).splitlines()[-1]


def test_a_port_that_is_taken_is_one_sentence_and_exit_code_1(tiny_bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port}" in refused("--models", str(tiny_bundle), "--port", port)


def test_flags_and_environment_reach_the_server_and_logs_are_json_lines(tiny_bundle: Path, png: bytes) -> None:
    with serving(SIMVAE_MODELS=str(tiny_bundle), SIMVAE_API_KEY="secret-key", SIMVAE_MAX_ITEMS="1") as (process, url):
        assert httpx.post(f"{url}/embed", content=png).status_code == 401
        headers = {"X-API-Key": "secret-key", "X-Request-ID": "mine"}
        two = httpx.post(f"{url}/embed", files=[("f", png), ("f", png)], headers=headers)
        assert (two.status_code, two.json()["type"]) == (413, "urn:simvae:problem:too-many-items")
        process.terminate()
        _, said = process.communicate(timeout=20)
    lines: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == [401, 413]
    assert requests[1]["request_id"] == "mine"
    assert all({"timestamp", "level", "logger", "event"} <= line.keys() for line in lines)
    assert "secret" not in said


def test_help_shows_examples() -> None:
    done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert "simvae-serve --models models --host 0.0.0.0" in " ".join(done.stdout.split())


def children(process: subprocess.Popen[str]) -> set[int]:
    """The processes that serve."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid:
                found.add(int(folder.name))
    return found


def own_memory(process_id: int) -> int:
    """KiB that are no file's; pages of several processes are divided among them."""
    found = re.search(r"^Pss_Anon: +(\d+) kB", Path(f"/proc/{process_id}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def wait_until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.05)


def test_workers_answer_and_count_as_one(tiny_bundle: Path, png: bytes) -> None:
    with serving("--models", str(tiny_bundle), "--workers", "2") as (process, url):
        answers = [httpx.post(f"{url}/embed", content=png) for _ in range(40)]  # each on a connection of its own
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.headers["x-request-id"][:16] for answer in answers}) == 2, "both take part"
        counted = 'simvae_requests_total{code="200",route="/embed"} 40.0'
        wait_until(lambda: counted in httpx.get(f"{url}/metrics").text)  # what others count comes a moment later
        assert "simvae_queue_items 0.0" in httpx.get(f"{url}/metrics").text
        process.terminate()
        assert process.wait(30) == 0
        assert not children(process)


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(tiny_bundle: Path, png: bytes) -> None:
    with serving("--models", str(tiny_bundle), "--workers", "2") as (process, url):
        wait_until(lambda: len(children(process)) == 2)
        first = children(process)
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(children(process) - {victim}) == 2)
        assert httpx.post(f"{url}/embed", content=png).status_code == 200
        process.terminate()
        assert process.wait(30) == 0


def test_a_worker_that_got_all_connections_gives_some_to_the_other(tiny_bundle: Path, png: bytes) -> None:
    with serving("--models", str(tiny_bundle), "--workers", "2") as (process, url), contextlib.ExitStack() as stack:
        address = url.removeprefix("http://")
        clients = [stack.enter_context(contextlib.closing(HTTPConnection(address))) for _ in range(6)]
        wait_until(lambda: len(children(process)) == 2)

        def shares() -> list[int]:
            """Of each worker, how many of the clients it answers; they open another connection when told so."""
            workers = Counter[str]()
            for client in clients:
                client.request("POST", "/embed", png)
                answer = client.getresponse()
                assert answer.read()
                assert answer.status == 200
                workers[answer.headers["x-request-id"][:16]] += 1
            return sorted(workers.values())

        standing = min(children(process))
        os.kill(standing, signal.SIGSTOP)
        assert shares() == [6]
        os.kill(standing, signal.SIGCONT)
        wait_until(lambda: shares() == [3, 3])


def test_a_signal_that_comes_before_a_dead_worker_is_replaced_ends_well(tiny_bundle: Path) -> None:
    with serving("--models", str(tiny_bundle), "--workers", "2") as (process, _):
        wait_until(lambda: len(children(process)) == 2)
        os.kill(min(children(process)), signal.SIGKILL)
        wait_until(lambda: len(children(process)) == 1)
        process.terminate()
        assert process.wait(30) == 0


def test_workers_share_the_memory_of_what_is_loaded_before_them(tiny_bundle: Path) -> None:
    def memory(*arguments: str) -> int:
        with serving("--models", str(tiny_bundle), *arguments) as (process, url):
            serving_now = set[str]()

            def all_serve() -> bool:
                serving_now.add(httpx.get(f"{url}/health/ready").headers["x-request-id"][:16])
                return len(serving_now) == (2 if arguments else 1)

            wait_until(all_serve)
            return sum(map(own_memory, {process.pid} | children(process)))

    alone, together = memory(), memory("--workers", "2")
    assert together < 2 * alone, "though they are three, with the supervisor"


def test_workers_do_not_outlive_a_supervisor_that_was_killed(tiny_bundle: Path) -> None:
    with serving("--models", str(tiny_bundle), "--workers", "2") as (process, _):
        workers = children(process)
        process.kill()
        wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


def test_workers_that_cannot_load_their_models_end_the_command(tmp_path: Path) -> None:
    assert "expected bundles" in refused("--models", str(tmp_path), "--workers", "2")
