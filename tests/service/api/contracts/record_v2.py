"""Writes `recorded/v2/*.http`: requests as Triton's own client sends them, to the byte.

Run it with the extra `integrations` when a new version of the client may have changed something:
`python tests/service/api/contracts/record_v2.py`. The images are those of the API's examples; pixels are of `tiny`.
"""

import asyncio
import base64
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http
import tritonclient.http.aio
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.utils import np_to_triton_dtype

from service.api.documentation import EXAMPLES

RECORDED = Path(__file__).parent / "recorded" / "v2"
PIXELS = np.arange(2 * 28 * 28, dtype=np.uint32).reshape(2, 28, 28, 1).astype(np.uint8)
LATENTS = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
_ANSWER = b'{"outputs":[]}'
_PORT = 8000  # a part of the bytes


def record(name: str, ask: Callable[[str], object]) -> None:
    """Lets a client ask a server that answers nothing of use, and writes what it sent."""
    with socket.create_server(("127.0.0.1", _PORT)) as server:
        thread = threading.Thread(target=_take_one, args=(server, RECORDED / f"{name}.http"))
        thread.start()
        ask(f"localhost:{_PORT}")
        thread.join()


def _take_one(server: socket.socket, file: Path) -> None:
    connection, _ = server.accept()
    with connection:
        request = b""
        while not _is_complete(request):
            request += connection.recv(65536)
        file.write_bytes(request)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(_ANSWER) + _ANSWER
        )


def _is_complete(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and len(body) == sum(map(int, lengths))


def _asking(call: str, *arguments: Any, **options: Any) -> Callable[[str], object]:
    return lambda url: getattr(tritonclient.http.InferenceServerClient(url), call)(*arguments, **options)


def _asking_aio(call: str, *arguments: Any, **options: Any) -> Callable[[str], object]:
    async def ask(url: str) -> object:
        async with tritonclient.http.aio.InferenceServerClient(url) as client:
            return await getattr(client, call)(*arguments, **options)

    return lambda url: asyncio.run(ask(url))


def _input(name: str, values: Any, *, binary: bool = True) -> InferInput:
    return InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype)).set_data_from_numpy(
        values, binary_data=binary
    )


def main() -> None:
    """Records them all."""
    RECORDED.mkdir(parents=True, exist_ok=True)
    texts = np.array(EXAMPLES, object)
    images = np.array([base64.b64decode(text) for text in EXAMPLES], object)
    embedding = [InferRequestedOutput("embedding", binary_data=False)]
    record("images", _asking("infer", "tiny", [_input("image", images)], request_id="7", priority=2, timeout=9_000_000))
    record("images_in_json", _asking("infer", "tiny", [_input("image", texts, binary=False)], outputs=embedding))
    packed = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "deflate"}
    record("pixels_packed", _asking("infer", "tiny_tensor", [_input("pixels", PIXELS)], "1", **packed))
    record("pixels_aio", _asking_aio("infer", "tiny_tensor", [_input("pixels", PIXELS)]))
    record("latents", _asking("infer", "tiny_decoder", [_input("latent", LATENTS)]))
    record("index", _asking("get_model_repository_index"))


if __name__ == "__main__":
    main()
