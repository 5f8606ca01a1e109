"""The scorer of an ensemble: one reward from all members, and how far apart they are.

The scorer knows nothing of training.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from assay.configs import TOKEN_BUDGET, Truncation
from assay.data.contract import Contract
from assay.models.backbones import weights_digest
from assay.models.ensemble_checkpoint import Ensemble, check_contracts
from assay.models.scoring import score_conversations
from assay.stats import Aggregator
from assay.types import Conversation, Scores


class EnsembleScorer:
    """An ensemble as a ``Scorer``: the aggregated reward, and the members' standard deviation.

    Members' raw rewards are put on one scale (``Standards``) and then aggregated; ``std`` is that
    of the members on this scale.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        *,
        aggregator: Aggregator | None = None,
        token_budget: int = TOKEN_BUDGET,
        truncation: Truncation = "error",
    ):
        """Make a scorer.

        Args:
            aggregator: How members become one. Default: as the ensemble was saved.

        Raises:
            ConfigError: If members would not read the same conversations.
        """
        check_contracts([part.renderer.contract for part in ensemble.parts])
        self.ensemble = ensemble
        self.aggregator = aggregator or ensemble.aggregator
        self.token_budget = token_budget
        self.truncation: Truncation = truncation

    @property
    def contract(self) -> Contract:
        """How the first part's members read a conversation."""
        return self.ensemble.parts[0].renderer.contract

    @property
    def digest(self) -> str:
        """SHA-256 of all weights and contracts, and of how members become one reward."""
        parts = [
            f"{weights_digest(part)} {part.renderer.contract.digest}"
            for part in self.ensemble.parts
        ]
        how = json.dumps([asdict(self.ensemble.standards), asdict(self.aggregator)])
        return hashlib.sha256("\n".join([*parts, how]).encode()).hexdigest()

    def member_rewards(
        self, conversations: Sequence[Conversation]
    ) -> tuple[NDArray[np.float64], int]:
        """Rewards by every member on one scale, ``(B, M)``, and how many responses were cut.

        A conversation that one member dropped is NaN for all.

        Raises:
            ContractError: If a conversation cannot be rendered, or is too long and the policy is
                ``error``.
        """
        columns, truncated = [], 0
        for part in self.ensemble.parts:
            scored = score_conversations(
                part, conversations, token_budget=self.token_budget, truncation=self.truncation
            )
            columns.append(scored.rewards.reshape(len(conversations), *(part.reward_shape or (1,))))
            truncated = max(truncated, scored.truncated)
        rewards = np.concatenate(columns, axis=1)
        rewards[np.isnan(rewards).any(axis=1)] = np.nan
        return self.ensemble.standards.apply(rewards), truncated

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """Aggregated rewards and members' standard deviations, both ``(B,)``.

        Raises:
            ContractError: If a conversation cannot be rendered, or is too long and the policy is
                ``error``.
        """
        rewards, truncated = self.member_rewards(conversations)
        return Scores(self.aggregator(rewards), self.aggregator.std(rewards), truncated)
