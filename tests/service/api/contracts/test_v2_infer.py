"""Open Inference Protocol: requests as its clients send them give what `POST /embed` gives."""

import base64
import contextlib
import gzip
import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.api.contracts.v2.models import ServedModel, served
from service.api.contracts.v2.request import ITEMS, read_request
from service.api.documentation import EXAMPLES
from service.api.errors import ApiError, ItemError

RECORDED = Path(__file__).parent / "recorded" / "v2"
IMAGES = [base64.b64decode(text) for text in EXAMPLES]
PIXELS = np.arange(2 * 28 * 28, dtype=np.uint32).reshape(2, 28, 28, 1).astype(np.uint8)  # as in record_v2.py
LATENTS = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
LENGTH = "Inference-Header-Content-Length"


def elements(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def image_request(*images: bytes, **members: Any) -> dict[str, Any]:
    """As httpx takes it, with the images in binary and every output in JSON unless `members` say otherwise."""
    data = elements(*images)
    tensor = {
        "name": "image",
        "shape": [len(images)],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(data)},
    }
    return binary_request({"inputs": [tensor]} | members, data)


def binary_request(content: Any, data: bytes) -> dict[str, Any]:
    head = json.dumps(content).encode()
    return {"content": head + data, "headers": {LENGTH: str(len(head))}}


def json_request(name: str, datatype: str, shape: list[int], data: Any, **members: Any) -> dict[str, Any]:
    return {"json": {"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]} | members}


def arrays(status: int, headers: Any, body: bytes) -> dict[str, NDArray[Any]]:
    """The outputs of an answer, read as the protocol says."""
    assert status == 200, body
    length = int(headers[LENGTH]) if LENGTH in headers else len(body)
    assert headers["Content-Type"] == ("application/octet-stream" if LENGTH in headers else "application/json")
    outputs, rest = json.loads(body[:length])["outputs"], body[length:]
    found = {}
    for output in outputs:
        dtype = {"FP32": "<f4", "UINT8": "u1"}[output["datatype"]]
        if "data" in output:
            values = np.array(output["data"], dtype)
        else:
            size = output["parameters"]["binary_data_size"]
            values, rest = np.frombuffer(rest[:size], dtype), rest[size:]
        found[output["name"]] = values.reshape(output["shape"])
    assert not rest
    return found


def ask(client: httpx.Client, path: str, **request: Any) -> dict[str, NDArray[Any]]:
    answer = client.post(path, **request)
    return arrays(answer.status_code, answer.headers, answer.content)


def replay(port: int, name: str) -> tuple[HTTPResponse, bytes]:
    """Sends recorded bytes, and nothing else."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall((RECORDED / f"{name}.http").read_bytes())
        answer = HTTPResponse(connection)
        answer.begin()
        return answer, answer.read()


def native(client: httpx.Client, images: list[bytes] | NDArray[np.uint8], **options: Any) -> dict[str, NDArray[Any]]:
    """What `POST /embed` says of the same images, one request each."""
    bodies = images if isinstance(images, list) else [npy(image[None]) for image in images]
    answers = [client.post("/embed", params={"variance": True} | options, content=body).json() for body in bodies]
    return {
        "embedding": np.array([answer["embeddings"][0] for answer in answers], np.float32),
        "variance": np.array([answer["variances"][0] for answer in answers], np.float32),
    }


def npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def assert_same(found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6)


def assert_refused(answer: httpx.Response, status: int, text: str) -> None:
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert text in answer.json()["error"]


@pytest.mark.parametrize("name", ["images", "pixels_packed", "pixels_aio", "images_kserve", "pixels_kserve"])
def test_what_the_clients_send_gives_every_output_in_the_form_they_ask_for(server: Any, name: str) -> None:
    answer, body = replay(server.port, name)
    if name == "pixels_packed":
        assert answer.headers["Content-Encoding"] == "deflate"
        body = zlib.decompress(body)
    else:
        assert "Content-Encoding" not in answer.headers
    assert (LENGTH in answer.headers) == (not name.endswith("kserve")), "Triton's client wants binary, KServe's JSON"
    expected = native(server.client, IMAGES if name.startswith("images") else PIXELS)
    assert_same(arrays(answer.status, answer.headers, body), expected)


def test_what_tritons_client_sends_in_json_gives_the_one_output_that_it_names(server: Any) -> None:
    answer, body = replay(server.port, "images_in_json")
    expected = native(server.client, IMAGES)
    assert_same(arrays(answer.status, answer.headers, body), {"embedding": expected["embedding"]})


def test_the_answer_names_model_version_fingerprint_and_the_id_of_the_request(client: httpx.Client) -> None:
    answer = client.post("/v2/models/tiny/infer", **image_request(IMAGES[0], id="a 7"))
    content = answer.json()
    assert (content["id"], content["model_name"], content["model_version"]) == ("a 7", "tiny", "1")
    assert content["parameters"]["fingerprint"] == answer.headers["X-Model-Fingerprint"]
    assert "id" not in client.post("/v2/models/tiny/infer", **image_request(IMAGES[0])).json()


@pytest.mark.parametrize(
    "request_of",
    [
        lambda images: image_request(*images),
        lambda images: json_request("image", "BYTES", [3], [base64.b64encode(image).decode() for image in images]),
        lambda images: json_request("image", "BYTES", [3, 1], [[base64.b64encode(image).decode()] for image in images]),
    ],
)
def test_images_come_as_elements_or_as_base64_flat_or_nested(
    client: httpx.Client, images: list[bytes], request_of: Callable[..., Any]
) -> None:
    assert_same(ask(client, "/v2/models/tiny/versions/1/infer", **request_of(images)), native(client, images))


@pytest.mark.parametrize(
    "request_of",
    [
        lambda pixels: json_request("pixels", "UINT8", [2, 28, 28, 1], pixels.tolist()),
        lambda pixels: json_request("pixels", "UINT8", [2, 28, 28], pixels.ravel().tolist()),
        lambda pixels: {"content": pixels.tobytes(), "headers": {LENGTH: "0"}},
    ],
)
def test_pixels_come_as_numbers_flat_or_nested_or_as_the_body_itself(
    client: httpx.Client, request_of: Callable[..., Any]
) -> None:
    assert_same(ask(client, "/v2/models/tiny_tensor/infer", **request_of(PIXELS)), native(client, PIXELS))


def test_a_body_may_be_one_image_and_nothing_else(client: httpx.Client) -> None:
    answer = client.post("/v2/models/tiny/infer", content=IMAGES[0], headers={LENGTH: "0"})
    assert LENGTH in answer.headers, "the outputs of a request without JSON are binary"
    assert_same(arrays(answer.status_code, answer.headers, answer.content), native(client, IMAGES[:1]))


def test_each_output_comes_in_the_form_that_was_asked_for_and_in_that_order(client: httpx.Client) -> None:
    outputs = [{"name": "variance"}, {"name": "embedding", "parameters": {"binary_data": False}}]
    request = image_request(*IMAGES, outputs=outputs, parameters={"binary_data_output": True})
    answer = client.post("/v2/models/tiny/infer", **request)
    head = json.loads(answer.content[: int(answer.headers[LENGTH])])
    assert [list(output)[-1] for output in head["outputs"]] == ["parameters", "data"]
    expected = native(client, IMAGES)
    found = arrays(answer.status_code, answer.headers, answer.content)
    assert_same(found, {"variance": expected["variance"], "embedding": expected["embedding"]})


def test_normalize_is_a_parameter_of_the_request(client: httpx.Client) -> None:
    request = image_request(*IMAGES, parameters={"normalize": True, "somebody_elses": {"x": [1]}})
    assert_same(ask(client, "/v2/models/tiny/infer", **request), native(client, IMAGES, normalize=True))


def test_what_tritons_client_sends_to_the_decoder_gives_the_images_of_the_latents(server: Any) -> None:
    answer, body = replay(server.port, "latents")
    assert_same(arrays(answer.status, answer.headers, body), decoded(server.client))


@pytest.mark.parametrize(
    "request_",
    [
        json_request("latent", "FP32", [3, 4], LATENTS.tolist()),
        json_request("latent", "FP32", [3, 4], LATENTS.ravel().tolist()),
        {"content": LATENTS.tobytes(), "headers": {LENGTH: "0"}},
    ],
)
def test_latents_come_as_numbers_or_as_the_body_itself(client: httpx.Client, request_: Any) -> None:
    assert_same(ask(client, "/v2/models/tiny_decoder/infer", **request_), decoded(client))


def decoded(client: httpx.Client) -> dict[str, NDArray[Any]]:
    """What `POST /decode` makes of the latents."""
    answer = client.post("/decode", content=npy(LATENTS), headers={"Accept": "application/x-npy"})
    return {"pixels": np.load(io.BytesIO(answer.content))}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_latent_that_is_not_finite_is_named_by_its_index(client: httpx.Client, bad: float) -> None:
    latents = LATENTS.copy()
    latents[1, 2] = bad
    answer = client.post("/v2/models/tiny_decoder/infer", content=latents.tobytes(), headers={LENGTH: "0"})
    assert_refused(answer, 422, "Item 1: Expected finite numbers")
    beyond = json_request("latent", "FP32", [2, 4], [0, 0, 0, 0, 0, 1e39, 0, 0])
    assert_refused(client.post("/v2/models/tiny_decoder/infer", **beyond), 422, "Item 1: Expected finite numbers")


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/v2/models/tiny/infer", image_request(parameters={"binary_data_output": True})),
        ("/v2/models/tiny/infer", json_request("image", "BYTES", [0], [])),
        ("/v2/models/tiny_tensor/infer", json_request("pixels", "UINT8", [0, 28, 28, 1], [])),
        ("/v2/models/tiny_tensor/infer", {"content": b"", "headers": {LENGTH: "0"}}),
        ("/v2/models/tiny_decoder/infer", {"content": b"", "headers": {LENGTH: "0"}}),
    ],
)
def test_an_empty_batch_gives_empty_outputs(client: httpx.Client, path: str, request_: Any) -> None:
    found = ask(client, path, **request_)
    posterior = {"embedding": (0, 4), "variance": (0, 4)}
    expected = {"pixels": (0, 28, 28, 1)} if "decoder" in path else posterior
    assert {name: values.shape for name, values in found.items()} == expected


def test_an_answer_is_packed_only_for_whoever_asks_for_one_coding_alone(client: httpx.Client) -> None:
    request = image_request(*IMAGES)
    for coding, unpack in (("gzip", gzip.decompress), ("deflate", zlib.decompress)):
        headers = request["headers"] | {"Accept-Encoding": coding}
        with client.stream("POST", "/v2/models/tiny/infer", content=request["content"], headers=headers) as answer:
            assert answer.headers["Content-Encoding"] == coding
            assert json.loads(unpack(b"".join(answer.iter_raw())))["model_name"] == "tiny"
    for several in ("gzip, deflate, br", "identity", "*"):
        headers = request["headers"] | {"Accept-Encoding": several}
        answer = client.post("/v2/models/tiny/infer", content=request["content"], headers=headers)
        assert "Content-Encoding" not in answer.headers


def test_a_browser_may_read_where_the_json_ends(start: Callable[..., Any]) -> None:
    client = start(cors_origins=("https://a.example",)).client
    headers = {LENGTH: "0", "Origin": "https://a.example"}
    answer = client.post("/v2/models/tiny/infer", content=IMAGES[0], headers=headers)
    assert LENGTH in answer.headers["Access-Control-Expose-Headers"]


TENSOR = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [EXAMPLES[0]]}
SHARED = {"shared_memory_region": "x", "shared_memory_byte_size": 8}


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        ([], 400, "Expected a JSON object; found a list"),
        ({}, 400, "inputs: Field required"),
        ({"inputs": []}, 400, "Expected the one input 'image' of model tiny; found none"),
        ({"inputs": [TENSOR, TENSOR]}, 400, "found 'image', 'image'"),
        ({"inputs": [TENSOR | {"name": "pixels"}]}, 400, "found 'pixels'"),
        ({"inputs": [TENSOR | {"datatype": "UINT8"}]}, 422, "image: expected datatype BYTES; found 'UINT8'"),
        ({"inputs": [TENSOR | {"shape": [1, 2]}]}, 422, "image: expected shape [N, 1]; found [1, 2]"),
        ({"inputs": [TENSOR | {"shape": []}]}, 422, "found []"),
        ({"inputs": [TENSOR | {"shape": [-1]}]}, 400, "inputs.0.shape.0"),
        ({"inputs": [TENSOR | {"shape": [True]}]}, 400, "inputs.0.shape.0"),
        ({"inputs": [TENSOR | {"shape": [2]}]}, 400, "Expected 2 elements in 'data', as 'shape' says; found 1"),
        ({"inputs": [TENSOR | {"data": [7]}]}, 400, "Item 0: Expected base64 or a data URI; found a number"),
        ({"inputs": [TENSOR | {"data": "x"}]}, 400, "image: expected a list 'data', or the parameter"),
        ({"inputs": [TENSOR | {"shape": [257]}]}, 413, "257 items; at most 256"),
        ({"inputs": [TENSOR | {"parameters": {"binary_data_size": 4}}]}, 400, "expected the 4 bytes of binary data"),
        ({"inputs": [TENSOR | {"parameters": SHARED}]}, 400, "Shared memory is not offered"),
        ({"inputs": [TENSOR], "outputs": [{"name": "z"}]}, 400, "Expected outputs of embedding, variance, each once"),
        ({"inputs": [TENSOR], "outputs": 2 * [{"name": "variance"}]}, 400, "each once; found 'variance'"),
        ({"inputs": [TENSOR], "outputs": [{"name": "variance", "parameters": SHARED}]}, 400, "Shared memory is not"),
        ({"inputs": [TENSOR], "outputs": [{"name": "variance", "parameters": {"classification": 3}}]}, 400, "classes"),
        ({"inputs": [TENSOR], "parameters": {"priority": "high"}}, 400, "parameters.priority"),
        ({"inputs": [TENSOR], "parameters": {"timeout": -1}}, 400, "parameters.timeout"),
    ],
)
def test_what_is_not_a_request_of_this_model_is_refused_in_the_protocols_shape(
    client: httpx.Client, content: Any, status: int, text: str
) -> None:
    assert_refused(client.post("/v2/models/tiny/infer", json=content), status, text)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([256] * 784, "whole numbers from 0 to 255"),
        ([-1] * 784, "whole numbers from 0 to 255"),
        ([0.5] * 784, "whole numbers from 0 to 255"),
        ([None] * 784, "whole numbers from 0 to 255"),
        ([1] * 783, "Expected 784 numbers in 'data', as 'shape' says; found 783"),
        ([[1], [1, 2]], "expected numbers in 'data'"),
        ([{}], "expected numbers in 'data'"),
    ],
)
def test_pixels_that_are_none_are_refused(client: httpx.Client, data: Any, text: str) -> None:
    request = json_request("pixels", "UINT8", [1, 28, 28, 1], data)
    assert_refused(client.post("/v2/models/tiny_tensor/infer", **request), 400, text)


def test_a_long_text_among_numbers_takes_no_room_for_each_of_them(client: httpx.Client) -> None:
    data = ["x" * 1_000_000, *[0] * 200_000]  # 800 GB, if every number got the room of the text
    request = json_request("pixels", "UINT8", [1, 28, 28, 1], data)
    assert_refused(client.post("/v2/models/tiny_tensor/infer", **request), 400, "expected numbers in 'data'")


@pytest.mark.parametrize(
    ("path", "body", "length", "text"),
    [
        ("/v2/models/tiny/infer", b"{}", "x", "expected a number of bytes; found 'x'"),
        ("/v2/models/tiny/infer", b"{}", "3", "more than the 2 bytes of the body"),
        ("/v2/models/tiny/infer", b"{]", None, "The inference request is not JSON"),
        ("/v2/models/tiny_tensor/infer", b"x" * 785, "0", "Expected a multiple of 784 bytes"),
    ],
)
def test_a_body_that_is_cut_in_the_wrong_place_is_refused(
    client: httpx.Client, path: str, body: bytes, length: str | None, text: str
) -> None:
    headers = {} if length is None else {LENGTH: length}
    assert_refused(client.post(path, content=body, headers=headers), 400, text)


@pytest.mark.parametrize("data", [b"", b"\x05\x00\x00", elements(b"ab")[:-1], elements(b"a", b"b"), b"\xff" * 8])
def test_elements_that_do_not_fill_the_binary_data_are_refused(client: httpx.Client, data: bytes) -> None:
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    answer = client.post("/v2/models/tiny/infer", **binary_request({"inputs": [tensor]}, data))
    assert_refused(answer, 400, "Expected 1 elements, each behind its length")


def test_pixels_of_another_length_than_their_shape_are_refused(client: httpx.Client) -> None:
    tensor = {"name": "pixels", "shape": [2, 28, 28, 1], "datatype": "UINT8", "parameters": {"binary_data_size": 784}}
    answer = client.post("/v2/models/tiny_tensor/infer", **binary_request({"inputs": [tensor]}, b"x" * 784))
    assert_refused(answer, 400, "Expected 1568 bytes of binary data for UINT8 of shape [2, 28, 28, 1]; found 784")


def test_a_bad_image_is_named_by_its_index(client: httpx.Client) -> None:
    answer = client.post("/v2/models/tiny/infer", **image_request(IMAGES[0], b"no image"))
    assert_refused(answer, 415, "Item 1: ")


def test_a_wrong_key_is_refused_in_the_protocols_shape(start: Callable[..., Any]) -> None:
    client = start(api_key="secret").client
    request = image_request(IMAGES[0])
    refused = client.post("/v2/models/tiny/infer", **request)
    assert_refused(refused, 401, "Expected an API key")
    request["headers"] |= {"Authorization": "Bearer secret"}
    assert client.post("/v2/models/tiny/infer", **request).status_code == 200


def test_no_room_is_told_in_the_protocols_shape_with_the_time_to_wait(start: Callable[..., Any]) -> None:
    running = start(queue_items=4)
    with running.occupied(4):
        answer = running.client.post("/v2/models/tiny/infer", **image_request(IMAGES[0]))
    assert_refused(answer, 429, "The queue is full")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_body_beyond_the_limit_is_refused_also_when_it_is_packed(start: Callable[..., Any]) -> None:
    client = start(max_body_bytes=1000).client
    packed = {"content": gzip.compress(b"x" * 1001), "headers": {"Content-Encoding": "gzip", LENGTH: "0"}}
    assert_refused(client.post("/v2/models/tiny/infer", **packed), 413, "once it is unpacked")


def test_a_timeout_in_microseconds_ends_the_wait(server: Any, make_image: Callable[..., bytes]) -> None:
    request = image_request(make_image("JPEG", size=(60, 40), mode="RGB"), parameters={"timeout": 300_000})
    with server.occupied(1):
        started = time.monotonic()
        answer = server.client.post("/v2/models/tiny/infer", **request)
        assert time.monotonic() - started < 15  # the server's own limit is 30
    assert_refused(answer, 504, "not ready in time")


def test_a_timeout_that_has_passed_already_is_told_so(client: httpx.Client) -> None:
    request = image_request(IMAGES[0], parameters={"timeout": 1})
    assert_refused(client.post("/v2/models/tiny/infer", **request), 504, "")


@pytest.mark.parametrize(("priority", "bulk"), [(0, 0), (1, 0), (2, 1), (9, 1)])
def test_all_priorities_but_the_highest_are_bulk(server: Any, priority: int, bulk: int) -> None:
    labels = {"route": "/v2/models/{name}/infer", "code": "200"}
    before = server.metric("simvae_bulk_requests_total", **labels)
    ask(server.client, "/v2/models/tiny/infer", **image_request(IMAGES[0], parameters={"priority": priority}))
    assert server.metric("simvae_bulk_requests_total", **labels) - before == bulk


@pytest.fixture(scope="module")
def models(server: Any) -> list[ServedModel]:
    return list(served(server.repository))


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_no_bytes_at_all_do_anything_but_a_clear_refusal(models: list[ServedModel], data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(models))
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-1, 300) | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["data", "name", "id"]), inner),
        max_leaves=6,
    )
    tensor = {"name": model.input.name, "datatype": model.input.datatype, "shape": [data.draw(st.integers(0, 3))]}
    tensor |= {"data": data.draw(values)} if data.draw(st.booleans()) else {"parameters": {"binary_data_size": 7}}
    tensor["shape"] += data.draw(st.sampled_from([[], list(model.input.shape)]))
    content = data.draw(
        st.sampled_from([{"inputs": [tensor]}, {"inputs": [tensor], "outputs": tensor["shape"]}]) | values
    )
    head = json.dumps(content).encode() + data.draw(st.sampled_from([b"", b"}"]))
    body = head + data.draw(st.sampled_from([b"", b"\x03\x00\x00\x00abc", b"x" * 3072]))
    length = data.draw(st.sampled_from([None, 0, len(head), len(body) + 1]))
    with contextlib.suppress(ApiError, ItemError):
        items = read_request(body, length, model, max_items=8).lists[ITEMS]
        shapes = {getattr(getattr(item, "mean", item), "shape", (1,)) for item in items}
        assert shapes <= {model.input.shape}
