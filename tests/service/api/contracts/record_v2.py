"""Writes `recorded/v2/*.http`: requests as the clients of Triton and KServe send them, to the byte.

Run it when a new version of a client may have changed something, with the name of the one that is installed:
`python tests/service/api/contracts/record_v2.py tritonclient`, or `kserve`, which is not in the extra `integrations` as
it wants an older protobuf than the rest. The images are those of the API's examples; pixels and latents are of `tiny`.
"""

import asyncio
import base64
import importlib
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from service.api.documentation import EXAMPLES

RECORDED = Path(__file__).parent / "recorded" / "v2"
IMAGES = np.array([base64.b64decode(text) for text in EXAMPLES], object)
PIXELS = np.arange(2 * 28 * 28, dtype=np.uint32).reshape(2, 28, 28, 1).astype(np.uint8)
LATENTS = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
_ANSWER = b'{"model_name":"","outputs":[]}'
_PORT = 8000  # a part of the bytes


def record(name: str, ask: Callable[[str], object]) -> None:
    """Lets a client ask a server that answers nothing of use, and writes what it sent."""
    RECORDED.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", _PORT)) as server:
        thread = threading.Thread(target=_take_one, args=(server, RECORDED / f"{name}.http"))
        thread.start()
        ask(f"localhost:{_PORT}")
        thread.join()


def record_tritonclient() -> None:
    """`tritonclient[http]`, with both of its clients."""
    texts = np.array(EXAMPLES, object)
    embedding = [importlib.import_module("tritonclient.http").InferRequestedOutput("embedding", binary_data=False)]
    packed = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "deflate"}
    late = {"request_id": "7", "priority": 2, "timeout": 9_000_000}
    record("images", _triton("infer", "tiny", [_triton_input("image", IMAGES)], **late))
    record("images_in_json", _triton("infer", "tiny", [_triton_input("image", texts, False)], outputs=embedding))
    record("pixels_packed", _triton("infer", "tiny_tensor", [_triton_input("pixels", PIXELS)], "1", **packed))
    record("pixels_aio", _triton_aio("infer", "tiny_tensor", [_triton_input("pixels", PIXELS)]))
    record("latents", _triton("infer", "tiny_decoder", [_triton_input("latent", LATENTS)]))
    record("index", _triton("get_model_repository_index"))


def record_kserve() -> None:
    """`kserve.InferenceRESTClient`."""
    kserve = importlib.import_module("kserve")

    async def ask(url: str, model: str, tensor: Any) -> None:
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
        request = kserve.InferRequest(model_name=model, infer_inputs=[tensor], request_id="7")
        await client.infer(f"http://{url}", request, model_name=model)
        await client.close()

    images = kserve.InferInput("image", [len(IMAGES)], "BYTES")
    images.set_data_from_numpy(IMAGES, binary_data=True)
    record("images_kserve", lambda url: asyncio.run(ask(url, "tiny", images)))
    pixels = kserve.InferInput("pixels", list(PIXELS.shape), "UINT8", PIXELS)
    record("pixels_kserve", lambda url: asyncio.run(ask(url, "tiny_tensor", pixels)))


def _triton(call: str, *arguments: Any, **options: Any) -> Callable[[str], object]:
    client = importlib.import_module("tritonclient.http").InferenceServerClient
    return lambda url: getattr(client(url), call)(*arguments, **options)


def _triton_aio(call: str, *arguments: Any, **options: Any) -> Callable[[str], object]:
    async def ask(url: str) -> object:
        async with importlib.import_module("tritonclient.http.aio").InferenceServerClient(url) as client:
            return await getattr(client, call)(*arguments, **options)

    return lambda url: asyncio.run(ask(url))


def _triton_input(name: str, values: Any, binary: bool = True) -> Any:
    datatype = importlib.import_module("tritonclient.utils").np_to_triton_dtype(values.dtype)
    tensor = importlib.import_module("tritonclient.http").InferInput(name, list(values.shape), datatype)
    return tensor.set_data_from_numpy(values, binary_data=binary)


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


if __name__ == "__main__":
    {"tritonclient": record_tritonclient, "kserve": record_kserve}[sys.argv[1]]()
