import pytest

from service.api.errors import NotAcceptableError
from service.api.negotiation import JSON, NPY, PNG, preferred


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/x-npy", NPY),
        ("Application/X-NPY", NPY),
        ("application/x-npy, */*", JSON),  # equal wishes: the server's first
        ("application/json;q=0.5, application/x-npy", NPY),
        ("application/x-npy;q=0.1, application/json;q=0.2", JSON),
        ("application/json;q=0, */*", NPY),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
    ],
)
def test_the_best_offer_wins(accept: str | None, expected: str) -> None:
    assert preferred(accept, (JSON, NPY)) == expected


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "*/*;q=0", "application/x-npy;q=many"])
def test_an_impossible_wish_is_refused_and_names_what_there_is(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="application/json or application/x-npy"):
        preferred(accept, (JSON, NPY))


def test_a_range_wins_over_a_wildcard() -> None:
    assert preferred("image/*, application/*;q=0.3", (JSON, PNG)) == PNG
