import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.api.errors import RequestError
from service.api.outputs import encode_rows, pack
from service.engine.bundle import EmbeddingSpec
from service.engine.results import Floats

SPEC = EmbeddingSpec(dim=11, sigma2=0.13, tau2=0.87)
VECTORS = hnp.arrays(np.float32, (3, 11), elements=st.floats(-4, 4, width=32))


@given(VECTORS)
def test_int8_is_within_half_a_step_of_the_value(mean: Floats) -> None:
    packed = pack(mean, "int8", normalize=False, spec=SPEC)
    assert packed.rows.dtype == np.int8
    assert packed.scale == pytest.approx(4 / 127)
    np.testing.assert_allclose(packed.rows * packed.scale, mean, atol=packed.scale / 2 + 1e-6)


def test_int8_beyond_four_deviations_is_clipped_and_not_wrapped() -> None:
    packed = pack(np.array([[1e6, -1e6] + [0] * 9], np.float32), "int8", normalize=False, spec=SPEC)
    assert packed.rows[0, :3].tolist() == [127, -127, 0]


def test_int8_follows_the_widest_dimension_of_the_prior() -> None:
    spec = EmbeddingSpec(dim=2, sigma2=(1.0, 3.0), tau2=(0.0625, 1.0))
    assert pack(np.zeros((1, 2), np.float32), "int8", normalize=False, spec=spec).scale == pytest.approx(8 / 127)


def test_int8_needs_a_scale() -> None:
    flat = EmbeddingSpec(dim=2, sigma2=1.0, tau2=None)
    vector = np.array([[3, -4]], np.float32)
    with pytest.raises(RequestError, match="normalize=true"):
        pack(vector, "int8", normalize=False, spec=flat)
    assert pack(vector, "int8", normalize=True, spec=flat).rows.tolist() == [[76, -102]]


@given(VECTORS)
def test_ubinary_is_the_sign_most_significant_bit_first(mean: Floats) -> None:
    rows = pack(mean, "ubinary", normalize=False, spec=SPEC).rows
    assert rows.shape == (3, 2)
    for row, vector in zip(rows, mean, strict=True):
        bits = "".join(f"{byte:08b}" for byte in row)
        assert bits == "".join("1" if value > 0 else "0" for value in vector) + "00000"


@given(VECTORS)
def test_normalized_rows_have_length_one_and_zeros_stay(mean: Floats) -> None:
    mean[0] = 0
    length = np.linalg.norm(pack(mean, "float32", normalize=True, spec=SPEC).rows.astype(np.float64), axis=1)
    expected = mean.any(axis=1)
    np.testing.assert_allclose(length, expected, atol=1e-5)


@pytest.mark.parametrize(("dtype", "read"), [("float32", "<f4"), ("float16", "<f2"), ("int8", "i1"), ("ubinary", "u1")])
def test_base64_is_the_little_endian_values_of_the_dtype(dtype: str, read: str) -> None:
    mean = np.random.default_rng(0).normal(size=(3, 11)).astype(np.float32)
    packed = pack(mean, dtype, normalize=False, spec=SPEC)  # type: ignore[arg-type]
    for text, row in zip(encode_rows(packed.rows, "base64"), packed.rows, strict=True):
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), read), row)
