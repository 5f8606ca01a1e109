"""What an annotator may say of a comparison, checked, and the same thing in one form.

An answer comes as JSON that names responses by id, never by place. What is stored has ``kind`` and

- pair: ``choice`` (an id, or null for neither), ``strength`` 0 to 1, ``preset``, ``preset_version``
  and ``raw`` (the button). A page sends ``raw`` alone: what it means follows from the order shown.
- ranking: ``groups`` of ids, best first, a group of several being a tie; what was left out of them
  in ``unranked``.
- steps: ``mode``, ``labels`` (1 good, 0 neutral, -1 bad, null not judged), and where given
  ``first_error``, ``flagged``, ``alternatives`` (labels of each step's other candidates),
  ``chosen`` and ``written`` (a better step, by the number of the one it replaces).

and, of any kind, ``acceptability`` (id to good, ok or bad), ``dimensions``, ``reasons`` and
``rationale``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.errors import DataError
from assay.store.presets import PRESETS, VERSION
from assay.store.records import Dimension, Kind, Rubric

ACCEPTABILITY = ("good", "ok", "bad")
MOST_RATIONALE = 20_000
MOST_STEP = 20_000
_COMMON = {"acceptability", "dimensions", "reasons", "rationale"}
_KEYS: dict[str, set[str]] = {
    "pair": {"raw", "choice", "strength", "preset", "preset_version"},
    "ranking": {"groups", "unranked"},
    "steps": {"mode", "labels", "first_error", "flagged", "alternatives", "chosen", "written"},
}


class AnswerError(DataError):
    """An answer is not what its comparison asks for. ``field`` names the part."""

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field


def checked_answer(
    answer: object,
    kind: Kind,
    shown: Sequence[str],
    rubric: Rubric,
    steps: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The answer in its stored form.

    Args:
        shown: Ids of the responses in the order the annotator saw them.
        steps: Of a solution.

    Raises:
        AnswerError: If something is missing, unknown, or not of this comparison.
    """
    if not isinstance(answer, Mapping):
        raise AnswerError("answer", "An answer must be a JSON object.")
    given = answer.get("kind", kind)
    if given != kind:
        raise AnswerError("kind", f"The comparison asks for a {kind}, not {_short(given)}.")
    unknown = sorted(map(str, set(answer) - _COMMON - _KEYS[kind] - {"kind"}))
    if unknown:
        raise AnswerError(unknown[0], f"An answer to a {kind} has no {_short(unknown[0])}.")
    if kind == "pair":
        said = _pair(answer, shown, rubric)
    elif kind == "ranking":
        said = _ranking(answer, shown, rubric)
    else:
        said = _steps(answer, rubric, steps)
    return {"kind": kind, **said, **_common(answer, shown, rubric, said)}


def _pair(answer: Mapping[str, Any], shown: Sequence[str], rubric: Rubric) -> dict[str, Any]:
    preset = PRESETS[rubric.preset]
    raw = answer.get("raw")
    if raw is None:
        raise AnswerError("raw", "Say which response is better.")
    point = preset.point(str(raw)) if isinstance(raw, str | int) else None
    if point is None:
        raise AnswerError("raw", f"The scale {preset.name} has no point {_short(raw)}.")
    choice = None if point.side == 0 else shown[0 if point.side < 0 else 1]
    said: dict[str, Any] = {
        "choice": choice,
        "strength": point.strength,
        "preset": preset.name,
        "preset_version": VERSION,
        "raw": point.id,
    }
    for key in ("choice", "strength"):  # a client may say it too, and must not say otherwise
        if key in answer and answer[key] != said[key]:
            raise AnswerError(
                key,
                f"'{key}' is {_short(answer[key])}, but {point.id!r} as shown is {said[key]!r}.",
            )
    if point.both_bad:
        said["acceptability"] = dict.fromkeys(shown, "bad")
    return said


def _ranking(answer: Mapping[str, Any], shown: Sequence[str], rubric: Rubric) -> dict[str, Any]:
    groups = answer.get("groups")
    if not isinstance(groups, Sequence) or isinstance(groups, str):
        raise AnswerError("groups", "A ranking must be a list of groups of responses, best first.")
    listed = [[g] if isinstance(g, str) else list(g) if isinstance(g, Sequence) else [g]
              for g in groups]  # fmt: skip
    flat = [i for group in listed for i in group]
    strange = [i for i in flat if i not in shown]
    if strange:
        raise AnswerError("groups", f"{_short(strange[0])} is no response of this comparison.")
    if len(set(flat)) != len(flat) or not all(listed):
        raise AnswerError("groups", "A ranking must name each response once, in no empty group.")
    if len(flat) < 2:
        raise AnswerError("groups", f"Rank two or more responses; {len(flat)} is ranked.")
    if not rubric.ranking_ties and any(len(group) > 1 for group in listed):
        raise AnswerError("groups", "This ranking has no ties; give each response its own place.")
    return {"groups": listed, "unranked": [i for i in shown if i not in flat]}


def _steps(
    answer: Mapping[str, Any], rubric: Rubric, steps: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    mode, count = rubric.step_mode, len(steps)
    if answer.get("mode", mode) != mode:
        raise AnswerError("mode", f"The rubric asks for {mode}, not {_short(answer.get('mode'))}.")
    said: dict[str, Any] = {"mode": mode}
    if mode == "first-error":
        if "first_error" not in answer:
            raise AnswerError(
                "first_error", "Name the first wrong step, or say that all are right."
            )
        first = answer["first_error"]
        if first is not None and not _is_index(first, count):
            raise AnswerError("first_error", f"There is no step {_short(first)}.")
        said["first_error"] = first
        said["labels"] = [
            1 if first is None or i < first else -1 if i == first else None for i in range(count)
        ]
        if answer.get("labels") not in (None, said["labels"]):
            raise AnswerError("labels", "'labels' say otherwise than 'first_error'.")
    else:
        said["labels"] = _labels(answer.get("labels"), count, "labels")
        if all(label is None for label in said["labels"]):
            raise AnswerError("labels", "Judge at least one step.")
    if answer.get("flagged") is not None:
        flagged = answer["flagged"]
        if (
            not isinstance(flagged, list)
            or len(flagged) != count
            or not all(isinstance(f, bool) for f in flagged)
        ):
            raise AnswerError("flagged", f"'flagged' must be {count} of true or false.")
        said["flagged"] = flagged
    said |= _other_steps(answer, steps)
    return said


def _other_steps(answer: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Labels of alternatives, which was chosen, and steps written by the annotator."""
    said: dict[str, Any] = {}
    counts = [len(step.get("alternatives") or ()) for step in steps]
    if answer.get("alternatives") is not None:
        given = answer["alternatives"]
        if not isinstance(given, list) or len(given) != len(steps):
            raise AnswerError("alternatives", f"'alternatives' must have {len(steps)} lists.")
        said["alternatives"] = [
            _labels(labels, count, "alternatives")
            for labels, count in zip(given, counts, strict=True)
        ]
    if answer.get("chosen") is not None:
        chosen = answer["chosen"]
        if (
            not isinstance(chosen, list)
            or len(chosen) != len(steps)
            or not all(
                c is None or _is_index(c, 1 + count)
                for c, count in zip(chosen, counts, strict=True)
            )
        ):
            raise AnswerError(
                "chosen", "'chosen' must be, for each step, 0 for itself, 1 … for an alternative, "
                "or null."
            )  # fmt: skip
        said["chosen"] = chosen
    if answer.get("written"):
        written = answer["written"]
        if not isinstance(written, Mapping):
            raise AnswerError("written", "'written' must be an object of steps.")
        for number, text in written.items():
            if not (str(number).isdecimal() and int(number) <= len(steps)):
                raise AnswerError("written", f"There is no step {_short(number)} to replace.")
            if not isinstance(text, str) or not text.strip() or len(text) > MOST_STEP:
                raise AnswerError("written", f"A step must have 1 to {MOST_STEP:,} characters.")
        said["written"] = {str(number): text for number, text in written.items()}
    return said


def _labels(labels: object, count: int, key: str) -> list[int | None]:
    if not isinstance(labels, list) or len(labels) != count:
        raise AnswerError(key, f"'{key}' must have {count} labels.")
    for label in labels:
        if not (label is None or (label in (-1, 0, 1) and type(label) is int)):
            raise AnswerError(key, f"A step is 1, 0, -1 or null, not {_short(label)}.")
    return list(labels)


# --- what any answer may have ---------------------------------------------------------------------


def _common(
    answer: Mapping[str, Any], shown: Sequence[str], rubric: Rubric, said: Mapping[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    accepted = answer.get("acceptability")
    if accepted:
        if not isinstance(accepted, Mapping):
            raise AnswerError("acceptability", "'acceptability' must be an object.")
        for response, value in accepted.items():
            if response not in shown:
                raise AnswerError(
                    "acceptability", f"{_short(response)} is no response of this comparison."
                )
            if value not in ACCEPTABILITY:
                raise AnswerError("acceptability", f"good, ok or bad, not {_short(value)}.")
        found["acceptability"] = {**accepted, **said.get("acceptability", {})}
    dimensions = answer.get("dimensions") or {}
    if not isinstance(dimensions, Mapping):
        raise AnswerError("dimensions", "'dimensions' must be an object.")
    known = {dimension.name: dimension for dimension in rubric.dimensions}
    for name in dimensions:
        if name not in known:
            raise AnswerError("dimensions", f"The rubric has no dimension {_short(name)}.")
    judged = {
        name: _dimension(dimension, dimensions[name], shown)
        for name, dimension in known.items()
        if dimensions.get(name) is not None
    }
    for name, dimension in known.items():
        if dimension.required and name not in judged:
            raise AnswerError("dimensions", f"Judge {name!r} too.")
    if judged:
        found["dimensions"] = judged
    found |= _words(answer, rubric)
    return found


def _dimension(dimension: Dimension, value: object, shown: Sequence[str]) -> Any:
    """Comparative: a choice and strength on three grades a side. Absolute: a number a response."""
    where = f"Dimension {dimension.name!r}"
    if dimension.scale == "comparative":
        raw = value.get("raw") if isinstance(value, Mapping) else value
        point = PRESETS["helpsteer"].point(str(raw)) if isinstance(raw, str | int) else None
        if point is None or len(shown) != 2:
            raise AnswerError("dimensions", f"{where} has no point {_short(raw)}.")
        choice = None if point.side == 0 else shown[0 if point.side < 0 else 1]
        return {"choice": choice, "strength": point.strength, "raw": point.id}
    if not isinstance(value, Mapping):
        raise AnswerError("dimensions", f"{where} wants a number for each response.")
    ratings = value.get("ratings", value)
    missing = [i for i in shown if i not in ratings]
    if missing or len(ratings) != len(shown):
        raise AnswerError("dimensions", f"{where} wants a number for each response.")
    for rating in ratings.values():
        if not isinstance(rating, int) or isinstance(rating, bool):
            raise AnswerError("dimensions", f"{where} wants whole numbers, not {_short(rating)}.")
        if not 1 <= rating <= dimension.points:
            raise AnswerError("dimensions", f"{where} goes from 1 to {dimension.points}.")
    return {"ratings": dict(ratings)}


def _words(answer: Mapping[str, Any], rubric: Rubric) -> dict[str, Any]:
    found: dict[str, Any] = {}
    reasons = answer.get("reasons") or []
    if not isinstance(reasons, list) or any(r not in rubric.reasons for r in reasons):
        raise AnswerError("reasons", "'reasons' must be some of those of the rubric.")
    if reasons:
        found["reasons"] = list(dict.fromkeys(reasons))
    rationale = answer.get("rationale") or ""
    if not isinstance(rationale, str) or len(rationale) > MOST_RATIONALE:
        raise AnswerError("rationale", f"A rationale is a text of at most {MOST_RATIONALE:,}.")
    if "\x00" in rationale:
        raise AnswerError("rationale", "A rationale has no zero character.")
    if rubric.rationale == "required" and not rationale.strip() and not reasons:
        raise AnswerError("rationale", "Say why.")
    if rationale.strip():
        found["rationale"] = rationale
    return found


def _is_index(value: object, count: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


# --- what an answer comes to ----------------------------------------------------------------------


def verdict(answer: Mapping[str, Any], first: str | int, second: str | int) -> float | None:
    """P(the first of two responses is better) as an answer says it; None where it says nothing.

    ½ + ½ · strength of a pair, 1, ½ or 0 of a ranking.
    """
    if answer["kind"] == "pair":
        if answer["choice"] is None:
            return 0.5
        half = 0.5 * float(answer["strength"])
        return 0.5 + half if answer["choice"] == first else 0.5 - half
    if answer["kind"] == "ranking":
        place = {i: rank for rank, group in enumerate(answer["groups"]) for i in group}
        if first not in place or second not in place:
            return None
        return 0.5 + 0.5 * ((place[second] > place[first]) - (place[second] < place[first]))
    return None


def matches(answer: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Whether an answer says what was expected: the side, the best of a ranking, the step labels.

    An expectation of a pair may have ``choice`` or ``acceptability``, of a ranking ``best``, of
    steps ``labels`` or ``first_error``; what it has not is not looked at.
    """
    if "choice" in expected and answer.get("choice") != expected["choice"]:
        return False
    wanted = expected.get("acceptability") or {}
    if any((answer.get("acceptability") or {}).get(i) != v for i, v in wanted.items()):
        return False
    if "best" in expected and expected["best"] not in (answer.get("groups") or [[]])[0]:
        return False
    if "labels" in expected:
        pairs = zip(answer.get("labels") or (), expected["labels"], strict=False)
        if any(want is not None and got != want for got, want in pairs):
            return False
    if "first_error" in expected:
        labels = answer.get("labels") or ()
        found = next((i for i, label in enumerate(labels) if label == -1), None)
        return bool(found == expected["first_error"])
    return True
