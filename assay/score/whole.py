"""An outcome model where step rewards are wanted: all it says is said at the last step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assay.formats.steps import join_steps
from assay.types import Conversation, Message, Scorer, Solution, StepScores


class WholeScorer:
    """Passes every step but the last with 1, which has σ(reward) of the whole solution.

    So the product, the minimum and the last step are all σ(reward): P(right) of an outcome model
    that was trained on right and wrong answers (loss ``binary``).
    """

    def __init__(self, scorer: Scorer, separator: str = "\n"):
        self.scorer = scorer
        self.separator = separator

    def score_steps(self, solutions: Sequence[Solution]) -> StepScores:
        """Ones, and at last σ(reward)."""
        conversations = [
            Conversation(
                s.prompt, (Message("assistant", join_steps(list(s.steps), self.separator)),)
            )
            for s in solutions
        ]
        rewards = self.scorer.score(conversations).reward
        chances = 1 / (1 + np.exp(-rewards))
        steps = [np.ones(len(s.steps)) for s in solutions]
        for own, chance in zip(steps, chances, strict=True):
            own[-1] = chance
        return StepScores(tuple(steps))
