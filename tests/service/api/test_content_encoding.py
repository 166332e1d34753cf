"""Compressed bodies: the same answers as without, and no more room or patience for them."""

import asyncio
import base64
import gzip
import io
import itertools
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from service.api.content_encoding import Coding, coding_of, unpacked
from service.api.errors import RequestError, UnsupportedEncodingError

MIB = 1024 * 1024


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip, in capitals": ("X-GZIP", gzip.compress),
    "gzip of two members": ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
}
packers = pytest.mark.parametrize("packer", PACKERS)


def unpack(chunks: list[bytes], coding: Coding) -> list[bytes]:
    async def arriving() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def gather() -> list[bytes]:
        return [piece async for piece in unpacked(arriving(), coding)]

    return asyncio.run(gather())


@given(
    data=st.binary(max_size=2000),
    repeat=st.sampled_from([1, 700]),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
    packer=st.sampled_from(["gzip", "gzip of two members", "deflate", "raw deflate"]),
)
@settings(max_examples=150, deadline=None)
def test_what_was_packed_comes_out_wherever_the_chunks_are_cut(
    data: bytes, repeat: int, cuts: list[int], packer: str
) -> None:
    name, pack = PACKERS[packer]
    packed = pack(data * repeat)
    edges = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    chunks = [packed[start:end] for start, end in itertools.pairwise(edges)]
    assert b"".join(unpack(chunks, coding_of(Headers({"content-encoding": name})))) == data * repeat


@pytest.mark.parametrize("packer", ["gzip", "deflate", "raw deflate"])
@given(data=st.binary(min_size=1, max_size=300), end=st.integers(1, 10_000))
@settings(max_examples=60, deadline=None)
def test_no_beginning_passes_for_the_whole(packer: str, data: bytes, end: int) -> None:
    name, pack = PACKERS[packer]
    packed = pack(data)
    with pytest.raises(RequestError, match="cut off"):
        unpack([packed[: 1 + end % (len(packed) - 1)]], "gzip" if name == "gzip" else "deflate")


@pytest.mark.parametrize("packer", ["gzip", "deflate", "raw deflate"])
@pytest.mark.parametrize("more", [b"x", b"\0", b"\n\n"])
def test_bytes_after_the_end_are_refused_in_the_same_chunk_and_in_the_next(packer: str, more: bytes) -> None:
    name, pack = PACKERS[packer]
    coding: Coding = "gzip" if name == "gzip" else "deflate"
    for chunks in ([pack(b"data") + more], [pack(b"data"), more]):
        with pytest.raises(RequestError):
            unpack(chunks, coding)


def test_a_flipped_bit_of_gzip_is_found_or_changes_nothing() -> None:
    data = b"some text, " * 30
    packed = gzip.compress(data, mtime=0)
    unharmed = 0
    for position, bit in itertools.product(range(10, len(packed)), range(8)):
        damaged = packed[:position] + bytes([packed[position] ^ 1 << bit]) + packed[position + 1 :]
        try:
            assert b"".join(unpack([damaged], "gzip")) == data
        except RequestError:
            continue
        unharmed += 1
    assert unharmed < 8  # only what fills up the last byte of the data


def test_one_chunk_that_swells_a_thousandfold_comes_out_in_small_pieces_and_only_as_they_are_taken() -> None:
    packed = gzip.compress(bytes(64 * MIB))

    async def arriving() -> AsyncIterator[bytes]:
        yield packed

    async def peak_bytes() -> int:
        tracemalloc.start()
        try:
            async for piece in unpacked(arriving(), "gzip"):
                assert 0 < len(piece) <= 128 * 1024
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert asyncio.run(peak_bytes()) < MIB


@pytest.mark.parametrize("given_headers", [["br"], ["gzip, gzip"], ["gzip", "deflate"], ["gzip", "gzip"], ["zstd;q=1"]])
def test_unknown_and_several_encodings_are_refused_with_what_is_accepted(
    given_headers: list[str], client: httpx.Client, png: bytes
) -> None:
    headers = [("Content-Encoding", value) for value in given_headers]
    with pytest.raises(UnsupportedEncodingError):
        coding_of(Headers(raw=[(name.lower().encode(), value.encode()) for name, value in headers]))
    answer = client.post("/embed", content=png, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (415, "urn:simvae:problem:unsupported-content-encoding")
    assert answer.headers["accept-encoding"] == "gzip, deflate, identity"


def test_another_415_says_nothing_of_encodings(client: httpx.Client) -> None:
    assert "accept-encoding" not in client.post("/embed", content=b"no image").headers


def forms(png: bytes) -> dict[str, tuple[str, bytes]]:
    npy = io.BytesIO()
    np.save(npy, np.zeros((2, 28, 28, 1), np.uint8))
    part = b'--x\r\nContent-Disposition: form-data; name="left"; filename="f"\r\n\r\n%b\r\n'
    texts = b'["%b"]' % base64.b64encode(png)
    return {
        "image": ("image/png", png),
        "unknown": ("application/octet-stream", png),
        "npy": ("application/x-npy", npy.getvalue()),
        "json": ("application/json", b'{"images": %b}' % texts),
        "two-sided json": ("application/json", b'{"left": %b}' % texts),
        "multipart": ("multipart/form-data; boundary=x", part % png + part % png + b"--x--\r\n"),
    }


@packers
@pytest.mark.parametrize("path", ["/embed", "/reconstruct", "/similarity"])
def test_every_form_on_every_route_gives_the_same_answer_packed(
    path: str, packer: str, client: httpx.Client, png: bytes
) -> None:
    name, pack = PACKERS[packer]
    for form, (content_type, body) in forms(png).items():
        if form == ("json" if path == "/similarity" else "two-sided json"):
            continue
        headers = {"Content-Type": content_type}
        plain = client.post(path, content=body, headers=headers)
        packed = client.post(path, content=pack(body), headers=headers | {"Content-Encoding": name})
        assert plain.status_code == 200, (form, plain.text)
        assert packed.content == plain.content, form


def test_an_empty_body_is_empty_under_every_encoding(client: httpx.Client) -> None:
    plain = client.post("/embed", content=b"").json()["detail"]
    for name in ("gzip", "deflate", "identity"):
        answer = client.post("/embed", content=b"", headers={"Content-Encoding": name})
        assert (answer.status_code, answer.json()["detail"]) == (400, plain)


def test_the_limit_counts_the_bytes_as_they_come_out(start: Callable[..., Any], png: bytes) -> None:
    running = start(max_body_bytes=len(png), max_queue_bytes=10 * MIB)
    for name, pack in PACKERS.values():
        packed = pack(png)
        answer = running.client.post("/embed", content=iter([packed]), headers={"Content-Encoding": name})
        assert answer.status_code == 200, name
        answer = running.client.post("/embed", content=iter([pack(png + b"x")]), headers={"Content-Encoding": name})
        assert answer.status_code == 413, name


def test_a_bomb_stops_at_the_limit_and_holds_nothing(start: Callable[..., Any]) -> None:
    running = start(max_body_bytes=MIB)
    packed = gzip.compress(bytes(400 * MIB), 1)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    asks = {"content": packed[:MIB], "headers": headers}
    answer = running.client.post("/embed", **asks)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:simvae:problem:body-too-large")
    assert "unpacked" in answer.json()["detail"]
    assert running.app.state.budget.held_bytes == 0


def test_what_comes_out_counts_as_held(start: Callable[..., Any]) -> None:
    running = start(max_queue_bytes=MIB)
    packed = gzip.compress(bytes(4 * MIB))
    busy = running.client.post("/embed", content=packed, headers={"Content-Encoding": "gzip"})
    assert busy.status_code == 429
    assert running.app.state.budget.held_bytes == 0


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"x" * 999)[:-3], gzip.compress(b"x") + b"more"])
def test_a_stream_that_is_not_whole_is_a_malformed_request(body: bytes, client: httpx.Client) -> None:
    answer = client.post("/embed", content=body, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:simvae:problem:malformed-request")
