"""What ``lets_verify.py`` asks of models: their verdict on samples, and labels by their rollouts.

The process and the outcome model are trained from one policy's weights on the same samples of the
same problems, in the same number of steps. Knows nothing of seeds and stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from arithmetic import Problem, answer_of, judged
from arithmetic_policy import MAX_LENGTH, MAX_RESPONSE

from assay.configs import ProcessTraining, RewardTraining, StepLabelling
from assay.data.pairs import PreferencePairs
from assay.data.solutions import Solutions
from assay.feedback.completers import PolicyCompleter, Writing
from assay.feedback.step_labels import label_solutions
from assay.feedback.tallies import Checker
from assay.models.policy import Policy
from assay.models.process_model import ProcessRewardModel
from assay.models.reward_model import RewardModel
from assay.score.process import ProcessScorer
from assay.score.scorer import RewardScorer
from assay.train.process import train_process
from assay.train.reward import train_reward
from assay.types import LABEL, Comparison, Conversation, Message, Solution

BATCH = 4
"""Problems in a training step of the process model, and so many problems' samples in one of the
outcome model."""
HELDOUT = 0.1
TOKENS = 512
"""Tokens of the outcome model's forward passes: its samples share little, and on small models short
rows are quicker."""


@dataclass(frozen=True)
class Samples:
    """Problems with the texts that a policy wrote for each."""

    problems: Sequence[Problem]
    texts: Sequence[Sequence[str]]

    def pairs(self) -> list[tuple[Problem, str]]:
        """A problem and a text a sample, in order."""
        return [
            (problem, text)
            for problem, texts in zip(self.problems, self.texts, strict=True)
            for text in texts
        ]

    def different(self) -> list[tuple[Problem, str]]:
        """Pairs that differ: equal ones are scored once."""
        return list(dict.fromkeys(self.pairs()))

    def spread(self, values: Sequence[Any]) -> list[list[Any]]:
        """Values of the different pairs, given back to every sample of each problem."""
        place = dict(zip(self.different(), values, strict=True))
        return [
            [place[problem, text] for text in texts]
            for problem, texts in zip(self.problems, self.texts, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class Verifying:
    """How both reward models are trained."""

    policy: Path
    """The directory they start from."""
    epochs: int
    lr: float
    seed: int


def process_rewards(train: Samples, test: Samples, how: Verifying) -> dict[str, Any]:
    """Step rewards of every test sample, by a model of true labels up to the first error."""
    known = Solutions.of([judged(problem, text, 1) for problem, text in train.pairs()])
    model = ProcessRewardModel.from_backbone(str(how.policy), max_length=MAX_LENGTH, seed=how.seed)
    learnt, held = known.split(HELDOUT, seed=how.seed)
    training = ProcessTraining(
        mode="full", epochs=how.epochs, lr=how.lr, batch_size=BATCH, seed=how.seed
    )
    result = train_process(model, learnt, held, training)
    solutions = [judged(problem, text, 1) for problem, text in test.different()]
    scored = ProcessScorer(model).score_steps(solutions)
    return {
        "heldout_auc": result.heldout.auc.to_dict(),
        "length_only": result.length_only.to_dict(),
        "best_step": result.fit.best_step,
        "steps": result.fit.steps,
        "rewards": test.spread([rewards.tolist() for rewards in scored.rewards]),
    }


def outcome_probabilities(train: Samples, test: Samples, m: int, how: Verifying) -> dict[str, Any]:
    """P(the answer is right) of every test sample, by a model of right and wrong answers."""
    known = [
        Comparison(
            prompt=problem.prompt,
            responses=((Message("assistant", text),),),
            preferences=(),
            ratings=({LABEL: float(bool(judged(problem, text, m).correct))},),
        )
        for problem, text in train.pairs()
    ]
    model = RewardModel.from_backbone(str(how.policy), max_length=MAX_LENGTH, seed=how.seed)
    learnt, held = PreferencePairs.from_comparisons(known).split(HELDOUT, seed=how.seed)
    training = RewardTraining(
        mode="full",
        loss="binary",
        epochs=how.epochs,
        lr=how.lr,
        batch_size=BATCH * len(train.texts[0]),
        token_budget=TOKENS,
        seed=how.seed,
    )
    result = train_reward(model, learnt, held, training)
    assert result.objective is not None
    conversations = [Conversation.of(problem.text, text) for problem, text in test.different()]
    scores = RewardScorer(model, token_budget=TOKENS).score(conversations)
    above = scores.reward - result.objective["threshold"]
    return {
        "heldout_auc": result.heldout.accuracy.to_dict(),
        "best_step": result.fit.best_step,
        "steps": result.fit.steps,
        "right": test.spread((1 / (1 + np.exp(-above))).tolist()),
    }


def rollout_labels(
    solutions: Sequence[Solution],
    completer: Policy,
    m: int,
    *,
    rollouts: int,
    journal: Path,
    seed: int,
) -> dict[str, Any]:
    """Rollouts after every step, and what labelling and bisection make of them, beside the truth.

    Every step, bisection and both estimations read the same rollouts, from the journal.
    """
    writing = Writing(max_new_tokens=MAX_RESPONSE, temperature=1.0, separator="\n")
    found: dict[str, Any] = {
        "problems": [s.id for s in solutions],
        "truth": [s.first_error for s in solutions],
        "correct": [bool(s.correct) for s in solutions],
        "steps": [len(s.steps) for s in solutions],
    }
    for method in ("every-step", "first-error"):
        for estimation in ("hard", "soft"):
            labelled = label_solutions(
                solutions,
                PolicyCompleter(completer, writing, batch_size=256),
                StepLabelling(
                    method=method,
                    estimation=estimation,
                    rollouts=rollouts,
                    check_prompt=False,
                    seed=seed,
                ),
                journal=journal,
                checker=Checker(lambda text, answer: answer_of(text, m) == answer),
            )
            found[f"{method}, {estimation}"] = [list(s.labels) for s in labelled.solutions]
            tallies = [
                [None if t is None else [t.right, t.judged] for t in each]
                for each in labelled.tallies
            ]
            if method == "every-step":
                found["tallies"] = tallies
            else:
                found[f"probes, {estimation}"] = [
                    sum(t is not None for t in each) for each in tallies
                ]
    return found
