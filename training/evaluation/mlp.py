"""A probe with one hidden layer, for what is in an embedding but not on a line. Knows no models.

One network reads all targets of an embedding at once: d → 256 → one head per target, ReLU, AdamW, a fixed number of
steps with a learning rate that falls to zero along a cosine.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.evaluation.linear import standardise
from training.evaluation.split import Split
from training.evaluation.targets import Target, accuracy, r_squared
from training.evaluation.threads import one_thread

__all__ = ["DECAYS", "HIDDEN", "STEPS", "MlpProbe", "mlp_probe"]

HIDDEN = 256
STEPS = 800
DECAYS = (1.0, 0.1, 0.01)
"""Candidates for AdamW's weight decay, the strongest first; compared after a third of the steps."""
_EPOCHS = 100
"""A small set is seen so often, which takes fewer steps."""
_BATCH = 512
_RATE = 8e-3


@dataclass(frozen=True)
class MlpProbe:
    """What the network reached on the test items.

    Attributes:
        scores: By name of the target: accuracy, 0 to 1, or R².
        chosen: The weight decay that was best on the validation items.
    """

    scores: dict[str, float]
    chosen: float


@one_thread()
def mlp_probe(train: Tensor, test: Tensor, targets: Sequence[Target], split: Split, seed: int) -> MlpProbe:
    """Fits the network with the weight decay of the best mean validation score, and scores it on the test items.

    Args:
        train: Shape [N, F].
        test: Shape [M, F], on the same device.
        targets: What to predict.
        split: Which of the N items choose the weight decay.
        seed: Decides the first weights and the batches.
    """
    train, test = standardise(train, test)
    heads = [_Head(target, train.device) for target in targets]
    steps = min(STEPS, _EPOCHS * math.ceil(len(train) / _BATCH))
    best = 0
    if len(split.validation):
        fit, held = (torch.from_numpy(part).to(train.device) for part in (split.fit, split.validation))
        features, candidates = train[fit], []
        for decay in DECAYS:
            network = _fit(features, [head[fit] for head in heads], heads, decay, steps // 3, seed)
            guesses = _predict(network, train[held], heads)
            candidates.append(np.mean([head.score(held, guess) for head, guess in zip(heads, guesses, strict=True)]))
        best = int(np.argmax(candidates))
    network = _fit(train, [head[:] for head in heads], heads, DECAYS[best], steps, seed)
    predicted = _predict(network, test, heads)
    scores = {
        head.target.name: head.target.score(guess.cpu().numpy()) for head, guess in zip(heads, predicted, strict=True)
    }
    return MlpProbe(scores, DECAYS[best])


class _Head:
    """A target as the network sees it: classes, or a number with mean 0 and variance 1 over the training items."""

    def __init__(self, target: Target, device: torch.device) -> None:
        self.target = target
        self.outputs = target.classes if target.categorical else 1
        self.mean, self.deviation = 0.0, 1.0
        if not target.categorical:
            self.mean, self.deviation = float(target.train.mean()), max(float(target.train.std()), 1e-12)
        values = target.train if target.categorical else (target.train - self.mean) / self.deviation
        self.values = torch.from_numpy(values).to(device, torch.int64 if target.categorical else torch.float32)

    def __getitem__(self, items: Tensor | slice) -> Tensor:
        return self.values[items]

    def loss(self, outputs: Tensor, values: Tensor) -> Tensor:
        if self.target.categorical:
            return functional.cross_entropy(outputs, values)
        return functional.mse_loss(outputs[:, 0], values)

    def read(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(1) if self.target.categorical else outputs[:, 0] * self.deviation + self.mean

    def score(self, items: Tensor, predicted: Tensor) -> float:
        true = self.target.train[items.cpu().numpy()]
        return (accuracy if self.target.categorical else r_squared)(true, predicted.cpu().numpy())


def _fit(
    features: Tensor, values: Sequence[Tensor], heads: Sequence[_Head], decay: float, steps: int, seed: int
) -> nn.Module:
    outputs = [head.outputs for head in heads]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(features.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, sum(outputs)))
    network.to(features.device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=decay, fused=True)
    generator = torch.Generator().manual_seed(seed)
    batch = min(_BATCH, len(features))
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(features), generator=generator)
        items, order = order[:batch].to(features.device), order[batch:]
        optimiser.param_groups[0]["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.zero_grad()
        parts = network(features[items]).split(outputs, 1)
        known = zip(heads, parts, values, strict=True)
        loss = torch.stack([head.loss(part, value[items]) for head, part, value in known]).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network


@torch.no_grad()
def _predict(network: nn.Module, features: Tensor, heads: Sequence[_Head]) -> list[Tensor]:
    parts = network(features).split([head.outputs for head in heads], 1)
    return [head.read(part) for head, part in zip(heads, parts, strict=True)]
