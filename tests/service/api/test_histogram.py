"""Counting many at a time is counting one by one."""

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest

from service.api.histogram import ManyHistogram

AMOUNTS = [0.0, 0.125, 0.0625, 0.1875, 1.0, 2.5, 7.0, 0.125]


def exposition(amounts: list[float], *, together: bool) -> str:
    registry = CollectorRegistry()
    kind = ManyHistogram if together else Histogram
    histogram = kind("seconds", "Of something.", ["route"], buckets=(0.125, 1, 2.5), registry=registry)
    child = histogram.labels("/embed")
    if isinstance(child, ManyHistogram):
        child.observe_many(amounts)
    else:
        for amount in amounts:
            child.observe(amount)
    return "\n".join(line for line in generate_latest(registry).decode().splitlines() if "_created" not in line)


def test_many_observations_are_counted_like_one_after_the_other() -> None:
    assert exposition(AMOUNTS, together=True) == exposition(AMOUNTS, together=False)
    assert 'seconds_bucket{le="0.125",route="/embed"} 4.0' in exposition(AMOUNTS, together=True)


def test_one_observation_is_counted() -> None:
    assert exposition([3.0], together=True) == exposition([3.0], together=False)
