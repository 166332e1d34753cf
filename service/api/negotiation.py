"""The Accept header: which of the media types that can be given is wanted most (RFC 9110, section 12.5.1)."""

import functools

from service.api.errors import NotAcceptableError

__all__ = ["HTML", "JSON", "LINES", "NDJSON", "NPY", "PNG", "preferred", "preferred_but_png"]

HTML = "text/html"
JSON = "application/json"
NPY = "application/x-npy"
PNG = "image/png"
NDJSON = "application/x-ndjson"
LINES = (NDJSON, "application/jsonlines", "application/jsonl")
"""The names in use for one JSON value a line."""


@functools.lru_cache(64)
def preferred(accept: str | None, offered: tuple[str, ...]) -> str:
    """Picks the offer with the highest quality; the first one among equals.

    Args:
        accept: The header, or None when there was none.
        offered: Media types, best first.

    Raises:
        NotAcceptableError: The header excludes every offer.
    """
    ranges = _parse(accept) if accept and accept.strip() else {"*/*": 1.0}
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) <= 0:
        raise NotAcceptableError(f"Expected an Accept header that allows {' or '.join(offered)}; found {accept!r}.")
    return best


def preferred_but_png(accept: str | None, offered: tuple[str, ...], sent: str) -> str:
    """Picks again, after a PNG was picked and something else than one image has to be given.

    Args:
        accept: The header.
        offered: Media types without PNG, best first.
        sent: What was sent, as "2 images".

    Raises:
        NotAcceptableError: The header excludes every offer.
    """
    try:
        return preferred(accept, offered)
    except NotAcceptableError:
        text = f"A PNG holds one image and {sent} were sent; accept {' or '.join(offered)} as well."
        raise NotAcceptableError(text) from None


def _parse(accept: str) -> dict[str, float]:
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        try:
            ranges[name] = float(weights[0]) if weights else 1.0
        except ValueError:
            ranges[name] = 0.0
    return ranges


def _quality(media_type: str, ranges: dict[str, float]) -> float:
    """The quality by the most specific range that matches."""
    for key in (media_type, f"{media_type.split('/', maxsplit=1)[0]}/*", "*/*"):
        if key in ranges:
            return ranges[key]
    return 0.0
