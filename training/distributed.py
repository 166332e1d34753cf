"""Batch statistics over all processes, with the gradients one process would have had.

Outside `torch.distributed`, or with one process, everything here is the identity. It knows tensors only.

Why the gradients are exact. Rank r computes features f_r from its own groups and a loss L_r that may look at the
features of all ranks; the loss of the whole batch is L = (1/R) Σ_r L_r. The backward pass of `gather` adds up over
the ranks what each of their losses asks of f_r, so rank r ends with the parameter gradient

    g_r = Σ_s (∂L_s / ∂f_r) (∂f_r / ∂θ)

and DistributedDataParallel averages: (1/R) Σ_r g_r = (1/R) Σ_s dL_s/dθ = dL/dθ. This holds for losses that differ
between ranks (a contrast of the rank's own anchors with everybody) and for losses computed alike on every rank
(statistics of the whole batch); neither is scaled by the number of processes.
"""

import gc
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd import Function
from torch.autograd.function import once_differentiable

__all__ = ["all_mean", "gather", "leave_group", "rank", "world_size"]


def world_size() -> int:
    """How many processes train together; 1 outside `torch.distributed`."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0; 0 outside `torch.distributed`."""
    return distributed.get_rank() if world_size() > 1 else 0


def leave_group() -> None:
    """Ends the group, if there is one, once there is no more to say in it.

    Its threads must not outlive the interpreter, which they would abort; what still refers to the group keeps them.
    """
    if distributed.is_available() and distributed.is_initialized():
        gc.collect()
        distributed.destroy_process_group()
        gc.collect()


def gather(tensor: Tensor) -> Tensor:
    """Concatenates the tensors of all ranks along the first dimension, in rank order, with gradients.

    Args:
        tensor: Shape [N, ...], the same on every rank (drop the ragged last batch).

    Returns:
        Shape [R·N, ...]; the tensor itself when there is one process.
    """
    if world_size() == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
    return gathered


def all_mean(statistic: Tensor) -> Tensor:
    """The mean over the ranks of a statistic that is a constant to autograd; not a number if it is none on one of them.

    Args:
        statistic: Of any shape, a mean over as many elements on every rank.

    Returns:
        Same shape, detached.
    """
    mean = statistic.detach().clone()
    if world_size() > 1:
        distributed.all_reduce(mean)
        mean /= world_size()
    return mean


class _Gather(Function):
    """An all-gather whose backward sums over ranks; torch's own in `torch.distributed.nn` is deprecated."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = len(tensor)
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
        distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)  # all_reduce works in place
        distributed.all_reduce(total)
        return total.narrow(0, rank() * ctx.rows, ctx.rows)
