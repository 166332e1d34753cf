"""What a collection holds and is bound to: plain data with names, and the rules for names and payloads."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from service.engine.results import Floats
from service.search.errors import ForeignVectorsError, InvalidSearchError

__all__ = ["Added", "Binding", "Card", "Item", "check_id", "check_name", "encode_payload"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MOST_ID, _MOST_PAYLOAD_BYTES = 512, 64 * 1024


@dataclass(frozen=True)
class Binding:
    """The model whose vectors a collection holds.

    Attributes:
        model: Its name.
        version: Its version.
        fingerprint: What must be the same of all vectors.
        dim: Their length.
    """

    model: str
    version: int
    fingerprint: str
    dim: int

    def __str__(self) -> str:
        return f"fingerprint {self.fingerprint} ({self.model}@{self.version})"


@dataclass(frozen=True)
class Card:
    """A collection.

    Attributes:
        name: Its own.
        binding: Its model.
        created: When, in ISO 8601.
    """

    name: str
    binding: Binding
    created: str

    def check(self, found: Binding) -> None:
        """Raises ForeignVectorsError unless vectors of that model belong here."""
        if found.fingerprint != self.binding.fingerprint:
            raise ForeignVectorsError(
                f"The collection {self.name!r} holds vectors of {self.binding}; found vectors of {found}, which must "
                "not be compared with them. Use the collection's model, or a collection of another name."
            )


@dataclass(frozen=True, eq=False)
class Item:
    """One image of a collection.

    Attributes:
        id: Unique in its collection.
        mean: Its embedding; shape [D].
        variance: Of the posterior; shape [D], or None where it was not given.
        payload: Whatever JSON object came with it.
    """

    id: str
    mean: Floats
    variance: Floats | None
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Added:
    """What became of items that were added.

    Attributes:
        added: How many are new.
        replaced: How many took the place of one of the same id.
    """

    added: int
    replaced: int


def check_name(name: str) -> None:
    """Raises InvalidSearchError unless it can name a collection."""
    if not _NAME.fullmatch(name):
        raise InvalidSearchError(
            "Expected a collection's name of up to 64 letters, digits, '.', '_' and '-' that starts with a letter or a "
            f"digit; found {name[:100]!r}."
        )


def check_id(value: Any) -> str:
    """The id itself.

    Raises:
        InvalidSearchError: It cannot be one.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_ID or not value.isprintable():
        raise InvalidSearchError(f"Expected an id of 1 to {_MOST_ID} printable characters; found {str(value)[:100]!r}.")
    return value


def encode_payload(payload: Any) -> str:
    """A payload as JSON.

    Raises:
        InvalidSearchError: It is no object, or too large.
    """
    if not isinstance(payload, Mapping):
        raise InvalidSearchError(f"Expected a JSON object as payload; found {str(payload)[:60]!r}.")
    text = orjson.dumps(payload)
    if len(text) > _MOST_PAYLOAD_BYTES:
        raise InvalidSearchError(
            f"Expected a payload of at most {_MOST_PAYLOAD_BYTES:,} bytes of JSON; found {len(text):,}."
        )
    return text.decode()
