"""The figures of `evaluation.json` as a flat list, each with its standard error: what tables and charts are made from.

It reads the protocol `simvae-evaluation-4` and computes nothing that evaluation has not measured.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from training.run_directory import RunDirectory, RunError

__all__ = ["PROTOCOL", "Better", "Score", "clusterings", "probes", "read_evaluation", "scores", "style_measures"]

PROTOCOL = "simvae-evaluation-4"

_PROBES = {
    "linear": "linear",
    "mlp": "MLP",
    "knn_cosine": "kNN cosine",
    "knn_euclidean": "kNN Euclidean",
    "knn_weighted": "kNN weighted",
}
_CLUSTERINGS = {"accuracy": "GMM accuracy", "nmi": "GMM NMI", "ari": "GMM ARI"}
_LIKELIHOODS = {"elbo": "ELBO, nats per view", "importance_weighted": "importance-weighted bound, nats per view"}
_HEALTH: dict[str, tuple[str, "Better"]] = {
    "active_units": ("active units", None),
    "rank_me": ("RankMe", None),
    "lidar": ("LiDAR", None),
    "virial_ratio": ("virial ratio", None),
    "sigma_x": ("σ_x", None),
}
_SIMILARITY: dict[str, tuple[str, "Better"]] = {
    "auc": ("AUC", "higher"),
    "eer": ("equal error rate", "lower"),
    "cosine_auc": ("AUC of the cosine", "higher"),
    "cosine_eer": ("equal error rate of the cosine", "lower"),
    "cllr": ("C_llr", "lower"),
    "cllr_calibrated": ("C_llr, calibrated", "lower"),
    "cllr_min": ("C_llr, minimum", "lower"),
}

Better = Literal["higher", "lower"] | None
"""Which way a figure improves; None where neither way is better as such."""


@dataclass(frozen=True)
class Score:
    """One figure.

    Attributes:
        section: What it is a figure of: a representation, or an aspect of the model.
        name: What was measured.
        value: As `evaluation.json` has it.
        error: Standard error over test images, where one is known.
        better: Which way it improves.
    """

    section: str
    name: str
    value: float
    error: float | None = None
    better: Better = None


def probes() -> tuple[str, ...]:
    """Names of the classifiers' figures, in the order of tables."""
    return tuple(_PROBES.values())


def clusterings() -> tuple[str, ...]:
    """Names of the clustering's figures, in the order of tables."""
    return tuple(_CLUSTERINGS.values())


def read_evaluation(run: RunDirectory) -> dict[str, Any]:
    """A run's `evaluation.json`.

    Raises:
        RunError: There is none, or it follows another protocol.
    """
    advice = f"evaluate it first: simvae-evaluate {run.path}"
    if not run.evaluation.exists():
        raise RunError(f"{run.path}: expected an evaluation.json, found none; {advice}")
    content: dict[str, Any] = json.loads(run.evaluation.read_text(encoding="utf-8"))
    protocol = content.get("protocol")
    name = protocol.get("name") if isinstance(protocol, dict) else "an older one"
    if name != PROTOCOL:
        raise RunError(f"{run.evaluation}: expected the protocol {PROTOCOL}, found {name}; {advice}")
    return content


def scores(evaluation: Mapping[str, Any]) -> list[Score]:
    """Everything that was measured, in the order of tables; what is null is left out.

    Args:
        evaluation: What `evaluation.json` holds.
    """
    images = evaluation["test_images"]
    found = [score for row in evaluation["representations"] for score in _of_representation(row, images)]
    bounds = evaluation.get("likelihood") or {}
    for key, name in _LIKELIHOODS.items():
        if bounds.get(key) is not None:
            found.append(Score("likelihood", name, bounds[key], bounds.get(f"{key}_se"), "higher"))
    for section, names in (("health", _HEALTH), ("similarity", _SIMILARITY)):
        values = evaluation.get(section) or {}
        known = ((key, name, better) for key, (name, better) in names.items() if values.get(key) is not None)
        found += [Score(section, name, values[key], None, better) for key, name, better in known]
    return found


def style_measures(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """How each style factor is scored, in words: `R²`, or `accuracy, chance 0.50`."""
    words: dict[str, str] = {}
    for row in evaluation["representations"]:
        for factor, values in (row.get("style") or {}).items():
            chance = values.get("chance")
            measure = "R²" if values["measure"] == "r2" else values["measure"]
            words[_plain(factor)] = measure if chance is None else f"{measure}, chance {chance:.2f}"
    return words


def _of_representation(row: Mapping[str, Any], images: int) -> Iterator[Score]:
    section, clusters = row["name"], row.get("gmm") or {}
    for key, name in _PROBES.items():
        if row.get(key) is not None:
            yield Score(section, name, row[key], _binomial_error(row[key], images), "higher")
    for key, name in _CLUSTERINGS.items():
        if clusters.get(key) is not None:
            error = _binomial_error(clusters[key], images) if key == "accuracy" else None
            yield Score(section, name, clusters[key], error, "higher")
    if row.get("squared_error") is not None:
        yield Score(section, "squared error", row["squared_error"], None, "lower")
    for factor, values in (row.get("style") or {}).items():
        for key in ("linear", "mlp"):
            if values.get(key) is not None:
                accuracy = values["measure"] != "r2"
                error = _binomial_error(values[key], images) if accuracy else None
                yield Score(section, f"style {_plain(factor)}, {_PROBES[key]}", values[key], error, "higher")


def _binomial_error(share: float, images: int) -> float:
    """Standard error of a share of independent test images."""
    return float((share * (1 - share) / images) ** 0.5)


def _plain(factor: str) -> str:
    return factor.removeprefix("factor:").replace("_", " ")
