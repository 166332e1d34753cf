"""How well clusters found without labels agree with the classes: a Gaussian mixture with as many parts as classes.

Embeddings are not standardised per dimension, for that would blow a collapsed dimension up to the size of the others;
they are scaled as a whole to a mean variance of 1. An embedding of more than 32 dimensions is first turned into its 32
principal components: the covariances of the mixture would have more entries than there are numbers to fit them to.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture

from training.evaluation.split import choose_items
from training.evaluation.threads import one_thread

__all__ = ["Clustering", "assignment_accuracy", "cluster"]

_MOST_CODES = 15_000
_MOST_DIMENSIONS = 32
_STARTS = 3
_RIDGE = 1e-4
"""Added to the variances of every part, in units of the mean variance, so that dimensions may have collapsed."""


@dataclass(frozen=True)
class Clustering:
    """Agreement of clusters and classes, over the test items.

    Attributes:
        accuracy: Share of items whose cluster is their class, under the best one-to-one naming of clusters, 0 to 1.
        nmi: Normalised mutual information (arithmetic mean of the entropies), 0 to 1.
        ari: Adjusted Rand index, 0 by chance and 1 at best.
    """

    accuracy: float
    nmi: float
    ari: float


@one_thread()
def cluster(
    train: NDArray[np.floating], test: NDArray[np.floating], labels: NDArray[np.int64], classes: int, seed: int
) -> Clustering | None:
    """Fits a mixture of full-covariance Gaussians to training codes, the best of 3 starts, and names test codes by it.

    Args:
        train: Shape [N, F]; at most 15,000 by chance are used. Their labels are not.
        test: Shape [M, F].
        labels: Of the test codes, shape [M].
        classes: Parts of the mixture.
        seed: Decides which codes are used, and where the fits begin.

    Returns:
        None when there are fewer codes than classes, or when all are the same.
    """
    chosen = np.array(train[choose_items(len(train), _MOST_CODES, seed)], np.float64)
    centre, scale = chosen.mean(0), np.sqrt(chosen.var(0).mean())
    if len(np.unique(chosen, axis=0)) < classes:
        return None
    fitted_on, asked = (chosen - centre) / scale, (test.astype(np.float64) - centre) / scale
    if fitted_on.shape[1] > _MOST_DIMENSIONS:
        axes = PCA(min(_MOST_DIMENSIONS, len(fitted_on)), svd_solver="covariance_eigh").fit(fitted_on)
        fitted_on, asked = axes.transform(fitted_on), axes.transform(asked)
    mixture = GaussianMixture(classes, n_init=_STARTS, reg_covar=_RIDGE, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that is still creeping is as good as one that stood
        found = mixture.fit(fitted_on).predict(asked)
    return Clustering(
        assignment_accuracy(labels, found),
        float(normalized_mutual_info_score(labels, found)),
        float(adjusted_rand_score(labels, found)),
    )


def assignment_accuracy(labels: NDArray[np.integer], clusters: NDArray[np.integer]) -> float:
    """The share of items that are right when clusters are named after classes, one to one, as well as can be.

    Args:
        labels: Classes, shape [N].
        clusters: Clusters, shape [N]; counted from 0, as classes are.

    Source: Kuhn, "The Hungarian method for the assignment problem", 1955.
    """
    size = int(max(labels.max(), clusters.max())) + 1
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (clusters, labels), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, columns].sum() / len(labels))
