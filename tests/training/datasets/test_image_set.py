import numpy as np
import pytest

from training.datasets.image_set import ImageSet

IMAGES = np.arange(4 * 2 * 2, dtype=np.uint8).reshape(4, 2, 2, 1)


def test_a_part_has_the_same_rows_of_everything() -> None:
    whole = ImageSet(IMAGES, np.arange(4), {"size": np.linspace(0, 1, 4), "font": np.array([3, 2, 1, 0])})
    part = whole.part(slice(1, 3))
    assert len(part) == 2
    np.testing.assert_array_equal(part.images, IMAGES[1:3])
    assert part.labels is not None
    assert part.labels.tolist() == [1, 2]
    assert part.factors["font"].tolist() == [2, 1]
    assert part.factors["size"].tolist() == [1 / 3, 2 / 3]


def test_a_part_copies_nothing() -> None:
    """Else a part of images larger than memory would end the process."""
    assert np.shares_memory(ImageSet(IMAGES).part(slice(1, 3)).images, IMAGES)


def test_without_labels_and_factors_parts_have_none() -> None:
    part = ImageSet(IMAGES).part(slice(2))
    assert part.labels is None
    assert part.factors == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(3), r"one value of factor size for each of 4 images, found \(3,\)"),
        (np.zeros((4, 1)), r"found \(4, 1\)"),
        (np.array([True, False, True, True]), "floating-point values or integers, found bool"),
        (np.array(["a", "b", "c", "d"]), "found <U1"),
        (np.array([0.0, np.nan, 1.0, 2.0]), "expected finite values of factor size"),
        (np.array([0, 1, -1, 1]), "counted from 0, found -1"),
    ],
)
def test_a_factor_must_be_one_number_per_image(values: np.typing.NDArray[np.generic], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageSet(IMAGES, factors={"size": values})  # type: ignore[dict-item]
