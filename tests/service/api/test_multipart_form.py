"""A form is read alike however its bytes are cut, and held to its limits."""

import pytest

from service.api.errors import RequestError, TooManyItemsError
from service.api.multipart_form import Part, PartsReader

TYPE = 'multipart/form-data; boundary="a b"'
BODY = (
    b"a preamble\r\n--a b\r\n"
    b'Content-Disposition: form-data; name="images"; filename="\xc3\xa4.png"\r\nContent-Type: image/png\r\n\r\n'
    b"\x89PNG\r\n--a cut\r\n"
    b'--a b\r\nContent-Disposition: form-data; name="dtype"\r\n\r\nint8\r\n'
    b'--a b\r\nContent-Disposition: form-data; name="images"; filename=""\r\n\r\n\r\n'
    b"--a b--\r\nan epilogue\r\n"
)
PARTS = [
    Part("images", b"\x89PNG\r\n--a cut", filename="ä.png"),
    Part("dtype", b"int8", filename=None),
    Part("images", b"", filename=""),
]


def read(body: bytes, size: int, content_type: str = TYPE, max_parts: int = 10) -> list[Part]:
    reader = PartsReader(content_type, max_parts)
    for start in range(0, len(body), size):
        reader.feed(body[start : start + size])
    reader.close()
    return reader.parts


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
def test_however_a_form_is_cut_its_parts_are_the_same(size: int) -> None:
    assert read(BODY, size) == PARTS


def test_a_form_that_ends_anywhere_before_its_closing_boundary_is_refused() -> None:
    end = BODY.index(b"--a b--") + len(b"--a b--")
    for length in range(end):
        with pytest.raises(RequestError, match="malformed"):
            read(BODY[:length], 10_000)
    assert read(BODY[:end], 10_000) == PARTS


def test_more_parts_than_allowed_are_refused_before_they_are_read() -> None:
    assert len(read(BODY, 50, max_parts=3)) == 3
    with pytest.raises(TooManyItemsError):
        read(BODY, 50, max_parts=2)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_a_form_without_a_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(RequestError, match="boundary"):
        read(BODY, 50, content_type)


def test_an_option_is_short_text() -> None:
    assert Part("dtype", b"int8", filename=None).text == "int8"
    for content in (b"\xff", bytes(100_000)):
        with pytest.raises(RequestError, match="dtype"):
            _ = Part("dtype", content, filename=None).text
