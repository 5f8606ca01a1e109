"""Settings and rubrics to and from the fields of a form, with an error beside each field.

A form is a mapping of names to texts. What was typed is given back as it was where it is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args, get_type_hints

from assay.errors import ConfigError
from assay.store.records import STANDARD_DIMENSIONS, Dimension, ProjectSettings, Rubric

Form = Mapping[str, str]
MOST_DIMENSIONS = 20


@dataclass(frozen=True, slots=True)
class Input:
    """A field of a form."""

    name: str
    kind: str
    """text, whole, number or flag."""
    optional: bool
    value: str
    error: str | None = None


def settings_inputs(settings: ProjectSettings) -> list[Input]:
    """The fields of settings, filled."""
    return [
        Input(name, kind, optional, _written(getattr(settings, name)))
        for name, kind, optional in _kinds()
    ]


def settings_from(form: Form) -> tuple[ProjectSettings | None, list[Input]]:
    """Settings from a form, or None and the fields with what is wrong beside them."""
    inputs, values = [], {}
    for name, kind, optional in _kinds():
        typed = form.get(name, "").strip()
        error = None
        try:
            values[name] = _read(typed, name, kind, optional)
            ProjectSettings(**{name: values[name]})
        except ConfigError as found:
            error = str(found)
        inputs.append(Input(name, kind, optional, typed, error))
    if any(i.error for i in inputs):
        return None, inputs
    return ProjectSettings(**values), inputs


def _kinds() -> list[tuple[str, str, bool]]:
    """Each field of the settings with its kind, and whether it may be left empty."""
    hints = get_type_hints(ProjectSettings)
    found = []
    for f in fields(ProjectSettings):
        hint = hints[f.name]
        kinds = set(get_args(hint)) or {hint}
        kind = "flag" if bool in kinds else "number" if float in kinds else "whole"
        found.append((f.name, kind, type(None) in kinds))
    return found


def _read(typed: str, name: str, kind: str, optional: bool) -> Any:
    if kind == "flag":
        return typed == "on"
    if not typed and optional:
        return None
    try:
        return int(typed) if kind == "whole" else float(typed)
    except ValueError:
        wanted = "a whole number" if kind == "whole" else "a number"
        raise ConfigError(f"{name} must be {wanted}, not {typed[:60]!r}.") from None


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else ""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


# --- rubrics --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DimensionForm:
    """A dimension as it stands in a form."""

    name: str = ""
    question: str = ""
    scale: str = "comparative"
    points: str = "5"
    anchors: str = ""
    required: bool = True
    error: str | None = None


@dataclass(frozen=True, slots=True)
class RubricForm:
    """A rubric as it stands in a form; ``errors`` by the name of the field."""

    question: str
    instructions: str
    preset: str
    acceptability: bool
    rationale: str
    reasons: str
    ranking_ties: bool
    step_mode: str
    dimensions: Sequence[DimensionForm]
    errors: Mapping[str, str] = field(default_factory=dict)


def rubric_form(rubric: Rubric) -> RubricForm:
    """The form of a rubric."""
    return RubricForm(
        rubric.question, rubric.instructions, rubric.preset, rubric.acceptability,
        rubric.rationale, "\n".join(rubric.reasons), rubric.ranking_ties, rubric.step_mode,
        [
            DimensionForm(
                d.name, d.question, d.scale, str(d.points),
                "\n".join(f"{point}: {said}" for point, said in sorted(
                    d.anchors.items(), key=lambda item: int(item[0]))),
                d.required,
            )
            for d in rubric.dimensions
        ],
    )  # fmt: skip


def rubric_from(form: Form) -> tuple[Rubric | None, RubricForm]:
    """A rubric from a form, or None and the form with what is wrong.

    Empty dimensions are left out.
    """
    typed = RubricForm(
        form.get("question", ""), form.get("instructions", "").replace("\r\n", "\n"),
        form.get("preset", ""), form.get("acceptability") == "on", form.get("rationale", ""),
        form.get("reasons", "").replace("\r\n", "\n"), form.get("ranking_ties") == "on",
        form.get("step_mode", ""), _typed_dimensions(form),
    )  # fmt: skip
    dimensions, checked = [], []
    for one in typed.dimensions:
        try:
            dimensions.append(_dimension(one))
            checked.append(one)
        except ConfigError as error:
            checked.append(replace(one, error=str(error)))
    values = {
        "question": typed.question.strip(), "instructions": typed.instructions,
        "preset": typed.preset, "rationale": typed.rationale, "step_mode": typed.step_mode,
        "reasons": tuple(line.strip() for line in typed.reasons.splitlines() if line.strip()),
        "dimensions": tuple(dimensions),
    }  # fmt: skip
    errors = {}
    for name, value in values.items():
        try:
            Rubric.from_dict({name: value})
        except ConfigError as error:
            errors[name] = str(error)
    typed = replace(typed, dimensions=checked, errors=errors)
    if errors or any(one.error for one in checked):
        return None, typed
    flags = {"acceptability": typed.acceptability, "ranking_ties": typed.ranking_ties}
    return Rubric.from_dict({**values, **flags}), typed


def _typed_dimensions(form: Form) -> list[DimensionForm]:
    found = []
    for i in range(MOST_DIMENSIONS + 5):
        name = form.get(f"dimension-{i}-name", "").strip()
        question = form.get(f"dimension-{i}-question", "").strip()
        anchors = form.get(f"dimension-{i}-anchors", "").replace("\r\n", "\n").strip()
        if name or question or anchors:
            found.append(
                DimensionForm(
                    name, question, form.get(f"dimension-{i}-scale", "comparative"),
                    form.get(f"dimension-{i}-points", "5").strip(), anchors,
                    form.get(f"dimension-{i}-required") == "on",
                )
            )  # fmt: skip
    return found


def _dimension(typed: DimensionForm) -> Dimension:
    anchors = {}
    for line in typed.anchors.splitlines():
        point, colon, said = line.partition(":")
        if line.strip() and not colon:
            raise ConfigError(
                f"An anchor is written as a point, a colon and its meaning, not {line[:60]!r}."
            )
        if line.strip():
            anchors[point.strip()] = said.strip()
    try:
        points = int(typed.points or "5")
    except ValueError:
        raise ConfigError(f"Points must be 2 to 10, not {typed.points[:60]!r}.") from None
    return Dimension.from_dict(
        {"name": typed.name, "question": typed.question, "scale": typed.scale, "points": points,
         "anchors": anchors, "required": typed.required}
    )  # fmt: skip


def standard_dimension(name: str, scale: str = "comparative") -> Dimension:
    """One of the four that are offered to tick."""
    assert name in STANDARD_DIMENSIONS
    return Dimension(name=name, scale=scale)  # type: ignore[arg-type]
