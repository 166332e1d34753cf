"""The report of one run: its pictures in `report/`, and `report.html`, which holds them all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.datasets.image_set import Source
from training.generative import GenerativeModel
from training.report.curves import run_curves
from training.report.decoded import interpolations, reconstructions, samples, traversals
from training.report.diagnostics import dimensions, reliability
from training.report.embedding import Embedded, neighbours, spectrum
from training.report.maps import image_map, label_map, project
from training.report.page import Gallery, write_page
from training.report.score_charts import Dots, score_pictures
from training.report.scores import Score, scores, style_measures
from training.report.style import MUTED, PALETTE, Picture, save_png
from training.report.tables import facts, flat_settings, highlights, lead, model_figures, run_tables
from training.restore import TrainedRun, encode_images
from training.run_directory import RunDirectory

__all__ = ["write_report"]

_EMBEDDED = 5_000
_MAPPED = 2_000
"""Held-out images that neighbours are looked for among, and that are laid out on a plane: seconds, not minutes."""
_LEAST_MAPPED = 5
_COLOURS = (*PALETTE[:3], MUTED, *PALETTE[3:])


def write_report(
    directory: RunDirectory, trained: TrainedRun, source: Source, evaluation: Mapping[str, Any], device: torch.device
) -> Path:
    """Draws a run and writes its page.

    Args:
        directory: Where `metrics.jsonl` is, and where `report.html` and the pictures go.
        trained: The run.
        source: Its images; labels are used if there are any.
        evaluation: What `evaluation.json` holds.
        device: Where to compute.

    Returns:
        The page.
    """
    count = min(len(source.test), _EMBEDDED)
    codes = encode_images(trained.model, source.test.images[:count], device)
    labels = None if source.test.labels is None else source.test.labels[:count]
    embedded = Embedded(source.test.images[:count], codes, labels, source.class_names or ())
    rows, found = directory.read_metrics(), scores(evaluation)
    seen = [
        Gallery("What the decoder draws", _decoded(trained, embedded, evaluation, device)),
        Gallery("What the embedding holds", _of_embedding(embedded, evaluation, trained.record.config.seed)),
    ]
    measured = [
        Gallery("How good it is, and how sure", _measured(evaluation)),
        Gallery("How it was learned", run_curves(rows), small=True),
    ]
    directory.report.mkdir(exist_ok=True)
    for gallery in (*seen, *measured):
        for picture in gallery.pictures:
            save_png(picture, directory.report)
    content = {
        "name": directory.name,
        "lead": lead(trained.record, source),
        "alarms": evaluation["health"]["alarms"],
        "record": trained.record,
        "evaluation": evaluation,
        "highlights": highlights(found),
        "tables": run_tables(found, evaluation),
        "seen": seen,
        "measured": measured,
        "figures": model_figures(found),
        "facts": facts(trained.record, rows[-1] if rows else {}, evaluation),
        "settings": flat_settings(trained.record),
    }
    page = directory.path / "report.html"
    write_page(page, "run.html", content)
    return page


def _measured(evaluation: Mapping[str, Any]) -> list[Picture]:
    health, similarity = evaluation["health"], evaluation["similarity"] or {}
    pictures = score_pictures(_dots(scores(evaluation), evaluation), style_measures(evaluation), "each representation")
    if similarity.get("reliability"):
        pictures.append(reliability(similarity["reliability"]))
    if health["kl_per_dimension"]:
        pictures.append(dimensions(health["kl_per_dimension"], health["rho"]))
    return pictures


def _decoded(
    trained: TrainedRun, embedded: Embedded, evaluation: Mapping[str, Any], device: torch.device
) -> list[Picture]:
    """What needs a decoder; nothing for a discriminative objective."""
    model, images, codes = trained.model, embedded.images, embedded.codes
    if not isinstance(model, GenerativeModel):
        return []
    kl = evaluation["health"]["kl_per_dimension"]
    importance = np.asarray(kl, np.float64) if kl else codes.astype(np.float64).var(0)
    pictures = [
        reconstructions(model, images, codes, device),
        samples(model, codes, trained.record.config.seed, device),
        traversals(model, images, codes, importance, device),
    ]
    return [*pictures, interpolations(model, images, codes, device)] if len(codes) > 1 else pictures


def _of_embedding(embedded: Embedded, evaluation: Mapping[str, Any], seed: int) -> list[Picture]:
    """Neighbours and maps; a collapsed or one-dimensional embedding has no map, a single image no neighbours."""
    if len(embedded.codes) < 2:
        return []
    pictures = [neighbours(embedded), spectrum(embedded.codes, evaluation["health"]["rank_me"])]
    mapped = embedded.first(_MAPPED)
    if len(mapped.codes) >= _LEAST_MAPPED and (mapped.codes.std(0) > 1e-6).sum() > 1:
        places = project(mapped.codes, seed)
        pictures += [label_map(mapped, places), image_map(mapped, places)]
    return pictures


def _dots(found: Sequence[Score], evaluation: Mapping[str, Any]) -> list[Dots]:
    """The scores of every representation."""
    names = [row["name"] for row in evaluation["representations"]]
    return [
        Dots(name, colour, {each.name: (each.value, each.error) for each in found if each.section == name})
        for name, colour in zip(names, _COLOURS, strict=False)
    ]
