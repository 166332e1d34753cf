from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2_contingency

from training.datasets.fonts import Font, bundled_fonts, select_fonts
from training.datasets.glyphs import CHARACTERS, GlyphSpec, draw_glyph, open_glyphs
from training.datasets.image_set import DataError, ImageSet, Source

SMALL = GlyphSpec(train=4600, test=460)
TINY = GlyphSpec(train=50, test=50)
BAR = np.full((20, 80), 255, np.uint8)

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def fonts() -> list[Font]:
    return select_fonts(bundled_fonts(), CHARACTERS)


@pytest.fixture(scope="module")
def source(fonts: list[Font], tmp_path_factory: pytest.TempPathFactory) -> Source:
    return open_glyphs(tmp_path_factory.mktemp("cache"), SMALL, fonts)


def _box(part: ImageSet) -> tuple[Array, Array, Array]:
    """Of the ink of every image: middle x, middle y, longer side; in pixels from the middle of the image, to a part."""
    ends = []
    for axis in (2, 1):
        profile = part.images[..., 0].max(axis=axis).astype(float) / 255
        first, last = (profile > 0.2).argmax(axis=1), 27 - (profile[:, ::-1] > 0.2).argmax(axis=1)
        ends.append((first, last + 1))
    (top, bottom), (left, right) = ends
    return (left + right) / 2 - 14, (top + bottom) / 2 - 14, np.maximum(bottom - top, right - left)


def _r2(known: Array, measured: Array) -> float:
    return float(np.corrcoef(known, measured)[0, 1] ** 2)


def test_every_class_is_equally_large_in_both_splits(source: Source) -> None:
    assert source.class_names == tuple(CHARACTERS)
    for part in (source.train, source.test):
        assert part.labels is not None
        assert np.bincount(part.labels).tolist() == [len(part) // len(CHARACTERS)] * len(CHARACTERS)


def test_characters_that_look_alike_at_another_size_are_one_class() -> None:
    for pair in ("cC", "oO", "O0", "sS", "vV", "wW", "xX", "zZ", "Il", "l1", "I1"):
        assert not set(pair) <= set(CHARACTERS)
    assert len(set(CHARACTERS)) == len(CHARACTERS) == 46


def test_style_says_nothing_about_content(source: Source) -> None:
    """Share of a factor's variance that the label explains: with independent draws 45 / 4600 = 0.01 on average."""
    part = source.train
    for name in ("size", "x", "y", "rotation"):
        values = np.asarray(part.factors[name], np.float64)
        means = np.array([values[part.labels == label].mean() for label in range(len(CHARACTERS))])
        assert means.var() / values.var() < 0.017, name


def test_factors_say_nothing_about_each_other(source: Source) -> None:
    names = ["size", "x", "y", "rotation"]
    for power in (1, 2):  # neither about means nor about spreads
        values = np.stack([np.asarray(source.train.factors[name], np.float64) for name in names])
        centred = (values - values.mean(axis=1, keepdims=True)) ** power
        correlations = np.corrcoef(centred) - np.eye(len(names))
        assert np.abs(correlations).max() < 0.06


def test_fonts_are_drawn_independently_of_characters_and_equally_often(source: Source, fonts: list[Font]) -> None:
    font = source.train.factors["font"]
    assert source.train.labels is not None
    table = np.zeros((len(CHARACTERS), len(fonts)))
    np.add.at(table, (source.train.labels, font.astype(np.int64)), 1)
    assert chi2_contingency(table).pvalue > 0.001
    assert chi2_contingency(np.stack([table.sum(axis=0), np.full(len(fonts), 4600 / len(fonts))])).pvalue > 0.001


def test_ink_is_where_the_position_says(source: Source) -> None:
    x, y, _ = _box(source.train)
    for name, measured in (("x", x), ("y", y)):
        known = np.asarray(source.train.factors[name], np.float64)
        assert _r2(known, measured) > 0.98
        assert np.abs(measured - known).max() < 0.8
        assert abs((measured - known).mean()) < 0.1


def test_the_centre_of_ink_follows_the_position(source: Source) -> None:
    """For characters whose centre of ink is the middle of their box; that of others is off by what their shape says."""
    part = source.train
    assert part.labels is not None
    chosen = np.isin(part.labels, [CHARACTERS.index(character) for character in "08HNX"])
    ink = part.images[chosen, :, :, 0].astype(np.float64)
    pixels = np.arange(28) + 0.5 - 14
    for name, axis in (("x", 1), ("y", 2)):
        centre = (ink.sum(axis=axis) * pixels).sum(axis=1) / ink.sum(axis=(1, 2))
        assert _r2(np.asarray(part.factors[name][chosen], np.float64), centre) > 0.98


def test_ink_is_as_large_as_the_size_says(source: Source) -> None:
    size = 28 * np.asarray(source.train.factors["size"], np.float64)
    _, _, longer = _box(source.train)
    assert np.abs(longer - size).max() < 2.5
    assert _r2(size, longer) > 0.95


def test_nothing_is_cut_off_at_the_rim(source: Source) -> None:
    rim = np.ones((28, 28), bool)
    rim[1:-1, 1:-1] = False
    touched = source.train.images[:, rim, 0].max(axis=1)
    assert touched.max() < 220, "a rim pixel is covered in part at most"
    assert (touched > 40).mean() < 0.02


def test_a_bar_is_drawn_where_and_as_large_as_asked() -> None:
    image = draw_glyph(BAR, size=0.5, x=3.0, y=-4.0, rotation=0.0)
    expected = np.zeros((28, 28))
    expected[8:12, 10:24] = 255
    expected[[8, 11], 10:24] = 191  # 14 × 3.5 pixels: three quarters of the outer rows
    np.testing.assert_allclose(image, expected, atol=1)


@pytest.mark.parametrize("rotation", [-15.0, -5.0, 0.0, 10.0, 15.0])
def test_rotation_is_in_degrees_and_anticlockwise(rotation: float) -> None:
    image = draw_glyph(BAR, size=0.7, x=0.0, y=0.0, rotation=rotation).astype(np.float64)
    down, right = np.meshgrid(np.arange(28) - 13.5, np.arange(28) - 13.5, indexing="ij")
    up = -down
    direction = np.arctan2(2 * (image * right * up).sum(), (image * (right**2 - up**2)).sum()) / 2
    assert np.rad2deg(direction) == pytest.approx(rotation, abs=0.7)


def test_edges_are_soft() -> None:
    """Antialiased: sliding by a quarter of a pixel changes the picture by a quarter of a pixel."""
    images = [draw_glyph(BAR, 0.5, x, 0.0, 0.0).astype(int) for x in (0.0, 0.25, 0.5)]
    ink = [image.sum() for image in images]
    assert max(ink) - min(ink) < 0.01 * ink[0]
    centres = [(image.sum(axis=0) * np.arange(28)).sum() / image.sum() for image in images]
    assert np.diff(centres) == pytest.approx([0.25, 0.25], abs=0.03)


def test_equal_specs_give_equal_images_and_another_seed_others(fonts: list[Font], tmp_path: Path) -> None:
    one, same = (open_glyphs(tmp_path / name, TINY, fonts) for name in ("one", "same"))
    np.testing.assert_array_equal(one.train.images, same.train.images)
    np.testing.assert_array_equal(one.train.labels, same.train.labels)
    other = open_glyphs(tmp_path / "one", GlyphSpec(train=50, test=50, seed=1), fonts)
    assert not np.array_equal(one.train.labels, other.train.labels)
    assert len(list((tmp_path / "one").iterdir())) == 2


def test_the_splits_are_not_the_same_images(fonts: list[Font], tmp_path: Path) -> None:
    source = open_glyphs(tmp_path, TINY, fonts)
    train, test = ({image.tobytes() for image in part.images} for part in (source.train, source.test))
    assert len(train | test) == 100


def test_the_second_time_nothing_is_drawn(fonts: list[Font], tmp_path: Path) -> None:
    """The images are blanked behind the cache's back."""
    open_glyphs(tmp_path, TINY, fonts)
    (file,) = tmp_path.iterdir()
    np.save(file, np.zeros((100, 28, 28, 1), np.uint8))
    assert open_glyphs(tmp_path, TINY, fonts).train.images.max() == 0


def test_another_set_of_fonts_makes_another_cache(fonts: list[Font], tmp_path: Path) -> None:
    open_glyphs(tmp_path, TINY, fonts)
    open_glyphs(tmp_path, TINY, fonts[1:])
    assert len(list(tmp_path.iterdir())) == 2


def test_without_fonts_named_those_of_matplotlib_are_taken(fonts: list[Font], tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        open_glyphs(tmp_path / "one", TINY).train.images, open_glyphs(tmp_path / "two", TINY, fonts).train.images
    )


def test_too_few_fonts_are_refused(fonts: list[Font], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"glyphs: expected at least 8 fonts .*found 7; install"):
        open_glyphs(tmp_path, TINY, fonts[:7])


def test_a_cache_that_cannot_be_written_says_what_to_do(fonts: list[Font], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match=r"taken/glyphs-.*: expected to keep images there.*--cache-dir"):
        open_glyphs(tmp_path / "taken", TINY, fonts)
