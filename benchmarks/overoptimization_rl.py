"""Does gold fall while the proxy rises in RL, and what holds it? RLOO in the world of words.

One policy is taught to write, and every run begins from it: with a proxy that likes length, under a
weak and a strong KL penalty; with the worst case of three members that see different things, of
which one likes length; and with gold and noise for a proxy, the control in which nothing parts from
gold. Runs of an arm differ in their seed: samples, noise, and the pairs that members are fitted to.
The curves are those of ``assay overoptimization --runs``, drawn from what the monitor logged.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from common import Recorded, main, table, write_record
from hacked_run import Watched
from word_world import (
    ROOM,
    View,
    fitted,
    gold,
    long_winded,
    new_policy,
    of_everything,
    of_surface,
    pairs_of,
    prompts,
    wide_pairs,
)

from assay.configs import RLOO
from assay.errors import ConfigError
from assay.evaluation.policy_page import policy_page
from assay.evaluation.policy_runs import PolicyRun, read_run
from assay.evaluation.policy_study import PolicyStudy, policy_study
from assay.models.policy import Policy
from assay.pages.html import plain, signed
from assay.rlhf.loop import train_policy
from assay.stats import Aggregator, Standards
from assay.types import Conversation, Scorer, Scores

ARMS = ("weak", "strong", "worst-case", "control")
TAUGHT = 0
"""Seed of the policy that every run begins from."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Sizes of the world and of the runs."""

    seeds: int = 3
    """Runs of each arm."""
    steps: int = 90
    """Steps of a run."""
    prompts_per_step: int = 56
    """Prompts of a step, half of those there are."""
    samples: int = 4
    """Responses to each."""
    lr: float = 2e-4
    """Learning rate of all weights, constant."""
    weak: float = 0.02
    """KL coefficient of every arm but strong."""
    strong: float = 0.1
    """KL coefficient of strong."""
    noise: float = 0.2
    """Deviation of the proxies' noise."""
    pairs: int = 1000
    """Pairs that a learnt member and the audit are fitted to, each its own."""
    flips: float = 0.25
    """Share of their labels that are wrong."""
    window: int = 8
    """Steps of the reference policy before training."""
    pretraining: int = 800
    """Steps in which the policy learns to write."""
    kept: Path | None = None
    """Where logs and the page are kept. Default: nowhere."""
    threads: int = 1
    """CPU threads."""

    def __post_init__(self) -> None:
        if self.seeds < 2 or self.steps < 10:
            raise ConfigError(f"Wanted 2 seeds and 10 steps; got {self.seeds} and {self.steps}.")


class Members:
    """Several views as one reward: each brought to one scale on known responses, then combined.

    Args:
        known: What the reference policy says.
    """

    def __init__(
        self, views: Sequence[Scorer], known: Sequence[Conversation], aggregator: Aggregator
    ):
        self.views, self.aggregator = views, aggregator
        self.standards = Standards.fit(self._rewards(known))

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """A reward each, and how far the members are apart."""
        rewards = self.standards.apply(self._rewards(conversations))
        return Scores(self.aggregator(rewards), self.aggregator.std(rewards))

    def _rewards(self, conversations: Sequence[Conversation]) -> Any:
        return np.stack([view.score(conversations).reward for view in self.views], axis=1)


def proxy_and_audit(
    arm: str, seed: int, policy: Policy, settings: Settings
) -> tuple[Scorer, Scorer]:
    """What a run is optimised for, and a view that is learnt of other pairs."""
    count, rng = settings.pairs, np.random.default_rng(seed)
    wide = wide_pairs(2 * count, seed)
    audit = View(fitted(of_everything, wide[:count], rng, settings.flips))
    wordy = View(long_winded, settings.noise, seed)
    if arm == "control":
        return View(gold, settings.noise, seed), audit
    if arm != "worst-case":
        return wordy, audit
    own = pairs_of(policy, count, 1000 * (seed + 1))
    surface = fitted(of_surface, own, rng, settings.flips)
    everything = fitted(of_everything, wide[count:], rng, settings.flips)
    learnt = [
        View(reward, settings.noise, seed + 100 * i)
        for i, reward in enumerate((surface, everything), start=1)
    ]
    known = [conversation for pair in own for conversation in pair]
    return Members([wordy, *learnt], known, Aggregator("worst-case")), audit


def run_of(arm: str, seed: int, taught: Path, directory: Path, settings: Settings) -> PolicyRun:
    """Train, and read what was logged."""
    policy = Policy.load(str(taught))
    proxy, audit = proxy_and_audit(arm, seed, policy, settings)
    train_policy(
        policy,
        proxy,
        prompts(),
        RLOO(
            steps=settings.steps,
            prompts_per_step=settings.prompts_per_step,
            samples=settings.samples,
            max_new_tokens=ROOM,
            mode="full",
            lr=settings.lr,
            kl_coef=settings.strong if arm == "strong" else settings.weak,
            schedule="constant",
            batch_size=settings.prompts_per_step * settings.samples,
            token_budget=8192,
            seed=seed,
        ),
        audit=audit,
        gold=View(gold),
        watch=Watched(settings.steps, settings.window, directory, sees_gold=True),
    )
    (directory / "config.toml").write_text(f"seed = {seed}\n")
    return read_run(directory, arm)


def claims(study: PolicyStudy) -> dict[str, bool]:
    """What should be seen, decided by intervals."""
    curve = {c.setting: c for c in study.curves}
    less = {d.setting: d for d in study.differences}
    weak, control = curve["weak"], curve["control"]
    rises = weak.at(weak.peak).low > 0
    return {
        "with a proxy that likes length gold rises": rises,
        "and then falls": weak.falls,
        "while the proxy keeps rising": weak.proxy_after.low > 0,
        "a strong penalty ends nearer": curve["strong"].end_d < weak.end_d,
        "on the same curve, as far as is shown": _holds_zero(less["strong"].equal),
        "the worst case of different members ends higher": less["worst-case"].end.low > 0,
        "and is not shown to fall": not curve["worst-case"].falls,
        "in the control gold is not shown to fall": not control.falls,
    }


def _holds_zero(figure: Any) -> bool:
    return bool(figure.low <= 0 <= figure.high)


def report(study: PolicyStudy) -> str:
    """The table of all arms."""
    rows = [
        [c.setting, f"{c.d[c.peak]:.2f}", signed(c.at(c.peak)), f"{c.end_d:.2f}", signed(c.end),
         plain(c.loss), signed(c.proxy_after),
         f"{c.fit.r_squared:.2f}" if c.fit else "–",
         str([a for a in c.alarms.steps if a is not None]) if c.alarms else "none"]
        for c in study.curves
    ]  # fmt: skip
    header = ["arm", "peak √KL", "gold there", "last √KL", "gold there", "lost",
              "proxy, peak to end", "R² of the fit", "alarms at step"]  # fmt: skip
    return table(header, rows)


def run(settings: Settings) -> None:
    """Run all, print the table and write the record."""
    torch.set_num_threads(settings.threads)
    started = perf_counter()
    with tempfile.TemporaryDirectory() as name:
        kept = settings.kept or Path(name)
        taught = Path(name) / "policy"
        new_policy(TAUGHT, settings.pretraining).save(taught)
        arms: dict[str, list[PolicyRun]] = {arm: [] for arm in ARMS}
        for seed in range(settings.seeds):
            for arm in ARMS:
                begun = perf_counter()
                arms[arm].append(run_of(arm, seed, taught, kept / f"{arm}-{seed}", settings))
                seconds = perf_counter() - begun
                print(f"{arm}, seed {seed}: {seconds:,.0f} s", file=sys.stderr, flush=True)
        study = policy_study(arms)
        if settings.kept:
            policy_page(study, settings.kept / "overoptimization.html")
    found = claims(study)
    print(report(study))
    print("\n".join(["", *study.answers, ""]))
    print("\n".join(f"{'yes' if holds else 'NO '}  {claim}" for claim, holds in found.items()))
    record = {key: study.record[key] for key in ("units", "curves", "minus_first", "answers")}
    seconds = round(perf_counter() - started, 1)
    write_record("overoptimization_rl", settings, {"claims": found, **record, "seconds": seconds})


if __name__ == "__main__":
    main(run, Settings)
