"""One optimiser step: the gradients of a batch, however it is cut into forward passes.

A step's loss is the weighted sum of its examples' losses over the step's whole weight, so nothing
depends on how the step was cut or spread over processes. Shared by the one training loop and by the
inner updates of reinforcement learning.

Letters: B examples of a micro-batch · N examples in all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from assay.errors import TrainingError
from assay.train.plan import micro_batches


@runtime_checkable
class Losses(Protocol):
    """Examples with costs, weights and losses."""

    @property
    def costs(self) -> Sequence[int]:
        """Tokens of each example, ``(N,)``."""
        ...

    @property
    def weights(self) -> Sequence[float]:
        """Weight of each example's loss, ``(N,)``."""
        ...

    def losses(self, module: nn.Module, indexes: Sequence[int]) -> Tensor:
        """One loss per example ``(B,)``, with gradients, through ``module``.

        ``module`` may be wrapped for several processes.
        """
        ...


class Updates:
    """AdamW over a module's parameter groups, on accelerate; what is trained may be wrapped."""

    def __init__(
        self,
        module: nn.Module,
        groups: list[dict[str, Any]],
        accelerator: Any,
        *,
        token_budget: int,
        max_grad_norm: float = 0.0,
        precision: str = "fp32",
        eps: float = 1e-8,
    ):
        """Prepare the module.

        Args:
            max_grad_norm: The gradient's norm is cut to it; 0 leaves it.
            eps: AdamW's.
        """
        self.accelerator = accelerator
        self.inner = module
        self.token_budget = token_budget
        self.max_grad_norm = max_grad_norm or math.inf
        self.half = precision == "bf16"
        self.peaks = [group["lr"] for group in groups]
        optimizer = torch.optim.AdamW(
            groups, lr=self.peaks[0], betas=(0.9, 0.999), eps=eps, fused=True
        )
        self.module, self.optimizer = accelerator.prepare(module, optimizer)

    def step(
        self,
        task: Losses,
        examples: Sequence[int],
        factor: float,
        where: str,
        total_weight: float | None = None,
    ) -> tuple[float, float]:
        """One step over these examples; the loss and the gradient's norm before it was cut.

        Args:
            factor: Of each group's learning rate.
            where: Names the step in an error.
            total_weight: What the weighted sum is divided by. Default: the examples' weights.

        Raises:
            TrainingError: If the loss or the gradient is NaN or infinite; nothing has been changed.
        """
        weights = np.asarray(task.weights, dtype=np.float64)  # (N,)
        # all weights 0: a step without a loss
        total = total_weight or float(weights[list(examples)].sum()) or 1.0
        loss = self._backward(task, examples, weights, total)
        norm = float(self.accelerator.clip_grad_norm_(self.inner.parameters(), self.max_grad_norm))
        if not math.isfinite(loss) or not math.isfinite(norm):
            self.optimizer.zero_grad(set_to_none=True)
            raise TrainingError(
                f"The loss became {loss} with gradient norm {norm} at {where}; "
                "lower --lr or look at the data. The last good checkpoint is untouched."
            )
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm

    def _backward(
        self,
        task: Losses,
        examples: Sequence[int],
        weights: NDArray[np.float64],
        total_weight: float,
    ) -> float:
        """Gradients of a step's loss, and that loss over all processes."""
        world = self.accelerator.num_processes
        shares = micro_batches(
            examples, task.costs, self.token_budget, self.accelerator.process_index, world
        )
        # our own autocast: accelerate fixes its precision for the life of the process
        autocast = torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.half)
        step_loss = torch.zeros((), dtype=torch.float64)
        for number, indexes in enumerate(shares):
            last = number == len(shares) - 1
            # an empty share still runs a forward of weight zero: all processes synchronise as often
            used, scale = (indexes, 1.0) if indexes else ([examples[0]], 0.0)
            with nullcontext() if last else self.accelerator.no_sync(self.module):
                with autocast:
                    losses = task.losses(self.module, used)
                own = torch.as_tensor(
                    weights[used] * scale, dtype=losses.dtype, device=losses.device
                )
                loss = (losses * own).sum() / total_weight
                # processes average their gradients, so the sum is multiplied back
                self.accelerator.backward(loss * world)
            step_loss += loss.detach().double().cpu()
        if world > 1:
            step_loss = self.accelerator.reduce(step_loss.to(self.accelerator.device), "sum")
        return float(step_loss)
