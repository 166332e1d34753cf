"""How requests are written and answers read: the form that each server takes, chosen for its speed."""

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.engine.images import Pixels

__all__ = [
    "Form", "float_rows", "infer_v2", "json_embedding", "json_images", "json_list", "json_rows", "line_rows", "lines",
    "multipart", "npy", "npy_rows", "packed", "pixels", "raw", "v2_rows",
]  # fmt: skip

Rows = NDArray[np.float32]
BOUNDARY = "----------------simvae-benchmark"


@dataclass(frozen=True)
class Form:
    """A way to ask one server for the embeddings of some images.

    Attributes:
        path: Of the URL.
        write: Encoded images and their pixels to a body.
        read: An answer's body to rows, shape [N, D].
        headers: Beside Content-Length.
    """

    path: str
    write: Callable[[Sequence[bytes], Pixels], bytes]
    read: Callable[[bytes], Rows]
    headers: dict[str, str] = field(default_factory=dict)


def raw(contents: Sequence[bytes], _pixels: Pixels) -> bytes:
    """One image as it is."""
    (content,) = contents
    return content


def packed(contents: Sequence[bytes], _pixels: Pixels) -> bytes:
    """Each image after its length, four bytes, little-endian."""
    return b"".join(len(content).to_bytes(4, "little") + content for content in contents)


def pixels(_contents: Sequence[bytes], array: Pixels) -> bytes:
    """The bare bytes of an array."""
    return array.tobytes()


def npy(_contents: Sequence[bytes], array: Pixels) -> bytes:
    """An array as numpy saves it."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def multipart(contents: Sequence[bytes], _pixels: Pixels) -> bytes:
    """Files of a form, all named `images`."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{{}}"\r\n\r\n'
    parts = [head.format(number).encode() + content + b"\r\n" for number, content in enumerate(contents)]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def json_images(contents: Sequence[bytes], _pixels: Pixels) -> bytes:
    """`{"images": [base64, …]}`."""
    return json.dumps({"images": [base64.b64encode(content).decode() for content in contents]}).encode()


def lines(contents: Sequence[bytes], _pixels: Pixels) -> bytes:
    """NDJSON: `{"image": base64}` in each line."""
    return b"".join(b'{"image": "%s"}\n' % base64.b64encode(content) for content in contents)


def infer_v2(name: str, datatype: str) -> Callable[[Sequence[bytes], Pixels], bytes]:
    """The binary extension of the Open Inference Protocol: a JSON head, then the bytes of one input."""

    def write(contents: Sequence[bytes], array: Pixels) -> bytes:
        content = packed(contents, array) if datatype == "BYTES" else array.tobytes()
        shape = [len(contents), 1] if datatype == "BYTES" else list(array.shape)
        parameters = {"binary_data_size": len(content)}
        source = {"name": name, "shape": shape, "datatype": datatype, "parameters": parameters}
        head = {"inputs": [source], "outputs": [{"name": "embeddings", "parameters": {"binary_data": True}}]}
        text = json.dumps(head).encode()
        return text.ljust(V2_HEAD) + content  # white space at the end of JSON is none of its content

    return write


V2_HEAD = 256
"""Bytes of the head, padded to be the same in every request, because a header of the request must tell."""


def json_rows(body: bytes) -> Rows:
    """`{"embeddings": [[…]]}`."""
    return np.asarray(json.loads(body)["embeddings"], np.float32)


def json_embedding(body: bytes) -> Rows:
    """`{"embedding": […]}`."""
    return np.asarray([json.loads(body)["embedding"]], np.float32)


def json_list(body: bytes) -> Rows:
    """`[[…]]`."""
    return np.asarray(json.loads(body), np.float32)


def line_rows(body: bytes) -> Rows:
    """NDJSON: `{"embedding": […]}` in each line."""
    return np.asarray([json.loads(line)["embedding"] for line in body.splitlines()], np.float32)


def npy_rows(body: bytes) -> Rows:
    """An array as numpy saves it."""
    array: Rows = np.load(io.BytesIO(body))
    return array


def float_rows(dim: int) -> Callable[[bytes], Rows]:
    """Bare float32."""
    return lambda body: np.frombuffer(body, np.float32).reshape(-1, dim)


def v2_rows(dim: int) -> Callable[[bytes], Rows]:
    """The binary extension's answer: its only output is the last thing in the body."""

    def read(body: bytes) -> Rows:
        head = json.JSONDecoder().raw_decode(body.decode("latin-1"))[0]
        size = head["outputs"][0]["parameters"]["binary_data_size"]
        return np.frombuffer(body[len(body) - size :], np.float32).reshape(-1, dim)

    return read
