"""Records that stages hand to each other, and the Scorer contract.

Knows nothing of torch, files or models.

Letters: B conversations · K responses of one comparison · P preferences · S steps of a solution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    ``extra`` carries what chat templates may read besides (``tool_calls``, ``name``,
    ``tool_call_id``).
    """

    role: str
    content: str
    extra: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The message as chat templates and JSON files spell it."""
        return {"role": self.role, "content": self.content, **(self.extra or {})}


Messages = tuple[Message, ...]


def as_messages(
    value: str | Message | Sequence[Message | Mapping[str, Any]], role: str
) -> Messages:
    """Messages from a text (one of that role), a message, or a list of messages or dictionaries."""
    if isinstance(value, str):
        return (Message(role, value),)
    if isinstance(value, Message):
        return (value,)
    return tuple(m if isinstance(m, Message) else _message_from(m) for m in value)


def _message_from(row: Mapping[str, Any]) -> Message:
    extra = {k: v for k, v in row.items() if k not in ("role", "content") and v is not None}
    return Message(str(row["role"]), row.get("content") or "", extra or None)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt and one response to it: what a reward model scores."""

    prompt: Messages
    response: Messages
    tools: tuple[Mapping[str, Any], ...] | None = None

    @classmethod
    def of(
        cls,
        prompt: str | Sequence[Message | Mapping[str, Any]],
        response: str | Sequence[Message | Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> Conversation:
        """From plain text or message dictionaries: ``Conversation.of("Hi", "Hello!")``."""
        return cls(
            as_messages(prompt, "user"),
            as_messages(response, "assistant"),
            tuple(tools) if tools else None,
        )

    @property
    def messages(self) -> Messages:
        """All turns in order."""
        return self.prompt + self.response

    @property
    def response_text(self) -> str:
        """The response's text, its messages joined by newlines."""
        return "\n".join(m.content for m in self.response)


@dataclass(frozen=True, slots=True)
class Preference:
    """That one response of a comparison was judged better than another, by index.

    ``probability`` is the soft label P(chosen is better): 1 certain, 0.5 a tie or an even vote.
    ``margin`` is the asked-for distance (strength), ``weight`` multiplies the loss.
    """

    chosen: int
    rejected: int
    probability: float = 1.0
    margin: float = 0.0
    weight: float = 1.0


Ratings = tuple[Mapping[str, float], ...]

LABEL = "label"
"""The attribute of a response that was labelled by itself: 1 good, 0 bad."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A prompt with K responses and what was judged of them.

    The unit of loading, splitting and training. A pair is K = 2 with one preference. A ranking of K
    has ``ranking``, groups of response indexes best first (a group of several is a tie), and its
    C(K, 2) preferences spelled out in ``preferences``.

    ``ratings`` has one mapping a response, attribute to number; what was not rated is not in it.
    A response that was judged by itself, labelled or rated, is K = 1 without preferences; its label
    is the attribute ``LABEL``, 1 good and 0 bad. ``first_shown`` is the index of the response the
    annotator saw first (or on the left). ``provenance`` has one mapping a response: who wrote it,
    and how.
    """

    prompt: Messages
    responses: tuple[Messages, ...]
    preferences: tuple[Preference, ...]
    ranking: tuple[tuple[int, ...], ...] | None = None
    id: str | None = None
    subset: str | None = None
    annotator: str | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
    first_shown: int | None = None
    ratings: Ratings | None = None
    provenance: tuple[Mapping[str, Any], ...] | None = None

    def conversations(self) -> list[Conversation]:
        """One conversation a response, in order."""
        return [Conversation(self.prompt, response, self.tools) for response in self.responses]

    def pairs(self) -> list[PreferencePair]:
        """One pair a preference."""
        return [
            PreferencePair(
                prompt=self.prompt,
                chosen=self.responses[p.chosen],
                rejected=self.responses[p.rejected],
                margin=p.margin,
                weight=p.weight,
                probability=p.probability,
                annotator=self.annotator,
                id=self.id,
                subset=self.subset,
                tools=self.tools,
            )
            for p in self.preferences
        ]


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """A prompt with the response judged better and the one judged worse."""

    prompt: Messages
    chosen: Messages
    rejected: Messages
    margin: float = 0.0
    weight: float = 1.0
    probability: float = 1.0
    annotator: str | None = None
    id: str | None = None
    subset: str | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None

    @property
    def is_tie(self) -> bool:
        """Whether the judgment says neither is better."""
        return self.probability == 0.5

    def to_comparison(self) -> Comparison:
        """The same as a comparison of K = 2."""
        return Comparison(
            prompt=self.prompt,
            responses=(self.chosen, self.rejected),
            preferences=(Preference(0, 1, self.probability, self.margin, self.weight),),
            id=self.id,
            subset=self.subset,
            annotator=self.annotator,
            tools=self.tools,
        )


@dataclass(frozen=True, slots=True)
class Solution:
    """A prompt and a response in steps, with what was judged of each step and of the whole.

    ``labels`` has one step label a step: 1 good, 0 neutral, -1 bad, None not judged.
    ``probabilities`` has what is known instead as a share, of rollouts say: P(the step is right).
    ``correct`` says whether the final ``answer`` is right.
    """

    prompt: Messages
    steps: tuple[str, ...]
    labels: tuple[int | None, ...]
    probabilities: tuple[float | None, ...] | None = None
    answer: str | None = None
    correct: bool | None = None
    id: str | None = None
    subset: str | None = None
    annotator: str | None = None
    weight: float = 1.0

    @property
    def first_error(self) -> int | None:
        """Index of the first step labelled bad; None if none is."""
        return next((i for i, label in enumerate(self.labels) if label == -1), None)


@dataclass(frozen=True, slots=True)
class StepScores:
    """Step rewards of solutions, in the order given: P(the step is right), one a step.

    A step reward is NaN where the solution was cut before it; ``cut`` counts those steps.
    ``truncated`` counts, for each solution, the steps read behind a prompt that lost its beginning;
    empty where none was.
    """

    rewards: tuple[NDArray[np.float64], ...]  # (S,) each
    std: tuple[NDArray[np.float64], ...] | None = None
    cut: int = 0
    truncated: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """Rewards of B conversations, in the order given, and their standard deviation where known.

    A reward is NaN where an over-long conversation was dropped; ``truncated`` counts those cut.
    """

    reward: NDArray[np.float64]  # (B,)
    std: NDArray[np.float64] | None = None  # (B,)
    truncated: int = 0


@runtime_checkable
class Scorer(Protocol):
    """Anything that turns conversations into rewards: a model, an ensemble, a server, a judge."""

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """Raw rewards, one per conversation, in order."""
        ...


@runtime_checkable
class StepScorer(Protocol):
    """Anything that rewards every step of a solution: a process model, a judge, a verifier."""

    def score_steps(self, solutions: Sequence[Solution]) -> StepScores:
        """Step rewards, one array a solution, in order."""
        ...


def json_number(x: float) -> float | None:
    """The number, or None for NaN, which JSON has not."""
    return None if math.isnan(x) else x


def as_lists(arrays: Sequence[NDArray[np.float64]]) -> list[list[float | None]]:
    """Step rewards as JSON has them: null where a step was cut."""
    return [[json_number(float(x)) for x in array] for array in arrays]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its 95 % interval and the number of things it was measured on."""

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float | int | None]:
        """As written in ``heldout.json``; what could not be measured is null: JSON has no NaN."""
        low, high, value = map(json_number, (self.low, self.high, self.value))
        return {"value": value, "low": low, "high": high, "n": self.n}

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}], n={self.n}"


@dataclass(frozen=True, slots=True)
class Dropped:
    """One thing that was left out, where it stood and why."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the rows of a preference file: nothing vanishes silently.

    ``dropped`` maps a reason ("identical responses", "duplicate", …) to its count; ``examples``
    keeps the first few places of each. ``ties`` counts preferences with probability 0.5.
    ``contradictions`` counts pairs that were kept although an earlier one says their opposite.
    ``singles`` counts the comparisons of one response, labelled or rated by itself.
    """

    rows: int
    comparisons: int
    pairs: int
    ties: int
    dropped: Mapping[str, int]
    examples: Sequence[Dropped] = ()
    formats: Mapping[str, int] | None = None
    contradictions: int = 0
    singles: int = 0

    def __str__(self) -> str:
        compared = self.comparisons - self.singles
        text = f"{self.rows:,} rows gave {self.pairs:,} pairs in {compared:,} comparisons"
        if self.singles:
            text += f" and {self.singles:,} single responses"
        if self.ties:
            text += f" ({self.ties:,} ties)"
        if self.contradictions:
            text += f"; {self.contradictions:,} contradict an earlier pair"
        gone = ", ".join(f"{n:,} {why}" for why, n in self.dropped.items() if n)
        return f"{text}; dropped: {gone or 'none'}"
