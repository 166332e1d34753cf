"""Two processes that gather before the loss take the gradient step of one; run as a script, this is one of them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn

from training.distributed import all_mean, gather, rank, world_size
from training.likelihoods import gaussian_log_prob, optimal_variance
from training.objectives.simclr import nt_xent
from training.objectives.vicreg import vicreg

PROCESSES = 2
LOSSES = ["simclr", "vicreg", "own anchors", "optimal variance", "vicreg without gathering"]


class Model(nn.Module):
    """A small encoder, a head that normalises over the batch, and a loss."""

    def __init__(self, loss: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.loss = loss
        self.encoder = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
        self.head = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))

    def forward(self, views: Tensor) -> Tensor:
        codes = self.encoder(views)
        everybody = codes if "without" in self.loss else gather(codes)
        outputs = self.head(everybody.flatten(0, 1)).reshape(*everybody.shape[:2], 6)
        if self.loss == "simclr":
            return nt_xent(outputs, 0.2).mean()
        if self.loss.startswith("vicreg"):
            return vicreg(outputs).loss
        mine = outputs[rank() * len(views) :][: len(views)]
        if self.loss == "own anchors":  # differs from rank to rank
            return (mine[:, :, None] - outputs.flatten(0, 1)).square().sum(-1).add(1).log().mean()
        x, mean = (value.reshape(*value.shape[:2], 1, 2, 3) for value in (views, mine))
        return -gaussian_log_prob(x, mean, optimal_variance(x, mean)).mean()


def groups() -> Tensor:
    """Views of eight groups, whose second half is unlike the first."""
    views = torch.randn(8, 2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return views * torch.linspace(0.3, 3, 8, dtype=torch.float64)[:, None, None]


def gradients(model: nn.Module, views: Tensor) -> list[Tensor]:
    model(views).backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def work(index: int, folder: Path) -> None:
    """What one of the processes does."""
    torch.set_num_threads(1)
    where = (folder / "meeting-point").as_uri()
    distributed.init_process_group("gloo", init_method=where, rank=index, world_size=PROCESSES)
    mine = groups().chunk(PROCESSES)[index]
    results: dict[str, object] = {"position": (rank(), world_size())}
    for loss in LOSSES:
        results[loss] = gradients(nn.parallel.DistributedDataParallel(Model(loss).double()), mine)
    results["gathered"], results["mean"] = gather(mine), all_mean(mine.mean())
    torch.save(results, folder / f"{index}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("processes")
    commands = [[sys.executable, __file__, str(index), str(folder)] for index in range(PROCESSES)]
    processes = [subprocess.Popen(command) for command in commands]
    try:
        assert [process.wait(120) for process in processes] == [0] * PROCESSES
    finally:
        for process in processes:
            process.kill()  # one waits for the other for ever
    return [torch.load(folder / f"{index}.pt") for index in range(PROCESSES)]


@pytest.mark.parametrize("loss", LOSSES[:-1])
def test_two_processes_have_the_gradients_of_one(loss: str, results: list[dict[str, object]]) -> None:
    alone = gradients(Model(loss).double(), groups())
    for found in results:
        torch.testing.assert_close(found[loss], alone, rtol=0, atol=1e-12)


def test_without_gathering_they_have_not(results: list[dict[str, object]]) -> None:
    """Negative control: statistics of half a batch are other statistics."""
    alone = gradients(Model("vicreg").double(), groups())
    apart = results[0]["vicreg without gathering"]
    assert not torch.allclose(apart[0], alone[0], rtol=0.01)  # type: ignore[index]


def test_gathering_is_in_rank_order_and_means_are_over_all(results: list[dict[str, object]]) -> None:
    for index, found in enumerate(results):
        assert found["position"] == (index, PROCESSES)
        torch.testing.assert_close(found["gathered"], groups())
        torch.testing.assert_close(found["mean"], groups().mean())


def test_one_process_is_left_alone() -> None:
    views = groups().requires_grad_()
    assert gather(views) is views
    assert (rank(), world_size()) == (0, 1)
    assert all_mean(views.mean()) == views.mean()
    assert not all_mean(views.mean()).requires_grad


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
