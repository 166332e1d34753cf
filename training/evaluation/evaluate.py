"""What a trained run is worth, by one named protocol: probes, clustering, style, likelihood, health, similarity.

Every choice that a probe leaves open is made on a part of the training images; test images are scored once. Without
labels only what needs none is measured. It knows trained runs and sources; pictures are made by `training.report`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.config import Config
from training.datasets.image_set import ImageSet, Source
from training.evaluation.clustering import cluster
from training.evaluation.label_free import measure_health, measure_likelihood, measure_pairs
from training.evaluation.mlp import mlp_probe
from training.evaluation.probes import Codes, knn_accuracies, linear_probe
from training.evaluation.representations import Features, model_features, pca_features, raw_features
from training.evaluation.results import PROTOCOL, Evaluation, Representation
from training.evaluation.split import Split, choose_items, split_training
from training.evaluation.style import (
    TEST_IMAGES,
    TRAIN_IMAGES,
    StyledViews,
    StyleScore,
    factor_targets,
    style_scores,
    styled_views,
    view_factors,
)
from training.evaluation.targets import Target
from training.evaluation.weighted_neighbours import weighted_neighbours
from training.restore import TrainedRun

__all__ = ["PROTOCOL", "STAGES", "Evaluation", "Representation", "evaluate"]

_PROBE_BYTES = 512 << 20
_PCA_BYTES = 64 << 20
"""Most memory that the raw pixels of a set may take as float32: for the probes, and for fitting PCA."""
STAGES = {False: 5, True: 7}
"""How many times `evaluate` tells what comes next, without and with baselines."""

Array = NDArray[np.float32]


def evaluate(
    trained: TrainedRun,
    source: Source,
    device: torch.device,
    progress: Callable[[str], None] = lambda _: None,
    *,
    baselines: bool = True,
) -> Evaluation:
    """Measures a run.

    Args:
        trained: The run.
        source: Its images; labels and factors are used if there are any.
        device: Where to compute.
        progress: Told what comes next.
        baselines: Whether to measure PCA of the same size, and raw pixels, beside the model.
    """
    model, config = trained.model, trained.record.config
    probing = _Probing.of(source, config, device)
    latents, features = model_features(model, device)
    compared = [latents, features]
    if baselines:
        fitted_on = source.train.images[: _images_within(_PCA_BYTES, source)]
        compared += [pca_features(fitted_on, model.latent_dim), raw_features()]
    rows = []
    for candidate in compared:
        progress(f"probing {candidate.name}")
        rows.append(probing.measure(candidate))
    progress("bounding the likelihood of held-out views")
    test = probing.test.images
    likelihood = measure_likelihood(model, test, config, device)
    progress("looking for collapse")
    health = measure_health(model, latents.of(test), test, config, device)
    progress("telling pairs of views apart")
    similarity = measure_pairs(model, test, config, device)
    return Evaluation(
        objective=config.objective.name,
        seed=config.seed,
        step=trained.step,
        train_images=len(probing.train),
        validation_images=len(probing.split.validation),
        test_images=len(test),
        representations=tuple(rows),
        likelihood=likelihood,
        health=health,
        similarity=similarity,
    )


@dataclass(frozen=True)
class _Probing:
    """What every representation is measured on: the same images, the same split, the same views."""

    train: ImageSet
    test: ImageSet
    split: Split
    seen: ImageSet
    asked: ImageSet
    seen_views: StyledViews
    asked_views: StyledViews
    seed: int
    device: torch.device

    @classmethod
    def of(cls, source: Source, config: Config, device: torch.device) -> "_Probing":
        most, seed = _images_within(_PROBE_BYTES, source), config.seed
        train, test = (_some(images, most, seed) for images in (source.train, source.test))
        seen, asked = _some(train, TRAIN_IMAGES, seed), _some(test, TEST_IMAGES, seed)
        labels = np.zeros(len(train), np.int64) if train.labels is None else train.labels
        return cls(
            train,
            test,
            split_training(labels, seed),
            seen,
            asked,
            # two streams of draws: with one, the first test views would be the first training views again
            styled_views(seen.images, config.views, 2 * seed),
            styled_views(asked.images, config.views, 2 * seed + 1),
            seed,
            device,
        )

    def measure(self, features: Features) -> Representation:
        """All probes of one representation."""
        train, test = features.of(self.train.images), features.of(self.test.images)
        content = self._content(features, train, test)
        return Representation(
            features.name,
            train.shape[1],
            **content,
            style={} if features.wide else self._style(features),
            squared_error=features.squared_error(self.test.images),
        )

    def _content(self, features: Features, train: Array, test: Array) -> dict[str, Any]:
        if self.train.labels is None or self.test.labels is None:
            return {}
        target = Target("class", self.train.labels, self.test.labels)
        codes = Codes(train, target.train, test=test, test_labels=target.test, device=self.device)
        near, voted = knn_accuracies(codes), weighted_neighbours(codes, self.split)
        line = linear_probe(codes.train, codes.test, target, self.split)
        found = {
            "linear": line.score,
            "knn_cosine": near.cosine,
            "knn_euclidean": near.euclidean,
            "knn_weighted": voted.accuracy,
        }
        chosen = {"linear_l2": line.chosen, "knn_k": voted.count, "knn_temperature": voted.temperature}
        if features.wide:
            return {**found, "chosen": chosen}
        curved = mlp_probe(codes.train, codes.test, [target], self.split, self.seed)
        clusters = cluster(train, test, target.test, target.classes, self.seed)
        chosen["mlp_weight_decay"] = curved.chosen
        return {**found, "mlp": curved.scores["class"], "gmm": clusters, "chosen": chosen}

    def _style(self, features: Features) -> dict[str, StyleScore]:
        views = factor_targets(view_factors(self.seen_views.parameters), view_factors(self.asked_views.parameters))
        known = factor_targets(self.seen.factors, self.asked.factors, prefix="factor:")
        found: dict[str, StyleScore] = {}
        if views:
            train, test = (part.embed(features.embed, features.device) for part in (self.seen_views, self.asked_views))
            found |= style_scores(train, test, views, self.device, self.seed)
        if known:
            train, test = (features.of(part.images) for part in (self.seen, self.asked))
            found |= style_scores(train, test, known, self.device, self.seed)
        return found


def _some(images: ImageSet, most: int, seed: int) -> ImageSet:
    """At most so many images, by chance."""
    if len(images) <= most:
        return images
    items = choose_items(len(images), most, seed)
    labels = None if images.labels is None else images.labels[items]
    return ImageSet(images.images[items], labels, {name: values[items] for name, values in images.factors.items()})


def _images_within(size_bytes: int, source: Source) -> int:
    """How many images, as float32 pixels, fit into some memory."""
    height, width, channels = source.input.shape
    return max(1, size_bytes // (4 * height * width * channels))
