"""The page of a run holds everything it shows, says what was measured, and works for every kind of run."""

import dataclasses
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from training.datasets.image_set import ImageSet, Source
from training.report.run_report import write_report
from training.restore import load_run
from training.run_directory import RunDirectory

CPU = torch.device("cpu")


def written(run: RunDirectory, source: Source, evaluation: dict[str, Any]) -> Path:
    return write_report(run, load_run(run, CPU), source, evaluation, CPU)


@pytest.fixture(scope="module")
def report(runs: dict[str, RunDirectory], squares: Source) -> Path:
    run = runs["simvae-s0"]
    return written(run, squares, json.loads(run.evaluation.read_text()))


def test_every_picture_lies_in_the_page_and_says_in_words_what_it_shows(report: Path, read_page: Any) -> None:
    page = read_page(report)
    titles = {text for level, text in page.headings if level == "h3"}
    assert {"Reconstructions", "Latent traversals", "Nearest neighbours", "ELBO, nats per view"} <= titles
    assert len(titles) == len(page.images) == page.tags.count("figure") >= 14
    for image, drawing in zip(page.images, page.drawings(), strict=True):
        assert len(image["alt"]) > 20
        root = ElementTree.fromstring(drawing)  # noqa: S314  # our own
        assert float(root.attrib["width"].removesuffix("pt")) > 200


def test_nothing_in_the_page_is_fetched_from_elsewhere(report: Path, read_page: Any) -> None:
    page = read_page(report)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not [value for key, value in page.attributes if key in {"src", "href"} and not value.startswith("data:")]
    assert "url(" not in page.text
    assert "@import" not in page.text
    for drawing in page.drawings():
        assert all(target.startswith(("#", "data:")) for target in re.findall(r'href="([^"]*)"', drawing))
        assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", drawing))


def test_tables_say_what_the_evaluation_says(report: Path, runs: dict[str, RunDirectory], read_page: Any) -> None:
    evaluation = json.loads(runs["simvae-s0"].evaluation.read_text())
    rows = read_page(report).rows
    for row in evaluation["representations"]:
        expected = [
            row["dimensions"],
            row["linear"],
            row["mlp"],
            row["knn_cosine"],
            row["knn_euclidean"],
            row["knn_weighted"],
        ]
        expected += [row["gmm"]["accuracy"], row["gmm"]["nmi"], row["gmm"]["ari"]]
        expected += [row["squared_error"]] if row["squared_error"] is not None else []
        assert rows[row["name"]] == expected
    flips = [row["style"]["flip"]["mlp"] for row in evaluation["representations"]]
    assert rows["flip (accuracy, chance 0.50), MLP"] == flips
    assert {evaluation["likelihood"]["elbo"], evaluation["health"]["lidar"]} <= set(rows[""])


def test_the_page_says_how_the_run_was_made_and_measured(
    report: Path, runs: dict[str, RunDirectory], read_page: Any
) -> None:
    words, record = read_page(report).words, runs["simvae-s0"].record()
    assert record.command in words
    assert record.code_version in words
    assert "256 views in 2 epochs" in words
    assert "simvae-evaluation-4" in words
    assert "Means of clean images." in words


def test_headings_are_an_outline_and_the_page_knows_phones_and_the_dark(report: Path, read_page: Any) -> None:
    page = read_page(report)
    levels = [int(level[1]) for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert ("lang", "en") in page.attributes
    assert ("name", "viewport") in page.attributes
    assert "prefers-color-scheme: dark" in page.text
    assert all("prefers-color-scheme:dark" in drawing for drawing in page.drawings())


def test_pictures_are_files_too(report: Path) -> None:
    files = sorted((report.parent / "report").glob("*.png"))
    assert {"map", "map-images", "reliability", "samples", "spectrum"} <= {file.stem for file in files}
    for file in files:
        with Image.open(file) as image:
            assert image.width == (704 if file.stem.startswith("curve") else 864), file
            assert len(set(image.convert("L").tobytes())) > 20, file


def test_alarms_come_first_and_names_are_text_whatever_they_hold(
    copy_run: Callable[..., RunDirectory], squares: Source, evaluation_of: Any, read_page: Any, report: Path
) -> None:
    hostile, alarm = "<script>alert(1)<img src=x> & $\\frac$", "Six of eight <b>dimensions</b> carry nothing."
    evaluation, run = evaluation_of(), copy_run("simvae-s0", hostile)
    run.metrics.unlink()
    evaluation["health"]["alarms"] = [alarm]
    page = read_page(written(run, dataclasses.replace(squares, class_names=(hostile, "b", "c", "d")), evaluation))
    assert [text for _, text in page.headings][:2] == [hostile, "Alarm"]
    assert alarm in page.words
    assert not {"script", "b"} & set(page.tags)
    assert len(page.drawings()) == page.tags.count("figure")
    assert "Alarm" not in read_page(report).words


def test_unlabelled_images_and_an_objective_without_a_decoder_leave_out_what_they_cannot_have(
    copy_run: Callable[..., RunDirectory], squares: Source, evaluation_of: Any, read_page: Any
) -> None:
    source = dataclasses.replace(
        squares, train=ImageSet(squares.train.images), test=ImageSet(squares.test.images), class_names=None
    )
    page = read_page(written(copy_run("simclr-0"), source, evaluation_of("simclr", labelled=False)))
    titles = [text for level, text in page.headings if level == "h3"]
    assert {"Nearest neighbours", "Map of the embedding (t-SNE)", "Loss", "Spectrum of the embedding"} <= set(titles)
    assert not {"Reconstructions", "Samples from the prior", "Content: accuracy of probes"} & set(titles)
    assert "What the decoder draws" not in page.words
    assert "nan" not in page.words.lower().split()
    assert page.rows["PCA"] == [8, 0.0202]


def test_a_collapsed_model_and_a_single_held_out_image_still_have_a_report(
    copy_run: Callable[..., RunDirectory], squares: Source, evaluation_of: Any, read_page: Any
) -> None:
    run = copy_run("simvae-s0")
    run.metrics.unlink()
    trained = load_run(run, CPU)
    for parameter in trained.model.parameters():
        parameter.data.zero_()
    titles = {text for _, text in read_page(write_report(run, trained, squares, evaluation_of(), CPU)).headings}
    assert "Samples from the prior" in titles
    assert not [title for title in titles if "t-SNE" in title]
    one = dataclasses.replace(squares, test=ImageSet(squares.test.images[:1], np.zeros(1, np.int64)))
    titles = {text for _, text in read_page(written(run, one, evaluation_of())).headings}
    assert "Reconstructions" in titles
    assert "Nearest neighbours" not in titles
