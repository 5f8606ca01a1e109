"""What is watched of every step: pure functions from what was said and judged to figures.

Knows nothing of time: what a figure is compared with is the business of :mod:`assay.rlhf.alarms`.

Letters: B responses of a step · P its different prompts · T tokens of a response.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from assay.data.contract import Ids
from assay.data.pairs import prompt_key
from assay.errors import DataError
from assay.rlhf.kl import k1, k3
from assay.rlhf.records import Judged, Spoken
from assay.rlhf.wording import WORDING, compression, wording
from assay.stats.arrays import Floats
from assay.stats.estimates import estimate_mean
from assay.types import Messages

LOG_RATIO_LIMIT = 10.0
"""k3's log-ratio is clamped to ± this: one token the policy took and the reference would almost
never take would otherwise be the whole figure."""
MAX_PAIRS = 64
"""Pairs of one prompt's samples that are compared, the first ones in order of index."""

KEYS = {
    "kl": "objective/kl",
    "kl_k3": "objective/kl_k3",
    "proxy": "objective/proxy",
    "proxy_std": "objective/proxy_std",
    "audit": "objective/audit",
    "gold": "objective/gold",
    "disagreement": "objective/disagreement",
    "distance": "objective/distance",
    "length": "response/length",
    "ended": "response/ended",
    "entropy": "response/entropy",
    "repetition": "response/repetition",
    "compression": "response/compression",
    "pairwise_distinct": "response/pairwise_distinct",
    **{name: f"wording/{name}" for name in WORDING},
}
"""What each signal is called in metrics.jsonl."""
WITH_ERROR = ("kl", "proxy", "audit", "gold", "length")
"""Signals whose standard error is written beside them, under ``KEY_error``."""


@dataclass(frozen=True, slots=True)
class Point:
    """A mean of one step, the square of its standard error over prompts, and its count."""

    mean: float
    variance: float
    n: int


@dataclass(frozen=True, slots=True)
class Signals:
    """The signals of one step, before they are averaged; nan where one could not be had."""

    of_responses: dict[str, Floats]  # (B,) each
    of_prompts: dict[str, Floats]  # (P,) each
    prompt: NDArray[np.intp]  # (B,) 0 … P-1

    @property
    def prompts(self) -> int:
        """Different prompts."""
        return int(self.prompt.max()) + 1

    def values(self, name: str) -> tuple[Floats, NDArray[np.intp]]:
        """The finite values of a signal, and the prompt of each; nothing of one not had."""
        if name in self.of_responses:
            values, prompt = self.of_responses[name], self.prompt
        elif name in self.of_prompts:
            values, prompt = self.of_prompts[name], np.arange(self.prompts)
        else:
            return np.zeros(0), np.zeros(0, np.intp)
        kept = np.isfinite(values)
        return values[kept], prompt[kept]

    def names(self) -> list[str]:
        """All signals that were had."""
        return [*self.of_responses, *self.of_prompts]


def signals(spoken: Spoken, judged: Judged) -> Signals:
    """All signals of a step.

    Raises:
        DataError: If there are no responses, or what is said of them has another number.
    """
    _check(spoken, judged)
    prompt = numbered(spoken.prompts)
    logprobs, reference = spoken.logprobs, spoken.reference
    of_text = [wording(text) for text in spoken.texts]
    of_responses: dict[str, Floats] = {
        "kl": np.array([kl_k1(a, b) for a, b in zip(logprobs, reference, strict=True)]),
        "kl_k3": np.array([kl_k3(a, b) for a, b in zip(logprobs, reference, strict=True)]),
        "length": np.array([float(len(ids)) for ids in spoken.ids]),
        "ended": np.asarray(spoken.ended, np.float64),
        "entropy": np.array([entropy(a) for a in logprobs]),
        "repetition": np.array([repetition(ids) for ids in spoken.ids]),
        "compression": np.array([compression(text) for text in spoken.texts]),
        **{name: np.array([counts[name] for counts in of_text]) for name in WORDING},
        "proxy": np.asarray(judged.proxy, np.float64),
    }
    others = {
        "disagreement": judged.std,
        "audit": judged.audit,
        "gold": judged.gold,
        "distance": judged.distance,
    }
    for name, values in others.items():
        if values is not None:
            of_responses[name] = np.asarray(values, np.float64)
    members = [np.flatnonzero(prompt == p) for p in range(int(prompt.max()) + 1)]
    of_prompts = {
        "proxy_std": np.array([spread(of_responses["proxy"][m]) for m in members]),
        "pairwise_distinct": np.array(
            [pairwise_distinct([spoken.ids[i] for i in m]) for m in members]
        ),
    }
    return Signals(of_responses, of_prompts, prompt)


def figures(
    step: Signals, ids: Sequence[Ids], base_length: float | None = None
) -> dict[str, float]:
    """The means of a step under the names of ``KEYS``, as flat numbers for a log.

    ``objective/sqrt_kl`` is the root of the mean k3, which is never negative.
    ``response/distinct_n`` is over the whole batch. ``n/responses`` and ``n/prompts`` count what
    there was, and ``missing/NAME`` how many values of a signal could not be had, where there are
    any. A signal of which there is no value at all has only its ``missing``.

    Args:
        ids: The tokens of the responses.
    """
    found: dict[str, float] = {}
    for name in step.names():
        values, _ = step.values(name)
        if len(values):
            found[KEYS[name]] = float(values.mean())
        size = len(step.of_responses.get(name, step.of_prompts.get(name, ())))
        if size > len(values):
            found[f"missing/{name}"] = float(size - len(values))
    for name in WITH_ERROR:
        if name in step.of_responses and (at := point(step, name)) is not None:
            found[f"{KEYS[name]}_error"] = at.variance**0.5
    if KEYS["kl_k3"] in found:
        found["objective/sqrt_kl"] = found[KEYS["kl_k3"]] ** 0.5
    for n in (1, 2, 4):
        share = distinct(ids, n)
        if np.isfinite(share):
            found[f"response/distinct_{n}"] = share
    found["n/responses"], found["n/prompts"] = float(len(step.prompt)), float(step.prompts)
    return found


def point(step: Signals, name: str) -> Point | None:
    """The mean of a signal with its error over prompts; None with fewer than two prompts."""
    return mean_point(*step.values(name))


def mean_point(values: Floats, prompt: NDArray[np.intp]) -> Point | None:
    """The mean of finite values with its error over prompts; None with fewer than two prompts."""
    if len(values) < 2:
        return None
    estimate = estimate_mean(values, prompt)
    if not np.isfinite(estimate.error):
        return None
    return Point(estimate.value, estimate.error**2, estimate.n)


# --- one response, one prompt ---------------------------------------------------------------------


def kl_k1(logprobs: Floats, reference: Floats) -> float:
    """``Σ_t log π − log π_ref`` of one response, nats: Schulman's k1, unbiased, high variance."""
    return float(k1(logprobs, reference).sum())


def kl_k3(logprobs: Floats, reference: Floats) -> float:
    """Schulman's k3 of one response, nats: never negative, low variance.

    Its log-ratios are clamped to ± ``LOG_RATIO_LIMIT``.
    """
    return float(k3(logprobs, reference, LOG_RATIO_LIMIT).sum())


def entropy(logprobs: Floats) -> float:
    """``−mean_t log π`` of the tokens drawn, nats a token: one sample's estimate of the entropy.

    At the temperature they were drawn at. nan of a response without tokens.
    """
    return float(-np.mean(logprobs)) if len(logprobs) else float("nan")


def spread(values: Floats) -> float:
    """The standard deviation (n − 1) of one prompt's samples; nan of fewer than two."""
    kept = values[np.isfinite(values)]
    return float(np.std(kept, ddof=1)) if len(kept) > 1 else float("nan")


def repetition(ids: Ids, n: int = 4) -> float:
    """The share of a response's n-grams that were there before; nan where it has none."""
    grams = ngrams(ids, n)
    return 1 - len(set(grams)) / len(grams) if grams else float("nan")


def distinct(ids: Sequence[Ids], n: int) -> float:
    """Different n-grams of all responses by all their n-grams: Li et al. 2016; nan without any.

    It falls with the number of responses, so compare it at one batch size.
    """
    grams = [gram for each in ids for gram in ngrams(each, n)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def pairwise_distinct(ids: Sequence[Ids]) -> float:
    """Jaccard's distance of two samples' two-grams, a mean over pairs of one prompt's samples.

    0 where all samples are the same, 1 where no two share a two-gram; nan of a single sample. A
    sample of one token has that token instead.
    """
    grams = [frozenset(ngrams(each, 2)) or frozenset(ngrams(each, 1)) for each in ids]
    pairs = list(combinations(range(len(ids)), 2))[:MAX_PAIRS]
    if not pairs:
        return float("nan")
    apart = []
    for i, j in pairs:
        union = len(grams[i] | grams[j])
        apart.append(1 - len(grams[i] & grams[j]) / union if union else 0.0)
    return float(np.mean(apart))


def ngrams(ids: Ids, n: int) -> list[tuple[int, ...]]:
    """The n-grams of a response, in order."""
    tokens = ids.tolist()
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))


def numbered(prompts: Sequence[Messages]) -> NDArray[np.intp]:
    """The number of each response's prompt, in the order in which prompts first come."""
    numbers: defaultdict[str, int] = defaultdict(lambda: len(numbers))
    return np.array([numbers[prompt_key(p)] for p in prompts], np.intp)


def _check(spoken: Spoken, judged: Judged) -> None:
    count = len(spoken)
    if not count:
        raise DataError("A step has no responses; the monitor needs at least one a step.")
    fields = {
        "prompts": spoken.prompts,
        "ids": spoken.ids,
        "logprobs": spoken.logprobs,
        "reference": spoken.reference,
        "ended": spoken.ended,
        "proxy": judged.proxy,
        "std": judged.std,
        "audit": judged.audit,
        "gold": judged.gold,
        "distance": judged.distance,
    }
    for name, values in fields.items():
        if values is not None and len(values) != count:
            raise DataError(f"Got {len(values):,} of {name} for {count:,} responses; one each.")
    for i, (own, other) in enumerate(zip(spoken.logprobs, spoken.reference, strict=True)):
        if len(own) != len(other):
            raise DataError(
                f"Response {i} has {len(own):,} log-probabilities of the policy and {len(other):,} "
                "of the reference; both score the same tokens."
            )
