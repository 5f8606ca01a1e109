"""Rows of pairs and published sets: chosen and rejected, ratings, votes, labelled responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assay.formats import rows as training
from assay.formats.fields import (
    Row,
    RowError,
    is_transcript,
    name,
    number,
    prompt,
    required,
    response,
    shown,
    turns,
)
from assay.formats.pairs import explicit_pair, implicit_conversations, implicit_texts
from assay.formats.ratings import HELPSTEER, compare_rated, helpsteer_rating, vote_shares
from assay.store.records import NewComparison, NewJudgment, NewResponse
from assay.store.rows_parts import (
    Parsed,
    Part,
    annotator_in,
    answered,
    beside,
    by_share,
    comparison,
    graded,
    models_in,
    order_in,
    pair_answer,
    ranking_answer,
    time_ms,
    tools_in,
)
from assay.types import Comparison, Messages

_PAIR = ("prompt", "chosen", "rejected", "probability", "tie", "annotator", "first_shown", "tools",
         "chosen_model", "rejected_model")  # fmt: skip


def _chosen(parse: Callable[[Row], Comparison]) -> Callable[[Row], Parsed]:
    """TRL, HH, OpenRLHF, RewardBench: the response called better is number 0."""

    def parsed(row: Row) -> Parsed:
        found = parse(row)
        (preference,) = found.preferences
        used = set(_PAIR)
        strength: float | None = None
        if row.get("probability") is None and not row.get("tie") and row.get("margin") is not None:
            margin = number(row, "margin", 0.0)
            strength = margin if 0 <= margin <= 1 else None  # else of another scale
        if strength is not None or row.get("margin") == abs(2 * preference.probability - 1):
            used.add("margin")
        if strength is None:
            strength = abs(2 * preference.probability - 1)
        tied = preference.probability == 0.5
        judgment = NewJudgment(
            pair_answer(None if tied else preference.chosen, strength),
            annotator_in(row),
            shown=None if found.first_shown is None else (found.first_shown, 1 - found.first_shown),
        )
        models = models_in(row, "chosen_model", "rejected_model")
        return [answered(found, models, [judgment], beside(row, used))]

    return parsed


def _signed(row: Row, key: str) -> tuple[int | None, float]:
    """A strength from -3 (the first much better) to 3."""
    value = number(row, key, 0.0, low=-3.0, high=3.0)
    return (None if value == 0 else 0 if value < 0 else 1), abs(value) / 3


def _helpsteer_pair(parse: Callable[[Row], Comparison], key: str) -> Callable[[Row], Parsed]:
    sides = ("response_1", "response_2") if key == "preference_strength" else (
        "response1", "response2")  # fmt: skip

    def parsed(row: Row) -> Parsed:
        found = parse(row)
        apart = row.get("individual_preference")
        judgments = []
        for place, said in enumerate(apart if isinstance(apart, list) else (), start=1):
            if not isinstance(said, Mapping) or said.get("score") is None:
                continue
            judgments.append(_helpsteer_judgment(said, "score", f"#{place}"))
        if not judgments:
            judgments = [_helpsteer_judgment(row, key, None)]
        used = {"prompt", "context", *sides, key, "individual_preference", "annotator", "tools",
                "model_1", "model_2", "preference_statement", "ratings", "dimensions", "strength",
                "acceptability"}  # fmt: skip
        return [answered(found, models_in(row, "model_1", "model_2"), judgments, beside(row, used))]

    return parsed


def _helpsteer_judgment(said: Row, key: str, unnamed: str | None) -> NewJudgment:
    choice, strength = _signed(said, key)
    answer = graded(choice, strength, 0, "helpsteer")
    exact = said.get("strength")
    if isinstance(exact, int | float) and not isinstance(exact, bool) and choice is not None:
        answer = pair_answer(choice, float(exact))
    reason = said.get("reasoning") or said.get("preference_statement")
    if isinstance(reason, str) and reason.strip():
        answer["rationale"] = reason
    dimensions = _rated_dimensions(said.get("ratings"))
    for label, value in (said.get("dimensions") or {}).items():
        if value is not None:
            side, how = _signed({label: value}, label)
            dimensions[label] = graded(side, how, 0, "helpsteer")
            for gone in ("kind", "preset", "preset_version"):
                dimensions[label].pop(gone, None)
    if dimensions:
        answer["dimensions"] = dimensions
    accepted = said.get("acceptability")
    if isinstance(accepted, list):
        answer["acceptability"] = {str(i): v for i, v in enumerate(accepted) if v is not None}
    order = order_in(said.get("display_order"), 2)
    if "raw" in answer and order is not None:
        answer |= graded(choice, strength, order[0], "helpsteer")
    return NewJudgment(answer, annotator_in(said) or unnamed, shown=order)


def _rated_dimensions(ratings: object) -> dict[str, Any]:
    """One object of numbers a response, turned to one object of responses a dimension."""
    if not isinstance(ratings, Sequence) or isinstance(ratings, str):
        return {}
    found: dict[str, Any] = {}
    for i, rated in enumerate(ratings):
        for label, value in (rated or {}).items() if isinstance(rated, Mapping) else ():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(str(label), {"ratings": {}})["ratings"][str(i)] = value
    return found


def helpsteer_rated(row: Row) -> Parsed:
    """HelpSteer's rating of one response: neighbours of a prompt are joined."""
    rated = helpsteer_rating(row)
    return [Part(("helpsteer", rated.prompt), row, _join_rated)]


def _join_rated(rows: Sequence[Row]) -> NewComparison:
    rated = [helpsteer_rating(row) for row in rows]
    if len(rated) < 2:
        raise RowError("the prompt has a single rated response", "single rated response")
    found = compare_rated(rated)
    answer = _ranked(found, [r.score for r in rated])
    dimensions = _rated_dimensions([r.ratings for r in rated])
    used = ("prompt", "response", *HELPSTEER, "annotator")
    return answered(
        found,
        [name(row, "model") for row in rows],
        [NewJudgment({**answer, "dimensions": dimensions}, annotator_in(rows[0]))],
        {**beside(rows[0], used, "model")},
    )


def _ranked(found: Comparison, scores: Sequence[float]) -> dict[str, Any]:
    """An answer from scores: a choice of two, or groups."""
    if len(scores) == 2:
        share = 0.5 + 0.5 * ((scores[0] > scores[1]) - (scores[0] < scores[1]))
        return by_share(share)
    assert found.ranking is not None
    return {"kind": "ranking", "groups": [list(g) for g in found.ranking], "unranked": []}


def ultrafeedback(row: Row) -> Parsed:
    """UltraFeedback's completions, ranked by their scores, with aspects."""
    parse = next(s.parse for s in training.SHAPES if s.name == "UltraFeedback")
    found = parse(row)
    assert isinstance(found, Comparison)
    completions = row["completions"]
    overall = all(c.get("overall_score") is not None for c in completions)
    key = "overall_score" if overall else "fine-grained_score"
    answer = _ranked(found, [float(c[key]) for c in completions])
    dimensions = _rated_dimensions(found.ratings)
    if dimensions:
        answer["dimensions"] = dimensions
    rationales = _aspects(completions)
    responses = [
        NewResponse(
            said,
            model=name(c, "model"),
            provenance=beside(c, "response", "model", "annotations")
            | ({"rationales": why} if why else {}),
        )
        for said, c, why in zip(found.responses, completions, rationales, strict=True)
    ]
    extra = beside(row, "instruction", "completions", "models", "annotator", "tools")
    if found.subset is not None and "subset" not in extra:
        extra["subset"] = found.subset  # what this format calls the source
        del extra["source"]
    judgment = NewJudgment(answer, annotator_in(row), source="model" if "principle" in
                           completions[0] or "custom_system_prompt" in completions[0]
                           else "imported")  # fmt: skip
    return [comparison(found.prompt, responses, [judgment], extra=extra)]


def _aspects(completions: Sequence[Row]) -> list[dict[str, str]]:
    """The annotator's reasons by aspect."""
    return [
        {
            str(label): str(said["Rationale"])
            for label, said in (c.get("annotations") or {}).items()
            if isinstance(said, Mapping) and said.get("Rationale")
        }
        for c in completions
    ]


def pandalm(row: Row) -> Parsed:
    """PandaLM's two responses, a judgment for each vote."""
    parse = next(s.parse for s in training.SHAPES if s.name == "PandaLM")
    found = parse(row)
    assert isinstance(found, Comparison)
    judgments = [
        NewJudgment(by_share(share), f"#{place}")
        for place, share in enumerate(vote_shares(row), start=1)
    ]
    used = ("instruction", "input", "response_1", "response_2", "votes", "tools")
    return [answered(found, [None, None], judgments, beside(row, used))]


TULU = {
    "a-is-better": (0, 1.0), "a-is-slightly-better": (0, 0.5), "tie": (None, 0.0),
    "b-is-slightly-better": (1, 0.5), "b-is-better": (1, 1.0),
}  # fmt: skip


def tulu(row: Row) -> Parsed:
    """A row of Tülu's human evaluation: a preference, and which responses are acceptable."""
    parse = next(s.parse for s in training.SHAPES if s.name == "Tülu evaluation")
    found = parse(row)
    assert isinstance(found, Comparison)
    choice, strength = TULU[row["preference"]]
    answer = pair_answer(choice, strength, raw=str(row["preference"]))
    accepted = {
        str(place): {"yes": "good", "no": "bad"}[row[key]]
        for place, key in enumerate(("a_acceptable", "b_acceptable"))
        if row.get(key) in ("yes", "no")
    }
    if accepted:
        answer["acceptability"] = accepted
    judgment = NewJudgment(
        answer, annotator_in(row, "evaluator", "annotator"), shown=(0, 1),
        submitted=time_ms(row.get("timestamp")),
    )  # fmt: skip
    used = ("prompt", "completion_a", "completion_b", "preference", "a_acceptable", "b_acceptable",
            "evaluator", "model_a", "model_b", "timestamp", "tools")  # fmt: skip
    return [answered(found, models_in(row, "model_a", "model_b"), [judgment], beside(row, used))]


def labelled(row: Row) -> Parsed:
    """TRL's unpaired rows: neighbours with one prompt are responses to compare."""
    if not isinstance(row.get("label"), bool):
        raise RowError(f"'label' must be true or false, not {shown(row.get('label'))}",
                       "wrong type")  # fmt: skip
    asked = prompt(row)
    said = response(turns(required(row, "completion"), "completion", "assistant"), "completion")
    key = ("kto", asked, name(row, "id"), name(row, "subset"))
    return [Part(key, row, _join_labelled, once=(said, annotator_in(row)))]


def _join_labelled(rows: Sequence[Row]) -> NewComparison:
    texts: dict[Messages, int] = {}
    labels: dict[str | None, dict[int, bool]] = {}
    models: dict[int, str | None] = {}
    for row in rows:
        said = response(turns(row["completion"], "completion", "assistant"), "completion")
        at = texts.setdefault(said, len(texts))
        labels.setdefault(annotator_in(row), {})[at] = row["label"]
        models.setdefault(at, name(row, "model"))
    if len(texts) < 2:
        raise RowError(
            "the prompt has a single labelled response, and a comparison has two or more",
            "single labelled response",
        )
    judgments = []
    alone: dict[str, dict[int, bool]] = {}  # labels that say of no two responses which is better
    for who, said_of in labels.items():
        if len(said_of) == len(texts) and len(set(said_of.values())) == 2:
            groups = [[i for i, good in sorted(said_of.items()) if good is wanted]
                      for wanted in (True, False)]  # fmt: skip
            answer = (
                pair_answer(groups[0][0], 1.0) if len(texts) == 2
                else ranking_answer(groups, len(texts))
            )  # fmt: skip
            answer["acceptability"] = {
                str(i): "good" if good else "bad" for i, good in said_of.items()
            }
            judgments.append(NewJudgment(answer, who))
        else:
            alone[who or ""] = said_of
    kept = [{who: said_of[i] for who, said_of in alone.items() if i in said_of}
            for i in range(len(texts))]  # fmt: skip
    responses = [
        NewResponse(said, model=models[i], provenance={"labels": kept[i]} if kept[i] else {})
        for said, i in texts.items()
    ]
    used = ("prompt", "completion", "label", "annotator", "model", "tools")
    return comparison(
        prompt(rows[0]), responses, judgments, extra=beside(rows[0], used), tools=tools_in(rows[0])
    )


def is_hh(row: Row) -> bool:
    """Whether two transcripts are given without a prompt."""
    return "prompt" not in row and is_transcript(row["chosen"])


CHOSEN_READERS = {
    "prompt": _chosen(explicit_pair),
    "conversations": _chosen(implicit_conversations),
    "texts": _chosen(implicit_texts),
}

HELPSTEER2 = _helpsteer_pair(
    next(s.parse for s in training.SHAPES if s.name == "HelpSteer2 preference"),  # type: ignore[arg-type]
    "preference_strength",
)

HELPSTEER3 = _helpsteer_pair(
    next(s.parse for s in training.SHAPES if s.name == "HelpSteer3 preference"),  # type: ignore[arg-type]
    "overall_preference",
)
