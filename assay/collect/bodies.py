"""What programs send to the API and get from it: every field named, every length bounded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from assay.errors import DataError
from assay.store.changing import MOST_OVERLAP, MOST_PLACE
from assay.store.records import (
    Kind,
    NewComparison,
    NewJudgment,
    NewResponse,
    ProjectSettings,
    Purpose,
    Rationale,
    Role,
    Rubric,
    Scale,
    StepMode,
)
from assay.types import Message, Messages

UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
MOST_COMPARISONS = 1000
MOST_DEPTH = 12
MOST_MS = 2**53
_INT32 = 2**31 - 1


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("a text holds the zero character, which no database stores")
    return text


def _json(value: Any) -> Any:
    """JSON that both databases store: finite numbers, real Unicode, no deep nest.

    Raises:
        ValueError: If it is not.
    """

    def check(part: Any, depth: int) -> None:
        if depth > MOST_DEPTH:
            raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError("a number is not finite")
        if isinstance(part, int) and abs(part) > 10**300:
            raise ValueError("a number is too large")
        if isinstance(part, str):
            _storable(part).encode()
        elif isinstance(part, Mapping):
            for key, item in part.items():
                check(key, depth + 1)
                check(item, depth + 1)
        elif isinstance(part, Sequence):
            for item in part:
                check(item, depth + 1)

    check(value, 0)
    return value


Id = Annotated[str, Field(pattern=UUID, json_schema_extra={"format": "uuid"})]
Line = Annotated[str, StringConstraints(max_length=200), AfterValidator(_storable)]
Words = Annotated[str, StringConstraints(max_length=200_000), AfterValidator(_storable)]
Json = Annotated[dict[str, Any], Field(max_length=100), AfterValidator(_json)]
Language = Annotated[str, Field(pattern=r"^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8}){0,3}$", max_length=35)]
Number = Annotated[int, Field(ge=0, le=25)]
Label = Literal[-1, 0, 1] | None


class Body(BaseModel):
    """Refuses fields that it does not know."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ErrorOut(BaseModel):
    """What went wrong: a word for programs, and a sentence."""

    code: str
    message: str
    field: str | None = Field(None, description="Of an answer: the part that is wrong.")


class Health(BaseModel):
    """That the site and its database answer."""

    status: Literal["ok"] = "ok"


# --- projects -------------------------------------------------------------------------------------


class SettingsChange(Body):
    """Settings to change; what is not named stays as it is."""

    overlap: int | None = Field(None, ge=1, le=100)
    lease_minutes: float | None = Field(None, ge=0.01, le=20_160)
    prefetch: int | None = Field(None, ge=1, le=50)
    most_per_annotator: int | None = Field(None, ge=1, le=10_000_000)
    gold_every: int | None = Field(None, ge=2, le=10_000)
    attention_every: int | None = Field(None, ge=2, le=10_000)
    screening_share: float | None = Field(None, ge=0, le=1)
    gold_share: float | None = Field(None, ge=0, le=1)
    shuffle: bool | None = None
    allow_skip: bool | None = None
    word_diff: bool | None = None
    show_counts: bool | None = None
    pause_after_minutes: int | None = Field(None, ge=1, le=1440)
    show_names: bool | None = None


class DimensionIn(Body):
    """An aspect that is judged besides the whole."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80), AfterValidator(_storable)]
    question: Annotated[str, StringConstraints(max_length=2000), AfterValidator(_storable)] = ""
    scale: Scale = "comparative"
    points: int = Field(5, ge=2, le=10)
    anchors: dict[Annotated[str, Field(pattern=r"^([1-9]|10)$")],
                  Annotated[str, StringConstraints(max_length=500), AfterValidator(_storable)]] = (
        Field(default_factory=dict, max_length=10)
    )  # fmt: skip
    required: bool = True


class RubricChange(Body):
    """Parts of the rubric to change; what is not named stays. A change is a new version."""

    question: Annotated[
        str | None,
        Field(min_length=1, max_length=500),
        AfterValidator(lambda x: x and _storable(x)),
    ] = None
    instructions: Annotated[
        str | None, Field(max_length=100_000), AfterValidator(lambda x: x and _storable(x))
    ] = None
    preset: Annotated[str, Field(max_length=20)] | None = None
    acceptability: bool | None = None
    dimensions: list[DimensionIn] | None = Field(None, max_length=20)
    rationale: Rationale | None = None
    reasons: list[Annotated[str, StringConstraints(min_length=1, max_length=80),
                            AfterValidator(_storable)]] | None = Field(
        None, max_length=50
    )  # fmt: skip
    ranking_ties: bool | None = None
    step_mode: StepMode | None = None

    @model_validator(mode="after")
    def _no_null(self) -> RubricChange:
        for name in self.model_fields_set:
            if getattr(self, name) is None:
                raise ValueError(f"{name} is null; leave it out to keep it as it is")
        return self


def changed(before: Mapping[str, Any], change: BaseModel | None) -> dict[str, Any]:
    """Settings or a rubric with what a change names in the place of what was."""
    given = {} if change is None else change.model_dump(exclude_unset=True)
    return {**before, **given}


class ProjectIn(Body):
    """A new project; what is not named has its default."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80), AfterValidator(_storable)]
    settings: SettingsChange | None = None
    rubric: RubricChange | None = None


class ProjectChange(Body):
    """What to change of a project."""

    settings: SettingsChange | None = None
    rubric: RubricChange | None = None
    is_paused: bool | None = None
    change_existing: bool = Field(
        False,
        description="Whether comparisons that are there come to want 'overlap' judgments, too. "
        "None that counts is lost, and surplus ones count first.",
    )


class ProjectRow(BaseModel):
    """A project as a list shows it, with one's own role in it."""

    id: str
    name: str
    role: Role
    is_paused: bool
    created: int


class ProjectPage(BaseModel):
    """Projects by id. ``next`` is what ``after`` must be for more."""

    items: list[ProjectRow]
    next: str | None


class ProjectOut(BaseModel):
    """A project. Its settings are for reviewers and admins: they tell how work is checked."""

    id: str
    name: str
    is_paused: bool
    created: int
    rubric_id: str
    rubric_version: int
    rubric: Rubric
    settings: ProjectSettings | None = None


class Me(BaseModel):
    """Who asks."""

    id: str
    name: str
    is_site_admin: bool


# --- people ---------------------------------------------------------------------------------------


class MemberOut(BaseModel):
    """A person in a project."""

    annotator_id: str
    name: str
    role: Role
    state: Literal["active", "blocked"]


class MemberList(BaseModel):
    """Everybody in a project, by name."""

    items: list[MemberOut]


class MemberIn(Body):
    """A role for somebody, by name."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80), AfterValidator(_storable)]
    role: Role = "annotator"


class MemberChange(Body):
    """Another role, or whether they get work."""

    role: Role
    state: Literal["active", "blocked"] | None = None


class TokenIn(Body):
    """A token for programs."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80), AfterValidator(_storable)]
    days: int = Field(90, ge=1, le=3650)


class TokenOut(BaseModel):
    """A token without its secret."""

    id: str
    name: str
    created: int
    expires: int | None


class TokenMade(BaseModel):
    """A new token; its secret is told this once."""

    id: str
    secret: str


class TokenList(BaseModel):
    """One's own tokens."""

    items: list[TokenOut]


# --- comparisons ----------------------------------------------------------------------------------


class MessageIn(Body):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Words = ""
    name: Line | None = None
    tool_call_id: Line | None = None
    tool_calls: Annotated[list[Any] | None, Field(max_length=100), AfterValidator(_json)] = None

    def message(self) -> Message:
        """As the store has it."""
        extra = self.model_dump(exclude={"role", "content"}, exclude_none=True)
        return Message(self.role, self.content, extra or None)


Turns = Words | Annotated[list[MessageIn], Field(max_length=200)]


class StepIn(Body):
    """A step of a solution, with other steps that might stand in its place."""

    text: Annotated[str, StringConstraints(max_length=20_000), AfterValidator(_storable)]
    alternatives: list[
        Annotated[str, StringConstraints(max_length=20_000), AfterValidator(_storable)]
    ] = Field(default_factory=list, max_length=20)


class ResponseIn(Body):
    """A response; its model and where it is from are never shown to annotators."""

    messages: Turns
    steps: list[StepIn] | None = Field(None, max_length=500)
    model: Line | None = None
    author_id: Id | None = Field(None, description="An annotator who wrote it, and is not to judge")
    provenance: Json = Field(default_factory=dict)


class ExpectedIn(Body):
    """The answer to an item that is no work; responses by number, from 0."""

    choice: Number | None = None
    best: Number | None = None
    acceptability: dict[str, Literal["good", "ok", "bad"]] | None = Field(None, max_length=26)
    labels: list[Label] | None = Field(None, max_length=500)
    first_error: Annotated[int, Field(ge=0, le=499)] | None = None


class DimensionAnswer(Body):
    """What was said of one dimension."""

    choice: Number | None = None
    strength: float | None = Field(None, ge=0, le=1)
    raw: Line | None = None
    ratings: dict[str, Annotated[int, Field(ge=1, le=10)]] | None = Field(None, max_length=26)


class AnswerIn(Body):
    """An answer that was given elsewhere; responses by number, from 0."""

    kind: Kind = "pair"
    choice: Number | None = Field(None, description="Of a pair; null: neither is better.")
    strength: float | None = Field(None, ge=0, le=1)
    preset: Line | None = None
    preset_version: Annotated[int, Field(ge=1, le=_INT32)] | None = None
    raw: Line | None = None
    groups: list[Annotated[list[Number], Field(min_length=1, max_length=26)]] | None = Field(
        None, max_length=26
    )
    unranked: list[Number] | None = Field(None, max_length=26)
    mode: StepMode | None = None
    labels: list[Label] | None = Field(None, max_length=500)
    first_error: Annotated[int, Field(ge=0, le=499)] | None = None
    flagged: list[bool] | None = Field(None, max_length=500)
    alternatives: list[Annotated[list[Label], Field(max_length=20)]] | None = Field(
        None, max_length=500
    )
    chosen: list[Annotated[int, Field(ge=0, le=20)] | None] | None = Field(None, max_length=500)
    written: dict[Annotated[str, Field(pattern=r"^[0-9]{1,3}$")],
                  Annotated[str, StringConstraints(max_length=20_000),
                            AfterValidator(_storable)]] | None = Field(
        None, max_length=500
    )  # fmt: skip
    acceptability: dict[str, Literal["good", "ok", "bad"]] | None = Field(None, max_length=26)
    dimensions: dict[Line, DimensionAnswer] | None = Field(None, max_length=20)
    reasons: list[Line] | None = Field(None, max_length=50)
    rationale: Annotated[
        str | None, Field(max_length=20_000), AfterValidator(lambda x: x and _storable(x))
    ] = None
    origin: Json | None = Field(None, description="What another place called it, kept as it is.")


class JudgmentIn(Body):
    """A judgment that comes with its comparison."""

    answer: AnswerIn
    annotator: Annotated[str, StringConstraints(max_length=80, strip_whitespace=True),
                         AfterValidator(_storable)] | None = None  # fmt: skip
    source: Literal["imported", "model", "verifier"] = "imported"
    shown: list[Number] | None = Field(None, max_length=26)
    started: int | None = Field(None, ge=0, le=MOST_MS)
    submitted: int | None = Field(None, ge=0, le=MOST_MS)
    withdrawn: int | None = Field(None, ge=0, le=MOST_MS)
    active_ms: int = Field(0, ge=0, le=_INT32)
    surplus: bool = False


class ComparisonIn(Body):
    """A comparison to be judged."""

    prompt: Turns
    responses: list[Words | ResponseIn] = Field(min_length=1, max_length=26)
    kind: Kind = "pair"
    purpose: Purpose = "work"
    overlap: int | None = Field(None, ge=1, le=100)
    place: float | None = Field(None, ge=-1e300, le=1e300, description="Less is sooner.")
    language: Language | None = None
    expected: ExpectedIn | None = None
    extra: Json = Field(default_factory=dict)
    tools: Annotated[list[dict[str, Any]] | None, Field(max_length=100), AfterValidator(_json)] = (
        None
    )
    judgments: list[JudgmentIn] = Field(default_factory=list, max_length=100)

    def comparison(self, where: str) -> NewComparison:
        """As the store takes it.

        Raises:
            DataError: If a judgment or the expected answer names what is not there.
        """
        count = len(self.responses)
        steps = self._step_count()
        expected = None
        if self.expected is not None:
            expected = self.expected.model_dump(exclude_unset=True)
            _check_answer(expected, count, steps, f"{where}: 'expected'")
        for at, said in enumerate(self.judgments):
            _check_answer(said.answer.model_dump(exclude_unset=True), count, steps,
                          f"{where}, judgment {at + 1}: the answer")  # fmt: skip
            if said.shown is not None and sorted(said.shown) != list(range(count)):
                raise DataError(
                    f"{where}, judgment {at + 1}: 'shown' must name each of the {count} responses "
                    f"once, not {said.shown}."
                )
        return NewComparison(
            prompt=_messages(self.prompt, "user"),
            responses=tuple(map(_response, self.responses)),
            kind=self.kind, purpose=self.purpose, overlap=self.overlap, place=self.place,
            language=self.language, expected=expected, extra=self.extra, tools=self.tools,
            judgments=tuple(self._judgment(said) for said in self.judgments),
        )  # fmt: skip

    def _step_count(self) -> int:
        first = self.responses[0]
        return len(first.steps or ()) if isinstance(first, ResponseIn) else 0

    def _judgment(self, said: JudgmentIn) -> NewJudgment:
        answer = said.answer.model_dump(exclude_unset=True)
        answer["kind"] = self.kind
        if self.kind == "pair":
            answer.setdefault("choice", None)
            answer["strength"] = answer.get("strength") or 0.0
        return NewJudgment(
            answer, said.annotator or None, said.source,
            tuple(said.shown) if said.shown is not None else None, said.submitted, said.active_ms,
            started=said.started, withdrawn=said.withdrawn, surplus=said.surplus,
        )  # fmt: skip


def _messages(turns: str | list[MessageIn], role: str) -> Messages:
    if isinstance(turns, str):
        return (Message(role, turns),)
    return tuple(turn.message() for turn in turns)


def _response(given: str | ResponseIn) -> NewResponse:
    if isinstance(given, str):
        return NewResponse((Message("assistant", given),))
    steps = None
    if given.steps is not None:
        steps = tuple(step.model_dump(exclude_defaults=True) for step in given.steps)
    return NewResponse(
        _messages(given.messages, "assistant"), steps, given.model, given.author_id,
        given.provenance,
    )  # fmt: skip


def _check_answer(answer: Mapping[str, Any], responses: int, steps: int, where: str) -> None:
    """That an answer names responses and steps that are there."""
    named: list[Any] = [answer.get("choice"), answer.get("best"), *(answer.get("unranked") or ())]
    groups = [i for group in answer.get("groups") or () for i in group]
    if len(set(groups)) < len(groups):
        raise DataError(f"{where} ranks a response twice.")
    named += groups
    of_dimensions = (answer.get("dimensions") or {}).values()
    keyed = [answer.get("acceptability"), *(said.get("ratings") for said in of_dimensions)]
    named += [said.get("choice") for said in of_dimensions]
    for keys in keyed:
        for key in keys or ():
            if not key.isdecimal() or str(int(key)) != key:
                raise DataError(f"{where} names response {key[:40]!r}; wanted a number from 0.")
            named.append(int(key))
    for number in named:
        if number is not None and number >= responses:
            raise DataError(f"{where} names response {number}, and there are {responses} from 0.")
    for key in ("labels", "flagged", "alternatives", "chosen"):
        if answer.get(key) is not None and len(answer[key]) != steps:
            raise DataError(f"{where} has {len(answer[key])} {key} for {steps} steps.")
    first = answer.get("first_error")
    if first is not None and first >= steps:
        raise DataError(f"{where} names step {first}, and there are {steps} from 0.")


class ComparisonsIn(Body):
    """Comparisons to take in, all or none of them."""

    comparisons: list[ComparisonIn] = Field(min_length=1, max_length=MOST_COMPARISONS)
    source: Annotated[str, StringConstraints(min_length=1, max_length=500),
                      AfterValidator(_storable)] = "api"  # fmt: skip
    key: Id | None = Field(
        None, description="A fresh UUID: sent again with it, the same comparisons are added once."
    )


class ComparisonChange(Body):
    """What to change of a comparison; what is not named stays as it is."""

    overlap: int | None = Field(
        None, ge=1, le=MOST_OVERLAP,
        description="Judgments wanted: no fewer than it has. Where it is more, surplus ones count "
        "first.",
    )  # fmt: skip
    place: float | None = Field(
        None, ge=-MOST_PLACE, le=MOST_PLACE, description="Its turn: less is sooner."
    )
    is_withdrawn: bool | None = Field(
        None, description="True: give it out no more. False: give it out again."
    )


class Added(BaseModel):
    """What was taken in."""

    id: str
    comparisons: int
    responses: int
    judgments: int
    leaks: int = Field(description="Responses that may name their model.")
    is_repeat: bool = Field(description="Whether the key was known and nothing was added again.")


class ComparisonRow(BaseModel):
    """A comparison as a list shows it."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    number: int
    kind: Kind
    purpose: Purpose
    overlap: int
    filled: int
    language: str | None
    is_withdrawn: bool
    import_id: str | None
    created: int


class ComparisonPage(BaseModel):
    """Comparisons by number. ``next`` is what ``after`` must be for more."""

    items: list[ComparisonRow]
    next: int | None


class ResponseOut(BaseModel):
    """A response. Its model and provenance are for the project's admins."""

    id: str
    messages: list[dict[str, Any]]
    steps: list[dict[str, Any]] | None
    leak: str | None
    model: str | None = None
    provenance: dict[str, Any] | None = None


class JudgmentOut(BaseModel):
    """A judgment. The annotator's name is for admins, or where the project shows names."""

    id: str
    comparison_id: str
    annotator_id: str
    annotator: str | None
    answer: dict[str, Any]
    shown: list[str]
    surplus: bool
    source: str
    rubric_id: str | None
    started: int
    submitted: int
    active_ms: int
    withdrawn: int | None
    is_correct: bool | None


class ComparisonState(ComparisonRow):
    """A comparison with its turn."""

    place: float


class ComparisonOut(ComparisonState):
    """A comparison with its responses, as imported, and its judgments by time."""

    prompt: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    responses: list[ResponseOut]
    expected: dict[str, Any] | None
    extra: dict[str, Any]
    judgments: list[JudgmentOut]


# --- figures, events, webhooks --------------------------------------------------------------------


class Progress(BaseModel):
    """How far a project is."""

    model_config = ConfigDict(from_attributes=True)

    comparisons: int
    done: int
    wanted: int
    judgments: int
    surplus: int
    withdrawn: int


class FigureOut(BaseModel):
    """A coefficient with its 95 % interval and what it was measured on, or why there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    undefined: str | None = None


class QuestionOut(BaseModel):
    """How far annotators agree on one question."""

    name: str = Field(description="chosen, strength, acceptability, steps, … or dimension:NAME")
    level: str = Field(description="The scale of Krippendorff's alpha, or kendall for W.")
    coefficient: FigureOut
    raw: FigureOut
    items: int
    judgments: int


class AgreementOut(BaseModel):
    """Agreement by question. ``is_running``: newer figures are on the way; ask again."""

    at: int | None
    is_running: bool
    questions: list[QuestionOut]


class EventOut(BaseModel):
    """An entry of the record."""

    seq: int
    at: int
    action: str
    subject: str
    detail: dict[str, Any]
    actor_id: str | None
    project_id: str | None
    digest: str


class EventPage(BaseModel):
    """Entries by number. ``next`` is what ``after`` must be for more."""

    items: list[EventOut]
    next: int | None


class WebhookIn(Body):
    """An address that is told of a project's events."""

    url: Annotated[str, StringConstraints(min_length=8, max_length=2000), AfterValidator(_storable)]
    actions: list[Annotated[str, Field(pattern=r"^[a-z]+\.[a-z-]+$", max_length=40)]] = Field(
        default_factory=list, max_length=50, description="Empty: all."
    )


class WebhookOut(BaseModel):
    """A webhook without its secret, and how its deliveries go."""

    id: str
    url: str
    actions: list[str]
    is_active: bool
    created: int
    waiting: int
    given_up: int


class WebhookMade(BaseModel):
    """A new webhook; its secret is told this once."""

    id: str
    secret: str


class WebhookList(BaseModel):
    """A project's webhooks."""

    items: list[WebhookOut]


class DeliveryOut(BaseModel):
    """What became of telling one event."""

    id: str
    event: int
    attempts: int
    due: int | None
    status: str


class DeliveryPage(BaseModel):
    """Deliveries, the latest first. ``next`` is what ``before`` must be for more."""

    items: list[DeliveryOut]
    next: str | None
