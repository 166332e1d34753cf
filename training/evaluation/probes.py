"""How useful an embedding is, by its simplest uses: a linear classifier and nearest neighbours. Knows no models."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

__all__ = ["Codes", "knn_accuracy", "linear_accuracy"]

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

NEIGHBOURS = 20
_CHUNK = 1_000


class Codes:
    """Features and labels of a train and a test set, on one device.

    Args:
        train: Shape [N, F].
        train_labels: Shape [N], classes counted from 0.
        test: Shape [M, F].
        test_labels: Shape [M].
        device: Where to compute.
    """

    def __init__(
        self, train: Features, train_labels: Labels, *, test: Features, test_labels: Labels, device: torch.device
    ) -> None:
        self.train, self.test = (torch.from_numpy(values).to(device) for values in (train, test))
        self.train_labels = torch.from_numpy(train_labels).to(device)
        self.test_labels = torch.from_numpy(test_labels).to(device)
        self.classes = int(max(train_labels.max(), test_labels.max())) + 1


def linear_accuracy(codes: Codes, l2: float = 1e-4, iterations: int = 200) -> float:
    """Accuracy of multinomial logistic regression on standardised features, fitted by L-BFGS.

    Args:
        codes: Features and labels.
        l2: Weight decay on the mean loss.
        iterations: At most so many; 200 is past convergence for embeddings.

    Returns:
        The share of test items classified correctly.
    """
    mean, deviation = codes.train.mean(0), codes.train.std(0, correction=0)
    train, test = ((values - mean).div_(deviation.clamp(min=1e-6)) for values in (codes.train, codes.test))
    weight = torch.zeros(codes.classes, train.shape[1], device=train.device, requires_grad=True)
    bias = torch.zeros(codes.classes, device=train.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = functional.cross_entropy(train @ weight.T + bias, codes.train_labels) + l2 / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return _share(torch.argmax(test @ weight.detach().T + bias.detach(), 1) == codes.test_labels)


def knn_accuracy(codes: Codes, *, cosine: bool, neighbours: int = NEIGHBOURS) -> float:
    """Accuracy of the majority vote among the nearest training items; the nearer of tied classes wins.

    Args:
        codes: Features and labels.
        cosine: Cosine similarity instead of Euclidean distance.
        neighbours: k; all training items when there are fewer.

    Returns:
        The share of test items classified correctly.
    """
    k = min(neighbours, len(codes.train))
    train, test = codes.train, codes.test
    if cosine:
        train, test = functional.normalize(train), functional.normalize(test)
    # a nearer neighbour's vote weighs more by an amount that can decide ties and nothing else
    votes = 1 + torch.linspace(1, 0, k, device=train.device) / (4 * k)
    offset = train.square().sum(1)
    correct = []
    for queries, labels in zip(torch.split(test, _CHUNK), torch.split(codes.test_labels, _CHUNK), strict=True):
        nearest = (offset - 2 * queries @ train.T).topk(k, largest=False).indices
        tally = torch.zeros(len(queries), codes.classes, device=train.device)
        tally.scatter_add_(1, codes.train_labels[nearest], votes.expand(len(queries), k))
        correct.append(tally.argmax(1) == labels)
    return _share(torch.cat(correct))


def _share(correct: Tensor) -> float:
    return correct.double().mean().item()
