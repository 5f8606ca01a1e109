"""Solutions in steps with their labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assay.formats.fields import Row, RowError, prompt, required, shown, text
from assay.formats.solutions import solution_shapes
from assay.formats.steps import join_steps
from assay.store.records import NewComparison, NewJudgment, NewResponse
from assay.store.rows_parts import (
    Parsed,
    Part,
    annotator_in,
    beside,
    said_by,
    time_ms,
    whole,
)
from assay.types import Solution

_FIRST_ERROR = ("ProcessBench", "BIG-Bench-Mistake", "StepVerify", "MR-GSM8K")

_SOLUTION_USED = ("prompt", "problem", "question", "input", "instruction", "modified_question",
                  "steps", "completions", "modified_process", "model_output_steps", "response",
                  "solutions", "labels", "first_error", "mistake_index", "error_steps", "annotator",
                  "model_output_solution_first_error_step")  # fmt: skip


def steps_response(steps: Sequence[Mapping[str, Any]], **fields: Any) -> NewResponse:
    """A solution as a response."""
    joined = join_steps([str(step["text"]) for step in steps])
    return NewResponse(said_by(joined), steps=tuple(steps), **fields)


def solutions(shape: Any) -> Callable[[Row], Parsed]:
    """A reader of solutions in steps of a format for training."""

    def parsed(row: Row) -> Parsed:
        by_first = shape.name in _FIRST_ERROR or (
            row.get("first_error") is not None and row.get("labels") is None
        )
        return [_solution(row, found, by_first) for found in shape.parse(row)]

    return parsed


def _solution(row: Row, found: Solution, by_first: bool) -> NewComparison:
    judgments = []
    if any(label is not None for label in found.labels):
        answer: dict[str, Any] = {"kind": "steps", "mode": "per-step", "labels": list(found.labels)}
        if by_first:
            answer |= {"mode": "first-error", "first_error": found.first_error}
        judgments.append(NewJudgment(answer, annotator_in({"annotator": found.annotator})))
    used: tuple[str, ...] = _SOLUTION_USED
    if isinstance(row.get("label"), int | str) and not isinstance(row.get("label"), bool):
        used = (*used, "label")  # ProcessBench, Math-Shepherd
    extra = beside(row, used)
    known = {"id": found.id, "subset": found.subset, "answer": found.answer}
    extra |= {k: v for k, v in known.items() if v is not None}
    if found.correct is not None:
        extra["correct"] = found.correct
    response_ = steps_response([{"text": step} for step in found.steps])
    return NewComparison(
        found.prompt, (response_,), kind="steps", judgments=tuple(judgments), extra=extra
    )


def prm800k(row: Row) -> Parsed:
    """A raw record of PRM800K: candidates stay candidates, the accepted and written ones known."""
    parse = next(s.parse for s in solution_shapes() if s.name == "PRM800K")
    checked = {**row, "is_quality_control_question": False, "is_initial_screening_question": False}
    parse(checked)  # raises what is wrong with the row
    label, question = row["label"], row["question"]
    steps, answer, origin = prm_answer(label["steps"])
    origin |= {k: v for k, v in label.items() if k != "steps" and v is not None}
    judgment = NewJudgment(
        answer | ({"origin": origin} if origin else {}), annotator_in(row, "labeler"),
        submitted=time_ms(row.get("timestamp")),
        active_ms=min(whole(label, "total_time"), 2**31 - 1)
        if isinstance(label.get("total_time"), int | float) else 0,
    )  # fmt: skip
    extra = beside(row, "label", "question", "labeler", "timestamp")
    about = beside(question, "problem")
    has_label = any(x is not None for x in answer["labels"]) or any(
        x is not None for labels in answer.get("alternatives", ()) for x in labels
    )
    return [
        NewComparison(
            prompt({"prompt": question["problem"]}),
            (steps_response(steps),),
            kind="steps",
            judgments=(judgment,) if has_label or answer.get("written") else (),
            extra=extra | ({"question": about} if about else {}),
        )
    ]


def prm_answer(
    given: Sequence[Row],
) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Steps with alternatives, the answer, and what has no place in an answer."""
    steps: list[dict[str, Any]] = []
    labels: list[int | None] = []
    others: list[list[int | None]] = []
    chosen: list[int | None] = []
    written: dict[str, str] = {}
    flags: list[list[Any]] = []
    unmade: list[int] = []
    for at, step in enumerate(given):
        candidates = list(step.get("completions") or ())
        human = step.get("human_completion")
        said = human.get("text") if isinstance(human, Mapping) else human
        if said is not None:
            written[str(at)] = str(said)
        if not candidates:
            unmade.append(at)
            candidates = [{"text": said, "rating": None}]
        texts = [str(c["text"]) for c in candidates]
        steps.append({"text": texts[0]} | ({"alternatives": texts[1:]} if texts[1:] else {}))
        labels.append(candidates[0].get("rating"))
        others.append([c.get("rating") for c in candidates[1:]])
        chosen.append(step.get("chosen_completion"))
        flags.append([c.get("flagged") for c in candidates])
    answer: dict[str, Any] = {
        "kind": "steps", "mode": "per-step", "labels": labels, "chosen": chosen
    }  # fmt: skip
    if any(others):
        answer["alternatives"] = others
    if written:
        answer["written"] = written
    if any(row and row[0] for row in flags):
        answer["flagged"] = [bool(row[0]) for row in flags]
    origin: dict[str, Any] = {}
    if any(flag for row in flags for flag in row[1:]):
        origin["flagged"] = flags
    if unmade:
        origin["unmade"] = unmade
    return steps, answer, origin


def prm800k_step(row: Row) -> Parsed:
    """One candidate a row: neighbours of one solution are joined to it."""
    text(required(row, "problem"), "problem")
    text(required(row, "step"), "step")
    if row.get("rating") is not None and row["rating"] not in (-1, 0, 1):
        raise RowError(f"'rating' is {shown(row['rating'])}; wanted 1, 0, -1 or null",
                       "bad 'rating'")  # fmt: skip
    return [Part(("prm", row["problem"]), row, _join_candidates)]


def continues(rows: Sequence[Row], row: Row) -> bool:
    """Whether a candidate belongs to the solution of the ones before it."""
    last, now = list(rows[-1].get("prefix") or ()), list(row.get("prefix") or ())
    if now == last:
        return True
    here = [r["step"] for r in rows if list(r.get("prefix") or ()) == last]
    return len(now) == len(last) + 1 and now[:-1] == last and now[-1] in here


def _join_candidates(rows: Sequence[Row]) -> NewComparison:
    start = list(rows[0].get("prefix") or ())
    given: list[dict[str, Any]] = [
        {"completions": [{"text": step, "rating": None}], "chosen_completion": 0} for step in start
    ]
    by_place: dict[int, list[Row]] = {}
    for row in rows:
        by_place.setdefault(len(row.get("prefix") or ()), []).append(row)
    for found in by_place.values():
        model = [r for r in found if not r.get("human_written")]
        human = next((r["step"] for r in found if r.get("human_written")), None)
        preferred = [i for i, r in enumerate(model) if r.get("preferred")]
        given.append({
            "completions": [{"text": r["step"], "rating": r.get("rating")} for r in model],
            "human_completion": human,
            "chosen_completion": preferred[0] if preferred else None,
        })  # fmt: skip
    steps, answer, origin = prm_answer(given)
    if len(start):
        origin["from_step"] = len(start)
    used = ("problem", "prefix", "step", "rating", "preferred", "human_written", "is_solution",
            "error_reason", "answer")  # fmt: skip
    extra = beside(rows[0], used)
    if any(r.get("is_solution") for r in rows):
        extra["correct"] = True
    answers = [r["answer"] for r in rows if r.get("answer") is not None]
    if answers:
        extra["answer"] = answers[-1]
    judgment = NewJudgment(answer | ({"origin": origin} if origin else {}))
    return NewComparison(
        prompt({"prompt": rows[0]["problem"]}), (steps_response(steps),), kind="steps",
        judgments=(judgment,), extra=extra,
    )  # fmt: skip
