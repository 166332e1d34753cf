"""Which image formats are decoded, told by their first bytes and never by a name or a header of the sender."""

import struct

__all__ = ["FORMATS", "IMAGE_SUFFIXES", "count_tiff_parts", "sniff_format"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Pillow names of the formats that are decoded. Everything else is refused by its first bytes, so that no
rarely-used parser ever sees data from outside."""

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .tif .tiff .avif .heic .heif .jxl".split()  # noqa: SIM905
)
"""What counts as an image in a folder; some cannot be decoded, and are better reported than passed over in silence."""

_TIFF_OFFSETS = frozenset({273, 324})  # where the strips, or the tiles, of the image begin: a number for each

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)


def sniff_format(data: bytes) -> str | None:
    """Names the image format by its first bytes.

    Args:
        data: The file, or at least its first 64 bytes.

    Returns:
        A member of `FORMATS`, or None.
    """
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    # An ISO media file: the size of its first box, "ftyp", the major brand, a version, then compatible brands.
    if data[4:8] == b"ftyp" and {data[8:12], *_brands(data)} & {b"avif", b"avis"}:
        return "AVIF"
    return None


def count_tiff_parts(data: bytes) -> int:
    """Counts the strips or tiles that the first directory of a TIFF says it has; 0 where it cannot be read."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, start)
    except struct.error:
        return 0
    body = data[start + 2 : start + 2 + 12 * entries]
    counts = struct.iter_unpack(f"{order}H2xI4x", body[: len(body) // 12 * 12])
    return max((count for tag, count in counts if tag in _TIFF_OFFSETS), default=0)


def _brands(data: bytes) -> list[bytes]:
    end = min(int.from_bytes(data[:4], "big"), 64)
    return [data[start : start + 4] for start in range(16, end, 4)]
