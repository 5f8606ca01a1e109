"""What ``lets_verify.py`` measures of step labels by rollouts, and of the search for first errors.

NumPy in, numbers out; knows nothing of models. Intervals are over problems, those of all seeds
together.

Letters: S steps of a chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, log2
from typing import Any

import numpy as np
from arithmetic import first_error
from numpy.typing import NDArray
from scipy.stats import hypergeom

from assay.feedback.first_error import locate_first_error
from assay.stats import cluster_mean, jackknife_of_sums

Figures = dict[str, Any]
World = Mapping[str, Any]


def labelled(worlds: Sequence[World], rollouts: Sequence[int]) -> Figures:
    """Labels by rollouts against true ones, for one completer and one m, all seeds together.

    Steps up to the true first error count, but for a chain's last step, which is judged by its
    answer and not by rollouts.
    """
    steps = [step for seed, world in enumerate(worlds) for step in _steps(seed, world)]
    bad = np.array([s[0] for s in steps], dtype=np.float64)
    right, of = (np.array([s[i] for s in steps], dtype=np.int64) for i in (1, 2))
    clusters = [s[3] for s in steps]
    return {
        "steps": len(steps),
        "bad_steps": int(bad.sum()),
        "unjudged": sum(s is None for w in worlds for t in w["tallies"] for s in t[:-1]),
        "share_right_after_good": _mean((right / of)[bad == 0], clusters, bad == 0),
        "share_right_after_bad": _mean((right / of)[bad == 1], clusters, bad == 1),
        "by_rollouts": {
            estimation: {
                str(n): precision_and_recall(bad, called_good(right, of, n, estimation), clusters)
                for n in rollouts
            }
            for estimation in ("hard", "soft")
        },
        "first_error": {
            f"{method}, {estimation}": _named(worlds, f"{method}, {estimation}")
            for method in ("every-step", "first-error")
            for estimation in ("hard", "soft")
        },
        "probes": {e: _probes(worlds, f"probes, {e}") for e in ("hard", "soft")},
    }


def _steps(seed: int, world: World) -> list[tuple[bool, int, int, str]]:
    """Whether it is bad, rollouts that are right, of how many, and the problem of each step."""
    found = []
    for problem, truth, tallies in zip(
        world["problems"], world["truth"], world["tallies"], strict=True
    ):
        for step, tally in enumerate(tallies[:-1]):
            if tally is not None and (truth is None or step <= truth):
                found.append((step == truth, *tally, f"{seed}: {problem}"))
    return found


def called_good(
    right: NDArray[np.int64], of: NDArray[np.int64], n: int, estimation: str
) -> NDArray[np.float64]:
    """Chance that n of the rollouts, drawn without replacement, call a step good.

    ``hard``: any of them is right. ``soft``: half of them or more are. The exact mean over all
    subsets, by the hypergeometric distribution.
    """
    size = np.minimum(n, of)
    least = np.ones_like(size) if estimation == "hard" else -(-size // 2)
    chance: NDArray[np.float64] = hypergeom.sf(least - 1, of, right, size)
    return chance


def precision_and_recall(
    bad: NDArray[np.float64], good_calls: NDArray[np.float64], clusters: Sequence[str]
) -> Figures:
    """Precision and recall of "bad" and of "good", with intervals over problems."""
    called = {"bad": 1 - good_calls, "good": good_calls}
    figures = {}
    for name, true in (("bad", bad), ("good", 1 - bad)):
        hits = called[name] * true
        for kind, whole in (("precision", called[name]), ("recall", true)):
            figures[f"{name}_{kind}"] = _ratio(hits, whole, clusters)
    return figures


def _ratio(
    part: NDArray[np.float64], whole: NDArray[np.float64], clusters: Sequence[str]
) -> Figures | None:
    """A share of sums; None where there is nothing to take it of."""
    if whole.sum() < 1e-9:
        return None
    rows = np.stack([part, whole], axis=1)

    def shares(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        # without the only problem that has any, there is none: the error is then unknown
        return sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan)

    return jackknife_of_sums(rows, shares, list(clusters)).figure((0.0, 1.0)).to_dict()


def _mean(values: NDArray[np.float64], clusters: Sequence[str], kept: NDArray[np.bool_]) -> Figures:
    names = [name for name, keep in zip(clusters, kept, strict=True) if keep]
    return cluster_mean(values, names, (0.0, 1.0)).to_dict()


def _named(worlds: Sequence[World], key: str) -> Figures:
    """How often the first bad label stands where the first error is, of wrong and sound chains."""
    exact, names, sound = [], [], []
    for seed, world in enumerate(worlds):
        for problem, truth, labels in zip(
            world["problems"], world["truth"], world[key], strict=True
        ):
            said = labels.index(-1) if -1 in labels else None
            exact.append(float(said == truth))
            sound.append(truth is None)
            names.append(f"{seed}: {problem}")
    is_sound = np.array(sound)
    return {
        "unsound": _mean(np.array(exact)[~is_sound], names, ~is_sound),
        "sound": _mean(np.array(exact)[is_sound], names, is_sound),
    }


def _probes(worlds: Sequence[World], key: str) -> Figures:
    """Probes of bisection where it is known how a chain ends; where it ends right there are none.

    ``within`` counts the searches that took at most ⌈log₂ S⌉ + 1.
    """
    pairs = [
        (probes, steps)
        for w in worlds
        for probes, steps, ends_right in zip(w[key], w["steps"], w["correct"], strict=True)
        if not ends_right
    ]
    return probe_counts(pairs)


def probe_counts(pairs: Sequence[tuple[int, int]]) -> Figures:
    """Mean and most probes of searches, their steps, and how many kept to ⌈log₂ S⌉ + 1."""
    probes = np.array([p for p, _ in pairs])
    bounds = np.array([ceil(log2(steps)) + 1 for _, steps in pairs])
    return {
        "searches": len(pairs),
        "mean": float(probes.mean()),
        "most": int(probes.max()),
        "mean_steps": float(np.mean([steps for _, steps in pairs])),
        "within": int((probes <= bounds).sum()),
    }


def searched(found: Sequence[World]) -> Figures:
    """Probes where each is answered by the truth, for all test samples, told how they end or not.

    The search must name the true first error; it is counted how often it does.
    """
    untold, told, exact = [], [], 0
    for world in found:
        for problem, texts in zip(world["problems"], world["texts"], strict=True):
            for text in dict.fromkeys(texts):
                steps = text.split("\n")
                error = first_error(problem, steps)

                def is_right(k: int, error: int | None = error) -> bool:
                    return error is None or k <= error

                search = locate_first_error(is_right, len(steps))
                exact += search.first_error == error
                untold.append((search.probes, len(steps)))
                if error is not None:
                    known = locate_first_error(is_right, len(steps), ends_right=False)
                    told.append((known.probes, len(steps)))
    return {"untold": {**probe_counts(untold), "exact": exact}, "told": probe_counts(told)}
