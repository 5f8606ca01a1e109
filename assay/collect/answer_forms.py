"""Answers as fields of a form, and in words: what a reviewer fills in is checked as any answer is.

Fields name responses and steps by their place on the page: ``raw``, ``place-0``, ``step-0``,
``first_error``, ``alt-0-1`` (another candidate of a step), ``chosen-0``, ``accept-0``, ``dim-0``
(comparative) and ``dim-0-1`` (absolute), ``rationale``.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from assay.collect.pages import Words
from assay.store.answers import AnswerError
from assay.store.presets import PRESETS, Point, Preset
from assay.store.records import Dimension
from assay.store.review import Case

LABELS = string.ascii_uppercase
"""Of responses by their place on a page."""
STEP_WORDS = {1: "good", 0: "neutral", -1: "bad", None: "none"}
GRADES = {
    point.id.partition("-")[2]
    for preset in PRESETS.values()
    for point in preset.points
    if point.side
}
_LABELLED = Markup("{}: {}")


def answer_of(fields: Mapping[str, str], case: Case) -> dict[str, Any]:
    """The answer that a form gives, for :func:`assay.store.answers.checked_answer`.

    Raises:
        AnswerError: If a field that should hold a number holds none.
    """
    if case.kind == "pair":
        answer: dict[str, Any] = {"raw": fields["raw"]} if fields.get("raw") else {}
    elif case.kind == "ranking":
        answer = {"groups": _groups(fields, case)}
    elif case.rubric.rubric.step_mode == "first-error":
        answer = {}
        if fields.get("first_error"):
            said = fields["first_error"]
            answer["first_error"] = None if said == "none" else _whole(said, "first_error")
    else:
        answer = {"labels": [
            _whole(fields[f"step-{i}"], "labels") if fields.get(f"step-{i}") else None
            for i in range(len(case.steps))
        ]}  # fmt: skip
    answer |= _others(fields, case)
    accepted = {i: fields[f"accept-{n}"] for n, i in enumerate(case.shown)
                if fields.get(f"accept-{n}")}  # fmt: skip
    if accepted and case.rubric.rubric.acceptability:
        answer["acceptability"] = accepted
    dimensions = {}
    for number, dimension in enumerate(case.rubric.rubric.dimensions):
        value = _dimension(fields, number, dimension, case)
        if value:
            dimensions[dimension.name] = value
    if dimensions:
        answer["dimensions"] = dimensions
    if fields.get("rationale", "").strip():
        answer["rationale"] = fields["rationale"]
    return answer


def _others(fields: Mapping[str, str], case: Case) -> dict[str, Any]:
    """What is said of the other candidates of steps."""

    def said(field: str, kind: str) -> int | None:
        return _whole(fields[field], kind) if fields.get(field) else None

    labels = [
        [said(f"alt-{i}-{j}", "alternatives") for j in range(len(step.get("alternatives") or ()))]
        for i, step in enumerate(case.steps)
    ]
    chosen = [said(f"chosen-{i}", "chosen") for i in range(len(case.steps))]
    found: dict[str, Any] = {}
    if any(label is not None for others in labels for label in others):
        found["alternatives"] = labels
    if any(pick is not None for pick in chosen):
        found["chosen"] = chosen
    return found


def _groups(fields: Mapping[str, str], case: Case) -> list[list[str]]:
    places: dict[int, list[str]] = {}
    for number, response in enumerate(case.shown):
        said = fields.get(f"place-{number}", "").strip()
        if said:
            places.setdefault(_whole(said, "groups"), []).append(response)
    return [places[place] for place in sorted(places)]


def _dimension(fields: Mapping[str, str], number: int, dimension: Dimension, case: Case) -> Any:
    if dimension.scale == "comparative":
        return fields.get(f"dim-{number}")
    return {
        response: _whole(fields[f"dim-{number}-{n}"], "dimensions")
        for n, response in enumerate(case.shown)
        if fields.get(f"dim-{number}-{n}")
    }


def _whole(text: str, field: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise AnswerError(field, f"Give a whole number, not {text[:40]!r}.") from None


def filled(answer: Mapping[str, Any], case: Case) -> dict[str, str]:
    """The fields of a form that give an answer again, whatever order it was given in."""
    fields: dict[str, str] = {}
    if case.kind == "pair":
        fields["raw"] = _raw(answer, PRESETS[case.rubric.rubric.preset], case)
    elif case.kind == "ranking":
        for place, group in enumerate(answer["groups"], start=1):
            fields |= {f"place-{case.shown.index(i)}": str(place) for i in group}
    elif case.rubric.rubric.step_mode == "first-error":
        first = answer.get("first_error")
        fields["first_error"] = "none" if first is None else str(first)
    else:
        fields |= {
            f"step-{i}": "" if label is None else str(label)
            for i, label in enumerate(answer.get("labels") or ())
        }
    for i, others in enumerate(answer.get("alternatives") or ()):
        fields |= {
            f"alt-{i}-{j}": str(label) for j, label in enumerate(others) if label is not None
        }
    for i, pick in enumerate(answer.get("chosen") or ()):
        fields[f"chosen-{i}"] = "" if pick is None else str(pick)
    for response, said in (answer.get("acceptability") or {}).items():
        fields[f"accept-{case.shown.index(response)}"] = said
    for number, dimension in enumerate(case.rubric.rubric.dimensions):
        value = (answer.get("dimensions") or {}).get(dimension.name)
        if value and dimension.scale == "comparative":
            fields[f"dim-{number}"] = _raw(value, PRESETS["helpsteer"], case)
        elif value:
            for response, rating in value["ratings"].items():
                fields[f"dim-{number}-{case.shown.index(response)}"] = str(rating)
    fields["rationale"] = answer.get("rationale", "")
    return fields


def _raw(answer: Mapping[str, Any], preset: Preset, case: Case) -> str:
    """The point of a scale that says the same in the order of this page; empty if none does."""
    choice = answer["choice"]
    side = 0 if choice is None else -1 if choice == case.shown[0] else 1
    strength = float(answer.get("strength") or 0.0)
    if preset.slider:
        return str(side * round(strength * preset.slider))
    both_bad = answer.get("raw") == "both-bad"
    return next(
        (p.id for p in preset.points
         if p.side == side and abs(p.strength - strength) < 1e-9 and p.both_bad == both_bad),
        "",
    )  # fmt: skip


# --- in words -------------------------------------------------------------------------------------


def point_name(point: Point, words: Words) -> Markup:
    """A button of a scale in words, for the responses A and B."""
    if point.side == 0:
        return words("review.both-bad" if point.both_bad else "review.tie")
    grade = words(f"review.grade.{point.id.partition('-')[2]}")
    return words("review.side", label=LABELS[0 if point.side < 0 else 1], grade=grade)


def described(answer: Mapping[str, Any], labels: Mapping[str, str], words: Words) -> list[Markup]:
    """An answer in a few lines of words; ``labels`` name the responses."""

    def each(values: Mapping[str, Any]) -> Markup:
        named = sorted((labels.get(i, "?"), value) for i, value in values.items())
        return Markup(", ").join(Markup("{} {}").format(*entry) for entry in named)

    if answer["kind"] == "pair":
        lines = [_compared(answer, labels, words)]
    elif answer["kind"] == "ranking":
        order = " > ".join(
            " = ".join(labels.get(i, "?") for i in group) for group in answer["groups"]
        )
        lines = [words("review.order", order=order)]
    else:
        lines = [_stepwise(answer, words)]
    accepted = answer.get("acceptability") or {}
    if accepted:
        said = {i: words(f"review.accept.{value}") for i, value in accepted.items()}
        lines.append(_LABELLED.format(words("review.acceptability"), each(said)))
    for name, value in (answer.get("dimensions") or {}).items():
        rated = "ratings" in value
        lines.append(_LABELLED.format(
            name, each(value["ratings"]) if rated else _compared(value, labels, words)
        ))  # fmt: skip
    if answer.get("reasons"):
        lines.append(Markup(", ").join(answer["reasons"]))
    return lines


def _compared(answer: Mapping[str, Any], labels: Mapping[str, str], words: Words) -> Markup:
    raw = str(answer.get("raw", ""))
    if answer["choice"] is None:
        return words("review.both-bad" if raw == "both-bad" else "review.tie")
    label = labels.get(answer["choice"], "?")
    side, _, grade = raw.partition("-")
    if side in ("first", "second") and grade in GRADES:
        return words("review.side", label=label, grade=words(f"review.grade.{grade}"))
    if answer.get("strength") is None:
        return words("review.side", label=label, grade=words("review.grade.better"))
    return words("review.side-strength", label=label, strength=f"{answer['strength']:.2f}")


def _stepwise(answer: Mapping[str, Any], words: Words) -> Markup:
    if answer.get("mode") == "first-error":
        first = answer.get("first_error")
        if first is None:
            return words("review.all-right")
        return _LABELLED.format(words("review.first-error"), first + 1)
    return Markup(", ").join(
        Markup("{} {}").format(number, words(f"review.label.{STEP_WORDS[label]}"))
        for number, label in enumerate(answer.get("labels") or (), start=1)
    )
