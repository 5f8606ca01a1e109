"""Process, outcome or majority: "Let's Verify Step by Step" with a small policy on known errors.

A policy is trained from scratch on chains of arithmetic and sampled; a process model learns from
the true labels of its steps up to the first error, an outcome model from right and wrong answers of
the same samples, both from the policy's own weights. Then step labels by rollouts are held against
the truth, by the number of rollouts and by who completes. Every finished stage of every seed is
kept in the cache directory, so that a run that was stopped goes on and writes the same figures.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any

import arithmetic
import numpy as np
import torch
from arithmetic import (
    CAREFUL,
    RESCUING,
    SLOPPY,
    Habits,
    Problem,
    draw_problems,
    judged,
    last_value,
)
from arithmetic_policy import (
    MAX_LENGTH,
    MAX_RESPONSE,
    new_network,
    new_tokenizer,
    pretrain,
    save,
)
from common import Recorded, main, write_record
from lets_verify_labels import labelled, searched
from lets_verify_selection import luck, models, sampled_of, selected
from lets_verify_tables import report
from transformers.utils.logging import disable_progress_bar

from assay.atomic import write_text
from assay.configs import ProcessTraining, RewardTraining
from assay.data.pairs import PreferencePairs
from assay.data.solutions import Solutions
from assay.errors import ConfigError
from assay.feedback.completers import PolicyCompleter, Writing
from assay.feedback.step_labels import StepLabelling, label_solutions
from assay.feedback.tallies import Checker
from assay.formats.files import cache_dir
from assay.models.generate import generate
from assay.models.policy import Policy
from assay.models.process_model import ProcessRewardModel
from assay.models.reward_model import RewardModel
from assay.score.process import ProcessScorer
from assay.score.scorer import RewardScorer
from assay.train.process import train_process
from assay.train.reward import train_reward
from assay.types import LABEL, Comparison, Conversation, Message, Solution

VERSION = 1
"""Of what is kept in the work directory; another version begins anew."""
COMPLETERS: dict[str, Habits | None] = {
    "weak": None,
    "policy": None,
    "careful": CAREFUL,
    "rescuing": RESCUING,
}
"""Who completes: the policy early in its training, the policy, and the policy trained on to make no
slip, or to work out again and undo the slip of the line before as well."""

BATCH = 4
"""Problems in a training step of the process model, and so many problems' samples in one of the
outcome model."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Sizes of the world, of the models and of the labelling."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Each has a policy, problems, samples and models of its own."""
    m: tuple[int, ...] = (2, 10)
    """Answers are last values modulo m: right by luck with a chance of about 1/m."""
    lengths: tuple[int, int] = (4, 7)
    """Fewest and most steps of a problem."""
    test_problems: int = 120
    """Problems to select for."""
    samples: int = 64
    """Samples of each of them."""
    train_problems: int = 300
    """Problems whose samples the reward models learn from; a tenth of them is held out."""
    train_samples: int = 8
    """Samples of each of them."""
    width: int = 96
    """Width of the policy."""
    layers: int = 3
    """Layers of the policy."""
    policy_steps: int = 400
    """Training steps of the policy."""
    weak_steps: int = 150
    """Training steps of the weak completer, on the way there."""
    completer_steps: int = 80
    """Further steps of the careful and the rescuing completer."""
    chains: int = 64
    """Chains in a training step."""
    lr: float = 4e-3
    """Peak learning rate of the policy; completers train on at half of it."""
    epochs: int = 3
    """Passes of both reward models over their samples."""
    reward_lr: float = 1e-3
    """Peak learning rate of both reward models."""
    labelled_problems: int = 30
    """Test problems whose first two samples are labelled by rollouts."""
    rollouts: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Rollouts after each prefix; the largest are drawn, smaller ones are subsets of them."""
    threads: int = 1
    """CPU threads; another number may round, and so sample, differently."""


def run(settings: Settings) -> None:
    """Do what is not done yet, print the tables and write the record."""
    _check(settings)
    torch.set_num_threads(settings.threads)
    disable_progress_bar()
    worlds = [World(settings, seed) for seed in settings.seeds]
    found = [world.measured() for world in worlds]
    record = results(found, settings)
    print(report(record))
    write_record("lets_verify", settings, record)


def results(found: Sequence[Mapping[str, Any]], settings: Settings) -> dict[str, Any]:
    """Everything that goes into the record, from what the stages of each seed gave."""
    selection, labels = {}, {}
    for m in settings.m:
        sampled = [s for world in found for s in sampled_of(world, m)]
        selection[str(m)] = {
            "samples": luck(sampled),
            **selected(sampled),
            "models": models(sampled, found, m),
        }
        labels[str(m)] = {
            name: labelled([world["labels"][m, name] for world in found], settings.rollouts)
            for name in COMPLETERS
        }
    return {
        "policies": [world["policies"] for world in found],
        "selection": selection,
        "labels": labels,
        "search_without_rollouts": searched(found),
        "seconds": {str(world["seed"]): world["seconds"] for world in found},
    }


def _check(settings: Settings) -> None:
    if settings.samples < 2 or settings.samples & (settings.samples - 1):
        raise ConfigError(f"--samples is {settings.samples}; wanted a power of two, 64 say.")
    if not 0 < settings.weak_steps < settings.policy_steps:
        raise ConfigError("--weak-steps is more than 0 and less than --policy-steps.")
    if not 2 <= settings.labelled_problems <= settings.test_problems:
        raise ConfigError("--labelled-problems is 2 or more, and at most --test-problems.")


class World:
    """One seed: its policy, problems, samples and models, each made once."""

    def __init__(self, settings: Settings, seed: int):
        self.settings, self.seed = settings, seed
        self.folder = cache_dir() / "lets_verify" / _digest(settings) / f"seed-{seed}"
        drawn = draw_problems(
            settings.test_problems + settings.train_problems,
            np.random.default_rng([seed, 1]),
            settings.lengths,
        )
        self.test = drawn[: settings.test_problems]
        self.train = drawn[settings.test_problems :]

    def measured(self) -> dict[str, Any]:
        """All stages of this seed, from the work directory where they are there."""
        policies = self._policies()
        s = self.settings
        train = self._kept("train", partial(self._sample, self.train, s.train_samples))["texts"]
        test = self._kept("test", partial(self._sample, self.test, s.samples))["texts"]
        found: dict[str, Any] = {
            "seed": self.seed,
            "policies": policies,
            "problems": self.test,
            "texts": test,
            "process": self._kept("process", partial(self._process, train, test)),
            "outcome": {},
            "labels": {},
            "seconds": {},
        }
        for m in s.m:
            found["outcome"][m] = self._kept(f"outcome-{m}", partial(self._outcome, train, test, m))
            for name in COMPLETERS:
                found["labels"][m, name] = self._kept(
                    f"labels-{name}-{m}", partial(self._labels, test, m, name)
                )
        for path in sorted(self.folder.glob("*.json")):
            found["seconds"][path.stem] = json.loads(path.read_text())["seconds"]
        return found

    def _kept(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a stage gives: from its file, or made now and written there."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            started = perf_counter()
            value = make()
            seconds = round(perf_counter() - started, 1)
            write_text(path, json.dumps({"seconds": seconds, "value": value}))
            print(f"seed {self.seed}: {name}, {seconds:,.0f} s", file=sys.stderr, flush=True)
        kept: dict[str, Any] = json.loads(path.read_text())["value"]
        return kept

    # --- policies ---------------------------------------------------------------------------------

    def _policies(self) -> dict[str, Any]:
        """Train what is missing: the policy with its early state, then who else completes."""
        made = {"policy": self._kept("policy", self._pretrain)}
        for name, habits in COMPLETERS.items():
            if habits is not None:
                made[name] = self._kept(name, partial(self._train_on, name, habits))
        return made

    def _pretrain(self) -> dict[str, Any]:
        s, tokenizer = self.settings, new_tokenizer()
        network = new_network(tokenizer, s.width, s.layers, self.seed)
        losses: list[float] = []

        def on_step(step: int, loss: float) -> None:
            losses.append(loss)
            if step == s.weak_steps and not (self.folder / "weak").exists():
                save(network, tokenizer, self.folder / "weak")

        pretrain(
            network,
            tokenizer,
            SLOPPY,
            steps=s.policy_steps,
            batch_size=s.chains,
            lr=s.lr,
            lengths=s.lengths,
            seed=self.seed,
            on_step=on_step,
        )
        return self._saved("policy", network, tokenizer, losses)

    def _train_on(self, name: str, habits: Habits) -> dict[str, Any]:
        s, losses = self.settings, []
        policy = self._load("policy")
        pretrain(
            policy.network,
            policy.tokenizer,
            habits,
            steps=s.completer_steps,
            batch_size=s.chains,
            lr=s.lr / 2,
            lengths=s.lengths,
            seed=self.seed,
            begun=True,
            on_step=lambda step, loss: losses.append(loss),
        )
        return self._saved(name, policy.network, policy.tokenizer, losses)

    def _saved(
        self, name: str, network: Any, tokenizer: Any, losses: Sequence[float]
    ) -> dict[str, Any]:
        if not (self.folder / name).exists():
            save(network, tokenizer, self.folder / name)
        return {
            "parameters": sum(p.numel() for p in network.parameters()),
            "loss": float(np.mean(losses[-20:])),
        }

    def _load(self, name: str) -> Policy:
        return Policy.load(str(self.folder / name), device=torch.device("cpu"))

    # --- samples and reward models ----------------------------------------------------------------

    def _sample(self, problems: Sequence[Problem], count: int) -> dict[str, Any]:
        groups = generate(
            self._load("policy"),
            [p.prompt for p in problems],
            samples=count,
            max_new_tokens=MAX_RESPONSE,
            seed=self.seed,
            batch_size=256,
        )
        return {"texts": [[g.text for g in group] for group in groups]}

    def _process(self, train: Sequence[Any], test: Sequence[Any]) -> dict[str, Any]:
        """Step rewards of every test sample, by a model of true first errors."""
        known = Solutions.of(
            [judged(p, t, 1) for p, texts in zip(self.train, train, strict=True) for t in texts]
        )
        model = ProcessRewardModel.from_backbone(
            str(self.folder / "policy"), max_length=MAX_LENGTH, seed=self.seed
        )
        learnt, held = known.split(0.1, seed=self.seed)
        result = train_process(
            model,
            learnt,
            held,
            ProcessTraining(
                mode="full",
                epochs=self.settings.epochs,
                lr=self.settings.reward_lr,
                batch_size=BATCH,
                seed=self.seed,
            ),
        )
        different = _different(self.test, test)
        scorer = ProcessScorer(model)
        scored = scorer.score_steps([judged(p, text, 1) for p, text in different])
        place = {key: i for i, key in enumerate(different)}
        return {
            "heldout_auc": result.heldout.auc.to_dict(),
            "length_only": result.length_only.to_dict(),
            "best_step": result.fit.best_step,
            "steps": result.fit.steps,
            "rewards": [
                [scored.rewards[place[p, text]].tolist() for text in texts]
                for p, texts in zip(self.test, test, strict=True)
            ],
        }

    def _outcome(self, train: Sequence[Any], test: Sequence[Any], m: int) -> dict[str, Any]:
        """P(the answer is right) of every test sample, by a model of right and wrong answers."""
        known = [
            Comparison(
                prompt=p.prompt,
                responses=((Message("assistant", text),),),
                preferences=(),
                ratings=({LABEL: float(bool(judged(p, text, m).correct))},),
            )
            for p, texts in zip(self.train, train, strict=True)
            for text in texts
        ]
        model = RewardModel.from_backbone(
            str(self.folder / "policy"), max_length=MAX_LENGTH, seed=self.seed
        )
        learnt, held = PreferencePairs.from_comparisons(known).split(0.1, seed=self.seed)
        result = train_reward(
            model,
            learnt,
            held,
            RewardTraining(
                mode="full",
                loss="binary",
                epochs=self.settings.epochs,
                lr=self.settings.reward_lr,
                # as many samples in a step as the process model's problems have
                batch_size=BATCH * self.settings.train_samples,
                seed=self.seed,
            ),
        )
        different = _different(self.test, test)
        scores = RewardScorer(model).score([Conversation.of(p.text, text) for p, text in different])
        assert result.objective is not None
        above = scores.reward - result.objective["threshold"]
        place = {key: i for i, key in enumerate(different)}
        return {
            "heldout_auc": result.heldout.accuracy.to_dict(),
            "best_step": result.fit.best_step,
            "steps": result.fit.steps,
            "right": [
                [float(1 / (1 + np.exp(-above[place[p, text]]))) for text in texts]
                for p, texts in zip(self.test, test, strict=True)
            ],
        }

    # --- labels by rollouts -----------------------------------------------------------------------

    def _labels(self, test: Sequence[Any], m: int, name: str) -> dict[str, Any]:
        """Rollouts after every step of some solutions, and what bisection finds with the same."""
        solutions = [
            judged(problem, text, m)
            for problem, texts in zip(self.test, test, strict=True)
            for text in texts[:2]
        ][: 2 * self.settings.labelled_problems]
        writing = Writing(max_new_tokens=MAX_RESPONSE, temperature=1.0, separator="\n")
        completer = PolicyCompleter(self._load(name), writing, batch_size=256)
        checker = Checker(lambda response, answer: _has_answer(response, answer, m))
        found: dict[str, Any] = {"truth": [s.first_error for s in solutions]}
        for method in ("every-step", "first-error"):
            for estimation in ("hard", "soft"):
                labelled = label_solutions(
                    solutions,
                    completer,
                    StepLabelling(
                        method=method,
                        estimation=estimation,
                        rollouts=max(self.settings.rollouts),
                        check_prompt=False,
                        seed=self.seed,
                    ),
                    journal=self.folder / "rollouts.sqlite",
                    checker=checker,
                )
                found[f"{method}, {estimation}"] = _kept_labels(labelled.solutions)
                counted = [
                    [None if t is None else [t.right, t.judged] for t in tallies]
                    for tallies in labelled.tallies
                ]
                if method == "every-step":
                    found["tallies"] = counted
                else:
                    found[f"probes, {estimation}"] = [
                        sum(t is not None for t in tallies) for tallies in counted
                    ]
        return {
            **found,
            "problems": [s.id for s in solutions],
            "correct": [bool(s.correct) for s in solutions],
            "steps": [len(s.steps) for s in solutions],
        }


def _has_answer(response: str, answer: str, m: int) -> bool:
    return arithmetic.answer_of(last_value(response), m) == answer


def _kept_labels(solutions: Sequence[Solution]) -> list[list[int | None]]:
    return [list(s.labels) for s in solutions]


def _different(
    problems: Sequence[Problem], texts: Sequence[Sequence[str]]
) -> list[tuple[Problem, str]]:
    """Each problem with its different samples: equal ones are scored once."""
    pairs = [(p, text) for p, group in zip(problems, texts, strict=True) for text in group]
    return list(dict.fromkeys(pairs))


def _digest(settings: Settings) -> str:
    """What the figures depend on, but for the seeds, which have folders of their own."""
    known = {k: v for k, v in asdict(settings).items() if k not in ("out", "seeds")}
    world = [arithmetic.MODULUS, arithmetic.HARD, asdict(SLOPPY), VERSION]
    return hashlib.sha256(json.dumps([known, world]).encode()).hexdigest()[:12]


if __name__ == "__main__":
    main(run, Settings)
