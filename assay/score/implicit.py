"""Implicit process rewards: what two language models say of each step by the ratio of their odds.

Needs no step labels and no head: a policy that was trained on outcomes, and the one it began as.
Knows nothing of training; its loss is ``train.losses.steps.implicit_outcome_loss``.

Letters: S steps of a solution · T tokens of a response.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from assay.configs import TOKEN_BUDGET
from assay.data.contract import Ids, Tokens, common_prefix, tokenizer_digest
from assay.errors import ConfigError, ContractError
from assay.formats.steps import SEPARATOR, join_steps
from assay.models.policy import Policy
from assay.models.policy_reader import PolicyReader
from assay.models.scoring import pack_groups
from assay.stats.arrays import sigmoid
from assay.types import Solution, StepScores

WINDOW = 128
"""Solutions tokenised at a time, so that memory does not grow with the input."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A solution's tokens, where its response begins, and where each step that fits ends."""

    ids: Ids
    start: int
    ends: list[int]


class ImplicitScorer:
    """Two causal language models as a ``StepScorer``: σ(β Σ log π/π_ref) over a step's tokens.

    Yuan et al. 2024 (arXiv 2412.01981): if ``β log π(y)/π_ref(y)`` was trained to be the reward of
    a whole response, its part from a step's tokens is the reward of the step. σ makes a
    probability of it, 0.5 where both models agree; the order of steps is that of the log-ratios.

    A response is its steps joined by ``separator``, which counts to the step before it, in the
    policy's template and tokenised whole; the token that ends a response is left out. A token that
    reaches over the end of a step counts to the next.
    """

    def __init__(
        self,
        policy: Policy,
        reference: Policy,
        beta: float = 0.05,
        *,
        separator: str = SEPARATOR,
        token_budget: int = TOKEN_BUDGET,
        truncation: Literal["error", "drop"] = "error",
    ):
        """Check that both read the same tokens.

        Args:
            policy: π, the model that was trained.
            reference: π_ref, the model it was before.
            beta: β of its training.
            token_budget: Most tokens in one forward pass; a longer single solution goes alone.
            truncation: ``error`` refuses solutions longer than either model can read, ``drop``
                leaves the steps beyond that without a reward.

        Raises:
            ConfigError: If the tokenizers differ, or beta is not above 0.
        """
        if not 0 < beta < float("inf"):
            raise ConfigError(f"beta is {beta}; wanted a number above 0, 0.05 say.")
        if tokenizer_digest(policy.tokenizer) != tokenizer_digest(reference.tokenizer):
            raise ConfigError(
                f"{policy.name} and {reference.name} have different tokenizers; an implicit reward "
                "compares two models token by token, so name the model the policy was trained from."
            )
        self.policy = policy
        self.reference = reference
        self._policy = PolicyReader(policy, train=False).reference
        self._reference = PolicyReader(reference, train=False).reference
        self.beta = beta
        self.separator = separator
        self.token_budget = token_budget
        self.truncation = truncation

    @property
    def digest(self) -> str:
        """SHA-256 of both models, beta and separator: what tells one scorer from another."""
        parts = (self.policy.digest, self.reference.digest, str(self.beta), self.separator)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def limit(self) -> int | None:
        """Most tokens both models can read."""
        limits = [c for c in (self.policy.context, self.reference.context) if c is not None]
        return min(limits, default=None)

    def score_steps(
        self,
        solutions: Sequence[Solution],
        progress: Callable[[int], None] | None = None,
    ) -> StepScores:
        """Step rewards between 0 and 1, NaN where a step was cut.

        Args:
            progress: Called with the number of steps just scored.

        Raises:
            ContractError: As ``log_ratios``.
        """
        ratios = self.log_ratios(solutions, progress)
        rewards = tuple(np.full(len(r), np.nan) for r in ratios)
        for reward, ratio in zip(rewards, ratios, strict=True):
            known = ~np.isnan(ratio)
            reward[known] = sigmoid(self.beta * ratio[known])
        return StepScores(rewards, cut=sum(int(np.isnan(r).sum()) for r in rewards))

    def log_ratios(
        self,
        solutions: Sequence[Solution],
        progress: Callable[[int], None] | None = None,
    ) -> tuple[NDArray[np.float64], ...]:
        """Σ log π/π_ref over the tokens of every step, ``(S,)`` each; β is left out.

        Raises:
            ContractError: If a solution cannot be written, a step has no token of its own, or a
                solution is too long and ``truncation`` is ``error``.
        """
        found: list[NDArray[np.float64]] = [np.full(len(s.steps), np.nan) for s in solutions]
        for first in range(0, len(solutions), WINDOW):
            reads = [
                self._read(solution, number)
                for number, solution in enumerate(solutions[first : first + WINDOW], first + 1)
            ]
            tokens = [Tokens(read.ids, read.start) for read in reads]
            for batch, packed in pack_groups(tokens, self.token_budget, share=True):
                rows = [reads[i] for i in batch]
                ratios = self._policy(packed) - self._reference(packed)
                sizes = [len(row.ids) - row.start for row in rows]
                for index, row, own in zip(batch, rows, ratios.split(sizes), strict=True):
                    sums = _by_step(own.double().cpu().numpy(), row)
                    found[first + index][: len(sums)] = sums
                if progress:
                    progress(sum(len(row.ends) for row in rows))
        return tuple(found)

    def _read(self, solution: Solution, number: int) -> _Read:
        if not solution.steps:
            raise ContractError(f"Solution {number} has no steps; a step reward needs a step.")
        whole = self._ids(solution, join_steps(solution.steps, self.separator))
        start = min(common_prefix([self._ids(solution, ""), whole]), len(whole) - 1)
        if start < 1:
            raise ContractError(
                f"Solution {number} has a prompt without tokens; a response needs something before "
                "it that predicts its first token."
            )
        ends, before = [], start
        for step in range(1, len(solution.steps) + 1):
            end = len(whole)
            if step < len(solution.steps):
                begun = join_steps([*solution.steps[:step], ""], self.separator)
                end = common_prefix([self._ids(solution, begun), whole])
            if end <= before:
                raise ContractError(
                    f"Step {step} of solution {number} has no token of its own in this tokenizer; "
                    "put words in it, or join it to the step before."
                )
            ends.append(end)
            before = end
        if self.limit is None or len(whole) <= self.limit:
            return _Read(whole, start, ends)
        if self.truncation == "error":
            raise ContractError(
                f"Solution {number} has {len(whole):,} tokens where the models read {self.limit:,};"
                " shorten it, or leave out the steps beyond (truncation drop)."
            )
        return _Read(whole[: self.limit], start, [end for end in ends if end <= self.limit])

    def _ids(self, solution: Solution, begun: str) -> Ids:
        return self.policy.prompt_ids(solution.prompt, begun)


def _by_step(values: NDArray[np.float64], row: _Read) -> NDArray[np.float64]:
    """Sums of the response tokens' values over each step that fits."""
    totals = np.concatenate([[0.0], np.cumsum(values)])
    return np.diff(totals[[0, *(end - row.start for end in row.ends)]])
