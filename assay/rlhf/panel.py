"""A few fixed prompts, with what the policy said before training and says now."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from assay.data.pairs import prompt_key
from assay.formats.prompts import prompt_text
from assay.rlhf.records import Judged, Spoken
from assay.stats.arrays import Floats

LONGEST_TEXT = 2000
"""Characters of a prompt or response that are kept; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A response with its rewards at a step; None where one was not had."""

    step: int
    text: str
    cut: int
    """Characters left out at the end."""
    proxy: float | None
    audit: float | None
    gold: float | None


@dataclass
class Shown:
    """A prompt with its first response by the reference policy and its latest one."""

    prompt: str
    before: Sample
    now: Sample | None = None


@dataclass
class Panel:
    """The first different prompts of the baseline, up to a number."""

    size: int
    prompts: dict[str, Shown] = field(default_factory=dict)

    def begin(self, spoken: Spoken, judged: Judged) -> None:
        """Take prompts of the reference policy's step while there is room."""
        for i, prompt in enumerate(spoken.prompts):
            if len(self.prompts) >= self.size:
                return
            key = prompt_key(prompt)
            if key not in self.prompts:
                text, _ = _short(prompt_text(prompt))
                self.prompts[key] = Shown(text, _sample(0, i, spoken, judged))

    def show(self, step: int, spoken: Spoken, judged: Judged) -> int:
        """Keep the first response to each of the panel's prompts in a step; how many there were."""
        seen = set()
        for i, key in self._theirs(spoken):
            if key not in seen:
                self.prompts[key].now = _sample(step, i, spoken, judged)
                seen.add(key)
        return len(seen)

    def _theirs(self, spoken: Spoken) -> Iterator[tuple[int, str]]:
        for i, prompt in enumerate(spoken.prompts):
            key = prompt_key(prompt)
            if key in self.prompts:
                yield i, key

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {key: asdict(shown) for key, shown in self.prompts.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """What :meth:`state` gave."""
        self.prompts = {
            key: Shown(
                each["prompt"],
                Sample(**each["before"]),
                Sample(**each["now"]) if each["now"] else None,
            )
            for key, each in state.items()
        }


def _sample(step: int, i: int, spoken: Spoken, judged: Judged) -> Sample:
    text, cut = _short(spoken.texts[i])
    return Sample(
        step, text, cut, _number(judged.proxy, i), _number(judged.audit, i), _number(judged.gold, i)
    )


def _short(text: str) -> tuple[str, int]:
    return text[:LONGEST_TEXT], max(len(text) - LONGEST_TEXT, 0)


def _number(values: Floats | None, i: int) -> float | None:
    if values is None or not math.isfinite(values[i]):
        return None
    return float(values[i])
