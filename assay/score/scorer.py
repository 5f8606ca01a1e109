"""Scorers of saved reward models: conversations in, raw rewards out, in order.

The scorer knows nothing of training.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from assay.configs import TOKEN_BUDGET, Truncation
from assay.data.contract import Contract
from assay.models.backbones import weights_digest
from assay.models.checkpoint import load_model
from assay.models.reward_model import RewardModel
from assay.models.scoring import score_conversations
from assay.types import Conversation, Scores


class RewardScorer:
    """A reward model as a ``Scorer``: order kept, prompts shared, rewards free of the batch."""

    def __init__(
        self,
        model: RewardModel,
        *,
        token_budget: int = TOKEN_BUDGET,
        truncation: Truncation = "error",
    ):
        self.model = model
        self.token_budget = token_budget
        self.truncation: Truncation = truncation

    @property
    def contract(self) -> Contract:
        """How a conversation becomes a number; ``verified`` is False where it was inferred."""
        return self.model.contract

    @property
    def digest(self) -> str:
        """SHA-256 of the weights and the contract: what tells one scorer from another."""
        weights = weights_digest(self.model.network)
        return hashlib.sha256(f"{weights} {self.contract.digest}".encode()).hexdigest()

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """Raw rewards ``(B,)``; NaN where the policy ``drop`` dropped an over-long conversation.

        Raises:
            ContractError: If a conversation cannot be rendered, or is too long and the policy is
                ``error``.
        """
        scored = score_conversations(
            self.model, conversations, token_budget=self.token_budget, truncation=self.truncation
        )
        return Scores(scored.rewards, truncated=scored.truncated)


def load_scorer(
    run: str | Path,
    *,
    token_budget: int = TOKEN_BUDGET,
    truncation: Truncation = "error",
    engine: str = "auto",
) -> RewardScorer:
    """A scorer from a run directory or somebody else's one-output model (contract unverified).

    Raises:
        CheckpointError: If the directory is damaged, or no reward model.
    """
    return RewardScorer(
        load_model(run, engine=engine), token_budget=token_budget, truncation=truncation
    )
