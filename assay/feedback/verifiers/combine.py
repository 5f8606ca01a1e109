"""Several verifiers as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.feedback.verifiers.base import Check, Rule
from assay.types import Conversation


@dataclass(frozen=True, kw_only=True)
class Combined(Rule):
    """A verifier of verifiers."""

    verifiers: tuple[Rule, ...]
    """Those it is made of."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.verifiers:
            raise self.wrong("'verifiers' is empty; list one at least.")

    def checks(self, conversation: Conversation, truth: str | None) -> list[Check]:
        """What each says."""
        return [verifier.check(conversation, truth) for verifier in self.verifiers]

    def said(self, checks: list[Check], passed: bool | None) -> str:
        """Those that did not pass, and why."""
        lines = [
            f"{verifier.name} {'could not be checked' if check.passed is None else 'failed'}"
            f" ({check.detail})"
            for verifier, check in zip(self.verifiers, checks, strict=True)
            if not check.passed
        ]
        return "; ".join(lines) or "all passed"


@dataclass(frozen=True, kw_only=True)
class All(Combined, kind="all"):
    """That every one passes; the score is the share that passes of those that could be checked."""

    def check(self, conversation: Conversation, truth: str | None = None) -> Check:
        """One failure fails; else one that could not be checked leaves the whole unchecked."""
        checks = self.checks(conversation, truth)
        known = [check.passed for check in checks if check.passed is not None]
        passed = False if False in known else None if len(known) < len(checks) else True
        score = float(np.mean(known)) if known else float("nan")
        return Check(passed, score, self.said(checks, passed))


@dataclass(frozen=True, kw_only=True)
class Weighted(Combined, kind="weighted"):
    """The mean of scores by weight, over those that could be checked."""

    weights: tuple[int | float, ...]
    """One for each verifier."""
    pass_from: int | float = 1.0
    """The score from which the whole passes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.weights) != len(self.verifiers):
            raise self.wrong(
                f"{len(self.weights)} weights for {len(self.verifiers)} verifiers; give one each."
            )
        if not all(0 < weight < float("inf") for weight in self.weights):
            raise self.wrong("every weight must be more than 0.")

    def check(self, conversation: Conversation, truth: str | None = None) -> Check:
        """The whole is unchecked if what is missing could change whether it passes."""
        checks = self.checks(conversation, truth)
        weights = np.array(self.weights, dtype=np.float64) / sum(self.weights)
        known = np.array([check.passed is not None for check in checks])
        scores = np.array([check.score if check.passed is not None else 0.0 for check in checks])
        if not known.any():
            return Check.unchecked(self.said(checks, None))
        score = float(weights[known] @ scores[known] / weights[known].sum())
        lowest = float(weights @ scores)
        highest = lowest + float(weights[~known].sum())
        near = 1e-9  # weights are divided
        passed = lowest + near >= self.pass_from
        undecided = not passed and highest + near >= self.pass_from
        return Check(None if undecided else passed, score, self.said(checks, passed))
