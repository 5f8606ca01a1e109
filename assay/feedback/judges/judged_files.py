"""Judged comparisons from what ``assay judge`` gives: in memory, or from the files it wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.data.pairs import fingerprint, prompt_key
from assay.errors import DataError
from assay.feedback.judges.candidates import human_shares
from assay.feedback.judges.judged import JudgedComparison
from assay.feedback.judges.pairs import PairJudgment
from assay.feedback.judges.panel import as_judgment
from assay.feedback.judges.records import Answer
from assay.feedback.judges.tasks import Judged
from assay.formats.comparisons import Pair
from assay.formats.files import read_rows
from assay.types import Messages, as_messages


def comparisons_of(
    judged: Judged, votes: Mapping[Pair, Sequence[float]] | None = None
) -> list[JudgedComparison]:
    """Every pair of a judged comparison, with people's verdicts and the lengths of its responses.

    Args:
        votes: Single votes of people on pairs, where they are known; else their shares are used.
    """
    comparison = judged.comparison
    wrote = comparison.provenance
    found = _pairs(
        comparison.prompt,
        comparison.responses,
        judged.pairs,
        human_shares(comparison),
        None if wrote is None else [of.get("model") for of in wrote],
    )
    if votes is not None:
        found = [replace(r, votes=tuple(votes.get(r.judgment.pair, ())), human=None) for r in found]
    if judged.repeats:
        found = [replace(r, repeats=again) for r, again in zip(found, judged.repeats, strict=True)]
    return found


def without_words(judged: Judged) -> Judged:
    """The same without rationales, which would be most of the memory of a long run."""
    bare: dict[int, Answer] = {}  # an answer that is in several pairs stays one

    def of(pair: PairJudgment) -> PairJudgment:
        answers = (bare.setdefault(id(a), replace(a, detail=None)) for a in pair.answers)
        return replace(pair, answers=tuple(answers))

    return replace(
        judged,
        pairs=tuple(map(of, judged.pairs)),
        answers=(),
        repeats=tuple(tuple(map(of, again)) for again in judged.repeats),
        aspects=None,
    )


def read_judged(paths: Iterable[str | Path]) -> list[JudgedComparison]:
    """Every pair of the rows that ``assay judge`` wrote, or ``assay panel``: the panel's then.

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
        if "panel" in row:
            pairs = [_of_panel(told) for told in row["panel"]["pairs"]]
        else:
            pairs = [_judgment(told) for told in row["judged"]["pairs"]]
        models = [r.get("provenance", {}).get("model") for r in row["responses"]]
        return _pairs(prompt, responses, pairs, human, models)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{where} is no row of a judge ({type(error).__name__}: {error}); wanted what assay "
            "judge writes, with 'judged', or assay panel, with 'panel'."
        ) from error


def _of_panel(told: Mapping[str, Any]) -> PairJudgment:
    i, j = told["pair"]
    return as_judgment((int(i), int(j)), told["outcome"], told["probability"])


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
    prompt: Messages,
    responses: Sequence[Messages],
    pairs: Sequence[PairJudgment],
    human: Mapping[Any, float],
    models: Sequence[str | None] | None,
) -> list[JudgedComparison]:
    texts = [[m.content for m in response] for response in responses]
    key = prompt_key(prompt)
    found = []
    for judgment in pairs:
        i, j = judgment.pair
        found.append(
            JudgedComparison(
                # by its texts: the same two responses are the same item in every file
                fingerprint([key, texts[i], texts[j]]).hex(),
                key,
                judgment,
                human=human.get(judgment.pair),
                lengths=(sum(map(len, texts[i])), sum(map(len, texts[j]))),
                models=None if models is None else (models[i], models[j]),
            )
        )
    return found
