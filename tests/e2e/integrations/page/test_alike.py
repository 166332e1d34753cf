"""The table of similarities and the neighbours are what the server says of the same images."""

from collections.abc import Callable
from typing import Any

import pytest

NAMES = ("ankle-boot-1", "ankle-boot-2", "dress", "smiley")


@pytest.fixture
def opened(visit: Callable[..., Any], sample: Callable[[str], bytes]) -> Any:
    opened = visit()
    opened.add({f"{name}.png": sample(name) for name in NAMES})
    return opened


@pytest.fixture
def similarity(client: Any, sample: Callable[[str], bytes]) -> Callable[..., Any]:
    def ask(metric: str, **options: Any) -> Any:
        files = [("left", sample(name)) for name in NAMES]
        answer = client.post("/similarity", files=files, params={"metrics": metric} | options)
        return answer.json()["similarity"][metric]

    return ask


def rows(opened: Any) -> list[list[str]]:
    found = opened.page.locator("#matrix tbody tr").all()
    return [[cell.inner_text() for cell in row.locator("td").all()] for row in found]


def expected(matrix: list[list[float]], text: Callable[[float], str]) -> list[list[str]]:
    """What the table shows; JavaScript rounds halves up, and none of these is one."""
    return [["·" if i == j else text(value) for j, value in enumerate(row)] for i, row in enumerate(matrix)]


def shown(cells: list[list[str]]) -> list[list[str]]:
    return [["·" if i == j else cell for j, cell in enumerate(row)] for i, row in enumerate(cells)]


def test_the_table_has_the_probabilities_and_the_prior_moves_them(opened: Any, similarity: Callable[..., Any]) -> None:
    matrix = similarity("probability_same")
    assert shown(rows(opened)) == expected(matrix, lambda value: f"{100 * value:.0f} %")
    assert matrix[0][1] > 0.5 > matrix[0][2]
    with opened.page.expect_response("**/similarity*"):
        opened.page.get_by_label("Chance before looking").select_option("1 in 1,000")
    wanted = similarity("probability_same", prior=0.001)
    assert wanted[0][1] < 0.1
    opened.page.wait_for_function("text => document.querySelector('#matrix .level-0').textContent === text", arg="1 %")
    assert shown(rows(opened)) == expected(wanted, lambda value: f"{100 * value:.0f} %")


@pytest.mark.parametrize(
    ("label", "metric", "digits"),
    [("Cosine", "cosine", 2), ("Euclidean distance", "euclidean", 2), ("Evidence", "log_likelihood_ratio", 1)],
)
def test_every_measure_of_the_model_can_be_chosen(
    label: str, metric: str, digits: int, opened: Any, similarity: Callable[..., Any]
) -> None:
    options = opened.page.locator("#metric option").all_inner_texts()
    chosen = next(option for option in options if option.startswith(label))
    opened.page.get_by_label("Measure").select_option(chosen)
    found = [
        [float(cell) if i != j else 0 for j, cell in enumerate(row)] for i, row in enumerate(shown_numbers(opened))
    ]
    for i, row in enumerate(similarity(metric)):
        for j, value in enumerate(row):
            assert i == j or found[i][j] == pytest.approx(value, abs=0.51 * 10**-digits)
    assert opened.page.locator("#prior-control").is_hidden()


def shown_numbers(opened: Any) -> list[list[str]]:
    return [["0" if i == j else cell for j, cell in enumerate(row)] for i, row in enumerate(rows(opened))]


def test_neighbours_come_nearest_first_of_the_image_that_is_pressed(
    opened: Any, similarity: Callable[..., Any]
) -> None:
    opened.page.get_by_role("row", name="smiley.png").get_by_role("button").press("Enter")
    assert opened.page.locator("#neighbours-title").inner_text() == "Nearest to smiley.png"
    for label, metric, sign in (("Probability", "probability_same", -1), ("Euclidean distance", "euclidean", 1)):
        options = opened.page.locator("#metric option").all_inner_texts()
        opened.page.get_by_label("Measure").select_option(next(o for o in options if o.startswith(label)))
        values = dict(zip(NAMES, similarity(metric)[3], strict=True))
        wanted = sorted(NAMES[:3], key=lambda name: sign * values[name])
        found = [item.get_attribute("title") for item in opened.page.locator("#neighbours li").all()]
        assert found == [f"{name}.png" for name in wanted]
