"""What `evaluation.json` holds, as dataclasses; `Evaluation.as_json` is the schema."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.evaluation.clustering import Clustering
from training.evaluation.similarity import Similarity
from training.evaluation.style import StyleScore

__all__ = ["PROTOCOL", "Evaluation", "Health", "Likelihood", "Representation"]

PROTOCOL = {
    "name": "simvae-evaluation-4",
    "text": (
        "Posterior means (embeddings) and the encoder's last hidden layer (features), of clean images, in "
        "float32, with averaged weights, after the last step. Probes are fitted on training images and scored "
        "once on the test images; what they leave open is chosen on a random tenth of the training images, "
        "stratified by class, and then fitted on all of them; dimensions that do not vary there are left out. "
        "Linear: logistic regression on standardised features, L-BFGS, weight decay of 1e-2 to 1e-5. "
        "MLP: 256 hidden units, ReLU, AdamW, 800 steps of 512 but at most 100 epochs, weight decay of 1, 0.1 or 0.01 "
        "(compared after a third of the steps). kNN: k = 20, majority vote; weighted: by angle, k of 5 to 50, a vote "
        "weighs exp(cosine / temperature), of 0.01 to 1. GMM: as many full-covariance Gaussians as "
        "classes, fitted on at most 15,000 unlabelled "
        "training embeddings of at most 32 dimensions (principal components beyond), 3 starts; clusters named one "
        "to one. Style: ridge and logistic regression, and one MLP for all targets, on at most 8,000 training and "
        "5,000 test images; of one view per image, how it was cropped, mirrored and recoloured; of clean images, "
        "the factors a source knows; R² or accuracy. PCA: of pixels, as many components as the embedding, fitted "
        "on the first training images, at most 64 MiB of float32. Squared error: per pixel in [0, 1] units, on "
        "clean test images. Likelihood: nats per view on views of the test images, beta 1; ELBO with one latent "
        "sample; importance-weighted bound with 64, as the ELBO plus the difference on the first 1,000 groups. "
        "Health: on test images; LiDAR of 10 views of 1,000. Similarity: pairs of views of at most 5,000 test "
        "images, as many of the same image as of different ones; calibrated on the other half of the images. "
        "Sources too large for memory are measured on a random part."
    ),
}
"""Changes its name whenever a number could change."""


@dataclass(frozen=True)
class Representation:
    """What one set of features is good for; what was not measured is None. Accuracies are shares of the test images.

    Attributes:
        name: `latents`, `features`, `PCA` or `raw pixels`.
        dimensions: Of the features.
        linear: Accuracy of logistic regression.
        mlp: Accuracy of the probe with a hidden layer.
        knn_cosine: Accuracy of 20 nearest neighbours by angle.
        knn_euclidean: By distance.
        knn_weighted: By angle, where the nearer votes count for more.
        gmm: Agreement of clusters with classes.
        style: What can be read of style, by factor.
        squared_error: Of reconstructions from these features, per pixel in [0, 1] units.
        chosen: Settings that the validation images chose.
    """

    name: str
    dimensions: int
    linear: float | None = None
    mlp: float | None = None
    knn_cosine: float | None = None
    knn_euclidean: float | None = None
    knn_weighted: float | None = None
    gmm: Clustering | None = None
    style: Mapping[str, StyleScore] = field(default_factory=dict)
    squared_error: float | None = None
    chosen: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Likelihood:
    """Bounds on log p(x_1..x_J) of test images, in nats per view; a standard error is None for a single image.

    Attributes:
        elbo: With one latent sample.
        elbo_se: Its standard error over images.
        importance_weighted: With several.
        importance_weighted_se: Its standard error.
        samples: How many.
    """

    elbo: float
    elbo_se: float | None
    importance_weighted: float
    importance_weighted_se: float | None
    samples: int


@dataclass(frozen=True)
class Health:
    """What can be told of the latents without labels.

    Attributes:
        active_units: Latent dimensions whose mean varies; a discriminative model's in units of its own scale.
        rank_me: Effective rank, likewise.
        lidar: Effective rank in units of the scatter within groups; None with fewer than two images.
        kl_per_dimension: Nats from the prior of a single view; None where there is no such prior.
        rho: Prior correlation of two views, one number or one per dimension; None where there is no such prior.
        sigma_x: Standard deviation of the Gaussian likelihood, in pixel units.
        virial_ratio: 1 when the scale of the latents has converged.
        alarms: Sentences on what looks wrong.
    """

    active_units: int
    rank_me: float
    lidar: float | None
    kl_per_dimension: tuple[float, ...] | None
    rho: tuple[float, ...] | None
    sigma_x: float | None
    virial_ratio: float | None
    alarms: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """Everything that is measured of a run.

    Attributes:
        objective: The run's.
        seed: The run's, also of every draw of the evaluation.
        step: Optimiser steps behind the model.
        train_images: How many the probes were fitted on.
        validation_images: How many of those chose their settings.
        test_images: How many they were scored on.
        representations: The latents first.
        likelihood: None for a discriminative objective.
        health: Of the latents.
        similarity: None with too few images for pairs.
    """

    objective: str
    seed: int
    step: int
    train_images: int
    validation_images: int
    test_images: int
    representations: tuple[Representation, ...]
    likelihood: Likelihood | None
    health: Health
    similarity: Similarity | None

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the protocol."""
        return {"protocol": PROTOCOL, **_plain(dataclasses.asdict(self))}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value
