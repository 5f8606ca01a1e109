"""Reward modelling for language models: from preferences to a score that is the same everywhere.

Names load on first use, so ``import assay`` is instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.auditor import audit
    from assay.configs import PPO, RLOO, EnsembleTraining, ProcessTraining, RewardTraining
    from assay.data.pairs import PreferencePairs
    from assay.data.solutions import Solutions
    from assay.errors import AssayError
    from assay.evaluation.compare import compare
    from assay.evaluation.run import evaluate
    from assay.evaluation.suite import Suite
    from assay.feedback.judges.local import load_judge
    from assay.feedback.judges.records import Judge
    from assay.models.policy import Policy
    from assay.models.process_model import ProcessRewardModel
    from assay.models.reward_model import RewardModel
    from assay.rlhf.loop import train_policy
    from assay.rlhf.monitor import OveroptimizationMonitor
    from assay.rlhf.reward_specs import load_reward
    from assay.score.best_of_n import best_of_n
    from assay.score.process import load_step_scorer
    from assay.score.remote import RemoteScorer
    from assay.score.scorer import load_scorer
    from assay.score.verify import verify
    from assay.train.ensemble import train_ensemble
    from assay.train.process import train_process
    from assay.train.reward import train_reward
    from assay.types import (
        Comparison,
        Conversation,
        Message,
        PreferencePair,
        Scorer,
        Scores,
        Solution,
        StepScorer,
        StepScores,
    )

__version__ = "0.1.0"

_MODULES = {
    "AssayError": "assay.errors",
    "Comparison": "assay.types",
    "Conversation": "assay.types",
    "EnsembleTraining": "assay.configs",
    "Judge": "assay.feedback.judges.records",
    "Message": "assay.types",
    "OveroptimizationMonitor": "assay.rlhf.monitor",
    "PPO": "assay.configs",
    "Policy": "assay.models.policy",
    "PreferencePair": "assay.types",
    "PreferencePairs": "assay.data.pairs",
    "ProcessRewardModel": "assay.models.process_model",
    "ProcessTraining": "assay.configs",
    "RLOO": "assay.configs",
    "RemoteScorer": "assay.score.remote",
    "RewardModel": "assay.models.reward_model",
    "RewardTraining": "assay.configs",
    "Scorer": "assay.types",
    "Scores": "assay.types",
    "Solution": "assay.types",
    "Solutions": "assay.data.solutions",
    "StepScorer": "assay.types",
    "StepScores": "assay.types",
    "Suite": "assay.evaluation.suite",
    "audit": "assay.auditor",
    "best_of_n": "assay.score.best_of_n",
    "compare": "assay.evaluation.compare",
    "evaluate": "assay.evaluation.run",
    "load_judge": "assay.feedback.judges.local",
    "load_reward": "assay.rlhf.reward_specs",
    "load_scorer": "assay.score.scorer",
    "load_step_scorer": "assay.score.process",
    "train_ensemble": "assay.train.ensemble",
    "train_policy": "assay.rlhf.loop",
    "train_process": "assay.train.process",
    "train_reward": "assay.train.reward",
    "verify": "assay.score.verify",
}

__all__ = [
    "PPO",
    "RLOO",
    "AssayError",
    "Comparison",
    "Conversation",
    "EnsembleTraining",
    "Judge",
    "Message",
    "OveroptimizationMonitor",
    "Policy",
    "PreferencePair",
    "PreferencePairs",
    "ProcessRewardModel",
    "ProcessTraining",
    "RemoteScorer",
    "RewardModel",
    "RewardTraining",
    "Scorer",
    "Scores",
    "Solution",
    "Solutions",
    "StepScorer",
    "StepScores",
    "Suite",
    "audit",
    "best_of_n",
    "compare",
    "evaluate",
    "load_judge",
    "load_reward",
    "load_scorer",
    "load_step_scorer",
    "train_ensemble",
    "train_policy",
    "train_process",
    "train_reward",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
