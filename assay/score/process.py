"""Scorers of process models: step rewards of solutions, or one reduced reward of a conversation.

The scorer knows nothing of training.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from assay.configs import TOKEN_BUDGET, Reduction, Truncation
from assay.data.contract import Contract
from assay.formats.steps import split_steps
from assay.models.backbones import weights_digest
from assay.models.process_checkpoint import load_process
from assay.models.process_model import ProcessRewardModel
from assay.models.process_presets import PRESETS
from assay.models.step_scoring import score_steps
from assay.stats.reduce import reduce_steps
from assay.types import Conversation, Scores, Solution, StepScores


class ProcessScorer:
    """A process model as a ``StepScorer``, and as a ``Scorer`` by a reduction of its step rewards.

    A conversation's response is cut into steps as ``split_steps`` does. A reward is then the
    reduced P(right) of its steps; ``std`` is not known for it.
    """

    def __init__(
        self,
        model: ProcessRewardModel,
        *,
        reduction: Reduction = "product",
        token_budget: int = TOKEN_BUDGET,
        truncation: Truncation = "error",
    ):
        self.model = model
        self.reduction: Reduction = reduction
        self.token_budget = token_budget
        self.truncation: Truncation = truncation

    @property
    def contract(self) -> Contract:
        """How a conversation becomes a number; ``verified`` is False where it was inferred."""
        return self.model.contract

    @property
    def digest(self) -> str:
        """SHA-256 of the weights and both contracts: what tells one scorer from another."""
        steps = sorted(self.model.steps.to_dict().items())
        parts = (weights_digest(self.model), self.contract.digest, str(steps))
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def score_steps(
        self,
        solutions: Sequence[Solution],
        progress: Callable[[int], None] | None = None,
    ) -> StepScores:
        """Step rewards, NaN where a step was cut.

        Raises:
            ContractError: If a solution cannot be tokenised, or is too long and the policy is
                ``error``.
        """
        return score_steps(
            self.model,
            solutions,
            token_budget=self.token_budget,
            truncation=self.truncation,
            progress=progress,
        )

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """One reduced reward a conversation ``(B,)``; NaN where a step was cut.

        Raises:
            ContractError: As ``score_steps``.
        """
        solutions = [as_solution(c) for c in conversations]
        scores = self.score_steps(solutions)
        if not solutions:
            return Scores(np.zeros(0))
        reward = reduce_steps(scores.rewards, self.reduction)
        return Scores(reward, truncated=sum(n > 0 for n in scores.truncated))


def as_solution(conversation: Conversation) -> Solution:
    """A conversation's response cut into steps, none of them judged."""
    steps = tuple(split_steps(conversation.response_text)) or (conversation.response_text,)
    return Solution(conversation.prompt, steps, (None,) * len(steps))


def load_step_scorer(
    run: str | Path,
    *,
    reduction: Reduction | None = None,
    token_budget: int = TOKEN_BUDGET,
    truncation: Truncation = "error",
    engine: str = "auto",
    preset: str | None = None,
    separator: str | None = None,
) -> ProcessScorer:
    """A scorer from a process model's run directory, or somebody else's of a known kind.

    Args:
        reduction: How step rewards become one. Default: upstream's of somebody else's model, else
            their product.
        preset: The family of somebody else's model. Default: recognised.
        separator: What the preset leaves open.

    Raises:
        CheckpointError: If the directory is damaged, or no process model.
    """
    model = load_process(run, engine=engine, preset=preset, separator=separator)
    known = PRESETS.get(str(model.provenance.get("preset")))
    usual = known.reduction if known and known.reduction else "product"
    return ProcessScorer(
        model, reduction=reduction or usual, token_budget=token_budget, truncation=truncation
    )
