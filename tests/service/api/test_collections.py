"""Collections over HTTP, on the real store in a folder."""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.settings import Settings

lancedb = pytest.importorskip("lancedb", reason="needs the extra 'search'")

MakeImage = Callable[..., bytes]
ITEMS = "/collections/shop/items"
SEARCH = "/collections/shop/search"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def shared_client(
    run: Callable[..., Any], tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Of a server to which nothing is ever added."""
    folder = tmp_path_factory.mktemp("collections")
    with run(Settings(models=tiny_bundle, collections=str(folder))) as running:
        yield running.client


@pytest.fixture
def running(start: Callable[..., Any], tmp_path: Path) -> Any:
    return start(collections=str(tmp_path / "collections"))


@pytest.fixture
def client(running: Any) -> httpx.Client:
    client: httpx.Client = running.client
    return client


@pytest.fixture
def pictures(make_image: MakeImage) -> dict[str, bytes]:
    return {f"p{number}.png": make_image(seed=number) for number in range(8)}


def add(client: httpx.Client, pictures: dict[str, bytes], **more: Any) -> dict[str, Any]:
    payloads = {name: {"number": number, "even": number % 2 == 0} for number, name in enumerate(pictures)}
    files = [("image", (name, image)) for name, image in pictures.items()]
    answer = client.post(ITEMS, files=files, data={"payloads": json.dumps(payloads)} | more)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ids(answer: httpx.Response, query: int = 0) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["results"][query]]


def test_images_are_found_by_themselves_with_the_scores_that_similarity_gives(
    client: httpx.Client, pictures: dict[str, bytes]
) -> None:
    added = add(client, pictures)
    assert (added["collection"], added["added"], added["replaced"], added["errors"]) == ("shop", 8, 0, [])
    images = [b64(image) for image in pictures.values()]
    expected = client.post("/similarity", json={"left": images}).json()["similarity"]
    for metric, best in (("cosine", -1), ("euclidean", 1)):
        answer = client.post(SEARCH, json={"queries": images, "k": 8, "metric": metric})
        assert answer.headers["x-model"] == "tiny@1"
        for number, hits in enumerate(answer.json()["results"]):
            order = np.argsort(best * np.asarray(expected[metric][number]), kind="stable")
            assert [hit["id"] for hit in hits] == [f"p{index}.png" for index in order]
            scores = [hit["scores"][metric] for hit in hits]
            np.testing.assert_allclose(scores, np.asarray(expected[metric][number])[order], rtol=1e-5, atol=1e-6)
            assert hits[0]["id"] == f"p{number}.png"
            assert hits[0]["payload"] == {"number": number, "even": number % 2 == 0}


def test_reranking_orders_the_nearest_by_the_models_own_evidence(
    client: httpx.Client, pictures: dict[str, bytes]
) -> None:
    add(client, pictures)
    images = [b64(image) for image in pictures.values()]
    expected = client.post("/similarity", json={"left": images, "prior": 0.01}).json()["similarity"]
    body = {"queries": images[:1], "rerank": 8, "k": 3, "prior": 0.01}
    hits = client.post(SEARCH, json=body).json()["results"][0]
    best = np.argsort(-np.asarray(expected["log_likelihood_ratio"][0]))[:3]
    assert [hit["id"] for hit in hits] == [f"p{index}.png" for index in best]
    for hit, index in zip(hits, best, strict=True):
        assert list(hit["scores"]) == ["log_likelihood_ratio", "probability_same", "cosine"]
        for metric, score in hit["scores"].items():
            assert score == pytest.approx(expected[metric][0][index], rel=1e-4)


def test_every_form_of_a_query_finds_the_same(client: httpx.Client, pictures: dict[str, bytes]) -> None:
    add(client, pictures)
    image = pictures["p3.png"]
    known = client.post("/embed", json={"images": [b64(image)], "variance": True}).json()
    given = {"embedding": known["embeddings"][0], "variance": known["variances"][0]}
    body = {"queries": [b64(image), given], "fingerprint": known["fingerprint"], "k": 8, "rerank": 8}
    answer = client.post(SEARCH, json=body)
    wanted = ids(answer)
    assert set(wanted) == set(pictures)
    assert ids(answer, 1) == wanted
    options = {"k": 8, "rerank": 8}
    assert ids(client.post(SEARCH, content=image, params=options)) == wanted
    assert ids(client.post(SEARCH, files={"any": image}, data=options)) == wanted
    others = ids(client.post(SEARCH, json={"queries": [{"id": "p3.png"}], **options}))
    assert others == [name for name in wanted if name != "p3.png"], "an item is not its own neighbour"


def test_a_filter_holds_in_the_body_and_in_the_query(client: httpx.Client, pictures: dict[str, bytes]) -> None:
    add(client, pictures)
    condition = {"even": True, "number": {"$gte": 2}}
    body = {"queries": [b64(pictures["p0.png"])], "filter": condition}
    assert set(ids(client.post(SEARCH, json=body))) == {"p2.png", "p4.png", "p6.png"}
    raw = client.post(SEARCH, content=pictures["p0.png"], params={"filter": json.dumps(condition)})
    assert set(ids(raw)) == {"p2.png", "p4.png", "p6.png"}
    wrong = client.post(SEARCH, json={"queries": [], "filter": {"$nor": []}})
    assert (wrong.status_code, wrong.json()["type"]) == (400, "urn:simvae:problem:malformed-request")


def test_the_same_id_replaces_image_and_payload(client: httpx.Client, pictures: dict[str, bytes]) -> None:
    add(client, pictures)
    items = [{"id": "p0.png", "image": b64(pictures["p1.png"]), "payload": {"new": [1, {"deep": None}]}}]
    items.append({"id": "a/b c.png", "image": b64(pictures["p0.png"])})
    answer = client.post(ITEMS, json={"items": items}).json()
    assert (answer["added"], answer["replaced"]) == (1, 1)
    zero, one = (client.get(f"{ITEMS}/{name}").json() for name in ("p0.png", "p1.png"))
    assert zero["payload"] == {"new": [1, {"deep": None}]}
    assert (zero["embedding"], zero["variance"]) == (one["embedding"], one["variance"])
    assert client.get(f"{ITEMS}/a/b%20c.png").json()["payload"] == {}
    assert client.get("/collections/shop").json()["items"] == 9


def test_deleted_items_and_collections_are_gone(client: httpx.Client, pictures: dict[str, bytes]) -> None:
    add(client, pictures)
    assert client.delete(f"{ITEMS}/p0.png").status_code == 204
    for method in ("GET", "DELETE"):
        gone = client.request(method, f"{ITEMS}/p0.png")
        assert (gone.status_code, gone.json()["type"]) == (404, "urn:simvae:problem:unknown-item")
    assert "p0.png" not in ids(client.post(SEARCH, content=pictures["p0.png"]))
    missing = client.post(SEARCH, json={"queries": [{"id": "p1.png"}, {"id": "p0.png"}]})
    assert (missing.status_code, missing.json()["index"]) == (404, 1)
    (card,) = client.get("/collections").json()["collections"]
    assert (card["collection"], card["items"], card["dim"], card["loaded"]) == ("shop", 7, 4, True)
    assert client.delete("/collections/shop").status_code == 204
    assert client.get("/collections").json() == {"collections": []}
    for answer in (
        client.delete("/collections/shop"),
        client.get("/collections/shop"),
        client.get(f"{ITEMS}/p1.png"),
        client.post(SEARCH, content=pictures["p1.png"]),
    ):
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:simvae:problem:unknown-collection")


def test_a_bad_image_fails_the_request_and_adds_nothing_or_is_left_out(
    client: httpx.Client, pictures: dict[str, bytes]
) -> None:
    files = [("x", ("good.png", pictures["p0.png"])), ("x", ("bad.png", b"no image"))]
    refused = client.post(ITEMS, files=files)
    assert (refused.status_code, refused.json()["index"]) == (415, 1)
    assert client.get("/collections").json() == {"collections": []}
    skipped = client.post(ITEMS, files=files, data={"on_error": "skip"}).json()
    assert (skipped["added"], [error["index"] for error in skipped["errors"]]) == (1, [1])


def test_ready_embeddings_are_taken_of_the_right_fingerprint_only(
    client: httpx.Client, pictures: dict[str, bytes]
) -> None:
    known = client.post("/embed", json={"images": [b64(pictures["p0.png"])], "variance": True}).json()
    given = {"embedding": known["embeddings"][0], "variance": known["variances"][0]}
    items = [{"id": "sure", **given}, {"id": "unsure", "embedding": given["embedding"]}]
    nameless = client.post(ITEMS, json={"items": items})
    assert nameless.status_code == 400
    assert "fingerprint" in nameless.json()["detail"]
    foreign = client.post(ITEMS, json={"items": items, "fingerprint": "0123456789abcdef"})
    assert (foreign.status_code, foreign.json()["type"]) == (409, "urn:simvae:problem:fingerprint-mismatch")
    assert known["fingerprint"] in foreign.json()["detail"]
    assert "0123456789abcdef" in foreign.json()["detail"]
    assert client.post(ITEMS, json={"items": items, "fingerprint": known["fingerprint"]}).json()["added"] == 2
    stored = client.get(f"{ITEMS}/sure").json()
    assert (stored["embedding"], stored["variance"]) == (given["embedding"], given["variance"])
    assert client.get(f"{ITEMS}/unsure").json()["variance"] is None
    vague = client.post(SEARCH, content=pictures["p0.png"], params={"rerank": 2})
    assert vague.status_code == 400
    assert "'unsure'" in vague.json()["detail"]
    query = {"queries": [{"embedding": given["embedding"]}], "fingerprint": known["fingerprint"]}
    assert set(ids(client.post(SEARCH, json=query))) == {"sure", "unsure"}
    assert client.post(SEARCH, json=query | {"rerank": 2}).status_code == 422
    assert client.post(SEARCH, json=query | {"fingerprint": "0123456789abcdef"}).status_code == 409
    short = client.post(ITEMS, json={"items": [{"id": "a", "embedding": [1]}], "fingerprint": known["fingerprint"]})
    assert (short.status_code, short.json()["index"]) == (422, 0)


def test_a_collection_stays_with_its_model(
    start: Callable[..., Any], tiny_models: Path, tiny_rgb_bundle: Path, tmp_path: Path, pictures: dict[str, bytes]
) -> None:
    client = start(models=tiny_models, default_model="tiny", collections=str(tmp_path)).client
    add(client, {"p0.png": pictures["p0.png"]}, model="tiny-rgb")
    answer = client.post(ITEMS, files=[("x", ("p1.png", pictures["p1.png"]))])
    assert answer.json()["model"] == "tiny-rgb", "not the server's default"
    other = client.post(ITEMS, files=[("x", ("p2.png", pictures["p2.png"]))], params={"model": "tiny"})
    assert (other.status_code, other.json()["type"]) == (409, "urn:simvae:problem:fingerprint-mismatch")
    assert "tiny-rgb@1" in other.json()["detail"]
    assert "tiny@1" in other.json()["detail"]
    only = start(models=tiny_models / "tiny" / "1", collections=str(tmp_path)).client
    assert only.get("/collections/shop").json()["loaded"] is False
    unserved = only.post(SEARCH, content=pictures["p0.png"])
    assert unserved.status_code == 409
    assert "not loaded" in unserved.json()["detail"]


def test_a_server_without_collections_says_how_to_have_them(start: Callable[..., Any], png: bytes) -> None:
    client = start().client
    for answer in (
        client.get("/collections"),
        client.get("/collections/shop"),
        client.delete("/collections/shop"),
        client.get(f"{ITEMS}/a"),
        client.delete(f"{ITEMS}/a"),
        client.post(ITEMS, files={"a": png}),
        client.post(SEARCH, content=png),
    ):
        assert (answer.status_code, answer.json()["type"]) == (501, "urn:simvae:problem:collections-off")
        assert "SIMVAE_COLLECTIONS" in answer.json()["detail"]


def test_without_its_library_the_extra_is_named(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    answer = start(collections=str(tmp_path)).client.get("/collections")
    assert answer.status_code == 501
    assert "simvae[search]" in answer.json()["detail"]


def test_a_place_that_cannot_be_used_is_a_failure_of_the_store_without_its_words(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    client = start(collections=str(tmp_path / "file")).client
    answer = client.get("/collections")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:simvae:problem:store-failed")
    assert str(tmp_path) not in answer.text
    assert answer.headers["retry-after"]
    assert client.get("/health/ready").status_code == 200


def test_keys_guard_every_route(start: Callable[..., Any], tmp_path: Path, png: bytes) -> None:
    client = start(collections=str(tmp_path), api_key="secret").client
    for method, path in [
        ("GET", "/collections"),
        ("GET", "/collections/shop"),
        ("DELETE", "/collections/shop"),
        ("GET", f"{ITEMS}/a"),
        ("DELETE", f"{ITEMS}/a"),
        ("POST", ITEMS),
        ("POST", SEARCH),
    ]:
        assert client.request(method, path, content=png).status_code == 401, (method, path)
    headers = {"X-API-Key": "secret"}
    assert client.post(ITEMS, files=[("x", ("a", png))], headers=headers).status_code == 200


def test_limits_deadlines_and_a_full_queue_hold(
    start: Callable[..., Any], tmp_path: Path, pictures: dict[str, bytes]
) -> None:
    running = start(collections=str(tmp_path), max_items=4, queue_items=4)
    client = running.client
    files = [("x", item) for item in pictures.items()]
    assert client.post(ITEMS, files=files).status_code == 413
    assert client.post(ITEMS, json={"items": [{"id": "a"}] * 5}).status_code == 413
    assert client.post(ITEMS, files=files[:4]).status_code == 200
    many = client.post(SEARCH, json={"queries": [{"id": "p0.png"}] * 5})
    assert (many.status_code, many.json()["type"]) == (413, "urn:simvae:problem:too-many-items")
    late = client.post(SEARCH, json={"queries": [{"id": "p0.png"}]}, headers={"X-Request-Timeout": "0.000001"})
    assert late.status_code in {408, 504}
    with running.occupied(4):
        assert client.post(ITEMS, files=files[:1]).status_code == 429
        assert client.post(SEARCH, content=pictures["p0.png"]).status_code == 429
        assert client.get("/collections").status_code == 200
    assert running.metric("simvae_requests_total", route="/collections/{name}/search", code="429") == 1
    assert running.metric("simvae_stage_duration_seconds_count", stage="store", priority="interactive") > 0


CASES: dict[str, tuple[int, dict[str, Any], str]] = {
    # what: status, request, words of the detail
    "no list": (400, {"json": {"items": {}}}, "items: expected a list; found an object"),
    "no id": (400, {"json": {"items": [{"image": "YQ=="}]}}, "id"),
    "an id that is no text": (400, {"json": {"items": [{"id": 1, "image": "YQ=="}]}}, "id"),
    "an id too long": (400, {"json": {"items": [{"id": "a" * 513, "image": "YQ=="}]}}, "512"),
    "neither image nor embedding": (400, {"json": {"items": [{"id": "a"}]}}, "no embedding"),
    "both": (400, {"json": {"items": [{"id": "a", "image": "YQ==", "embedding": [1]}]}}, "'embedding'"),
    "an unknown field": (400, {"json": {"items": [{"id": "a", "image": "YQ==", "tags": 1}]}}, "'tags'"),
    "an unknown option": (400, {"json": {"items": [], "normalize": True}}, "'normalize'"),
    "a payload that is a list": (400, {"json": {"items": [{"id": "a", "image": "YQ==", "payload": [1]}]}}, "object"),
    "a payload too large": (
        400,
        {"json": {"items": [{"id": "a", "image": "YQ==", "payload": {"a": "b" * 70_000}}]}},
        "65,536",
    ),
    "an id twice": (400, {"json": {"items": [{"id": "a", "image": "YQ=="}] * 2}}, "each id once"),
    "a form without files": (400, {"files": [("model", (None, "tiny"))]}, "at least one file"),
    "a file without a name": (400, {"files": [("x", ("", b"a"))]}, "id"),
    "payloads of nobody": (
        400,
        {"files": [("x", ("a", b"a")), ("payloads", (None, '{"b": {}}'))]},
        "found 'b'",
    ),
    "payloads that are no JSON": (400, {"files": [("x", ("a", b"a")), ("payloads", (None, "{"))]}, "payloads"),
    "a raw image": (415, {"content": b"a", "headers": {"Content-Type": "image/png"}}, "image/png"),
}


@pytest.mark.parametrize(("status", "request_", "words"), CASES.values(), ids=CASES)
def test_items_that_are_none_are_refused_in_one_sentence(
    status: int, request_: dict[str, Any], words: str, shared_client: httpx.Client
) -> None:
    answer = shared_client.post(ITEMS, **request_)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert shared_client.get("/collections").json() == {"collections": []}


@pytest.mark.parametrize("name", ["a b", "-a", "ä", "a" * 65, "..%2f..%2fetc"])
def test_names_that_are_none_are_refused(name: str, shared_client: httpx.Client, png: bytes) -> None:
    answer = shared_client.post(f"/collections/{name}/items", files=[("x", ("a", png))])
    assert answer.status_code in {400, 404}
    assert shared_client.get("/collections").json() == {"collections": []}


def test_nothing_added_is_an_answer_and_makes_no_collection(shared_client: httpx.Client) -> None:
    answer = shared_client.post(ITEMS, json={"items": []})
    assert (answer.status_code, answer.json()["added"]) == (200, 0)
    assert shared_client.get("/collections").json() == {"collections": []}


def test_a_search_is_answered_while_writes_wait(running: Any, pictures: dict[str, bytes]) -> None:
    add(running.client, pictures)
    store = running.app.state.store._open()
    late = {"X-Request-Timeout": "0.3"}
    with ThreadPoolExecutor(6) as pool:
        with store._writing["shop"]:
            files = [("x", ("late", pictures["p0.png"]))]
            waiting = [pool.submit(running.client.post, ITEMS, files=files) for _ in range(6)]
            assert running.client.post(ITEMS, files=files, headers=late).status_code == 504
            assert len(ids(running.client.post(SEARCH, content=pictures["p0.png"]))) == 8
            assert not any(answer.done() for answer in waiting)
        assert [answer.result(30).status_code for answer in waiting] == [200] * 6


def test_small_writes_are_merged_while_the_server_runs(running: Any, tmp_path: Path) -> None:
    fingerprint = running.repository.get(None).fingerprint
    for number in range(34):
        items = [{"id": str(number), "embedding": [1, 2, 3, number]}]
        assert running.client.post(ITEMS, json={"items": items, "fingerprint": fingerprint}).status_code == 200
    table = lancedb.connect(tmp_path / "collections").open_table("shop")
    running.wait_for(lambda: _latest(table)["num_fragments"] < 10)
    assert running.client.get("/collections/shop").json()["items"] == 34


def _latest(table: Any) -> dict[str, Any]:
    table.checkout_latest()
    statistics: dict[str, Any] = table.stats()["fragment_stats"]
    return statistics


def test_no_queries_find_nothing(client: httpx.Client, pictures: dict[str, bytes]) -> None:
    add(client, pictures)
    assert client.post(SEARCH, json={"queries": []}).json()["results"] == []
    bad = client.post(SEARCH, json={"queries": [{"id": "p0.png"}, {"name": "p0.png"}]})
    assert (bad.status_code, bad.json()["index"]) == (400, 1)
    assert client.post(SEARCH, json={"queries": [{"id": "p0.png"}] * 20, "k": 1000}).status_code == 413
