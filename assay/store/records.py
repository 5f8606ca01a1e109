"""What goes in and out of the store: frozen records, and the settings of a project."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Generic, Literal, TypeVar

from assay.errors import ConfigError
from assay.store.presets import PRESETS
from assay.types import Messages

Role = Literal["annotator", "reviewer", "admin"]
Kind = Literal["pair", "ranking", "steps"]
Purpose = Literal["work", "screening", "training", "gold", "attention"]
Scale = Literal["comparative", "absolute"]
Rationale = Literal["off", "optional", "required"]
StepMode = Literal["per-step", "first-error"]
STANDARD_DIMENSIONS = ("factual accuracy", "instruction following", "safety", "helpfulness")


S = TypeVar("S", bound="_Settings")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list, and from where it goes on; None at its end."""

    rows: list[T]
    more: str | None


class _Settings:
    """From JSON, refusing what is unknown."""

    @classmethod
    def from_dict(cls: type[S], value: Mapping[str, Any]) -> S:
        """The settings; unknown names raise.

        Raises:
            ConfigError: If a name or value is none of these settings.
        """
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(value) - known)
        if unknown:
            raise ConfigError(
                f"{cls.__name__} has no {', '.join(map(repr, unknown))}; it has "
                f"{', '.join(sorted(known))}."
            )
        missing = [
            f.name
            for f in fields(cls)  # type: ignore[arg-type]
            if f.default is MISSING and f.default_factory is MISSING and f.name not in value
        ]
        if missing:
            raise ConfigError(f"{cls.__name__} lacks {', '.join(map(repr, missing))}.")
        try:
            return cls(**cls.parsed(value))
        except TypeError as error:
            raise ConfigError(f"{cls.__name__} is not what was wanted: {error}.") from None

    @classmethod
    def parsed(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fields from JSON, which knows lists alone."""
        return {name: tuple(v) if isinstance(v, list) else v for name, v in value.items()}

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]


def _check(ok: bool, what: str, wanted: str, came: object) -> None:
    if not ok:
        raise ConfigError(f"{what} must be {wanted}, not {str(came)[:60]!r}.")


def _check_text(value: object, what: str, most: int, empty: bool = True) -> None:
    good = isinstance(value, str) and len(value) <= most and (empty or bool(value.strip()))
    _check(good, what, f"a text of {'0' if empty else '1'} to {most:,} characters", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension(_Settings):
    """One aspect that is judged besides the whole: of both responses together, or of each."""

    name: str
    question: str = ""
    scale: Scale = "comparative"
    points: int = 5
    """Of an absolute scale: 1 to this number."""
    anchors: Mapping[str, str] = field(default_factory=dict)
    """What a point means, by its number."""
    required: bool = True

    def __post_init__(self) -> None:
        _check_text(self.name, "The name of a dimension", 80, empty=False)
        _check_text(self.question, f"The question of {self.name}", 2000)
        _check(self.scale in ("comparative", "absolute"), f"The scale of {self.name}",
               "comparative or absolute", self.scale)  # fmt: skip
        _check(isinstance(self.points, int) and 2 <= self.points <= 10, f"Points of {self.name}",
               "2 to 10", self.points)  # fmt: skip
        for point, said in self.anchors.items():
            ok = point.isdecimal() and 1 <= int(point) <= self.points
            _check(ok, f"An anchor of {self.name}", f"at a point from 1 to {self.points}", point)
            _check_text(said, f"The anchor {point} of {self.name}", 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric(_Settings):
    """What annotators are asked. A changed rubric is a new version; judgments name theirs."""

    question: str = "Which response is better?"
    instructions: str = ""
    """Guidelines, as Markdown."""
    preset: str = "helpsteer"
    """The scale of strengths for pairs; see :mod:`assay.store.presets`."""
    acceptability: bool = True
    """Whether each response is also called good, ok or bad by itself: which is better and whether
    it is any good are two questions."""
    dimensions: tuple[Dimension, ...] = ()
    rationale: Rationale = "optional"
    reasons: tuple[str, ...] = ()
    """Reasons that can be picked in place of typing."""
    ranking_ties: bool = True
    step_mode: StepMode = "per-step"
    """per-step: every step is good, neutral or bad. first-error: only the first bad one is named,
    the steps before it are good and those after it are not judged."""

    @classmethod
    def parsed(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fields from JSON, with its dimensions."""
        found = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items()}
        if isinstance(found.get("dimensions"), tuple):
            found["dimensions"] = tuple(
                d if isinstance(d, Dimension) else Dimension.from_dict(d)
                for d in found["dimensions"]
            )
        return found

    def __post_init__(self) -> None:
        _check_text(self.question, "The question", 500, empty=False)
        _check_text(self.instructions, "The instructions", 100_000)
        _check(self.preset in PRESETS, "The preset", ", ".join(PRESETS), self.preset)
        _check(self.rationale in ("off", "optional", "required"), "rationale",
               "off, optional or required", self.rationale)  # fmt: skip
        _check(self.step_mode in ("per-step", "first-error"), "step_mode",
               "per-step or first-error", self.step_mode)  # fmt: skip
        names = [d.name for d in self.dimensions]
        _check(len(set(names)) == len(names), "Dimensions", "named apart", names)
        _check(len(names) <= 20, "Dimensions", "at most 20", len(names))
        for reason in self.reasons:
            _check_text(reason, "A reason", 80, empty=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings(_Settings):
    """How comparisons are given out, and how the work is looked after."""

    overlap: int = 1
    """Judgments that are wanted of each comparison, of different annotators."""
    lease_minutes: int | float = 30.0
    """How long a comparison is kept for the one who opened it; the page extends it."""
    prefetch: int = 3
    """Comparisons that an annotator's page may hold at a time: the one shown, and those to go on
    with where the network is away."""
    most_per_annotator: int | None = None
    """Judgments after which an annotator has done enough."""
    gold_every: int | None = None
    """One in so many comparisons is one whose answer is known."""
    attention_every: int | None = None
    """One in so many is an attention check."""
    screening_share: int | float = 0.7
    """Share of the screening comparisons to be answered as expected before work is given."""
    gold_share: int | float | None = None
    """Share of the last twenty gold and attention items that must be right; below it an annotator
    is blocked until a reviewer says otherwise."""
    shuffle: bool = True
    """Show responses in an order drawn and balanced for each comparison; it is recorded."""
    allow_skip: bool = True
    word_diff: bool = False
    """Whether the page offers to mark the words that differ. It draws the eye to wording."""
    show_counts: bool = False
    """Whether the lengths of responses are shown. It biases towards length."""
    pause_after_minutes: int | None = 60
    """Active minutes after which a pause is suggested."""
    show_names: bool = False
    """Whether reviewers see annotators' names while they adjudicate."""

    def __post_init__(self) -> None:
        def whole(name: str, least: int, most: int, none: bool = False) -> None:
            value = getattr(self, name)
            ok = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
            _check(ok or (none and value is None), name, f"{least:,} to {most:,}", value)

        def real(name: str, least: int | float, most: int | float, none: bool = False) -> None:
            value = getattr(self, name)
            ok = isinstance(value, int | float) and not isinstance(value, bool)
            ok = ok and math.isfinite(value) and least <= value <= most
            _check(ok or (none and value is None), name, f"{least:g} to {most:g}", value)

        whole("overlap", 1, 100)
        whole("prefetch", 1, 50)
        real("lease_minutes", 0.01, 60 * 24 * 14)
        whole("most_per_annotator", 1, 10_000_000, none=True)
        whole("gold_every", 2, 10_000, none=True)
        whole("attention_every", 2, 10_000, none=True)
        real("screening_share", 0, 1)
        real("gold_share", 0, 1, none=True)
        whole("pause_after_minutes", 1, 1440, none=True)
        for name in ("shuffle", "allow_skip", "word_diff", "show_counts", "show_names"):
            _check(
                isinstance(getattr(self, name), bool), name, "true or false", getattr(self, name)
            )


@dataclass(frozen=True, slots=True)
class NewResponse:
    """A response on its way into the store."""

    messages: Messages
    steps: tuple[Mapping[str, Any], ...] | None = None
    """Of a solution: ``text``, and ``alternatives`` where there are any."""
    model: str | None = None
    author_id: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewJudgment:
    """A judgment that comes with an imported comparison; its answer names responses by number."""

    answer: Mapping[str, Any]
    annotator: str | None = None
    source: Literal["imported", "model", "verifier"] = "imported"
    shown: tuple[int, ...] | None = None
    submitted: int | None = None
    active_ms: int = 0
    started: int | None = None
    """Default: ``active_ms`` before it was submitted."""
    surplus: bool = False
    withdrawn: int | None = None


@dataclass(frozen=True, slots=True)
class NewComparison:
    """A comparison on its way into the store."""

    prompt: Messages
    responses: tuple[NewResponse, ...]
    kind: Kind = "pair"
    purpose: Purpose = "work"
    overlap: int | None = None
    """Default: the project's."""
    place: float | None = None
    """Less is sooner. Default: after all that are there."""
    language: str | None = None
    expected: Mapping[str, Any] | None = None
    """The answer to an item that is not work, naming responses by number."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    tools: Sequence[Mapping[str, Any]] | None = None
    judgments: tuple[NewJudgment, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A response as an annotator may see it: never its model, and not its number."""

    id: str
    messages: Messages
    steps: tuple[Mapping[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """What an annotator is to judge: responses in the order to show them, and until when."""

    comparison_id: str
    project_id: str
    kind: Kind
    prompt: Messages
    responses: tuple[Shown, ...]
    rubric_id: str
    rubric: Rubric
    lease_until: int | None
    claimed: int
    draft: Mapping[str, Any] | None = None
    draft_revision: int = 0
    active_ms: int = 0
    feedback: bool = False
    """Whether the expected answer is told afterwards: training."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a judgment. ``surplus``: kept, though enough others had come before it."""

    id: str
    comparison_id: str
    surplus: bool
    is_repeat: bool = False
    is_correct: bool | None = None
    expected: Mapping[str, Any] | None = None
    """Told in training only."""
    blocked: bool = False
    """Whether the annotator gets no more work."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A judgment as it is stored."""

    id: str
    comparison_id: str
    annotator_id: str
    annotator: str
    answer: Mapping[str, Any]
    shown: tuple[str, ...]
    surplus: bool
    source: str
    rubric_id: str | None
    started: int
    submitted: int
    active_ms: int
    withdrawn: int | None = None
    is_correct: bool | None = None
