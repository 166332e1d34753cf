"""Each row of the error table, provoked for real; the rows about time, bytes and room are in test_limits.py."""

import base64
import io
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.errors import TABLE, problem_of
from service.engine.errors import InferenceError
from service.engine.results import Embeddings

MakeImage = Callable[..., bytes]


def huge_png() -> bytes:
    """A header that says 10,000 × 8,000, and next to nothing behind it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 10_000, 8_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def npy_header(shape: str) -> bytes:
    """A `.npy` file that says a shape and has no data."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


PNG = "image/png"
JSON = "application/json"
NPY = "application/x-npy"
FORM = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n%b\r\n--x--\r\n'

CASES: dict[str, tuple[int, str, dict[str, Any], str]] = {
    # what: status, type, request, words of the detail
    "broken JSON": (400, "malformed-request", {"content": b"{", "type": JSON}, "not JSON"),
    "JSON that is no object": (400, "malformed-request", {"content": b"[]", "type": JSON}, "a list"),
    "JSON without images": (400, "malformed-request", {"json": {}}, "'images'"),
    "one image instead of a list": (400, "malformed-request", {"json": {"images": "YQ=="}}, "a string"),
    "an unknown field": (400, "malformed-request", {"json": {"images": [], "normalise": True}}, "'normalise'"),
    "an unknown query parameter": (400, "malformed-request", {"params": {"dtyp": "int8"}, "png": True}, "'dtyp'"),
    "a field with an endless name": (400, "malformed-request", {"json": {"images": [], "x" * 9**6: 1}}, r"^.{,250}$"),
    "a bad option": (400, "malformed-request", {"json": {"images": [], "dtype": "int4"}}, "dtype: .*'int4'"),
    "an option twice": (
        400,
        "malformed-request",
        {"json": {"images": [], "dtype": "int8"}, "params": {"dtype": "int8"}},
        "twice",
    ),
    "a query parameter twice": (400, "malformed-request", {"params": [("dtype", "int8")] * 2, "png": True}, "twice"),
    "bad base64": (400, "malformed-request", {"json": {"images": ["?"]}}, "neither"),
    "a web address": (400, "malformed-request", {"json": {"images": ["https://a.example/b.png"]}}, "not fetch"),
    "an embedding for embed": (400, "malformed-request", {"json": {"images": [{"embedding": [1]}]}}, "an object"),
    "no body": (400, "malformed-request", {"content": b""}, "nothing"),
    "multipart without boundary": (
        400,
        "malformed-request",
        {"content": b"x", "type": "multipart/form-data"},
        "oundary",
    ),
    "multipart that is none": (400, "malformed-request", {"content": b"hello", "type": FORM}, "malformed"),
    "multipart without files": (400, "malformed-request", {"content": b"--x--\r\n", "type": FORM}, "at least one file"),
    "multipart without names": (
        400,
        "malformed-request",
        {"content": b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n", "type": FORM},
        "name",
    ),
    "multipart cut off": (
        400,
        "malformed-request",
        {"content": (PART % b"abc")[:-12], "type": FORM},
        "cut off",
    ),
    "npy that is none": (400, "malformed-request", {"content": b"\x93NUMPY\x01\x00", "type": NPY}, "header"),
    "npy cut off": (
        400,
        "malformed-request",
        {"content": npy(np.zeros((1, 28, 28), np.uint8))[:-1], "type": NPY},
        "bytes of data",
    ),
    "a model that is not there": (404, "unknown-model", {"json": {"images": [], "model": "other"}}, "tiny@1"),
    "a version that is not there": (404, "unknown-model", {"json": {"images": [], "model": "tiny@2"}}, "'tiny@2'"),
    "an impossible Accept": (406, "not-acceptable", {"png": True, "headers": {"Accept": "text/html"}}, "x-npy"),
    "too many pixels": (413, "image-too-large", {"content": huge_png()}, "10000 × 8000 = 80,000,000 pixels"),
    "too many items": (413, "too-many-items", {"json": {"images": ["?"] * 257}}, "257 items"),
    "too many files": (413, "too-many-items", {"files": [("f", b"x")] * 257}, "257 items"),
    "too many pixel arrays": (413, "too-many-items", {"content": npy(np.zeros((257, 1), np.uint8))}, "257 items"),
    "a billion pixel arrays of nothing": (
        413,
        "too-many-items",
        {"content": npy_header("(10000000000, 0)")},
        "10,000,000,000 items",
    ),
    "too many values": (
        413,
        "too-many-items",
        {"content": b'{"images": [' + b"[]," * 2**20, "type": JSON},
        "values",
    ),
    "too many parts": (413, "too-many-items", {"files": [("f", b"x")] * 300}, "parts"),
    "another Content-Type": (415, "unsupported-media-type", {"content": b"x", "type": "text/plain"}, "'text/plain'"),
    "a body that is not what its encoding says": (
        400,
        "malformed-request",
        {"content": b"x", "headers": {"Content-Encoding": "gzip"}},
        "gzip",
    ),
    "an unknown encoding": (
        415,
        "unsupported-content-encoding",
        {"content": b"x", "headers": {"Content-Encoding": "br"}},
        "'br'",
    ),
    "text for an image": (415, "unsupported-image-format", {"content": b"hello"}, "68 65 6c"),
    "SVG": (415, "unsupported-image-format", {"content": b"<svg/>", "type": "image/svg+xml"}, "JPEG, PNG"),
    "a truncated image": (422, "undecodable-image", {"json": {"images": [b64(b"\xff\xd8\xff\xe0")]}}, "truncated"),
    "an empty image": (422, "undecodable-image", {"json": {"images": [""]}}, "empty"),
    "an empty file": (422, "undecodable-image", {"files": [("f", b"")]}, "empty"),
    "npy of floats": (422, "unprocessable", {"content": npy(np.zeros((1, 28, 28))), "type": NPY}, "float64"),
    "npy of another shape": (
        422,
        "unprocessable",
        {"content": npy(np.zeros((1, 9, 28), np.uint8)), "type": NPY},
        r"\[N, 28, 28, 1\]",
    ),
    "npy of one number": (422, "unprocessable", {"content": npy(np.uint8(1)), "type": NPY}, "shape"),
}
WITH_INDEX = {
    "bad base64",
    "a web address",
    "an embedding for embed",
    "too many pixels",
    "text for an image",
    "SVG",
    "a truncated image",
    "an empty image",
    "an empty file",
}


def assert_problem(answer: httpx.Response, status: int, name: str) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert answer.status_code == status, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:simvae:problem:{name}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["instance"] == f"urn:simvae:request:{answer.headers['x-request-id']}"
    assert set(problem) <= {"type", "title", "status", "detail", "instance", "index", "side"}
    return problem


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_clear_problem(case: str, client: httpx.Client, png: bytes) -> None:
    status, name, request, words = CASES[case]
    request = dict(request)
    headers = request.pop("headers", {}) | ({"Content-Type": request.pop("type")} if "type" in request else {})
    if request.pop("png", False):
        request["content"] = png
    answer = client.post("/embed", headers=headers, **request)
    problem = assert_problem(answer, status, name)
    assert re.search(words, problem["detail"]), problem["detail"]
    assert ("index" in problem) == (case in WITH_INDEX)


@pytest.mark.parametrize("path", ["/nothing", "/embed/nothing", "/models/tiny/1"])
def test_an_unknown_route_is_a_problem(path: str, client: httpx.Client) -> None:
    assert_problem(client.get(path), 404, "unknown-route")


def test_a_wrong_method_is_a_problem_that_names_the_right_one(client: httpx.Client) -> None:
    answer = client.get("/embed")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


def test_an_unknown_model_is_a_problem(client: httpx.Client) -> None:
    assert_problem(client.get("/models/other"), 404, "unknown-model")


def test_without_a_default_a_request_must_name_one_of_several_models(
    start: Callable[..., Any], tiny_models: Any, png: bytes
) -> None:
    client = start(models=tiny_models).client
    problem = assert_problem(client.post("/embed", content=png), 400, "malformed-request")
    assert "tiny@1, tiny-rgb@1" in problem["detail"]
    assert client.post("/embed", content=png, params={"model": "tiny"}).status_code == 200
    assert client.get("/models").json()["default"] is None


def test_a_failure_of_the_model_is_ours_and_says_nothing_of_the_inside(
    start: Callable[..., Any], png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()

    def fail(_: object) -> Embeddings:
        raise InferenceError("secret internals")

    model = running.repository.get(None).model
    monkeypatch.setattr(model, "encode", fail)
    answer = running.client.post("/embed", content=png)
    assert_problem(answer, 500, "internal-error")
    assert "secret" not in answer.text
    skipped = running.client.post("/embed", content=png, params={"on_error": "skip"})
    assert skipped.json()["embeddings"] == [None]
    assert "secret" not in skipped.text
    monkeypatch.undo()
    assert running.client.post("/embed", content=png).status_code == 200


def test_an_unexpected_exception_is_ours_too(
    start: Callable[..., Any], png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    monkeypatch.setattr(running.app.state, "budget", None)
    answer = running.client.post("/embed", content=png, params={"normalize": True})
    problem = assert_problem(answer, 500, "internal-error")
    assert "NoneType" not in answer.text
    assert problem["instance"].endswith(answer.headers["x-request-id"])
    assert running.metric("simvae_requests_total", route="/embed", code="500") == 1


def test_every_row_of_the_table_is_a_sentence_for_the_client_except_500() -> None:
    for error, kind in TABLE.items():
        made = error.__new__(error)
        Exception.__init__(made, "what happened")
        problem = problem_of(made)
        assert problem.kind == kind
        assert ("what happened" in problem.detail) == (kind.status != 500)
