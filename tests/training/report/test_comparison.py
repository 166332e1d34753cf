"""Runs are averaged over seeds, compared only where they can be, and set side by side on one page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

import training.report.cli
from training.datasets.image_set import Source
from training.report.compare_report import write_comparison
from training.report.comparison import averages, budgets, comparison_table, contenders, differences, read_members
from training.report.page import Cell
from training.run_directory import RunDirectory, RunError

CPU = torch.device("cpu")
Copy = Callable[..., RunDirectory]


@pytest.fixture(scope="module")
def page(
    runs: dict[str, RunDirectory], squares: Source, read_page: Any, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    out = tmp_path_factory.mktemp("compare") / "compare.html"
    write_comparison(contenders(read_members(list(runs.values()))), squares, out, CPU)
    return read_page(out)


def test_seeds_of_one_configuration_are_averaged(runs: dict[str, RunDirectory]) -> None:
    groups = contenders(read_members(list(runs.values())))
    assert [group.label for group in groups] == ["simvae", "vae-0", "simclr-0"]
    assert [len(group.members) for group in groups] == [2, 1, 1]
    seeds = [member.evaluation["representations"][0]["linear"] for member in groups[0].members]
    cells = averages(groups)["latents", "linear"]
    assert cells[0].value == pytest.approx(np.mean(seeds))
    assert cells[0].error == pytest.approx(abs(seeds[0] - seeds[1]) / 2)
    single = groups[1].members[0].evaluation["representations"][0]["linear"]
    assert cells[1].value == single
    assert cells[1].error == pytest.approx((single * (1 - single) / 24) ** 0.5)
    assert [cell.mark for cell in cells] == ["", "¹", "¹"]


def test_what_a_run_did_not_measure_is_left_empty(runs: dict[str, RunDirectory]) -> None:
    cells = averages(contenders(read_members(list(runs.values()))))
    assert cells["likelihood", "ELBO, nats per view"][2] == Cell()
    assert cells["similarity", "C_llr"][1:] == [Cell(), Cell()]
    assert cells["similarity", "AUC"][2].value == 0.97


def test_the_best_and_what_cannot_be_told_from_it_are_set_off(copy_run: Copy, evaluation_of: Any) -> None:
    def with_values(linear: float, error: float) -> dict[str, Any]:
        rows = evaluation_of()["representations"]
        rows[0] = {**rows[0], "linear": linear, "squared_error": error}
        return {"representations": rows, "test_images": 10_000}

    figures = ((0.900, 0.02), (0.892, 0.01), (0.880, 0.03))
    copies = [
        copy_run("simvae-s0", f"run{i}", evaluation=with_values(*pair), config={"epochs": i + 1})
        for i, pair in enumerate(figures)
    ]
    cells = averages(contenders(read_members(copies)))
    assert [cell.best for cell in cells["latents", "linear"]] == [True, True, False]  # two errors of 0.003 each
    assert [cell.best for cell in cells["latents", "squared error"]] == [False, True, False]
    assert not any(cell.best for cell in cells["health", "active units"])  # neither more nor fewer is better as such


def test_differences_are_those_of_the_configuration_alone(runs: dict[str, RunDirectory], copy_run: Copy) -> None:
    groups = contenders(read_members([runs["simvae-s0"], runs["simvae-s1"], runs["vae-0"]]))
    assert differences(groups) == [("objective.name", ["simvae", "vae"])]
    newer = copy_run("simvae-s0", "newer", record={"code_version": "9.9"})
    groups = contenders(read_members([runs["simvae-s0"], newer]))
    assert [(key, values[1]) for key, values in differences(groups)] == [("code", "9.9")]


def test_runs_whose_images_were_decoded_otherwise_are_no_seeds_of_one_another(
    runs: dict[str, RunDirectory], copy_run: Copy
) -> None:
    """A run from before JPEGs were decoded at a smaller scale has the same configuration, but not the same input."""
    decoded = {**runs["simvae-s1"].record().input.model_dump(mode="json"), "scaled_jpeg": True}
    scaled = copy_run("simvae-s1", "scaled", record={"input": decoded})
    assert len(contenders(read_members([runs["simvae-s0"], runs["simvae-s1"]]))) == 1
    assert len(contenders(read_members([runs["simvae-s0"], scaled]))) == 2


def test_budgets_are_views_seen(runs: dict[str, RunDirectory]) -> None:
    assert budgets(contenders(read_members(list(runs.values())))) == [256, 256, 256]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"record": {"source": "cifar10"}}, "expected the same source .*squares, found cifar10"),
        ({"record": {"images": 65}}, "number of training images .*64, found 65"),
        ({"evaluation": {"test_images": 23}}, "number of test images .*24, found 23"),
        (
            {"evaluation": {"protocol": {"name": "simvae-evaluation-5"}}},
            "simvae-evaluation-4, found simvae-evaluation-5",
        ),
        ({"evaluation": {"protocol": "posterior means of clean images"}}, "found an older one; .*simvae-evaluate"),
        ({}, "expected another seed than that of .*simvae-s0.*found 0 in both"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_in_a_sentence(
    runs: dict[str, RunDirectory], copy_run: Copy, change: dict[str, Any], message: str
) -> None:
    other = copy_run("simvae-s0", "other", **change)
    with pytest.raises(RunError, match=message):
        contenders(read_members([runs["simvae-s0"], other]))


def test_a_run_given_twice_or_not_evaluated_is_refused(runs: dict[str, RunDirectory], copy_run: Copy) -> None:
    run = runs["simvae-s0"]
    with pytest.raises(RunError, match="expected every run once"):
        read_members([run, RunDirectory(run.path / ".." / run.name)])
    bare = copy_run("simvae-s0", "bare")
    bare.evaluation.unlink()
    with pytest.raises(RunError, match=r"found none; evaluate it first: simvae-evaluate .*bare"):
        read_members([run, bare])


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("vae-0", "vae-1"), "vae"),
        (("vae_seed0", "vae_seed1"), "vae"),
        (("fashion-s10", "fashion-s11"), "fashion-s1"),
        (("a", "b"), "a"),
        (("vae.seed-0", "vae.seed-1"), "vae"),
    ],
)
def test_seeds_are_called_by_what_their_names_share(copy_run: Copy, names: tuple[str, str], label: str) -> None:
    copies = [copy_run(f"simvae-s{seed}", name) for seed, name in enumerate(names)]
    assert [group.label for group in contenders(read_members(copies))] == [label]


def test_the_page_shows_every_average_and_reconstructions_of_every_decoder(
    page: Any, runs: dict[str, RunDirectory]
) -> None:
    table = comparison_table(contenders(read_members(list(runs.values()))))
    shown = {value for values in page.rows.values() for value in values}
    assert {cell.value for _, cells in table.rows for cell in cells if cell.value is not None} == shown
    pictures = {image["alt"].split(" ")[0]: image["alt"] for image in page.images}
    assert pictures["10"] == "10 held-out images and their reconstructions by simvae, vae-0."
    assert "simclr-0 ends at" in next(image["alt"] for image in page.images if image["alt"].startswith("RankMe"))
    assert len(page.drawings()) == page.tags.count("figure")
    assert all(run.record().command in page.words for run in runs.values())
    assert "A single seed shows no spread" in page.words


def test_the_page_fetches_nothing_and_names_are_text(
    page: Any, copy_run: Copy, squares: Source, read_page: Any
) -> None:
    assert not {"script", "link"} & set(page.tags)
    assert not [value for key, value in page.attributes if key in {"src", "href"} and not value.startswith("data:")]
    hostile = "<script>alert(1)"
    out = copy_run("simclr-0", hostile).path / "compare.html"
    write_comparison(contenders(read_members([RunDirectory(out.parent)])), squares, out, CPU)
    escaped = read_page(out)
    assert "script" not in escaped.tags
    assert hostile in escaped.words


def test_the_command_refuses_in_one_line_and_otherwise_writes_the_page(
    runs: dict[str, RunDirectory],
    copy_run: Copy,
    squares: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_page: Any,
) -> None:
    monkeypatch.setattr(training.report.cli, "open_images", lambda *_: squares)  # a source that has no name
    app = Typer()
    app.command()(training.report.cli.compare_command)
    other, out = copy_run("vae-0", "other", record={"source": "cifar10"}), tmp_path / "new" / "page.html"
    first = str(runs["simvae-s0"].path)
    refused = CliRunner().invoke(app, [first, str(other.path), "--out", str(out)])
    assert refused.exit_code == 1
    assert "expected the same source as" in refused.output
    assert not out.exists()
    written = CliRunner().invoke(app, [first, str(runs["simclr-0"].path), "--out", str(out), "--device", "cpu"])
    assert written.exit_code == 0, written.output
    assert read_page(out).headings[0] == ("h1", "simvae-s0 · simclr-0")
