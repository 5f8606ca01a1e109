"""Best-of-n curves: what selection by reward gives for every n, from N samples a prompt.

Letters: N samples of a prompt · P prompts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import DataError
from assay.evaluation.suite import ANSWERS, ScoredItem
from assay.stats import expected_best

Floats = NDArray[np.float64]

RESAMPLES = 1000
SUBSAMPLES = 200
"""Draws of n samples behind a voting curve, which has no closed form."""
STEADY = 10
"""Beyond N / 10 the estimate rests on few distinct best samples."""


@dataclass(frozen=True)
class Line:
    """A curve over n with its 95 % band over prompts."""

    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def to_dict(self) -> dict[str, list[float]]:
        """As in ``results.json``."""
        return {"value": list(self.value), "low": list(self.low), "high": list(self.high)}


@dataclass(frozen=True)
class BestOfNCurve:
    """Lines over n: ``gold`` of the sample with the highest reward, and what it is held against.

    ``proxy`` is its reward, ``oracle`` the best gold there is, ``random`` the mean, ``majority``
    and ``weighted_majority`` vote over answers. ``kl`` is the nats that selection costs at most.
    """

    n: tuple[int, ...]
    lines: Mapping[str, Line]
    prompts: int
    samples: int
    left_out: int = 0
    """Prompts with another number of samples than most."""

    @property
    def kl(self) -> tuple[float, ...]:
        """``log n - (n - 1)/n`` for each n."""
        return tuple(best_of_n_kl(n) for n in self.n)

    def to_dict(self) -> dict[str, Any]:
        """The block ``best_of_n`` of ``results.json``."""
        return {
            "n": list(self.n),
            "kl": list(self.kl),
            "lines": {name: line.to_dict() for name, line in self.lines.items()},
            "prompts": self.prompts,
            "samples": self.samples,
            "left_out": self.left_out,
            "steady_up_to": max(1, self.samples // STEADY),
        }


def best_of_n_kl(n: int | float) -> float:
    """KL(best-of-n ‖ policy) in nats, ``log n - (n-1)/n``: exact without ties, else a bound.

    Stiennon et al. 2020, appendix; Beirami et al. 2024 on when it is a bound.
    """
    return float(np.log(n) - (n - 1) / n)


def best_of_n_curve(
    rewards: Sequence[Sequence[float]],
    gold: Sequence[Sequence[float]],
    answers: Sequence[Sequence[Hashable]] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> BestOfNCurve:
    """Best-of-n curves of P prompts, with bootstrap bands over prompts.

    Args:
        rewards: What selects, N samples a prompt; of prompts with more than the fewest, the curve
            still uses every sample, and stops at the fewest.
        gold: What each sample is really worth (1 and 0 for right and wrong).
        answers: The final answer of each sample, for the two voting lines.

    Raises:
        DataError: If there is no prompt, or the shapes do not fit.
    """
    if not len(rewards) or len(rewards) != len(gold):
        raise DataError(
            f"Wanted rewards and gold of the same prompts, got {len(rewards)} and {len(gold)}."
        )
    most = min(len(r) for r in rewards)
    if not most:
        raise DataError("A prompt has no samples; best-of-n wants one or more of each.")
    n = np.arange(1, most + 1)
    rows = {
        "gold": _each(rewards, gold, most),
        "proxy": _each(rewards, rewards, most),
        "oracle": _each(gold, gold, most),
        "random": [np.full(most, np.mean(g)) for g in gold],
    }
    if answers is not None:
        rng = np.random.default_rng(seed)
        votes = [_votes(r, g, a, most, rng) for r, g, a in zip(rewards, gold, answers, strict=True)]
        rows["majority"] = [v[0] for v in votes]
        rows["weighted_majority"] = [v[1] for v in votes]
    times = prompt_draws(len(rewards), resamples, seed)
    lines = {name: band(np.stack(values), times) for name, values in rows.items()}
    return BestOfNCurve(tuple(n.tolist()), lines, len(rewards), most)


def _each(
    rewards: Sequence[Sequence[float]], values: Sequence[Sequence[float]], most: int
) -> list[Floats]:
    """``expected_best`` of every prompt up to the most; in one go where all have as many."""
    if {len(row) for rows in (rewards, values) for row in rows} == {most}:
        return list(expected_best(rewards, values))
    return [expected_best(r, v)[:most] for r, v in zip(rewards, values, strict=True)]


def curve_of_suite(scored: Sequence[ScoredItem], seed: int = 0) -> BestOfNCurve | None:
    """The curve of right and wrong responses of items with more than two; None without such.

    Items of another number of responses than most are left out and counted. Votes are shown where
    all items know their final answers.
    """
    many = [item for item in scored if len(item.rewards) > 2]
    if not many:
        return None
    size = Counter(len(item.rewards) for item in many).most_common(1)[0][0]
    mine = [item for item in many if len(item.rewards) == size]
    answers = [json.loads(item.tags[ANSWERS]) for item in mine if ANSWERS in item.tags]
    curve = best_of_n_curve(
        [list(item.rewards) for item in mine],
        [[float(ok) for ok in item.correct] for item in mine],
        answers if len(answers) == len(mine) else None,
        resamples=500,
        seed=seed,
    )
    return replace(curve, left_out=len(scored) - len(mine))


def prompt_draws(prompts: int, resamples: int, seed: int) -> Floats:
    """How often each resample draws each prompt, with replacement, shape (R, P)."""
    alike = np.full(prompts, 1 / prompts)
    times = np.random.default_rng(seed).multinomial(prompts, alike, resamples)
    return times.astype(np.float64)


def _votes(
    rewards: Sequence[float],
    gold: Sequence[float],
    answers: Sequence[Hashable],
    most: int,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Expected gold of the majority answer, plain and weighted by reward, for n = 1 … N.

    Weights are the softmax of the standardised rewards; ties go to the answer seen first.
    """
    reward, value = np.array(rewards), np.array(gold, dtype=np.float64)
    spread = reward.std() or 1.0
    weight = np.exp((reward - reward.max()) / spread)
    _, code = np.unique([repr(a) for a in answers], return_inverse=True)
    total = np.zeros((2, most))
    for _ in range(SUBSAMPLES):
        order = rng.permutation(len(reward))[:most]
        counts = np.zeros((2, code.max() + 1))
        worth: dict[int, float] = {}
        for place, i in enumerate(order):
            counts[0, code[i]] += 1
            counts[1, code[i]] += weight[i]
            worth.setdefault(int(code[i]), float(value[i]))
            for kind in (0, 1):
                best = np.flatnonzero(counts[kind] == counts[kind].max())
                first = next(k for k in worth if k in best)
                total[kind, place] += worth[first]
    return total[0] / SUBSAMPLES, total[1] / SUBSAMPLES


def band(values: Floats, times: Floats, tail: float = 0.025) -> Line:
    """Mean over prompts with its percentile band.

    Args:
        values: Shape (P, N).
        times: How often each resample drew each prompt, shape (R, P).
        tail: The share of resamples on either side of the band.
    """
    low, high = np.quantile(times @ values / len(values), [tail, 1 - tail], axis=0)
    return Line(tuple(values.mean(axis=0).tolist()), tuple(low.tolist()), tuple(high.tolist()))
