"""Process, outcome or majority: "Let's Verify Step by Step" with a small policy on known errors.

A policy is trained from scratch, first to do arithmetic and then to make slips, and sampled. A
process model learns from the true labels of its steps up to the first error, an outcome model from
right and wrong answers of the same samples, both from the policy's own weights. Then step labels by
rollouts are held against the truth, by the number of rollouts and by who completes. Every finished
stage of every seed is kept in the cache directory, so that a run that was stopped goes on and
writes the same figures.
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
    is_complete,
    judged,
)
from arithmetic_policy import MAX_RESPONSE, new_network, new_tokenizer, pretrain, save
from common import Recorded, main, write_record
from lets_verify_labels import labelled, searched
from lets_verify_models import (
    Samples,
    Verifying,
    outcome_probabilities,
    process_rewards,
    rollout_labels,
)
from lets_verify_selection import luck, models, sampled_of, selected
from lets_verify_tables import report
from transformers.utils.logging import disable_progress_bar

from assay.atomic import write_text
from assay.errors import ConfigError
from assay.formats.files import cache_dir
from assay.models.generate import generate
from assay.models.policy import Policy

VERSION = 1
"""Of what is kept in the work directory; another version begins anew."""
COMPLETERS = ("weak", "policy", "careful", "rescuing")
"""Who completes: a model early in its training (weak) and after it, when it makes no slips and
undoes the one of the line before (rescuing); the policy, which went on from there on chains with
slips; and one that went on to take every line as it is, and still makes no slips (careful)."""
SPOIL = 0.3
"""Share of wrong results among which the rescuing and the careful completer learn."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Sizes of the world, of the models and of the labelling."""

    seeds: tuple[int, ...] = (3, 4, 5)
    """Each has a policy, problems, samples and models of its own; 0 to 2 chose the recipe."""
    m: tuple[int, ...] = (2, 10)
    """Answers are last values modulo m: right by luck with a chance of about 1/m."""
    lengths: tuple[int, int] = (4, 7)
    """Fewest and most steps of a problem."""
    test_problems: int = 80
    """Problems to select for."""
    samples: int = 64
    """Samples of each of them."""
    train_problems: int = 2000
    """Problems whose samples the reward models learn from; a tenth of them is held out."""
    train_samples: int = 4
    """Samples of each of them."""
    width: int = 96
    """Width of the policy."""
    layers: int = 3
    """Layers of the policy."""
    policy_steps: int = 1500
    """Training steps of the arithmetic."""
    weak_steps: int = 400
    """Training steps of the weak completer, on the way there."""
    habit_steps: int = 300
    """Further steps of the policy and of the careful completer."""
    chains: int = 16
    """Chains in a training step."""
    lr: float = 2e-3
    """Peak learning rate; further steps are at half of it."""
    epochs: int = 4
    """Passes of both reward models over their samples."""
    reward_lr: float = 5e-4
    """Peak learning rate of both reward models."""
    labelled_problems: int = 25
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
    selection: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    for m in settings.m:
        sampled = [s for world in found for s in sampled_of(world, m)]
        selection[str(m)] = {
            "samples": luck(sampled),
            **selected(sampled),
            "models": models(sampled, found, m),
        }
        labels[str(m)] = {}
        for name in COMPLETERS:
            worlds = [world["labels"][m, name] for world in found]
            labels[str(m)][name] = labelled(worlds, settings.rollouts)
            labels[str(m)][name]["by_seed"] = {
                str(world["seed"]): labelled([each], settings.rollouts[-1:])
                for world, each in zip(found, worlds, strict=True)
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
        how = Verifying(
            policy=self.folder / "policy", epochs=s.epochs, lr=s.reward_lr, seed=self.seed
        )
        train, test = (
            Samples(problems, self._kept(name, partial(self._sample, problems, count))["texts"])
            for name, problems, count in (
                ("train", self.train, s.train_samples),
                ("test", self.test, s.samples),
            )
        )
        found: dict[str, Any] = {
            "seed": self.seed,
            "policies": policies,
            "problems": test.problems,
            "texts": test.texts,
            "process": self._kept("process", partial(process_rewards, train, test, how)),
            "outcome": {},
            "labels": {},
        }
        for m in s.m:
            found["outcome"][m] = self._kept(
                f"outcome-{m}", partial(outcome_probabilities, train, test, m, how)
            )
            for name in COMPLETERS:
                found["labels"][m, name] = self._kept(
                    f"labels-{name}-{m}", partial(self._labels, test, m, name)
                )
        found["seconds"] = {
            path.stem: json.loads(path.read_text())["seconds"]
            for path in sorted(self.folder.glob("*.json"))
        }
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

    def _policies(self) -> dict[str, Any]:
        """Train what is missing: arithmetic first, then habits."""
        s = self.settings
        return {
            "rescuing": self._kept("rescuing", self._pretrain),
            "policy": self._kept(
                "policy", partial(self._train_on, "policy", SLOPPY, s.habit_steps)
            ),
            "careful": self._kept(
                "careful", partial(self._train_on, "careful", CAREFUL, s.habit_steps, spoil=SPOIL)
            ),
        }

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
            RESCUING,
            steps=s.policy_steps,
            batch_size=s.chains,
            lr=s.lr,
            lengths=s.lengths,
            seed=self.seed,
            spoil=SPOIL,
            on_step=on_step,
        )
        return self._saved("rescuing", network, tokenizer, losses)

    def _train_on(
        self, name: str, habits: Habits, steps: int, *, spoil: float = 0.0
    ) -> dict[str, Any]:
        s, losses = self.settings, list[float]()
        model = self._load("rescuing")
        pretrain(
            model.network,
            model.tokenizer,
            habits,
            steps=steps,
            batch_size=s.chains,
            lr=s.lr / 2,
            lengths=s.lengths,
            seed=self.seed,
            spoil=spoil,
            on_step=lambda step, loss: losses.append(loss),
        )
        return self._saved(name, model.network, model.tokenizer, losses)

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

    def _labels(self, test: Samples, m: int, name: str) -> dict[str, Any]:
        problems = test.problems[: self.settings.labelled_problems]
        first = Samples(problems, [texts[:2] for texts in test.texts[: len(problems)]]).pairs()
        # those that stop early have no answer that their last step could be judged by
        return rollout_labels(
            [judged(p, text, m) for p, text in first if is_complete(p, text)],
            self._load(name),
            m,
            rollouts=max(self.settings.rollouts),
            journal=self.folder / "rollouts.sqlite",
            seed=self.seed,
        )


def _digest(settings: Settings) -> str:
    """What the figures depend on, but for the seeds, which have folders of their own."""
    known = {k: v for k, v in asdict(settings).items() if k not in ("out", "seeds")}
    world = [arithmetic.MODULUS, arithmetic.HARD, asdict(SLOPPY), VERSION]
    return hashlib.sha256(json.dumps([known, world]).encode()).hexdigest()[:12]


if __name__ == "__main__":
    main(run, Settings)
