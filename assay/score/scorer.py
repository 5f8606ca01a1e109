"""Scorers of saved reward models and of verifiers: conversations in, raw rewards out, in order.

The scorer knows nothing of training.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from assay.configs import TOKEN_BUDGET, AggregatorName, Reduction, Truncation
from assay.data.contract import Contract
from assay.errors import ConfigError
from assay.feedback.verifiers import Rule, is_verifier, load_verifier
from assay.models.backbones import weights_digest
from assay.models.checkpoint import load_model
from assay.models.ensemble_checkpoint import is_ensemble, load_ensemble
from assay.models.laplace import LAPLACE, LaplaceModel, load_laplace
from assay.models.process_checkpoint import is_process
from assay.models.reward_model import RewardModel
from assay.models.scoring import Rewarding, score_conversations
from assay.score.ensemble import EnsembleScorer
from assay.score.process import ProcessScorer, load_step_scorer
from assay.stats import Aggregator, LastLayerLaplace
from assay.types import Conversation, Scores


class RewardScorer:
    """A reward model as a ``Scorer``: order kept, prompts shared, rewards free of the batch.

    With the posterior of its head (``assay train reward --laplace``) scores have a ``std``.
    """

    def __init__(
        self,
        model: RewardModel,
        *,
        laplace: LastLayerLaplace | None = None,
        token_budget: int = TOKEN_BUDGET,
        truncation: Truncation = "error",
    ):
        self.model = model
        self.rewarding: Rewarding = model if laplace is None else LaplaceModel(model, laplace)
        self.token_budget = token_budget
        self.truncation: Truncation = truncation

    @property
    def contract(self) -> Contract:
        """How a conversation becomes a number; ``verified`` is False where it was inferred."""
        return self.model.contract

    @property
    def digest(self) -> str:
        """SHA-256 of the weights and the contract: what tells one scorer from another."""
        # the posterior moves no reward
        weights = weights_digest(self.model)
        return hashlib.sha256(f"{weights} {self.contract.digest}".encode()).hexdigest()

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """Raw rewards ``(B,)``; NaN where the policy ``drop`` dropped an over-long conversation.

        Raises:
            ContractError: If a conversation cannot be rendered, or is too long and the policy is
                ``error``.
        """
        scored = score_conversations(
            self.rewarding,
            conversations,
            token_budget=self.token_budget,
            truncation=self.truncation,
        )
        if scored.rewards.ndim == 1:
            return Scores(scored.rewards, truncated=scored.truncated)
        return Scores(scored.rewards[:, 0], scored.rewards[:, 1], scored.truncated)


def load_scorer(
    run: str | Path,
    *,
    token_budget: int = TOKEN_BUDGET,
    truncation: Truncation = "error",
    engine: str = "auto",
    aggregator: AggregatorName | None = None,
    strength: float | None = None,
    reduction: Reduction | None = None,
    preset: str | None = None,
) -> RewardScorer | EnsembleScorer | ProcessScorer | Rule:
    """A scorer from a run directory or somebody else's one-output model (contract unverified).

    A ``.json`` file holds verifiers: the reward is the share of them that pass.

    Args:
        aggregator: How an ensemble's members become one reward. Default: as it was saved.
        strength: Of the aggregator: k, λ or β.
        reduction: How a process model's step rewards become one. Default: their product.
        preset: The family of somebody else's process model.

    Raises:
        CheckpointError: If the directory is damaged, or no reward model.
        ConfigError: If an aggregator is named and the run is one model, or a reduction and it is
            no process model.
    """
    if is_verifier(run):
        for name, given in (
            ("an aggregator", aggregator), ("a strength", strength), ("a reduction", reduction),
            ("a preset", preset),
        ):  # fmt: skip
            if given is not None:
                raise ConfigError(
                    f"{run} holds verifiers, and {name} is for reward models; leave it out."
                )
        return load_verifier(run)
    if preset is not None or is_process(run):
        return load_step_scorer(
            run,
            reduction=reduction,
            token_budget=token_budget,
            truncation=truncation,
            engine=engine,
            preset=preset,
        )
    if reduction is not None:
        raise ConfigError(f"{run} rewards whole responses; a reduction is of steps, leave it out.")
    if is_ensemble(run):
        ensemble = load_ensemble(run, engine=engine)
        return EnsembleScorer(
            ensemble,
            aggregator=_chosen(ensemble.aggregator, aggregator, strength),
            token_budget=token_budget,
            truncation=truncation,
        )
    if aggregator is not None or strength is not None:
        raise ConfigError(f"{run} is one model; an aggregator is for ensembles, leave it out.")
    has_posterior = (Path(run) / LAPLACE).is_file()
    return RewardScorer(
        load_model(run, engine=engine),
        laplace=load_laplace(Path(run)) if has_posterior else None,
        token_budget=token_budget,
        truncation=truncation,
    )


def _chosen(saved: Aggregator, name: AggregatorName | None, strength: float | None) -> Aggregator:
    return Aggregator(
        name or saved.name, saved.strength if strength is None else strength, saved.ddof
    )
