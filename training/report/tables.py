"""The words and tables of a run's page, made from its record and its scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.datasets.image_set import Source
from training.report.page import Cell, Table
from training.report.scores import Score, clusterings, probes, style_measures
from training.run_directory import RunRecord

__all__ = ["facts", "flat_settings", "highlights", "lead", "model_figures", "run_tables"]

_HIGHLIGHTS = (
    ("latents", "kNN cosine", "kNN accuracy"),
    ("latents", "linear", "linear probe accuracy"),
    ("likelihood", "ELBO, nats per view", "ELBO, nats per view"),
    ("latents", "squared error", "squared error per pixel"),
    ("health", "RankMe", "dimensions in effect (RankMe)"),
    ("similarity", "AUC", "AUC of “same content?”"),
)
_MEANINGS = {
    "ELBO, nats per view": "lower bound of the log-likelihood of held-out views; higher is better.",
    "importance-weighted bound, nats per view": "a tighter bound, from many samples of the latents; higher is better.",
    "active units": "latent dimensions whose posterior mean varies between images.",
    "RankMe": "effective number of dimensions of the embedding.",
    "LiDAR": "effective number of dimensions that tell images apart more than views of one image differ.",
    "virial ratio": "1 when the scale of the latents has converged.",
    "σ_x": "standard deviation of the pixel likelihood, pixels being in [0, 1].",
    "AUC": "how often a pair of views of one image scores above a pair of different images.",
    "equal error rate": "the error when as many same pairs are missed as different pairs are accepted.",
    "AUC of the cosine": "the same for the cosine of the embeddings, which knows no variances.",
    "equal error rate of the cosine": "likewise.",
    "C_llr": "cost of the log-likelihood ratio as the model gives it, in bits; 1 is what no information costs.",
    "C_llr, calibrated": "the same after the linear calibration the service applies.",
    "C_llr, minimum": "the same after the best monotone calibration: what no calibration can undercut.",
}


def lead(record: RunRecord, source: Source) -> str:
    """What the run is, in one line."""
    height, width, channels = source.input.shape
    return (
        f"{record.config.objective.name} with {record.config.network.latent_dim} latent dimensions, learned from "
        f"{record.images:,} images of {height} × {width} × {channels} of {source.name}, evaluated on "
        f"{len(source.test):,} held-out ones."
    )


def highlights(found: Sequence[Score]) -> list[tuple[str, Score]]:
    """The few figures a reader looks for first, with words for each."""
    by_key = {(score.section, score.name): score for score in found}
    return [(words, by_key[section, name]) for section, name, words in _HIGHLIGHTS if (section, name) in by_key]


def model_figures(found: Sequence[Score]) -> list[tuple[Score, str]]:
    """What is measured of the model and not of one representation, with what it means."""
    return [(score, _MEANINGS[score.name]) for score in found if score.name in _MEANINGS]


def run_tables(found: Sequence[Score], evaluation: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """Content and style of every representation; a table without figures is left out."""
    by_key = {(score.section, score.name): Cell(score.value, score.error) for score in found}
    rows = evaluation["representations"]

    def cells(row: Mapping[str, Any], names: Sequence[str]) -> list[Cell]:
        return [by_key.get((row["name"], name), Cell()) for name in names]

    names = (*probes(), *clusterings(), "squared error")
    shown = [name for name in names if any((row["name"], name) in by_key for row in rows)]
    content = [(row["name"], [Cell(row["dimensions"]), *cells(row, shown)]) for row in rows]
    measured = {
        f"{factor} ({measure}), {probe}": f"style {factor}, {probe}"
        for factor, measure in style_measures(evaluation).items()
        for probe in probes()[:2]
    }
    style = [(words, [by_key.get((row["name"], name), Cell()) for row in rows]) for words, name in measured.items()]
    images = f"{evaluation['test_images']:,} test images"
    tables = []
    if shown:
        note = f"Accuracies are shares of the {images}, ± their standard error; squared errors are per pixel."
        tables.append(("What the representations hold", Table(("", "dimensions", *shown), content, (note,))))
    if style:
        heads = ("", *(str(row["name"]) for row in rows))
        note = "How well a probe finds how a view was made, or what varies within a content; 1 is perfectly."
        tables.append(("Style", Table(heads, style, (note,))))
    return tables


def facts(record: RunRecord, last: Mapping[str, float], evaluation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the run comes from.

    Args:
        record: The run's.
        last: The last line of `metrics.jsonl`, or nothing.
        evaluation: What `evaluation.json` holds.
    """
    budget = f"{last['views']:,.0f} views in {last['epoch']:,.0f} epochs" if last else "none yet"
    if "elapsed_s" in last:
        budget += f", {last['elapsed_s'] / 60:,.1f} minutes"
    return [
        ("Data", f"{record.source}, {record.images:,} training images"),
        ("Budget", budget),
        ("Seed", str(record.config.seed)),
        ("Probes fitted on", f"{evaluation['train_images']:,} training images"),
        ("Settings chosen on", f"{evaluation['validation_images']:,} validation images"),
        ("Code", record.code_version),
        ("Started", record.created),
    ]


def flat_settings(record: RunRecord) -> dict[str, str]:
    """The configuration as dotted keys and plain words."""
    flat: dict[str, str] = {}
    for key, value in record.config.model_dump().items():
        entries = {f"{key}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {key: value}
        flat |= {name: str(list(each)) if isinstance(each, tuple) else str(each) for name, each in entries.items()}
    return flat
