"""The words for a device mean one thing, and what means nothing is refused with the words that do."""

import pytest

from service.engine.errors import DeviceError
from service.engine.place import read_place


@pytest.mark.parametrize(
    ("device", "kind", "gpus", "written"),
    [
        ("auto", "auto", (), "auto"),
        ("cpu", "cpu", (), "cpu"),
        ("cuda", "cuda", (0,), "cuda:0"),
        ("cuda:3", "cuda", (3,), "cuda:3"),
        ("cuda:1,0,12", "cuda", (1, 0, 12), "cuda:1,0,12"),
        ("tensorrt", "tensorrt", (0,), "tensorrt:0"),
        ("tensorrt:2", "tensorrt", (2,), "tensorrt:2"),
    ],
)
def test_a_device_is_read_and_written_with_its_numbers(
    device: str, kind: str, gpus: tuple[int, ...], written: str
) -> None:
    place = read_place(device)
    assert (place.kind, place.gpus, str(place)) == (kind, gpus, written)
    if gpus:
        assert read_place(written) == place


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", "", "cpu:0", "auto:1", "cuda:0,", "cuda:0, 1"])
def test_words_that_mean_nothing_are_refused(device: str) -> None:
    with pytest.raises(DeviceError, match=r"Expected the device auto, cpu, cuda, cuda:N, .*; found"):
        read_place(device)


def test_a_gpu_is_not_taken_twice() -> None:
    with pytest.raises(DeviceError, match="every GPU once"):
        read_place("cuda:0,1,0")
