import base64
import textwrap
import tracemalloc

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.errors import ItemError, RequestError, TooManyItemsError
from service.api.json_items import GivenEmbedding, decode_base64, parse_json, read_vector


@given(st.binary(max_size=200))
def test_every_spelling_of_base64_gives_the_same_bytes(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    spellings = [
        text,
        base64.urlsafe_b64encode(data).decode(),
        text.rstrip("="),
        "\r\n".join(textwrap.wrap(text, 76)),
        f"data:image/png;base64,{text}",
        f"data:;base64,{text}",
        f"DATA:image/png;BASE64,{text}",
        f"data:image/jpeg;charset=x;base64,{text}",
    ]
    assert {decode_base64(spelling) for spelling in spellings} == {data}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not base64!", "neither"),
        ("abcde", "neither"),
        ("ab=c", "neither"),
        ("äöü", "neither"),
        ("data:image/png,abcd", ";base64,"),
        ("data:image/png;base64", ";base64,"),
        ("https://example.org/cat.jpg", "does not fetch"),
    ],
)
def test_anything_else_is_refused_with_what_was_expected(text: str, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        decode_base64(text)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff", b"1", b"{}", b'{"images": "x"}'])
def test_other_json_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        parse_json(body, ("images",), 9)


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"embedding": []},
        {"embedding": [1, "2"]},
        {"embedding": [[1, 2]]},
        {"embedding": [[1], [1, 2]]},
        {"embedding": [True]},
        {"embedding": [1e39]},
        {"embedding": 3},
        {"embedding": [1], "variance": [-1]},
        {"embedding": [1], "variances": [1]},
        ["YQ=="],
        7,
        None,
    ],
)
def test_a_bad_item_is_named_by_side_and_index(item: object) -> None:
    body = orjson.dumps({"left": ["YQ==", item]})
    with pytest.raises(ItemError) as caught:
        parse_json(body, ("left", "right"), 9)
    assert (caught.value.index, caught.value.side) == (1, "left")


def test_embeddings_come_with_or_without_their_variance() -> None:
    body = orjson.dumps({"left": [{"embedding": [1, 2.5]}, {"embedding": [0, 0], "variance": [0, 0.5]}], "prior": 0.2})
    options, lists = parse_json(body, ("left", "right"), 9)
    bare, full = lists["left"]
    assert options == {"prior": 0.2}
    assert isinstance(bare, GivenEmbedding)
    assert isinstance(full, GivenEmbedding)
    assert bare.variance is None
    assert full.variance is not None
    np.testing.assert_array_equal(bare.mean, np.array([1, 2.5], np.float32))
    np.testing.assert_array_equal(full.variance, np.array([0, 0.5], np.float32))


def test_too_many_items_are_refused_before_any_is_decoded() -> None:
    with pytest.raises(TooManyItemsError, match="2 items"):
        parse_json(b'{"images": ["not base64!", "!"]}', ("images",), 1)


@pytest.mark.parametrize("values", ["[],", "{},", "1,", "[" * 9 + "]" * 9 + ","])
def test_values_that_no_items_can_have_are_refused_before_they_are_parsed(values: str) -> None:
    body = b'{"images": [' + values.encode() * 9000
    with pytest.raises(TooManyItemsError, match="values"):  # and not that its end is missing
        parse_json(body, ("images",), 2)


def test_embeddings_of_2000_dimensions_with_variances_are_accepted_up_to_the_last_item() -> None:
    item = {"embedding": [0.5] * 2000, "variance": [0.5] * 2000}
    _, lists = parse_json(orjson.dumps({"left": [item] * 8}), ("left", "right"), 8)
    assert len(lists["left"]) == 8


def test_one_long_text_among_numbers_does_not_make_room_for_as_many_of_them() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RequestError, match="list of numbers"):
            read_vector([0] * 1000 + ["x" * 10_000])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
