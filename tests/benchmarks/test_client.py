"""The client is timed only where its embeddings are right, and is too slow only below its share of wrk's rate."""

import argparse
import shutil
from pathlib import Path

import client
import numpy as np
import pytest
from serving.workload import prepare


def test_embeddings_that_are_not_onnx_runtimes_own_are_not_timed() -> None:
    expected = np.arange(12, dtype=np.float32).reshape(3, 4)
    rows = np.tile(expected, (client.COPIES, 1))
    client.check_rows(rows, expected)
    rows[-1, 0] += 1
    with pytest.raises(SystemExit, match="expected ONNX Runtime's embeddings"):
        client.check_rows(rows, expected)


def test_shares_are_medians_of_ratios_of_the_same_round() -> None:
    rounds = [{"wrk": wrk, "embed_folder": mine} for wrk, mine in ((100.0, 50.0), (200.0, 180.0), (50.0, 40.0))]
    assert client.share(rounds, "embed_folder") == 0.8
    assert "| embed_folder | 50 | 80% |" in client.table("mlp28", rounds)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_a_round_times_wrk_and_every_way_of_the_client(folder: Path) -> None:
    options = argparse.Namespace(folder=folder, seconds=1)
    found = dict(client.measure(prepare("mlp28", folder), options))
    assert list(found) == ["wrk", *client.WAYS]
    assert all(rate > 0 for rate in found.values())
