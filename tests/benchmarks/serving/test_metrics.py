"""A metric is the sum of the samples that carry the labels."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from serving.metrics import metric
from serving.started import started
from serving.targets import service
from serving.workload import prepare


def test_a_metric_is_summed_over_labels_that_were_not_named(folder: Path) -> None:
    workload = prepare("mlp28", folder)
    with started(service(1), workload, folder) as server:
        url = f"http://127.0.0.1:{server.port}/embed"
        for content in (*workload.contents[:2], b"no image"):
            try:
                urllib.request.urlopen(url, content).close()
            except urllib.error.HTTPError as error:
                error.close()
        assert metric(server.port, "simvae_requests_total", route="/embed") == 3
        assert metric(server.port, "simvae_requests_total", route="/embed", code="200") == 2
        assert metric(server.port, "simvae_queue_items") == 0
        assert metric(server.port, "simvae_no_such_metric") == pytest.approx(0)
