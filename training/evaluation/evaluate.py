"""What a trained run is worth: scores of its embeddings beside raw pixels and PCA of the same size.

One protocol, written into every result. Without labels only what needs none is measured. It knows trained runs and
sources; pictures are made by `training.report.pictures`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from service.engine.images import Pixels
from training.datasets.image_set import Source
from training.evaluation.probes import Codes, knn_accuracy, linear_accuracy
from training.health import active_units, held_out_passes
from training.restore import TrainedRun, decode_latents, encode_images

__all__ = ["PROTOCOL", "Evaluation", "Scores", "evaluate"]

PROTOCOL = (
    "posterior means of clean images, float32; probes fitted on training images and scored once on the test images; "
    "linear: logistic regression on standardised features, L-BFGS, weight decay 1e-4; kNN: k = 20, majority vote; "
    "PCA: of pixels, fitted on the first training images, at most 64 MiB of float32; "
    "squared error: per pixel in [0, 1] units, on clean test images; ELBO: nats per view on views of the test images, "
    "one latent sample each, beta 1"
)

_PROBE_BYTES = 512 << 20
_PCA_BYTES = 64 << 20
"""Most memory that the raw pixels of a set may take as float32: for the probes, and for fitting PCA."""
_CHUNK = 500

CodePair = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Of training and test images."""


@dataclass(frozen=True)
class Scores:
    """One row of the comparison; what was not measured is None. Accuracies are shares of the test images."""

    name: str
    dimensions: int
    linear: float | None = None
    knn_cosine: float | None = None
    knn_euclidean: float | None = None
    squared_error: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """Everything `evaluation.json` holds.

    Attributes:
        rows: The model first, then PCA of the same size, then raw pixels.
        elbo: Held-out bound in nats per view.
        elbo_standard_error: Of the mean over test images; None when there is only one.
        active_units: Latent dimensions in use.
        train_images: How many of them the probes were fitted on, the first so many; all unless they are large.
        test_images: Likewise, for every score.
        step: Optimiser steps behind the model.
    """

    rows: tuple[Scores, ...]
    elbo: float
    elbo_standard_error: float | None
    active_units: int
    train_images: int
    test_images: int
    step: int

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the protocol."""
        return {"protocol": PROTOCOL, **vars(self), "rows": [vars(row) for row in self.rows]}


def evaluate(
    trained: TrainedRun, source: Source, device: torch.device, progress: Callable[[str], None] = lambda _: None
) -> Evaluation:
    """Measures a run.

    Args:
        trained: The run.
        source: Its images; labels are used if there are any.
        device: Where to compute.
        progress: Told what comes next.
    """
    most = _images_within(_PROBE_BYTES, source)
    train, test = source.train.images[:most], source.test.images[:most]
    progress("embedding images")
    train_codes, test_codes = (encode_images(trained.model, images, device) for images in (train, test))
    own_error = _squared_error(lambda codes: decode_latents(trained.model, codes, device), test_codes, test)
    progress("fitting PCA")
    pca_codes, pca_error = _pca(train, test, trained.model.latent_dim, fit_on=_images_within(_PCA_BYTES, source))

    def row(name: str, codes: CodePair, squared_error: float | None = None) -> Scores:
        progress(f"probing {name}")
        return _score(name, codes, squared_error, source, device)

    rows = (
        row("SimVAE", (train_codes, test_codes), own_error),
        row("PCA", pca_codes, pca_error),
        row("raw pixels", (_flat(train), _flat(test))),
    )
    progress("bounding the likelihood of held-out views")
    passes = held_out_passes(trained.model, test, trained.record.config, device)
    bound = torch.cat([result.elbo.value.cpu() for result in passes])
    return Evaluation(
        rows=rows,
        elbo=float(bound.mean()),
        elbo_standard_error=float(bound.std() / len(bound) ** 0.5) if len(bound) > 1 else None,
        active_units=active_units(torch.from_numpy(test_codes)),
        train_images=len(train),
        test_images=len(test),
        step=trained.step,
    )


def _images_within(size_bytes: int, source: Source) -> int:
    """How many images, as float32 pixels, fit into some memory."""
    height, width, channels = source.input.shape
    return size_bytes // (4 * height * width * channels)


def _score(
    name: str,
    codes: CodePair,
    squared_error: float | None,
    source: Source,
    device: torch.device,
) -> Scores:
    train, test = codes
    if source.train.labels is None or source.test.labels is None:
        return Scores(name, train.shape[1], squared_error=squared_error)
    train_labels, test_labels = source.train.labels[: len(train)], source.test.labels[: len(test)]
    labelled = Codes(train, train_labels, test=test, test_labels=test_labels, device=device)
    return Scores(
        name,
        train.shape[1],
        linear=linear_accuracy(labelled),
        knn_cosine=knn_accuracy(labelled, cosine=True),
        knn_euclidean=knn_accuracy(labelled, cosine=False),
        squared_error=squared_error,
    )


def _pca(train: Pixels, test: Pixels, dimensions: int, *, fit_on: int) -> tuple[CodePair, float]:
    """Codes of both sets under PCA fitted on training images, and its reconstruction error on the test set."""
    fitted_on = _flat(train[:fit_on])
    with np.errstate(invalid="ignore"):  # images that do not vary: their shares of the variance, unused here, are 0 / 0
        pca = PCA(min(dimensions, *fitted_on.shape), random_state=0).fit(fitted_on)
    train_codes, test_codes = (_in_chunks(pca.transform, images) for images in (train, test))
    error = _squared_error(lambda codes: pca.inverse_transform(codes).reshape(-1, *test.shape[1:]), test_codes, test)
    return (train_codes, test_codes), error


def _in_chunks(transform: Callable[[NDArray[np.float32]], NDArray[np.float32]], images: Pixels) -> NDArray[np.float32]:
    chunks = [transform(_flat(images[start : start + _CHUNK])) for start in range(0, len(images), _CHUNK)]
    return np.concatenate(chunks).astype(np.float32, copy=False)


def _flat(images: Pixels) -> NDArray[np.float32]:
    return np.divide(images.reshape(len(images), -1), 255, dtype=np.float32)


def _squared_error(
    decode: Callable[[NDArray[np.float32]], NDArray[np.float32]], codes: NDArray[np.float32], images: Pixels
) -> float:
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(images), _CHUNK)]
    errors = [np.square(decode(codes[part]) - images[part].astype(np.float32) / 255).mean((1, 2, 3)) for part in chunks]
    return float(np.concatenate(errors).mean())
