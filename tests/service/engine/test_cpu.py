"""No more threads than the CPUs this process may use."""

import os
from pathlib import Path

import pytest

from service.engine import cpu


@pytest.fixture
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000\n", 16), ("200000 100000\n", 2), ("150000 100000\n", 2), ("10000 100000\n", 1), ("garbage", 16)],
)
def test_the_quota_of_cgroup_version_2_counts(many_cpus: None, tmp_path: Path, text: str, expected: int) -> None:
    write(tmp_path, "cpu.max", text)
    assert cpu.usable_cpus(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("400000", 4), ("50000", 1)])
def test_the_quota_of_cgroup_version_1_counts(many_cpus: None, tmp_path: Path, quota: str, expected: int) -> None:
    write(tmp_path, "cpu/cpu.cfs_quota_us", quota + "\n")
    write(tmp_path, "cpu/cpu.cfs_period_us", "100000\n")
    assert cpu.usable_cpus(tmp_path) == expected


def test_without_a_quota_the_affinity_counts(many_cpus: None, tmp_path: Path) -> None:
    assert cpu.usable_cpus(tmp_path) == 16
    write(tmp_path, "cpu.max", "6400000 100000")
    assert cpu.usable_cpus(tmp_path) == 16


def test_this_machine_has_at_least_one_and_not_more_than_it_has() -> None:
    assert 1 <= cpu.usable_cpus() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("cpus", [1, 2, 3, 8, 64])
def test_decoding_and_inference_share_the_cpus(cpus: int) -> None:
    decode, inference = cpu.decode_threads(cpus), cpu.inference_threads(cpus)
    assert min(decode, inference) >= 1
    assert decode + inference == max(2, cpus)
