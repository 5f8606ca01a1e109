"""Judged comparisons from what ``assay judge`` gives: in memory, or from the files it wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.errors import DataError
from assay.feedback.judges.candidates import human_shares
from assay.feedback.judges.judged import JudgedComparison
from assay.feedback.judges.pairs import PairJudgment, judged_pair
from assay.feedback.judges.records import Answer
from assay.feedback.judges.tasks import Judged
from assay.formats.files import read_rows
from assay.formats.prompts import prompt_text
from assay.types import Messages, as_messages


def comparisons_of(
    judged: Judged,
    number: int = 0,
    models: Sequence[str | None] | None = None,
    repeats: int = 1,
) -> list[JudgedComparison]:
    """Every pair of a judged comparison, with people's verdicts and the lengths of its responses.

    Args:
        number: Names the comparison where it has no id.
        models: Who wrote each response, where that is known.
        repeats: How often ``PairTask`` asked every question (of one dimension); the first decided.
    """
    comparison = judged.comparison
    found = _pairs(
        comparison.id or f"row {number}",
        comparison.prompt,
        comparison.responses,
        judged.pairs,
        human_shares(comparison),
        models,
    )
    return found if repeats == 1 else _with_repeats(found, judged.answers, repeats)


def _with_repeats(
    found: Sequence[JudgedComparison], answers: Sequence[Answer], repeats: int
) -> list[JudgedComparison]:
    """Answers stand pair by pair, order by order, repeat by repeat."""
    repeated, start = [], 0
    for record in found:
        pair, orders = record.judgment.pair, record.judgment.orders
        block = answers[start : start + len(orders) * repeats]
        start += len(block)
        later = tuple(
            judged_pair(pair, orders, tuple(block[k::repeats])) for k in range(1, repeats)
        )
        repeated.append(replace(record, repeats=later))
    assert start == len(answers), "only pairs of one dimension are asked again"
    return repeated


def read_judged(paths: Iterable[str | Path]) -> list[JudgedComparison]:
    """Every pair of the rows that ``assay judge`` wrote.

    Give ``NAME.failed.jsonl`` with ``NAME.jsonl``, or the report knows nothing of what failed.
    Tokens and costs are not in the rows; the report then says that the price is unknown.

    Raises:
        DataError: If a row is none of those, with its place.
    """
    found = []
    for path in paths:
        for line, row in read_rows(str(path)):
            found += _of_row(row, f"{path} line {line}")
    return found


def _of_row(row: Mapping[str, Any], where: str) -> list[JudgedComparison]:
    try:
        prompt = as_messages(row["prompt"], "user")
        responses = [as_messages(r["messages"], "assistant") for r in row["responses"]]
        human = {tuple(h["pair"]): float(h["share"]) for h in row.get("human", [])}
        pairs = [_judgment(told) for told in row["judged"]["pairs"]]
        models = [r.get("model") for r in row["responses"]]
        return _pairs(str(row.get("id") or where), prompt, responses, pairs, human, models)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{where} is no row of a judge ({type(error).__name__}: {error}); wanted what assay "
            "judge writes, with 'judged'."
        ) from error


def _judgment(told: Mapping[str, Any]) -> PairJudgment:
    answers, orders = [], []
    for said in told["answers"]:
        p = said.get("probabilities")
        answers.append(
            Answer(
                said["said"],
                None if p is None else tuple(map(float, p)),
                said.get("means"),
                said.get("detail"),
                said.get("mass"),
            )
        )
        if said.get("order") is not None:
            orders.append((int(said["order"][0]), int(said["order"][1])))
    i, j = told["pair"]
    return PairJudgment(
        (int(i), int(j)), told["outcome"], told["probability"], told["first"], tuple(orders),
        tuple(answers),
    )  # fmt: skip


def _pairs(
    item: str,
    prompt: Messages,
    responses: Sequence[Messages],
    pairs: Sequence[PairJudgment],
    human: Mapping[Any, float],
    models: Sequence[str | None] | None,
) -> list[JudgedComparison]:
    lengths = [sum(len(m.content) for m in response) for response in responses]
    found = []
    for judgment in pairs:
        i, j = judgment.pair
        found.append(
            JudgedComparison(
                item,
                prompt_text(prompt),
                judgment,
                human=human.get(judgment.pair),
                lengths=(lengths[i], lengths[j]),
                models=None if models is None else (models[i], models[j]),
            )
        )
    return found
