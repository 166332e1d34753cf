"""A filter lets through what its own words say, whatever the payloads hold; the slow obvious version is here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("lancedb", reason="needs the extra 'search'")

from service.search.errors import InvalidSearchError
from service.search.filters import condition_of
from service.search.items import Binding, Item
from service.search.store import Store

PAYLOADS: list[dict[str, Any]] = [
    {},
    {"a": None},
    {"a": True, "b": 1},
    {"a": 1, "b": "1"},
    {"a": 1.0, "b": "it's"},
    {"a": 2.5, "b": 'quo"te \\ ü 😀'},
    {"a": -3, "b": ""},
    {"a": "x", "b": ["new", "it's"]},
    {"a": {"b": {"c": 5}}, "b": []},
    {"a": {"b": 7}, "b": False},
    {"a": 10**15, "key with $ and 'quote'": 1},
]
LEAVES = [None, True, False, 1, 1.0, 2.5, -3, 0, "x", "1", "", "it's", 'quo"te \\ ü 😀', "true", "null", 10**15]
FIELDS = ["a", "b", "a.b", "a.b.c", "missing", "key with $ and 'quote'"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(str(tmp_path_factory.mktemp("filters")))
    rows = [Item(str(n), np.ones(2, np.float32), None, payload) for n, payload in enumerate(PAYLOADS)]
    store.add("items", Binding("m", 1, "f" * 16, 2), rows)
    return store


def passed(store: Store, condition: Mapping[str, Any]) -> set[int]:
    found = store.nearest("items", np.ones(2, np.float32), len(PAYLOADS), "euclidean", condition)
    return {int(item.id) for item in found}


MISSING = object()


def value_at(payload: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(payload, dict) or name not in payload:
            return MISSING
        payload = payload[name]
    return payload


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(value: Any, other: Any) -> bool:
    if is_number(value) and is_number(other):
        return bool(value == other)
    return type(value) is type(other) and value == other


def holds(payload: Any, condition: Mapping[str, Any]) -> bool:
    return all(member(payload, name, value) for name, value in condition.items())


def member(payload: Any, name: str, value: Any) -> bool:
    if name in {"$and", "$or"}:
        return (all if name == "$and" else any)(holds(payload, each) for each in value)
    if name == "$not":
        return not holds(payload, value)
    tests = value if isinstance(value, dict) else {"$eq": value}
    return all(test(value_at(payload, name), operator, operand) for operator, operand in tests.items())


def test(value: Any, operator: str, operand: Any) -> bool:
    ordered = is_number(value) and is_number(operand)
    return {
        "$eq": lambda: equal(value, operand),
        "$ne": lambda: not equal(value, operand),
        "$gt": lambda: ordered and value > operand,
        "$gte": lambda: ordered and value >= operand,
        "$lt": lambda: ordered and value < operand,
        "$lte": lambda: ordered and value <= operand,
        "$in": lambda: any(equal(value, each) for each in operand),
        "$nin": lambda: not any(equal(value, each) for each in operand),
        "$exists": lambda: (value is not MISSING) == operand,
        "$contains": lambda: isinstance(value, list) and operand in value,
    }[operator]()


test.__test__ = False  # type: ignore[attr-defined]  # a word of filters, not of pytest

leaf = st.sampled_from(LEAVES)
numbers = st.sampled_from([each for each in LEAVES if is_number(each)])
field_test = st.one_of(
    leaf.filter(lambda value: value is not MISSING),
    st.dictionaries(st.sampled_from(["$eq", "$ne"]), leaf, min_size=1),
    st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), numbers, min_size=1),
    st.dictionaries(st.sampled_from(["$in", "$nin"]), st.lists(leaf, min_size=1, max_size=3), min_size=1),
    st.fixed_dictionaries({"$exists": st.booleans()}),
    st.fixed_dictionaries({"$contains": st.sampled_from(["new", "it's", "x", ""])}),
)
flat = st.dictionaries(st.sampled_from(FIELDS), field_test, max_size=2)
conditions = st.recursive(
    flat,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$not": inner}),
        st.dictionaries(st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3), min_size=1),
    ),
    max_leaves=4,
)


@given(condition=conditions)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_filter_lets_through_what_it_says(store: Store, condition: dict[str, Any]) -> None:
    assert passed(store, condition) == {n for n, payload in enumerate(PAYLOADS) if holds(payload, condition)}


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"$nor": []}, "'$nor'"),
        ({"$and": {}}, "a list of filters"),
        ({"$or": []}, "a list of filters"),
        ({"$not": 1}, "an object"),
        ({"a": {}}, "an empty object"),
        ({"a": {"$like": "x"}}, "'$like'"),
        ({"a": {"eq": 1}}, "'eq'"),
        ({"a": [1]}, "a text, a number"),
        ({"a": {"$gt": "1"}}, "a number"),
        ({"a": {"$gt": True}}, "a number"),
        ({"a": {"$in": 1}}, "a list of values"),
        ({"a": {"$in": []}}, "a list of values"),
        ({"a": {"$exists": 1}}, "true or false"),
        ({"a": {"$contains": 1}}, "a text"),
        ({"": 1}, "a field's name"),
        ({"a..b": 1}, "a field's name"),
        ({'a"b': 1}, "a field's name"),
        ({"a" * 257: 1}, "a field's name"),
        ({"$and": [{"a": 1}] * 65}, "64 conditions"),
        ({"a": {"$in": [1] * 1001}}, "1,000 values"),
    ],
)
def test_what_is_no_filter_is_refused_in_one_sentence(condition: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSearchError, match=r"^filter: expected .*; found [^\n]*\.$") as caught:
        condition_of(condition)
    assert words in str(caught.value)


def test_a_filter_cannot_be_nested_without_end() -> None:
    condition: dict[str, Any] = {"a": 1}
    for _ in range(8):
        condition = {"$not": condition}
    with pytest.raises(InvalidSearchError, match="8 levels"):
        condition_of(condition)


def test_quotes_of_a_client_stay_text(store: Store, tmp_path: Path) -> None:
    for text in ("' OR true --", "'; DROP TABLE items; --", "\\' OR 'a'='a"):
        assert passed(store, {"b": text}) == set()
        assert passed(store, {text.replace("\\", ""): 1}) == set()
    assert store.count("items") == len(PAYLOADS)
