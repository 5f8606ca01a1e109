"""What was generated, what was not and why, and what it took."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.errors import DataError, TrainingError
from assay.feedback.candidates.records import Sample
from assay.feedback.candidates.sampled import Candidates
from assay.stats import cluster_mean
from assay.types import Figure


@dataclass(frozen=True)
class GeneratedFile:
    """The report of a run.

    ``short`` prompts have fewer responses than wanted, ``single`` ones one; ``unanswered`` have
    none. ``rows`` were written. ``coverage`` is the share of the wanted samples that did not fail.
    ``distinct`` is the share of the samples with a text that repeat no earlier one of their prompt,
    with an interval over prompts. ``response_tokens``, ``seconds`` and ``tokens_per_second`` are of
    this run, without what was ``kept`` from an earlier one; ``usage`` is that of endpoints.
    """

    output: str | None
    failed: str | None
    store: str | None
    prompts: int
    repeated_prompts: int
    rows: int
    short: int
    single: int
    unanswered: int
    wanted: int
    drawn: int
    responses: int
    by_model: Mapping[str, int]
    distinct: Figure | None
    unusable: Mapping[str, int]
    failures: Mapping[str, int]
    first_failure: str | None
    coverage: float
    finish: Mapping[str, int]
    characters: Mapping[str, float] | None
    tokens: Mapping[str, float] | None
    kept: int
    prompt_tokens: int
    response_tokens: int
    seconds: float
    tokens_per_second: float | None
    usage: Mapping[str, Any] | None
    left_out: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self.__dict__, "distinct": self.distinct and self.distinct.to_dict()}

    def __str__(self) -> str:
        lines = [
            f"{self.responses:,} responses to {self.rows:,} of {self.prompts:,} prompts"
            f"{_listed(self.by_model, ': ')}",
            f"{self.short:,} prompts with fewer than wanted, {self.single:,} of them with one; "
            f"{self.unanswered:,} with none; {self.repeated_prompts:,} prompts repeat another",
        ]
        if self.distinct is not None:
            gone = _listed(self.unusable) or "none"
            lines.append(f"distinct {self.distinct}; samples that are no response: {gone}")
        if self.characters is not None and self.tokens is not None:
            c, t = self.characters, self.tokens
            lines.append(
                f"length {c['median']:,.0f} characters (median; {c['min']:,.0f} to "
                f"{c['max']:,.0f}), {t['mean']:,.1f} tokens (mean); ended by "
                f"{_listed(self.finish)}"
            )
        why = f" ({self.first_failure})" if self.first_failure else ""
        lines.append(
            f"coverage {self.coverage:.3f} of {self.wanted:,} samples; failed: "
            f"{_listed(self.failures) or 'none'}{why}"
        )
        speed = (
            "" if self.tokens_per_second is None else f", {self.tokens_per_second:,.0f} a second"
        )
        lines.append(
            f"{self.drawn:,} samples, {self.kept:,} of them from before; {self.prompt_tokens:,} + "
            f"{self.response_tokens:,} tokens in {self.seconds:,.1f} s{speed}"
        )
        if self.usage is not None:
            u = self.usage
            cost = "" if u["cost"] is None else f", cost {u['cost']:.4f}"
            lines.append(
                f"{u['requests']:,} requests, {u['retries']:,} retries, {u['failed']:,} failed"
                f"{cost}"
            )
        lines.append(f"left out: {_listed(self.left_out) or 'none'}")
        lines += [f"written to {self.output}"] if self.output is not None else []
        lines += [self.store] if self.store is not None else []
        lines += [f"what is left out: {self.failed}"] if self.failed is not None else []
        return "\n".join(lines)


def _listed(counts: Mapping[str, int], before: str = "") -> str:
    said = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)
    return f"{before}{said}" if said else ""


class Counts:
    """What came of the prompts, counted as they stream past: a few bytes of each.

    Args:
        wanted: Samples wanted of all prompts.
        floor: Smallest share of them that may come.
    """

    def __init__(self, wanted: int, floor: float) -> None:
        self.wanted, self.floor = wanted, floor
        self.short = self.single = self.unanswered = self.drawn = 0
        self.failures: Counter[str] = Counter()
        self.unusable: Counter[str] = Counter()
        self.finish: Counter[str] = Counter()
        self.by_model: Counter[str] = Counter()
        self.first_failure: str | None = None
        self.kept = self.prompt_tokens = self.response_tokens = 0
        self._characters, self._tokens = array("q"), array("q")
        self._texts, self._repeats = array("q"), array("q")

    def sample(self, sample: Sample) -> None:
        """Count a sample as it comes, by what it took.

        Raises:
            TrainingError: If too many have failed for the floor to be reached.
        """
        self.kept += sample.cached
        if not sample.cached:
            self.prompt_tokens += sample.prompt_tokens
            self.response_tokens += sample.response_tokens
        if sample.failed is not None:
            self.failures[sample.failed] += 1
            self.first_failure = self.first_failure or sample.detail
            if self.coverage < self.floor - 1e-12:
                raise self._too_few()

    def add(self, found: Candidates) -> None:
        """Count a prompt with what it got."""
        count = len(found.responses)
        self.drawn += found.drawn
        self.short += count < found.wanted
        self.single += count == 1 < found.wanted
        self.unanswered += count == 0
        self.unusable.update(found.unusable)
        self._texts.append(found.texts)
        self._repeats.append(found.repeats)

    def row(self, found: Candidates, names: list[str]) -> None:
        """Count the responses of a prompt that is written.

        Args:
            names: The sources'.
        """
        for response in found.responses:
            self.by_model[names[response.job.setting.source]] += 1
            self.finish[response.sample.finish or "unknown"] += 1
            self._characters.append(len(response.sample.text))
            self._tokens.append(response.sample.response_tokens)

    def check(self) -> None:
        """Refuse an end without a response to anything.

        Raises:
            DataError: If there is none.
        """
        if not self._characters:
            gone = ", ".join(f"{n:,} {why}" for why, n in self.unusable.items())
            raise DataError(
                f"None of {len(self._texts):,} prompts got the responses that were wanted "
                f"({gone or 'no sample came'}); nothing was written."
            )

    @property
    def coverage(self) -> float:
        """Share of the wanted samples that did not fail; failures are not replaced."""
        return 1 - self.failures.total() / max(1, self.wanted)

    @property
    def responses(self) -> int:
        """Responses that are written."""
        return len(self._characters)

    def distinct(self) -> Figure | None:
        """Share of the samples with a text that repeat none, with an interval over prompts."""
        texts, repeats = np.asarray(self._texts), np.asarray(self._repeats)
        if not texts.sum():
            return None
        owner = np.repeat(np.arange(len(texts)), texts)
        # the repeats of a prompt, written after its others: their order says nothing
        place = np.arange(len(owner)) - np.repeat(np.cumsum(texts) - texts, texts)
        is_new = place < np.repeat(texts - repeats, texts)
        return cluster_mean(is_new.astype(float), owner, (0.0, 1.0))

    def characters(self) -> dict[str, float] | None:
        """Of the responses' lengths."""
        return _spread(self._characters)

    def tokens(self) -> dict[str, float] | None:
        """Of the responses' tokens; 0 where an endpoint does not count them."""
        return _spread(self._tokens)

    def _too_few(self) -> TrainingError:
        gone = ", ".join(f"{n:,} {kind}" for kind, n in self.failures.items())
        why = f" (first: {self.first_failure})" if self.first_failure else ""
        return TrainingError(
            f"{self.failures.total():,} of {self.wanted:,} samples failed, so that the coverage of "
            f"{self.floor:g} cannot be reached: {gone}{why}. Nothing was written; what came is "
            "kept, and the same command asks for the rest alone, or lower --min-coverage."
        )


def _spread(values: array[int]) -> dict[str, float] | None:
    if not values:
        return None
    found = np.asarray(values)
    return {
        "mean": float(found.mean()),
        "median": float(np.median(found)),
        "min": float(found.min()),
        "max": float(found.max()),
    }
