"""How good a score is at telling pairs of the same content from pairs of different content. Arrays only.

The words are those of speaker verification: a detector gives every pair a score, at best a log-likelihood ratio.
Same and different pairs are weighted alike however many there are: every measure is at equal odds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

__all__ = ["Bin", "Line", "area_under_curve", "cllr", "equal_error_rate", "fit_line", "min_cllr", "reliability"]

Scores = NDArray[np.float64]

_BINS = 10


@dataclass(frozen=True)
class Line:
    """A calibration: log-likelihood ratio = slope · score + intercept."""

    slope: float
    intercept: float

    def __call__(self, scores: Scores) -> Scores:
        """Calibrated log-likelihood ratios of the same shape."""
        return self.slope * scores + self.intercept


@dataclass(frozen=True)
class Bin:
    """Pairs whose probability of being the same was said to be about alike.

    Attributes:
        predicted: The mean of what was said, 0 to 1.
        observed: The share that was.
        count: How many pairs.
    """

    predicted: float
    observed: float
    count: int


def equal_error_rate(same: Scores, different: Scores) -> float:
    """The error rate at the threshold where as many same pairs are missed as different pairs are accepted, by share.

    Between thresholds the two rates are taken to move on a straight line.

    Args:
        same: Scores of pairs that match, shape [S].
        different: Scores of pairs that do not, shape [N].
    """
    thresholds = np.unique(np.concatenate([same, different]))
    missed = np.append(np.searchsorted(np.sort(same), thresholds) / len(same), 1.0)
    accepted = np.append(1 - np.searchsorted(np.sort(different), thresholds) / len(different), 0.0)
    after = int(np.argmax(missed >= accepted))
    if after == 0:
        return float((missed[0] + accepted[0]) / 2)
    gap_before, gap_after = accepted[after - 1] - missed[after - 1], missed[after] - accepted[after]
    share = gap_before / (gap_before + gap_after)
    return float(missed[after - 1] + share * (missed[after] - missed[after - 1]))


def area_under_curve(same: Scores, different: Scores) -> float:
    """P(a same pair scores higher than a different one), ties counting half: the area under the ROC curve.

    Args:
        same: Shape [S].
        different: Shape [N].

    Source: Mann & Whitney, 1947; computed from ranks.
    """
    ranks = rankdata(np.concatenate([same, different]))[: len(same)]
    return float((ranks.sum() - len(same) * (len(same) + 1) / 2) / (len(same) * len(different)))


def cllr(same: Scores, different: Scores) -> float:
    """The cost of log-likelihood ratios as probabilities, in bits: ½ [E_s log₂(1 + e^−LLR) + E_d log₂(1 + e^LLR)].

    0 is perfect, 1 says nothing, and overconfidence costs without bound.

    Args:
        same: LLRs of pairs that match, shape [S]; natural logarithms.
        different: Of pairs that do not, shape [N].

    Source: Brümmer & du Preez, "Application-independent evaluation of speaker detection", 2006.
    """
    cost = np.logaddexp(0, -same).mean() + np.logaddexp(0, different).mean()
    return float(cost / (2 * np.log(2)))


def min_cllr(same: Scores, different: Scores) -> float:
    """C_llr after the best of all monotone calibrations, fitted to the very pairs that are measured (PAV).

    What of C_llr no calibration could remove: the score's lack of discrimination.

    Args:
        same: Scores of pairs that match, shape [S].
        different: Shape [N].
    """
    truth = np.repeat([1.0, 0.0], [len(same), len(different)])
    weights = np.repeat([1 / len(same), 1 / len(different)], [len(same), len(different)])
    probability = IsotonicRegression(y_min=0, y_max=1).fit_transform(
        np.concatenate([same, different]), truth, sample_weight=weights
    )
    with np.errstate(divide="ignore"):
        ratios = logit(np.clip(probability, 0, 1))
    return cllr(ratios[: len(same)], ratios[len(same) :])


def fit_line(same: Scores, different: Scores) -> Line:
    """The line that turns scores into log-likelihood ratios, by logistic regression at equal odds.

    Args:
        same: Scores of pairs that match, shape [S].
        different: Shape [N].
    """
    scores = np.concatenate([same, different])
    centre, scale = scores.mean(), max(scores.std(), 1e-12)  # so that the solver's penalty, which is tiny, has no unit
    truth = np.repeat([1, 0], [len(same), len(different)])
    fit = LogisticRegression(C=1e6, class_weight="balanced", max_iter=1_000)
    fit.fit(((scores - centre) / scale)[:, None], truth)
    slope = float(fit.coef_[0, 0] / scale)
    return Line(slope, float(fit.intercept_[0] - slope * centre))


def reliability(same: Scores, different: Scores) -> tuple[Bin, ...]:
    """What log-likelihood ratios promise at equal odds, beside what happened, in ten bins of equal width.

    Args:
        same: LLRs of pairs that match, shape [S].
        different: LLRs of as many pairs that do not.

    Returns:
        The bins that are not empty, in ascending order.
    """
    probability = expit(np.concatenate([same, different]))
    truth = np.repeat([1.0, 0.0], [len(same), len(different)])
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    found = [(place == number) for number in range(_BINS)]
    return tuple(Bin(float(probability[b].mean()), float(truth[b].mean()), int(b.sum())) for b in found if b.any())
