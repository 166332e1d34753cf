"""Filters on payloads: the JSON in which they are asked for, made into the condition that the store evaluates.

    {"brand": "acme", "size.width": {"$gte": 10, "$lt": 20}, "$or": [{"tags": {"$contains": "new"}}, {"sold": false}]}

All fields of an object must hold. A field is a path into nested objects, its names separated by dots. What is missing
equals nothing: no condition holds for it but `$ne`, `$nin`, `$not` and `{"$exists": false}`. Values are compared by
type: the text "1" is not the number 1.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from service.search.errors import InvalidSearchError

__all__ = ["OPERATORS", "condition_of", "quoted"]

_MOST_CONDITIONS, _MOST_DEPTH, _MOST_VALUES, _MOST_PATH = 64, 8, 1000, 256


def condition_of(given: Mapping[str, Any]) -> str:
    """Makes the store's condition of a filter; nothing that a client writes gets into it unquoted.

    Args:
        given: As parsed from JSON; an empty one lets everything pass.

    Raises:
        InvalidSearchError: It is not a filter, or larger than 64 conditions, 1,000 values or 8 levels.
    """
    return _Compiler().all_of(given, 1) if given else "true"


def quoted(text: str) -> str:
    """A string literal of the store's SQL."""
    return "'" + text.replace("'", "''") + "'"


class _Compiler:
    """Counts what it compiles."""

    def __init__(self) -> None:
        self._conditions = self._values = 0

    def all_of(self, given: Any, depth: int) -> str:
        """Every member of an object must hold."""
        if not isinstance(given, Mapping):
            raise InvalidSearchError(f"filter: expected an object with fields and their conditions; {_found(given)}.")
        if depth > _MOST_DEPTH:
            raise InvalidSearchError(
                f"filter: expected at most {_MOST_DEPTH} levels of $and, $or and $not; found more."
            )
        parts = [self._member(name, value, depth) for name, value in given.items()]
        return "(" + " AND ".join(parts or ["true"]) + ")"

    def _member(self, name: str, value: Any, depth: int) -> str:
        if name in {"$and", "$or"}:
            if not isinstance(value, list) or not value:
                raise InvalidSearchError(f"filter: expected a list of filters for {name}; {_found(value)}.")
            joint = " AND " if name == "$and" else " OR "
            return "(" + joint.join(self.all_of(each, depth + 1) for each in value) + ")"
        if name == "$not":
            return f"(NOT {self.all_of(value, depth + 1)})"
        if name.startswith("$"):
            raise InvalidSearchError(f"filter: expected $and, $or, $not or the name of a field; found {name[:60]!r}.")
        tests = value if isinstance(value, Mapping) else {"$eq": value}
        if not tests:
            raise InvalidSearchError(
                f"filter: expected a value or conditions for {name[:60]!r}; found an empty object."
            )
        return "(" + " AND ".join(self._test(name, operator, operand) for operator, operand in tests.items()) + ")"

    def _test(self, name: str, operator: str, operand: Any) -> str:
        self._conditions += 1
        self._values += len(operand) if isinstance(operand, list) else 1
        if self._conditions > _MOST_CONDITIONS or self._values > _MOST_VALUES:
            raise InvalidSearchError(
                f"filter: expected at most {_MOST_CONDITIONS} conditions and {_MOST_VALUES:,} values; found more."
            )
        make = OPERATORS.get(operator)
        if make is None:
            raise InvalidSearchError(
                f"filter: expected for {name[:60]!r} a value or one of {', '.join(OPERATORS)}; found {operator[:60]!r}."
            )
        # A missing field makes SQL's NULL, which NOT would keep.
        return f"coalesce({make(_path(name), operand)}, false)"


def _equals(path: str, value: Any) -> str:
    if value is None:
        return f"{_json(path)} = 'null'"
    if isinstance(value, bool):
        return f"{_json(path)} = '{str(value).lower()}'"
    if isinstance(value, str):
        return f"{_json(path)} = {quoted(orjson.dumps(value).decode())}"
    return f"{_number_at(path)} = {_number(value, 'a text, a number, true, false or null to equal')}"


def _differs(path: str, value: Any) -> str:
    return f"NOT coalesce({_equals(path, value)}, false)"


def _ordered(sign: str) -> Callable[[str, Any], str]:
    return lambda path, value: f"{_number_at(path)} {sign} {_number(value, 'a number to compare with')}"


def _one_of(path: str, values: Any) -> str:
    if not isinstance(values, list) or not values:
        raise InvalidSearchError(f"filter: expected a list of values for $in or $nin; {_found(values)}.")
    return "(" + " OR ".join(f"coalesce({_equals(path, value)}, false)" for value in values) + ")"


def _none_of(path: str, values: Any) -> str:
    return f"NOT {_one_of(path, values)}"


def _exists(path: str, value: Any) -> str:
    if not isinstance(value, bool):
        raise InvalidSearchError(f"filter: expected true or false for $exists; {_found(value)}.")
    return f"{_json(path)} IS {'NOT ' if value else ''}NULL"


def _contains(path: str, value: Any) -> str:
    """A text among the members of an array; the store compares numbers in it as they are written."""
    if not isinstance(value, str):
        raise InvalidSearchError(f"filter: expected a text for $contains; {_found(value)}.")
    return f"json_array_contains(payload, {path}, {quoted(value)})"


OPERATORS: Mapping[str, Callable[[str, Any], str]] = {
    "$eq": _equals,
    "$ne": _differs,
    "$gt": _ordered(">"),
    "$gte": _ordered(">="),
    "$lt": _ordered("<"),
    "$lte": _ordered("<="),
    "$in": _one_of,
    "$nin": _none_of,
    "$exists": _exists,
    "$contains": _contains,
}
"""What may be asked of a field; each makes a condition of the field's path and a value."""


def _path(name: str) -> str:
    """Where the value of a field is in a payload, as a literal of the store's SQL."""
    parts = name.split(".")
    if len(name) > _MOST_PATH or not all(parts) or any(letter in name for letter in '"\\') or not name.isprintable():
        raise InvalidSearchError(
            f"filter: expected a field's name of at most {_MOST_PATH} printable characters without quotation marks and "
            f"backslashes, names of nested fields separated by dots; found {name[:60]!r}."
        )
    return quoted("$" + "".join(f'."{part}"' for part in parts))


def _json(path: str) -> str:
    """The JSON of the value there, as text; NULL where there is none."""
    return f"json_extract(payload, {path})"


def _number_at(path: str) -> str:
    return f"try_cast({_json(path)} AS DOUBLE)"


def _number(value: Any, expected: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidSearchError(f"filter: expected {expected}; {_found(value)}.")
    return f"cast({quoted(repr(float(value)))} AS DOUBLE)"


def _found(value: Any) -> str:
    text = repr(value)
    return f"found {text if len(text) <= 60 else text[:57] + '...'}"
