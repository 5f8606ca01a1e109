"""Scoring every step: solutions in, one step reward a step out, in order, whatever the batching."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from assay.configs import TOKEN_BUDGET, Truncation
from assay.data.contract import Tokens
from assay.errors import ContractError
from assay.models.process_model import ProcessRewardModel, step_rewards
from assay.models.scoring import forward_groups
from assay.types import Solution, StepScores

WINDOW = 128
"""Solutions tokenised and packed at a time, so that memory does not grow with the input."""


@dataclass(frozen=True, slots=True)
class Beginnings:
    """The beginnings of some solutions that fit, and where each comes from."""

    tokens: list[Tokens]
    where: list[tuple[int, int]]
    """Which solution and which of its steps."""
    cut: int
    """Steps that no longer fit within ``max_length``."""


def beginnings_of(
    model: ProcessRewardModel, solutions: Sequence[Solution], truncation: Truncation, first: int = 1
) -> Beginnings:
    """Tokens of the beginnings that fit.

    ``drop`` leaves out the steps beyond ``max_length``; ``truncate-left`` cuts the prompt. Errors
    count solutions from ``first``.

    Raises:
        ContractError: If a solution cannot be written or tokenised, or is too long and the policy
            is ``error``.
    """
    kept: list[Tokens] = []
    where: list[tuple[int, int]] = []
    cut = 0
    for number, group in enumerate(model.step_renderer.tokenise(solutions, first)):
        for step, tokens in enumerate(group):
            try:
                fitted = model.renderer.fit(tokens, truncation)
            except ContractError as error:
                raise ContractError(
                    f"Step {step + 1} of solution {number + first}: {error}"
                ) from error
            if fitted is None:
                cut += 1
                continue
            kept.append(fitted)
            where.append((number, step))
    return Beginnings(kept, where, cut)


def score_steps(
    model: ProcessRewardModel,
    solutions: Sequence[Solution],
    *,
    token_budget: int = TOKEN_BUDGET,
    truncation: Truncation = "error",
    progress: Callable[[int], None] | None = None,
) -> StepScores:
    """Step rewards of solutions: P(the step is right); NaN where a step was cut.

    An ensemble's reward is that of its members' mean logits, its ``std`` that of their rewards.

    Args:
        token_budget: Most tokens in one forward pass; a longer single beginning goes alone.
        truncation: What to do with solutions over the contract's ``max_length``.
        progress: Called with the number of steps just scored.

    Raises:
        ContractError: If a solution cannot be tokenised, or is too long and the policy is
            ``error``.
    """
    rewards: list[NDArray[np.float64]] = [np.full(len(s.steps), np.nan) for s in solutions]
    deviations = [np.full(len(s.steps), np.nan) for s in solutions]
    truncated = [0] * len(solutions)
    outputs, cut = len(model.steps.classes), 0
    for start in range(0, len(solutions), WINDOW):
        part = beginnings_of(model, solutions[start : start + WINDOW], truncation, start + 1)
        cut += part.cut
        for (number, _), tokens in zip(part.where, part.tokens, strict=True):
            truncated[start + number] += tokens.truncated > 0
        for indexes, logits in forward_groups(model, part.tokens, token_budget):
            # (R, 1 + M): by the model, and by each member of an ensemble
            values = np.stack(
                [
                    step_rewards(torch.from_numpy(each), model.steps.classes).numpy()
                    for each in np.split(logits, logits.shape[1] // outputs, axis=1)
                ],
                axis=1,
            )
            for index, row in zip(indexes, values, strict=True):
                number, step = part.where[index]
                rewards[start + number][step] = row[0]
                deviations[start + number][step] = row[1:].std() if len(row) > 1 else 0.0
            if progress:
                progress(len(indexes))
    std = tuple(deviations) if model.members is not None else None
    return StepScores(tuple(rewards), std, cut, tuple(truncated))
