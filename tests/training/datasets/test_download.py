import hashlib
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from training.datasets.download import download, download_from_any
from training.datasets.image_set import DataError

CONTENT = bytes(range(256)) * 1000
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        announced = {"/file": len(CONTENT), "/broken": len(CONTENT), "/unsized": None}.get(self.path, 0)
        self.send_response(404 if announced == 0 else 200)
        if announced is not None:
            self.send_header("Content-Length", str(announced))
        self.end_headers()
        if announced != 0:
            self.wfile.write(CONTENT[: 1000 if self.path == "/broken" else None])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("checksum", [SHA256, MD5])
@pytest.mark.parametrize("name", ["file", "unsized"])
def test_the_file_arrives_whole_and_alone(address: str, tmp_path: Path, name: str, checksum: str) -> None:
    download(f"{address}/{name}", tmp_path / "new" / "data.bin", checksum)
    assert (tmp_path / "new" / "data.bin").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["data.bin"]


@pytest.mark.parametrize(
    ("name", "checksum", "message"),
    [
        ("file", f"sha256:{'0' * 64}", f"expected sha256 {'0' * 64}, found {SHA256[7:]}"),
        ("file", f"md5:{'0' * 32}", f"expected md5 {'0' * 32}, found {MD5[4:]}"),
        ("broken", SHA256, "256,000 bytes, found 1,000: the connection broke|IncompleteRead"),
        ("missing", SHA256, "expected to download it to .*Not Found"),
    ],
)
def test_anything_else_is_refused_and_leaves_nothing(
    address: str, tmp_path: Path, name: str, checksum: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        download(f"{address}/{name}", tmp_path / "data.bin", checksum)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_file_survives_a_failed_download(address: str, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_text("earlier")
    with pytest.raises(DataError, match="sha256"):
        download(f"{address}/file", tmp_path / "data.bin", f"sha256:{'0' * 64}")
    assert (tmp_path / "data.bin").read_text() == "earlier"


def test_a_server_that_does_not_answer_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DataError, match="Connection refused"):
        download(f"http://127.0.0.1:{port}/file", tmp_path / "data.bin", SHA256)


def test_a_silent_server_is_given_up_after_the_timeout(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        with pytest.raises(DataError, match="timed out"):
            download(url, tmp_path / "data.bin", SHA256, timeout_s=0.2)


def test_a_folder_that_cannot_be_made_is_said(address: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match=r"expected to download it to .*taken"):
        download(f"{address}/file", tmp_path / "taken" / "data.bin", SHA256)


def test_the_next_mirror_is_asked_when_one_has_not_the_file(address: str, tmp_path: Path) -> None:
    mirrors = [f"{address}/missing", f"{address}/broken", f"{address}/file"]
    download_from_any(mirrors, tmp_path / "data.bin", SHA256)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_when_no_mirror_has_it_the_error_names_each(address: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"/missing: .*Not Found.* .*/broken: "):
        download_from_any([f"{address}/missing", f"{address}/broken"], tmp_path / "data.bin", SHA256)
    assert list(tmp_path.iterdir()) == []
