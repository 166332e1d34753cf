"""Tiny trained runs with an evaluation, made once for all tests of reports."""

import base64
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine.images import InputSpec
from training.build import make_fabric
from training.datasets.image_set import ImageSet, Source
from training.overrides import load_preset, with_overrides
from training.run_directory import RunDirectory, new_record, write_json
from training.trainer import train

RUNS = {
    "simvae-s0": ["seed=0"],
    "simvae-s1": ["seed=1"],
    "vae-0": ["objective.name=vae"],
    "simclr-0": ["objective.name=simclr"],
}


@pytest.fixture(scope="session")
def squares() -> Source:
    """Bright squares on black, one class per corner."""
    random = np.random.default_rng(0)
    labels = np.arange(88) % 4
    images = random.integers(0, 30, (88, 28, 28, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = 2 + 14 * (label // 2), 2 + 14 * (label % 2)
        image[top : top + 10, left : left + 10] += 200
    spec = InputSpec(height=28, width=28, colour_mode="L")
    names = ("top left", "top right", "bottom left", "$bottom$ right")
    return Source("squares", spec, ImageSet(images[:64], labels[:64]), ImageSet(images[64:], labels[64:]), names)


@pytest.fixture(scope="session")
def evaluation_of() -> Callable[..., dict[str, Any]]:
    """What evaluation would write of a run, with figures that no two runs share."""

    def evaluation(name: str = "simvae", seed: int = 0, *, labelled: bool = True) -> dict[str, Any]:
        random, generative = np.random.default_rng([seed, *name.encode()]), name != "simclr"

        def share(low: float = 0.5) -> float | None:
            return float(random.uniform(low, 1)) if labelled else None

        def representation(own: str, dimensions: int, error: float | None) -> dict[str, Any]:
            gmm = {"accuracy": share(), "nmi": share(), "ari": share()} if labelled else None
            flip = {
                "measure": "accuracy",
                "linear": random.uniform(0.5, 1),
                "mlp": random.uniform(0.5, 1),
                "chance": 0.5,
            }
            style = {"crop_top": {"measure": "r2", "linear": random.uniform(), "mlp": None}, "flip": flip}
            probes = {key: share() for key in ("linear", "mlp", "knn_cosine", "knn_euclidean", "knn_weighted")}
            own_part = {"name": own, "dimensions": dimensions, "gmm": gmm, "style": style, "squared_error": error}
            return {**own_part, **probes, "chosen": {"linear_l2": 1e-4}}

        bins = [{"predicted": x, "observed": x**1.5, "count": count} for x, count in ((0.1, 40), (0.5, 0), (0.9, 20))]
        costs = {"cllr": 0.4, "cllr_calibrated": 0.2, "cllr_min": 0.1, "slope": 0.5, "intercept": 0.0}
        calibration = {**costs, "reliability": bins}
        ratios = calibration if name == "simvae" else dict.fromkeys(calibration)
        kl = [float(value) for value in random.uniform(0, 3, 8)]
        bounds = {"elbo": -300.5 - seed, "elbo_se": 4.25, "importance_weighted": -290.0, "importance_weighted_se": 4.0}
        health = {"active_units": 8, "rank_me": 5.5, "lidar": 4.5, "alarms": [], "virial_ratio": 1.1, "sigma_x": 0.1}
        only_generative = {"kl_per_dimension": kl, "rho": [0.87], "virial_ratio": 1.1, "sigma_x": 0.1}
        health |= only_generative if generative else dict.fromkeys(only_generative)
        return {
            "protocol": {"name": "simvae-evaluation-4", "text": "Means of clean images."},
            "objective": name,
            "seed": seed,
            "step": 8,
            "train_images": 64,
            "validation_images": 6,
            "test_images": 24,
            "representations": [
                representation("latents", 8, 0.0301 if generative else None),
                representation("features", 128, None),
                representation("PCA", 8, 0.0202),
                representation("raw pixels", 784, None),
            ],
            "likelihood": {**bounds, "samples": 64} if generative else None,
            "health": health,
            "similarity": {"pairs": 48, "eer": 0.06, "auc": 0.97, **ratios},
        }

    return evaluation


@pytest.fixture(scope="session")
def runs(
    tmp_path_factory: pytest.TempPathFactory, squares: Source, evaluation_of: Callable[..., dict[str, Any]]
) -> dict[str, RunDirectory]:
    """Evaluated runs by name: two seeds of SimVAE, a VAE, and SimCLR, which has no decoder."""
    place, made = tmp_path_factory.mktemp("runs"), {}
    for name, overrides in RUNS.items():
        config = with_overrides(load_preset("tiny"), ["optimiser.batch=32", "epochs=2", *overrides])
        made[name] = run = RunDirectory(place / name)
        command = f"simvae-train squares --out runs/{name}"
        run.create(new_record("squares", squares, config, preset="tiny", command=command))
        assert train(run, config, squares, fabric=make_fabric("cpu", "32-true"))
        write_json(run.evaluation, evaluation_of(config.objective.name, config.seed))
    return made


@pytest.fixture
def copy_run(runs: dict[str, RunDirectory], tmp_path: Path) -> Callable[..., RunDirectory]:
    """Copies what is known of a run under another name, with parts of its configuration or evaluation changed."""

    def copy(
        name: str,
        new_name: str = "",
        *,
        record: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        evaluation: dict[str, Any] | None = None,
    ) -> RunDirectory:
        old, new = runs[name], RunDirectory(tmp_path / (new_name or name))
        new.path.mkdir()
        content = json.loads(old.config.read_text())
        content = {**content, **(record or {}), "config": {**content["config"], **(config or {})}}
        write_json(new.config, content)
        write_json(new.evaluation, {**json.loads(old.evaluation.read_text()), **(evaluation or {})})
        new.checkpoint.write_bytes(old.checkpoint.read_bytes())
        new.metrics.write_bytes(old.metrics.read_bytes())
        return new

    return copy


@pytest.fixture(scope="session")
def read_page() -> Callable[[Path], "Page"]:
    """Parses a page the way a browser does."""
    return Page


class Page(HTMLParser):
    """The parts of a page that tests ask for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.images: list[dict[str, str]] = []
        self.headings: list[tuple[str, str]] = []
        self.rows: dict[str, list[float]] = {}
        self.words = ""
        self._row, self._open = "", ""
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        self.attributes += own.items()
        self._open = tag if own.get("scope") != "row" else "row"
        if tag == "img":
            self.images.append(own)
        if tag == "data":
            self.rows.setdefault(self._row, []).append(float(own["value"]))

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._open in {"h1", "h2", "h3"} and data.strip():
            self.headings.append((self._open, data))
        if self._open == "row" and data.strip():
            self._row = data

    def handle_endtag(self, tag: str) -> None:
        self._open = ""
        if tag in {"table", "tr"}:
            self._row = ""

    def drawings(self) -> list[str]:
        """The SVG of every image; each must lie in the page."""
        prefix = "data:image/svg+xml;base64,"
        assert all(image["src"].startswith(prefix) for image in self.images)
        return [base64.b64decode(image["src"].removeprefix(prefix)).decode() for image in self.images]
