"""Number formats of contracts."""

import numpy as np
import pytest

from service.api.contracts.answers import numbers
from service.api.errors import RequestError
from service.engine.bundle import EmbeddingSpec

SPEC = EmbeddingSpec(dim=10, sigma2=0.13, tau2=0.87)
MEAN = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)


@pytest.mark.parametrize("normalize", [False, True])
def test_each_format_follows_from_another_by_its_definition(normalize: bool) -> None:
    found = {
        kind: numbers(MEAN, kind, normalize=normalize, spec=SPEC).astype(int)  # type: ignore[arg-type]
        for kind in ("int8", "uint8", "binary", "ubinary")
    }
    assert (found["uint8"] == found["int8"] + 128).all()
    assert (found["binary"] == found["ubinary"] - 128).all()
    assert (np.unpackbits(found["ubinary"].astype(np.uint8), axis=-1)[:, :10] == (MEAN > 0)).all()
    scale = (1 if normalize else 4) / 127
    rows = MEAN / np.linalg.norm(MEAN, axis=-1, keepdims=True) if normalize else MEAN
    assert np.abs(found["int8"] * scale - rows).max() <= scale / 2 + 1e-6


def test_a_flat_prior_sets_no_scale() -> None:
    flat = EmbeddingSpec(dim=10, sigma2=1.0, tau2=None)
    assert numbers(MEAN, "uint8", normalize=True, spec=flat).dtype == np.uint8
    with pytest.raises(RequestError, match="normalize=true"):
        numbers(MEAN, "uint8", normalize=False, spec=flat)
