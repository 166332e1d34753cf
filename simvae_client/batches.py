"""Images cut into requests of a size that every server takes, and a request's body."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simvae_client.images import Image, Pixels, encoded, name_of, size_bytes
from simvae_client.npy import NPY, write_npy

__all__ = ["Batch", "Body", "Place", "cut"]

_MOST_BYTES = 8 << 20


@dataclass(frozen=True)
class Place:
    """Where an image stands in what the caller gave.

    Attributes:
        index: From 0.
        name: Its path, where it has one.
    """

    index: int
    name: str | None


@dataclass(frozen=True)
class Body:
    """What is sent.

    Attributes:
        content: The bytes.
        content_type: How they are to be read.
        places: Of the images that are in it, in order.
        unreadable: Files that could not be read, and why; they are not in it.
    """

    content: bytes
    content_type: str
    places: tuple[Place, ...]
    unreadable: tuple[tuple[Place, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one request.

    Attributes:
        start: The place of the first among all that the caller gave.
        images: A list of any kinds; or an array of the model's own height and width.
    """

    start: int
    images: Sequence[Image] | Pixels

    def __len__(self) -> int:
        return len(self.images)

    def halves(self) -> tuple["Batch", "Batch"]:
        """Two batches of the same images; it must have two at least."""
        middle = len(self) // 2
        return Batch(self.start, self.images[:middle]), Batch(self.start + middle, self.images[middle:])

    def body(self, *, skip: bool = False) -> Body:
        """Reads and encodes the images: an array as `.npy`, others as a form, none at all as JSON.

        Args:
            skip: Whether a file that cannot be read is left out.

        Raises:
            OSError: A file cannot be read, and is not to be left out.
        """
        if isinstance(self.images, np.ndarray):
            places = tuple(Place(self.start + index, None) for index in range(len(self)))
            return Body(write_npy(self.images), NPY, places)
        read: list[tuple[Place, bytes]] = []
        unreadable: list[tuple[Place, str]] = []
        for index, image in enumerate(self.images, self.start):
            place = Place(index, name_of(image))
            try:
                read.append((place, encoded(image)))
            except OSError as error:
                if not skip:
                    raise
                unreadable.append((place, error.strerror or str(error)))
        content, content_type = _form([content for _, content in read])
        return Body(content, content_type, tuple(place for place, _ in read), tuple(unreadable))


def cut(images: Sequence[Image] | Pixels, most_images: int) -> list[Batch]:
    """Batches of at most so many images and about 8 MiB, in order; a larger image goes alone. None make one of none.

    Raises:
        ValueError, TypeError: One of them is no image.
    """
    ends: list[int] = []
    start = held_bytes = 0
    for index, image in enumerate(images):
        more_bytes = size_bytes(image)
        if index > start and (index - start == most_images or held_bytes + more_bytes > _MOST_BYTES):
            ends.append(index)
            start, held_bytes = index, 0
        held_bytes += more_bytes
    return [Batch(begin, images[begin:end]) for begin, end in zip([0, *ends], [*ends, len(images)], strict=True)]


def _form(contents: Sequence[bytes]) -> tuple[bytes, str]:
    """Files of `multipart/form-data` in one piece: httpx's encoder sends part by part, at five times the cost."""
    if not contents:
        return json.dumps({"images": []}).encode(), "application/json"
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="0"\r\n\r\n'.encode()
    parts = [piece for content in contents for piece in (head, content, b"\r\n")]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"
