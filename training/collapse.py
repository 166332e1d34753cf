"""Whether an embedding has collapsed, told without labels: how many dimensions are in use, and alarms in words."""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["active_units", "alarms", "rank_me"]

_ACTIVE_VARIANCE = 0.01


def active_units(means: Tensor) -> int:
    """How many latent dimensions carry information: those whose posterior mean varies by more than 0.01.

    Args:
        means: Posterior means of different images, shape [N, D].

    Source: Burda, Grosse, Salakhutdinov, "Importance Weighted Autoencoders", arXiv 1509.00519, section 5.2.
    """
    return int((means.var(0, correction=0) > _ACTIVE_VARIANCE).sum())


def rank_me(features: Tensor) -> float:
    """The effective number of directions in use: exp of the entropy of the normalised singular values.

    Args:
        features: Of different images, shape [N, F].

    Returns:
        1 to min(N, F).

    Source: Garrido et al., "RankMe", arXiv 2210.02885, eq. 1.
    """
    singular = torch.linalg.svdvals(features.float())
    share = singular / singular.sum().clamp(min=1e-12) + 1e-7
    return float((-(share * share.log()).sum()).exp())


def alarms(figures: Mapping[str, float | None]) -> list[str]:
    """Sentences on what is wrong with a run, none when nothing is.

    Args:
        figures: `active_units` of `latent_dim`; what is absent is not looked at.
    """
    active, dim = figures.get("active_units"), figures.get("latent_dim")
    if active is not None and dim is not None and active <= dim / 20:
        return [f"Only {active:.0f} of {dim:.0f} latent dimensions vary between images; the embedding has collapsed."]
    return []
