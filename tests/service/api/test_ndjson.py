"""Lines out of a body that arrives in any chunks, and what each line says."""

import asyncio
import base64
import itertools
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.errors import BodyTooLargeError, RequestError, TooManyItemsError
from service.api.limits import BodyBudget, BodyShare
from service.api.ndjson import Line, parse_line, read_lines

IMAGE = base64.b64encode(b"bytes").decode()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(body)) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


def read(chunks: list[bytes], share: BodyShare, max_bytes: int = 1000) -> list[bytes | BodyTooLargeError]:
    async def arriving() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def gather() -> list[bytes | BodyTooLargeError]:
        return [line async for line in read_lines(arriving(), share, max_bytes)]

    return asyncio.run(gather())


@given(
    lines=st.lists(st.sampled_from([b"a", b'{"x": 1}', b"\xff\x00", b"", b"  ", b"\t", b"word " * 9]), max_size=12),
    end=st.sampled_from([b"\n", b"\r\n"]),
    last=st.booleans(),
    places=st.lists(st.integers(0, 300), max_size=10),
)
@settings(max_examples=200, deadline=None)
def test_lines_are_the_same_wherever_the_chunks_are_cut(
    lines: list[bytes], end: bytes, last: bool, places: list[int]
) -> None:
    share = BodyShare(BodyBudget(10_000))
    body = end.join(lines) + (end if last else b"")
    found = read(cut(body, places), share)
    assert [line.strip(b"\r") for line in found if isinstance(line, bytes)] == [line for line in lines if line.strip()]
    assert share.held_bytes == sum(len(line) for line in found if isinstance(line, bytes))


@given(places=st.lists(st.integers(0, 60), max_size=10))
@settings(max_examples=100, deadline=None)
def test_a_line_that_is_too_long_is_one_error_and_nothing_of_it_is_kept(places: list[int]) -> None:
    budget = BodyBudget(10 + 10 + 10)  # three lines that fit, and not a byte of the one that does not
    share = BodyShare(budget)
    before, error, exact, after = read(cut(b"before\n" + b"x" * 11 + b"\n" + b"y" * 10 + b"\nafter", places), share, 10)
    assert (before, exact, after) == (b"before", b"y" * 10, b"after")
    assert isinstance(error, BodyTooLargeError)
    assert "11 bytes" in str(error)
    assert budget.held_bytes == 6 + 10 + 5


def test_a_line_waits_for_memory_that_others_hold() -> None:
    budget = BodyBudget(10)
    other = BodyShare(budget)
    other.grow(5)
    share = BodyShare(budget)

    async def arriving() -> AsyncIterator[bytes]:
        yield b"eight by\n"

    async def run() -> bytes | BodyTooLargeError:
        line = asyncio.ensure_future(anext(read_lines(arriving(), share, 100)))
        await asyncio.sleep(0.1)
        assert not line.done()
        assert budget.held_bytes == 5
        other.shrink(5)
        return await line

    assert asyncio.run(run()) == b"eight by"
    assert budget.held_bytes == 8


@pytest.mark.parametrize("name", ["cat-1", "", "ü", 0, -7, 2**53, 1.5, None])
def test_a_good_line_has_its_image_and_its_id(name: Any) -> None:
    for image in (IMAGE, f"data:image/png;base64,{IMAGE}"):
        line = parse_line(json.dumps({"id": name, "image": image}).encode())
        assert (line.image, line.id) == (b"bytes", name)


def failure(line: Line) -> str:
    assert isinstance(line.image, RequestError | TooManyItemsError)
    return str(line.image)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"image": "\xff"}', "not JSON"),
        (b"[]", "a list"),
        (b"null", "null"),
        (b'{"image": "YQ=="} {"image": "YQ=="}', "not JSON"),
        (b'{"id": true, "image": "YQ=="}', "id: .* a boolean"),
        (b'{"id": [1], "image": "YQ=="}', "id: .* a list"),
        (b'{"id": "%b", "image": "YQ=="}' % (b"x" * 1025), "id: .*1,024 characters"),
        (b'{"image": "YQ==", "id": ' + b"[" * 5000 + b"]" * 5000 + b"}", "values"),
    ],
)
def test_a_line_whose_id_cannot_be_read_has_none(text: bytes, words: str) -> None:
    line = parse_line(text)
    assert re.search(words, failure(line))
    assert line.id is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "found nothing"),
        ({"image": None}, "found null"),
        ({"image": 1}, "found a number"),
        ({"image": "?"}, "neither"),
        ({"image": "https://a.example/b.png"}, "not fetch"),
        ({"image": IMAGE, "normalize": True}, "'normalize'.* query"),
        ({"image": IMAGE, "x" * 9999: 1}, r"^.{,220}$"),
    ],
)
def test_a_bad_line_keeps_its_id(fields: dict[str, Any], words: str) -> None:
    line = parse_line(json.dumps({"id": 7} | fields).encode())
    assert re.search(words, failure(line))
    assert line.id == 7
