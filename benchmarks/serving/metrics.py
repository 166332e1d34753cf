"""What the service says of itself at `/metrics`."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["metric"]


def metric(port: int, name: str, **labels: str) -> float:
    """The sum of the samples of a name; 0 where there are none yet.

    Args:
        port: Of the server, on this machine.
        name: Of the samples, `simvae_queue_items` for example.
        labels: Values that samples must have to count.
    """
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())
