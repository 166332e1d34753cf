"""Servers are compared only where their answers are right, in every form they have and of every size."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import serve
from serving.cells import KINDS, Cell, tables
from serving.load import check, prepare_load
from serving.started import started
from serving.sweep import SHARES, Point, sweep_tables
from serving.targets import TARGETS
from serving.workload import prepare


def test_every_form_and_size_gets_onnx_runtimes_own_embeddings(folder: Path) -> None:
    workload, target = prepare("mlp28", folder), TARGETS[0]
    forms, expected = target.forms(workload.manifest.embedding.dim), serve.embeddings(prepare("mlp28", folder))
    assert {kind.form for kind in KINDS.values()} == set(forms)
    with started(target, workload, folder) as server:
        for name, kind in KINDS.items():
            load = prepare_load(workload, forms[kind.form], kind.images, server.scratch / name)
            assert len(load.bodies) == 256 // kind.images
            check(load, expected, server.port)
        with pytest.raises(SystemExit, match="expected ONNX Runtime's embeddings"):
            check(load, np.roll(expected, 1, axis=0), server.port)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_a_run_measures_the_kinds_and_the_sweep_that_were_asked_for(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "numbers.json"
    mine = "simvae, 1 worker"
    words = ["--targets", mine, "--workloads", "mlp28", "--kinds", "one", "lines-256", "--sweep"]
    assert serve.main([*words, "--rounds", "1", "--seconds", "1", "--folder", str(folder), "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    places = {(cell["target"], cell["kind"], cell["connections"]) for cell in found["cells"]}
    assert {
        ("simvae, 1 worker", "one", 64),
        ("simvae, 1 worker", "lines-256", 4),
        ("ceiling", "lines-256", 4),
    } <= places
    assert all(cell["images_per_s"] > 0 for cell in found["cells"])
    offered = {(point["target"], point["share"]) for point in found["sweep"]}
    assert offered == {(target, share) for target in ("bare uvicorn", mine) for share in SHARES}
    assert "open loop, 90% of each target's own peak" in capsys.readouterr().out


def test_a_sweep_without_its_peak_is_refused(folder: Path) -> None:
    with pytest.raises(SystemExit, match=r"expected --sweep with the kind 'one'"):
        serve.main(["--kinds", "files-32", "--sweep", "--folder", str(folder)])


def test_tables_hold_medians_over_rounds_and_ratios_to_the_ceiling_of_the_same_round() -> None:
    cells = []
    for number, (ceiling, rate) in enumerate([(100.0, 50.0), (200.0, 50.0), (100.0, 90.0)]):
        cells += [Cell("w", number, "ceiling", "one", 4, ceiling, 0, 0, 0, 0)]
        cells += [Cell("w", number, "simvae", "one", 4, rate, 1.0 + number, 9.0, 0, 70.0)]
    assert "| simvae | 50 | 50% | 2.0 | 9.0 | 70 |" in tables(cells)
    points = [Point("w", number, "simvae", 0.5, 10.0, 10.0, 1.0 + number, 2, 3, 0.1, number) for number in range(3)]
    assert "| simvae | 10 | 2.0 | 2.0 | 3.0 | 0.1 | 3 |" in sweep_tables(points)
