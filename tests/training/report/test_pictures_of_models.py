"""What pictures are made from: latents drawn by the model's law, true neighbours, pixels left as they are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.objectives.prior import Prior
from training.report.decoded import draw_contents, walk
from training.report.diagnostics import reliability, wilson
from training.report.embedding import Embedded, nearest
from training.report.grids import Mark, compose, draw_grid
from training.report.maps import label_map, project
from training.report.page import number, plus_minus
from training.report.style import Picture, as_svg, make_axes, settle, shorten, spread


@pytest.mark.parametrize("rho", [0.3, torch.tensor(0.87), torch.tensor([0.1, 0.5, 0.95])])
def test_sampled_views_of_one_content_correlate_as_the_prior_says(rho: float | torch.Tensor) -> None:
    latents = draw_contents(
        Prior(rho), 3, np.random.default_rng(0), np.empty((0, 3), np.float32), rows=40_000, columns=2
    )
    first, second = latents[:, 0].astype(np.float64), latents[:, 1].astype(np.float64)
    expected = np.broadcast_to(torch.as_tensor(rho).numpy(), 3)
    np.testing.assert_allclose((first * second).mean(0), expected, atol=4 * (2 / 40_000) ** 0.5)
    np.testing.assert_allclose(np.square(latents.astype(np.float64)).mean((0, 1)), 1, atol=4 * (2 / 40_000) ** 0.5)


def test_samples_of_a_model_without_content_are_independent() -> None:
    latents = draw_contents(None, 2, np.random.default_rng(0), np.empty((0, 2), np.float32), rows=40_000, columns=2)
    assert np.abs((latents[:, 0] * latents[:, 1]).mean(0)).max() < 4 / 40_000**0.5


def test_under_a_flat_prior_images_stand_for_contents() -> None:
    means = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    latents = draw_contents(Prior(0.999, flat=True), 8, np.random.default_rng(0), means, columns=12)
    assert latents.shape == (4, 12, 8)
    assert np.abs(latents - means[:, None]).max() < 6 * 0.001**0.5


def test_a_walk_begins_and_ends_at_its_images_and_keeps_the_length_in_between() -> None:
    start, end = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
    share = np.linspace(0, 1, 9, dtype=np.float32)[:, None]
    steps = walk(start, end, share)
    np.testing.assert_allclose(steps[[0, -1]], [start, end], atol=1e-5)
    lengths = np.linalg.norm(steps, axis=1)
    np.testing.assert_allclose(lengths, np.linspace(lengths[0], lengths[-1], 9), rtol=1e-4)


@pytest.mark.parametrize("end", [(1.0, 0.0), (-1.0, 0.0), (3.0, 0.0), (0.0, 0.0)])
def test_a_walk_without_a_shortest_turn_is_straight(end: tuple[float, float]) -> None:
    start, target = np.array([1, 0], np.float32), np.array(end, np.float32)
    middle = walk(start, target, np.array([[0.5]], np.float32))[0]
    np.testing.assert_allclose(middle, (start + target) / 2, atol=1e-6)


def test_neighbours_are_the_nearest_by_angle_and_never_the_query() -> None:
    codes = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    codes[7] = 3 * codes[20]
    queries = np.array([20, 3])
    found = nearest(codes, queries, 5)
    assert found[0, 0] == 7
    for query, row in zip(queries, found, strict=True):
        cosine = [float(codes[query] @ code / np.linalg.norm(codes[query]) / np.linalg.norm(code)) for code in codes]
        cosine[query] = -2
        assert list(row) == sorted(range(50), key=lambda i: -cosine[i])[:5]


def test_a_map_keeps_neighbours_and_repeats() -> None:
    random, labels = np.random.default_rng(0), np.arange(60) % 3
    codes = (10 * np.eye(3, 8)[labels] + random.normal(size=(60, 8))).astype(np.float32)
    places = project(codes, seed=0)
    distance = np.linalg.norm(places[:, None] - places, axis=-1) + 1e9 * np.eye(60)
    assert (labels[distance.argmin(1)] == labels).mean() > 0.95
    np.testing.assert_array_equal(places, project(codes, seed=0))


def test_every_pixel_of_a_tile_is_a_pixel_of_the_sheet() -> None:
    random = np.random.default_rng(0)
    one, other = random.integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    sheet = compose([[one, other], [None, other.astype(np.float32) / 255]], gap_px=2, row_gap_px=3)
    assert sheet.shape == (5 + 3 + 5, 4 + 2 + 4, 4)
    np.testing.assert_array_equal(sheet[:5, :4, :3], one)
    np.testing.assert_array_equal(sheet[8:, 6:, :3], other)
    assert (sheet[..., 3] == 255).sum() == 3 * 20


def test_large_images_are_shrunk_and_grey_ones_stay_grey() -> None:
    sheet = compose([[np.full((200, 100, 1), 77, np.uint8)]], 1, 1)
    assert sheet.shape == (64, 32, 4)
    assert set(np.unique(sheet[..., :3])) == {77}


def test_a_mark_is_a_frame_with_its_word() -> None:
    tile = np.zeros((8, 8, 1), np.uint8)
    axes = draw_grid([[tile, tile]], ["query"], marks=[Mark(0, 1, "$coat")]).axes[0]
    assert len(axes.patches) == 1
    assert {text.get_text() for text in axes.texts} == {"query", "$coat"}


def test_reliability_leaves_out_empty_bins_and_says_how_far_it_is_off() -> None:
    bins = [{"predicted": 0.2, "observed": 0.1, "count": 30}, {"predicted": 0.5, "observed": 0.0, "count": 0}]
    picture = reliability([*bins, {"predicted": 0.9, "observed": 0.9, "count": 10}])
    assert picture.alt == "Reliability diagram over 40 pairs; the mean distance to the diagonal is 0.075."
    assert np.asarray(picture.figure.axes[0].get_lines()[1].get_xdata()).tolist() == [0.2, 0.9]


def test_the_interval_of_a_share_is_the_known_one() -> None:
    low, high = wilson(np.array([0.5, 0.0]), np.array([10, 10]))
    np.testing.assert_allclose(low, [0.23659, 0.0], atol=1e-5)
    np.testing.assert_allclose(high, [0.76341, 0.27753], atol=1e-5)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.floats(0.01, 1))
def test_labels_are_moved_apart_no_further_than_needed(places: list[float], gap: float) -> None:
    moved = spread(places, gap)
    order = np.argsort(places, kind="stable")
    assert np.all(np.diff(moved[order]) >= gap - 1e-9)
    assert np.mean(moved) == pytest.approx(np.mean(places), abs=1e-9)
    if np.all(np.diff(np.sort(places)) >= gap):
        np.testing.assert_allclose(moved, places, atol=1e-12)


@given(st.text(max_size=60), st.integers(3, 30))
def test_a_shortened_name_fits_and_keeps_both_ends(text: str, most: int) -> None:
    short = shorten(text, most)
    assert len(short) <= most
    assert short == text or (short[0] == text[0] and short[-1] == text[-1])


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (0.8768, 0.0033, "0.877 ± 0.003"),
        (784.93, 1.79, "784.9 ± 1.8"),
        (0.008116, 0.00003, "0.00812 ± 0.00003"),
        (0.1, 1e-17, "0.100 ± 0.000"),
        (-1818.03, 0.25, "-1,818.03 ± 0.25"),
        (0.0, 0.0, "0.000 ± 0.000"),
    ],
)
def test_a_figure_and_its_error_have_the_same_decimals(value: float, error: float, words: str) -> None:
    assert f"{number(value, error)} {plus_minus(value, error)}" == words


@pytest.mark.parametrize(
    ("value", "words"), [(32, "32"), (20.13, "20.13"), (0.0152, "0.0152"), (1.01, "1.010"), (60_000, "60,000")]
)
def test_a_figure_alone_has_the_digits_worth_reading(value: float, words: str) -> None:
    assert number(value) == words


def test_the_ink_of_a_drawing_follows_the_theme_and_drawings_repeat() -> None:
    def drawn() -> str:
        figure, axes = make_axes(2)
        axes.plot([1, 2], color="#0072b2")
        axes.set_title("$a$ 日本")
        return as_svg(Picture("p", "t", "r", "a", settle(figure)))

    text = drawn()
    assert text.startswith("<svg")
    assert "stroke: var(--blue)" in text
    assert text.count("#0072b2") == 1  # where the theme defines it
    assert text == drawn()


def test_many_classes_of_short_names_are_written_and_few_are_coloured_and_named_once() -> None:
    random = np.random.default_rng(0)
    images, codes = np.zeros((60, 2, 2, 1), np.uint8), random.normal(size=(60, 3)).astype(np.float32)
    places, names = random.normal(size=(60, 2)), tuple("abcdefghijkl")
    for classes, written in ((12, 60), (4, 4)):
        embedded = Embedded(images, codes, np.arange(60) % classes, names)
        axes = label_map(embedded, places).figure.axes[0]
        assert sorted(text.get_text() for text in axes.texts) == sorted(names[:classes] * (written // classes))
        assert len(axes.collections) == (0 if written == 60 else classes)
