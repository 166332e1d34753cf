"""What is acknowledged stays and is seen by all, and vectors of two models never meet."""

import multiprocessing
import os
import signal
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lancedb", reason="needs the extra 'search'")

from service.engine.results import Floats
from service.search.errors import ForeignVectorsError, StoreFailedError, UnknownCollectionError
from service.search.items import Added, Binding, Item
from service.search.store import Store
from service.search.upkeep import needs_upkeep, tend

DIM = 8
BINDING = Binding("model", 1, "0123456789abcdef", DIM)
SPAWN = multiprocessing.get_context("spawn")


def vectors(count: int, seed: int = 0) -> Floats:
    drawn: Floats = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return drawn


def items(names: list[str], rows: Floats) -> list[Item]:
    return [Item(name, row, row**2, {"name": name}) for name, row in zip(names, rows, strict=True)]


def add_until_killed(folder: str, acknowledged: Path) -> None:
    """Adds batch after batch, and writes down each one only once the store has returned."""
    store, rows = Store(folder), vectors(20)
    with acknowledged.open("a") as notes:
        for batch in range(10_000):
            store.add("kept", BINDING, items([f"{batch}-{n}" for n in range(20)], rows))
            notes.write(f"{batch}\n")
            notes.flush()


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_a_kill_in_the_middle_of_adding_loses_nothing_that_was_acknowledged(tmp_path: Path, attempt: int) -> None:
    notes = tmp_path / "acknowledged"
    notes.touch()
    process = SPAWN.Process(target=add_until_killed, args=(str(tmp_path / "store"), notes))
    process.start()
    while len(notes.read_text().splitlines()) < 2 + 3 * attempt:
        assert process.is_alive()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    batches = len(notes.read_text().splitlines())
    store = Store(str(tmp_path / "store"))
    count = store.count("kept")
    assert count % 20 == 0, "a batch is there whole or not at all"
    assert count >= 20 * batches
    wanted = [f"{batch}-{n}" for batch in range(batches) for n in range(20)]
    assert store.items("kept", wanted).keys() == set(wanted)
    assert store.add("kept", BINDING, items(["new"], vectors(1))) == Added(1, 0)
    assert store.nearest("kept", vectors(20)[7], 1, "euclidean", {})[0].id.endswith("-7")


def add_the_same(folder: str, begin: Event, seed: int) -> None:
    store = Store(folder)
    begin.wait()
    for batch in range(5):
        store.add("shared", BINDING, items([f"{batch}-{n}" for n in range(10)], vectors(10, seed)))
        store.add("shared", BINDING, items([f"of {seed} {batch}"], vectors(1, seed)))


@pytest.mark.slow
def test_processes_that_add_at_once_lose_nothing_and_an_id_is_there_once(tmp_path: Path) -> None:
    reader = Store(str(tmp_path))
    assert reader.find("shared") is None
    begin = SPAWN.Event()
    writers = [SPAWN.Process(target=add_the_same, args=(str(tmp_path), begin, seed)) for seed in range(3)]
    for writer in writers:
        writer.start()
    begin.set()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    found = [item.id for item in reader.nearest("shared", vectors(1)[0], 1000, "euclidean", {})]
    shared = [f"{batch}-{n}" for batch in range(5) for n in range(10)]
    assert sorted(found) == sorted(shared + [f"of {seed} {batch}" for seed in range(3) for batch in range(5)])


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    payload = {"z": [1, 2.5, "ü", None, {"deep": [True]}], "a": {"b": -1}, "text": 'it\'s "so" \\ \n', "big": 2**53}
    given = [Item("a", vectors(1)[0], None, payload), Item("b'; --", vectors(2)[1], vectors(2)[0] ** 2, {})]
    store = Store(str(tmp_path))
    assert store.add("all", BINDING, given) == Added(2, 0)
    found = Store(str(tmp_path)).items("all", ["b'; --", "a", "absent"])
    assert found.keys() == {"a", "b'; --"}
    for item in given:
        back = found[item.id]
        assert back.payload == item.payload
        np.testing.assert_array_equal(back.mean, item.mean)
        assert (back.variance is None) == (item.variance is None)
        np.testing.assert_array_equal(back.variance, item.variance)  # type: ignore[arg-type]


def test_vectors_of_another_fingerprint_are_refused_and_nothing_changes(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.add("mine", BINDING, items(["a"], vectors(1)))
    other = Binding("model", 2, "fedcba9876543210", DIM)
    with pytest.raises(ForeignVectorsError, match=r"0123456789abcdef \(model@1\).*fedcba9876543210 \(model@2\)"):
        store.add("mine", other, items(["a", "b"], vectors(2)))
    assert store.count("mine") == 1
    (card, count), *more = store.cards()
    assert (card.name, card.binding, count, more) == ("mine", BINDING, 1, [])


def test_a_collection_that_was_dropped_is_gone_for_those_who_had_it_open(tmp_path: Path) -> None:
    one, other = Store(str(tmp_path)), Store(str(tmp_path))
    one.add("brief", BINDING, items(["a"], vectors(1)))
    assert other.count("brief") == 1
    other.drop("brief")
    for use in (
        lambda: one.count("brief"),
        lambda: one.items("brief", ["a"]),
        lambda: one.nearest("brief", vectors(1)[0], 1, "cosine", {}),
        lambda: one.drop("brief"),
    ):
        with pytest.raises(UnknownCollectionError, match="brief"):
            use()
    again = Binding("model", 2, "fedcba9876543210", 4)
    one.add("brief", again, [Item("b", np.ones(4, np.float32), None, {})])
    assert other.card("brief").binding == again


def test_upkeep_and_an_index_change_no_item_and_find_what_came_after(tmp_path: Path) -> None:
    store, rows = Store(str(tmp_path)), vectors(2000)
    names = [f"i{n}" for n in range(2000)]
    for at in range(0, 2000, 50):
        store.add("many", BINDING, items(names[at : at + 50], rows[at : at + 50]))
    table = store._open("many")[0]
    assert needs_upkeep(table)
    store.tend("many")
    table = store._open("many")[0]
    assert not needs_upkeep(table)
    for round_ in range(2):  # makes the index, then leaves it as it is
        tend(store._open("many")[0], index_rows=1000)
        assert sorted(index.index_type for index in table.list_indices()) == ["BTree", "IvfFlat"], round_
    late = vectors(1, seed=9)
    assert store.add("many", BINDING, items(["i7", "late"], np.concatenate([late, late]))) == Added(1, 1)
    assert {item.id for item in store.nearest("many", late[0], 2, "cosine", {})} == {"i7", "late"}
    assert len(store.nearest("many", rows[0], 3000, "cosine", {})) == store.count("many") == 2001
    found = 0
    for query in vectors(50, seed=1):
        distances = ((rows - query) ** 2).sum(axis=1)
        nearest = [item.id for item in store.nearest("many", query, 10, "euclidean", {}, without="i7")]
        exact = [f"i{n}" for n in np.argsort(distances) if n != 7][:10]
        found += len(set(nearest) & set(exact))
    assert found >= 495, "without the index of another metric, but for the one item that is new"
    tend(store._open("many")[0], index_rows=10)
    assert len(table.list_indices()) == 2


def test_a_store_that_fails_says_so_without_its_words(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "place"))
    store.add("broken", BINDING, items(["a"], vectors(1)))
    for file in (tmp_path / "place").rglob("*.lance"):
        if file.is_file():
            file.write_bytes(b"no data")
    with pytest.raises(StoreFailedError) as caught:
        store.items("broken", ["a"])
    assert str(tmp_path) not in str(caught.value)
