"""An item's payload made from its bytes, or what befell it instead; in whichever thread has the time."""

import logging
import time

from service.engine.errors import InferenceError
from service.engine.images import ImageError
from service.engine.ticket import Item

__all__ = ["decode_item"]

_log = logging.getLogger(__name__)


def decode_item(item: Item) -> Exception | None:
    """Makes the payload of an item.

    Returns:
        None, and the payload is there; or the item's outcome.
    """
    if item.decode is None:
        return None
    try:
        item.payload = item.decode()
    except ImageError as error:
        return error
    except Exception:  # a bug or no memory: it must fail this item, and not leave its request waiting for ever
        _log.exception("An image could not be decoded, for a reason that is not in the image.")
        return InferenceError("This image could not be decoded, for a reason that is not in the image.")
    item.decode, item.decoded_at = None, time.perf_counter()
    return None
