"""What clients send in a day: every route, form and size, every kind of mistake, and some who leave in the middle."""

import base64
import gzip
import json
import random
import struct
import zlib
from collections.abc import Iterator

from serving import forms
from serving.request import GAVE_UP, OK, Request, http_request
from serving.targets import FILES, JSON, LINES, ONE, TENSOR, service
from serving.workload import Workload

__all__ = ["LARGEST", "mixture"]

LARGEST = 128
"""Images of the largest request."""
_FORMS = (
    (ONE, 1, 80),
    (FILES, 4, 12),
    (FILES, 32, 4),
    (FILES, LARGEST, 1),
    (JSON, 1, 12),
    (JSON, 16, 4),
    (TENSOR, 16, 6),
    (TENSOR, LARGEST, 1),
    (LINES, 8, 4),
    (LINES, 64, 1),
)
"""Form, images in a request, and how often it is in the mixture."""
_PNG, _JSON = {"Content-Type": "image/png"}, {"Content-Type": "application/json"}
_NPY, _NDJSON = {"Content-Type": "application/x-npy"}, {"Content-Type": "application/x-ndjson"}
_GZIP, _CHUNKED = {"Content-Encoding": "gzip"}, {"Transfer-Encoding": "chunked"}


def mixture(workload: Workload, seed: int = 0) -> list[Request]:
    """A few hundred requests in random order, each with the statuses that are right for it.

    Args:
        workload: Whose images.
        seed: Of the order.
    """
    requests = [*_usual(workload), *_unusual(workload), *_wrong(workload), *_leaving(workload)]
    random.Random(seed).shuffle(requests)  # noqa: S311
    return requests


def _usual(workload: Workload) -> Iterator[Request]:
    contents, pixels = workload.contents, workload.pixels()
    ways = service(1).forms(workload.manifest.embedding.dim)
    first = 0
    for name, images, times in _FORMS:
        form = ways[name]
        for _ in range(times):
            first = first if first + images <= len(contents) else 0
            part = slice(first, first + images)
            body = form.write(contents[part], pixels[part])
            yield Request(f"{name}-{images}", http_request(form.path, form.headers, body), images)
            first += images


def _unusual(workload: Workload) -> Iterator[Request]:
    """Other options, answers and routes."""
    image, pixels = workload.contents[0], workload.pixels()[:16]
    npy, broken = forms.npy([], pixels), image[: len(image) // 2]
    text = base64.b64encode(image).decode()
    pair = json.dumps({"left": [text], "right": [text, text]}).encode()
    multipart = {"Content-Type": f"multipart/form-data; boundary={forms.BOUNDARY}"}
    lines = forms.lines([image, broken, image], pixels)
    yield _request("options", "/embed?variance=true&dtype=int8&encoding=base64&normalize=true", _PNG, image)
    yield _request("npy-answer", "/embed", {**_NPY, "Accept": "application/x-npy"}, npy)
    yield _request("gzip", "/embed", {**_NPY, **_GZIP}, gzip.compress(npy))
    yield _request("skip", "/embed?on_error=skip", multipart, forms.multipart([image, broken], pixels))
    yield _request("bad-line", "/embed", _NDJSON, lines)
    yield _request("chunked-lines", "/embed", {**_NDJSON, **_CHUNKED}, _chunked(lines) + b"0\r\n\r\n")
    yield _request("reconstruct", "/reconstruct", _PNG, image)
    yield _request("picture", "/reconstruct", {**_PNG, "Accept": "image/png"}, image)
    yield _request("similarity", "/similarity", _JSON, pair)
    name, latents = workload.manifest.name, [[0.0] * workload.manifest.embedding.dim] * 4
    yield _request("decode", "/decode", _JSON, json.dumps({"latents": latents}).encode())
    yield _request("openai", "/v1/embeddings", _JSON, json.dumps({"input": text, "model": name}).encode())
    for path in ("/models", "/metrics", "/health/live", "/health/ready"):
        yield Request(path, http_request(path, {}, b"", "GET"))


def _wrong(workload: Workload) -> Iterator[Request]:
    """What is answered with a problem."""
    image = workload.contents[0]
    many = json.dumps({"images": ["x"] * 257}).encode()
    for kind, status, path, headers, body in (
        ("bad-json", 400, "/embed", _JSON, b'{"images": ['),
        ("bad-base64", 400, "/embed", _JSON, b'{"images": ["?"]}'),
        ("bad-option", 400, "/embed?colour=red", _PNG, image),
        ("bad-form", 400, "/embed", {"Content-Type": "multipart/form-data; boundary=x"}, b"--y\r\n"),
        ("bad-gzip", 400, "/embed", {**_PNG, **_GZIP}, gzip.compress(image)[:-9]),
        ("bad-npy", 400, "/embed", _NPY, b"\x93NUMPY"),
        ("no-body", 400, "/embed", _PNG, b""),
        ("no-model", 404, "/embed?model=nobody", _PNG, image),
        ("no-route", 404, "/nowhere", _PNG, image),
        ("no-answer-type", 406, "/embed", {**_PNG, "Accept": "text/html"}, image),
        ("too-many-items", 413, "/embed", _JSON, many),
        ("too-many-bytes", 413, "/embed", {**_PNG, "Content-Length": str(1 << 40), "Connection": "close"}, b""),
        ("too-many-pixels", 413, "/embed", _PNG, _huge_png()),
        ("no-form", 415, "/embed", {"Content-Type": "text/csv"}, image),
        ("no-encoding", 415, "/embed", {**_PNG, "Content-Encoding": "br"}, image),
        ("no-image", 415, "/embed", _PNG, b"This is no image."),
        ("half-image", 422, "/embed", _PNG, image[: len(image) // 2]),
    ):
        yield _request(kind, path, headers, body, status)
    hurried = http_request("/embed", {**_PNG, "X-Request-Timeout": "0.000001"}, image)
    yield Request("too-late", hurried, expected=frozenset({408, 504}))  # while it was read, or later
    yield Request("method", http_request("/embed", {}, b"", "DELETE"), expected=frozenset({405}))
    yield Request("no-http", b"\x16\x03\x01 this is no HTTP\r\n\r\n", expected=frozenset({400}))


def _leaving(workload: Workload) -> Iterator[Request]:
    """Clients that hang up: while they send, while they wait, and in the middle of a stream."""
    contents, pixels = workload.contents[:32], workload.pixels()[:32]
    form = service(1).forms(workload.manifest.embedding.dim)[FILES]
    whole = http_request(form.path, form.headers, form.write(contents, pixels))
    stream = http_request("/embed", {**_NDJSON, **_CHUNKED}, _chunked(forms.lines(contents, pixels)))
    gone = frozenset({GAVE_UP})
    yield Request("leaves-sending", whole[: len(whole) // 2], 32, gone, patience_s=0.02)
    yield Request("leaves-waiting", whole, 32, gone | {OK}, patience_s=0.0)
    yield Request("leaves-streaming", stream, 32, gone, patience_s=0.05)


def _request(kind: str, path: str, headers: dict[str, str], body: bytes, status: int = OK) -> Request:
    return Request(kind, http_request(path, headers, body), expected=frozenset({status}))


def _chunked(body: bytes) -> bytes:
    """One chunk of a body that may go on."""
    return b"%x\r\n%s\r\n" % (len(body), body)


def _huge_png() -> bytes:
    """A PNG whose header promises 60,000 × 60,000 pixels."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(bytes(64)))
    parts = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
