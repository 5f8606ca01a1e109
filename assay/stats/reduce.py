"""From step rewards to one reward of a solution, and what that number rests on.

A step reward is P(the step is right), NaN where the solution was cut before the step. Letters: S
steps of a solution · B solutions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from assay.configs import Reduction
from assay.errors import ConfigError, DataError
from assay.stats.arrays import Clusters, Floats, codes, nothing, same_length
from assay.stats.correlation import spearman
from assay.stats.intervals import cluster_bootstrap, cluster_mean
from assay.types import Figure

REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)

EPSILON = 1e-12
"""The least step reward in a product: one of 0 would make all solutions that have one alike."""

StepRewards = Sequence[Floats]
"""Step rewards of B solutions, ``(S,)`` each."""


def reduce_steps(rewards: StepRewards, how: Reduction | str) -> Floats:
    """The reward of each solution, ``(B,)``; NaN where a step reward is.

    ``product`` ``exp Σ log max(r, ε)`` is the probability that all steps are right if they are
    independent (Lightman et al. 2023, appendix F), ``log-product`` its logarithm, ``min`` the
    weakest step (Math-Shepherd: Wang et al. 2024), ``mean`` the average, and ``last`` what an
    outcome model would look at.

    Raises:
        ConfigError: If the reduction is unknown.
        DataError: If a solution has no steps, or a step reward is no probability.
    """
    if how not in _REDUCERS:
        raise ConfigError(f"reduction {how!r} is unknown; use one of {', '.join(REDUCTIONS)}.")
    check_rewards(rewards)
    return np.array([_REDUCERS[how](steps) for steps in rewards], dtype=np.float64)


def check_rewards(rewards: StepRewards) -> None:
    """Refuse step rewards that are no probabilities.

    Raises:
        DataError: With the solution and the step.
    """
    for place, steps in enumerate(rewards):
        if np.ndim(steps) != 1 or not len(steps):
            raise DataError(
                f"Solution {place + 1} has step rewards of shape {np.shape(steps)}; wanted one of "
                "each of one or more steps."
            )
        bad = np.flatnonzero((steps < 0) | (steps > 1))
        if len(bad):
            raise DataError(
                f"Step {bad[0] + 1} of solution {place + 1} has reward {steps[bad[0]]:g}; wanted "
                "the probability that it is right, between 0 and 1."
            )


def length_bias(
    reduced: ArrayLike,
    step_counts: ArrayLike,
    problems: Clusters = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Spearman's correlation of solutions' rewards and their numbers of steps.

    Over all solutions, with a bootstrap interval over problems. A product falls with every step,
    whatever its worth. Long solutions may also be worse, so hold it against the correlation of
    being right and the number of steps; ``reward_length_correlation`` is that among the solutions
    of one problem. Rewards that are NaN are left out of ``n``.
    """
    reward = np.asarray(reduced, dtype=np.float64)
    count = np.asarray(step_counts, dtype=np.float64)
    same_length(rewards=reward, step_counts=count)
    cluster = codes(problems, len(reward))
    known = ~np.isnan(reward)
    rows = np.stack([reward, count], axis=1)[known]
    if not len(rows):
        return nothing()
    return cluster_bootstrap(rows, cluster[known], spearman, resamples, seed)


def length_biases(
    rewards: StepRewards, problems: Clusters = None, resamples: int = 1000, seed: int = 0
) -> dict[Reduction, Figure]:
    """:func:`length_bias` of every reduction."""
    counts = [len(steps) for steps in rewards]
    return {
        how: length_bias(reduce_steps(rewards, how), counts, problems, resamples, seed)
        for how in REDUCTIONS
    }


@dataclass(frozen=True, slots=True)
class LowestIsLast:
    """How often the lowest step reward is the last one's, and how often by chance.

    ``excess`` is the one less the other, paired by solution. ``single`` solutions have one step and
    ``cut`` ones a step without a reward; neither count.
    """

    share: Figure
    chance: Figure
    excess: Figure
    single: int = 0
    cut: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As in ``results.json``."""
        return {
            "share": self.share.to_dict(),
            "chance": self.chance.to_dict(),
            "excess": self.excess.to_dict(),
            "single": self.single,
            "cut": self.cut,
        }


def lowest_is_last(rewards: StepRewards, problems: Clusters = None) -> LowestIsLast:
    """Share of solutions of two or more steps whose lowest step reward is the last one's.

    A model that looks for the answer and not for errors is low at the end: an outcome model in
    disguise (Zhang et al. 2025, "The Lessons of Developing Process Reward Models", who found more
    than 40 % in several). k equal lowest ones of which one is the last count 1/k; by chance, all
    places alike, it is the mean of 1/S. Solutions that are wrong at their end only push it up too.
    """
    check_rewards(rewards)
    cluster = codes(problems, len(rewards))
    whole = np.array([not np.isnan(r).any() for r in rewards], dtype=np.bool_)
    single = np.array([len(r) == 1 for r in rewards], dtype=np.bool_)
    used = np.flatnonzero(whole & ~single).tolist()
    share = np.array([_last_share(rewards[i]) for i in used], dtype=np.float64)
    chance = np.array([1 / len(rewards[i]) for i in used], dtype=np.float64)
    return LowestIsLast(
        cluster_mean(share, cluster[used], (0.0, 1.0)),
        cluster_mean(chance, cluster[used], (0.0, 1.0)),
        cluster_mean(share - chance, cluster[used], (-1.0, 1.0)),
        int(single.sum()),
        int((~whole & ~single).sum()),
    )


def reward_by_step(
    rewards: StepRewards, problems: Clusters = None, most: int | None = None
) -> list[Figure]:
    """Mean step reward of the first, second, … step, each over the solutions that have it.

    Later steps are those of longer solutions. Step rewards that are NaN are left out of ``n``.

    Args:
        most: Stop after so many. Default: the longest solution.
    """
    check_rewards(rewards)
    cluster = codes(problems, len(rewards))
    longest = max((len(r) for r in rewards), default=0)
    figures = []
    for step in range(longest if most is None else min(most, longest)):
        used = [i for i, r in enumerate(rewards) if len(r) > step and not np.isnan(r[step])]
        values = [rewards[i][step] for i in used]
        figures.append(cluster_mean(values, cluster[used], (0.0, 1.0)))
    return figures


def _last_share(steps: Floats) -> float:
    lowest = steps == steps.min()
    return float(lowest[-1] / lowest.sum())


def _log_product(steps: Floats) -> float:
    return float(np.log(np.maximum(steps, EPSILON)).sum())  # np.maximum hands on NaN


_REDUCERS: Mapping[str, Callable[[Floats], float]] = {
    "product": lambda steps: float(np.exp(_log_product(steps))),
    "log-product": _log_product,
    "min": lambda steps: float(steps.min()),
    "mean": lambda steps: float(steps.mean()),
    "last": lambda steps: float(steps[-1]),
}
