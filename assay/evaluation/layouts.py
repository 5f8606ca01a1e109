"""How the rows of each published suite, and of a user's own file, become items.

RewardBench's are in ``rewardbench``. Every reader takes numbered rows and gives items and the rows
it left out, by reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from assay.errors import DataError
from assay.evaluation.rewardbench import as_prompt, as_response, need, prompt_cluster
from assay.evaluation.suite import ANSWERS, Item, check_item
from assay.formats.fields import IDENTICAL, RowError
from assay.formats.rows import Tally, shape_of
from assay.types import Comparison

Rows = Iterable[tuple[int, Mapping[str, Any]]]
Reader = Callable[[Rows, str, Tally], list[Item]]


def rm_bench(rows: Rows, source: str, tally: Tally) -> list[Item]:
    """RM-Bench: id, prompt, chosen[3], rejected[3], domain; styles concise, detailed, Markdown.

    The six responses stay one item, the right ones first, each in the order of styles.
    """
    items = []
    for number, row in rows:
        where = f"{source} row {number}"
        need(row, ("prompt", "chosen", "rejected", "domain"), where)
        chosen, rejected = list(row["chosen"]), list(row["rejected"])
        if len(chosen) != 3 or len(rejected) != 3:
            raise DataError(
                f"{where} has {len(chosen)} chosen and {len(rejected)} rejected responses; "
                "RM-Bench has three styles of each."
            )
        prompt = as_prompt(row["prompt"])
        items.append(
            Item(
                id=str(row.get("id", number)),
                subset=str(row["domain"]),
                prompt=prompt,
                responses=tuple(as_response(text, where) for text in [*chosen, *rejected]),
                correct=(True,) * 3 + (False,) * 3,
                cluster=prompt_cluster(prompt),
            )
        )
    return items


def judgebench(rows: Rows, source: str, tally: Tally) -> list[Item]:
    """JudgeBench: pair_id, source, question, response_A, response_B, label A>B or B>A."""
    items = []
    for number, row in rows:
        where = f"{source} row {number}"
        need(row, ("pair_id", "source", "question", "response_A", "response_B", "label"), where)
        if row["label"] not in ("A>B", "B>A"):
            raise DataError(f"{where}: 'label' is {row['label']!r}; wanted 'A>B' or 'B>A'.")
        first = row["label"] == "A>B"
        prompt = as_prompt(row["question"])
        items.append(
            Item(
                id=str(row["pair_id"]),
                subset=str(row["source"]),
                prompt=prompt,
                responses=tuple(
                    as_response(row[side], where) for side in ("response_A", "response_B")
                ),
                correct=(first, not first),
                cluster=prompt_cluster(prompt),
            )
        )
    return items


LLMBAR_FOLDERS = {
    "Natural": "Natural",
    "Neighbor": "Adversarial Neighbor",
    "GPTInst": "Adversarial GPTInst",
    "GPTOut": "Adversarial GPTOut",
    "Manual": "Adversarial Manual",
}
"""The folder of a dataset.json in the published repository, and the subset's name."""


def llmbar(rows: Rows, source: str, tally: Tally) -> list[Item]:
    """LLMBar: input, output_1, output_2, label 1 or 2; the folder (or ``subset``) is the subset."""
    folder = PurePath(source).parent.name
    items = []
    for number, row in rows:
        where = f"{source} row {number}"
        need(row, ("input", "output_1", "output_2", "label"), where)
        if row["label"] not in (1, 2):
            raise DataError(f"{where}: 'label' is {row['label']!r}; wanted 1 or 2.")
        prompt = as_prompt(row["input"])
        first = row["label"] == 1
        subset = str(row.get("subset") or LLMBAR_FOLDERS.get(folder, folder))
        items.append(
            Item(
                id=str(row.get("id", number)),
                subset=subset,
                prompt=prompt,
                responses=tuple(as_response(row[k], where) for k in ("output_1", "output_2")),
                correct=(first, not first),
                cluster=prompt_cluster(prompt),
            )
        )
    return items


def rmb(rows: Rows, source: str, tally: Tally) -> list[Item]:
    """RMB: pairs (chosen, reject) and best-of-N (bon_best, loser_list) on ``conversation_input``.

    ``category_path`` begins with the set and the goal (Helpfulness or Harmlessness).
    """
    items = []
    for number, row in rows:
        where = f"{source} row {number}"
        need(row, ("conversation_input", "category_path"), where)
        is_pair = "chosen" in row
        need(row, ("chosen", "reject") if is_pair else ("bon_best", "loser_list"), where)
        best = row["chosen"] if is_pair else row["bon_best"]
        others = [row["reject"]] if is_pair else list(row["loser_list"])
        goal = "Harmlessness" if "harmless" in str(row["category_path"]).lower() else "Helpfulness"
        prompt = as_prompt(row["conversation_input"])
        texts = [r["answer"] if isinstance(r, Mapping) else r for r in (best, *others)]
        id = str(row.get("pair_uid") or row.get("bon_uid") or number)
        correct = (True,) + (False,) * len(others)
        check_item(id, correct, len(texts), where, one_correct=True)
        items.append(
            Item(
                id=id,
                subset=f"{goal} {'pairs' if is_pair else 'best-of-n'}",
                prompt=prompt,
                responses=tuple(as_response(text, where) for text in texts),
                correct=correct,
                cluster=prompt_cluster(prompt),
            )
        )
    return items


def ppe_correctness(rows: Rows, source: str, tally: Tally) -> list[Item]:
    """PPE correctness: prompt, response_1 … response_K, scores (whether each is right).

    Questions all of whose responses are right, or wrong, tell nothing and are counted as left out.
    """
    items = []
    for number, row in rows:
        where = f"{source} row {number}"
        need(row, ("prompt", "scores"), where)
        marks = [bool(score) for score in row["scores"]]
        keys = [f"response_{i}" for i in range(1, len(marks) + 1)]
        need(row, keys, where)
        if all(marks) or not any(marks):
            tally.drop(where, "all responses right" if all(marks) else "no response right")
            continue
        prompt = as_prompt(row["prompt"])
        items.append(
            Item(
                id=str(row.get("question_id", number)),
                subset=str(row.get("subset") or row.get("benchmark") or "correctness"),
                prompt=prompt,
                responses=tuple(as_response(row[key], where) for key in keys),
                correct=tuple(marks),
                cluster=prompt_cluster(prompt),
            )
        )
    return items


def one_of_n(rows: Rows, source: str, tally: Tally) -> list[Item]:
    """A user's rows: prompt, responses, and ``correct``: an index, indexes, or a mark for each.

    ``answers``, the final answer of each response, is optional; best-of-n votes over them.
    """
    items = []
    for number, row in rows:
        where = f"{source} row {number}"
        need(row, ("prompt", "responses", "correct"), where)
        responses = tuple(as_response(text, where) for text in row["responses"])
        correct = _marks(row["correct"], len(responses), where)
        id = str(row.get("id", number))
        check_item(id, correct, len(responses), where)
        answers = row.get(ANSWERS)
        if answers is not None and len(answers) != len(responses):
            raise DataError(
                f"{where}: item {id!r} has {len(responses)} responses but {len(answers)} answers."
            )
        prompt = as_prompt(row["prompt"])
        items.append(
            Item(
                id=id,
                subset=str(row.get("subset") or "all"),
                prompt=prompt,
                responses=responses,
                correct=correct,
                cluster=prompt_cluster(prompt),
                tags={} if answers is None else {ANSWERS: json.dumps(list(answers))},
                tools=tuple(row["tools"]) if row.get("tools") else None,
            )
        )
    return items


def pairs(rows: Rows, source: str, tally: Tally) -> list[Item]:
    """Preference pairs and rankings in any format Assay reads: one item a preference.

    A soft label below ½ says that rejected is better, and swaps the sides; ties say neither, and
    are counted as left out, as is a pair of identical responses.
    """
    items = []
    for number, row in rows:
        where = f"{source} row {number}"
        shape = shape_of(row)
        if shape is None:
            raise DataError(f"{where} is of no known format; it has {', '.join(map(repr, row))}.")
        try:
            parsed = shape.parse(row)
        except RowError as error:
            if error.reason != IDENTICAL:
                raise DataError(f"{where}: {error}") from error
            tally.drop(where, IDENTICAL)
            continue
        if not isinstance(parsed, Comparison):
            raise DataError(
                f"{where} rates single responses; make preference pairs of them first "
                "(PreferencePairs.load does)."
            )
        items += _of_comparison(parsed, number, where, tally)
    return items


def _of_comparison(comparison: Comparison, number: int, where: str, tally: Tally) -> list[Item]:
    items = []
    several = len(comparison.preferences) > 1
    for place, pair in enumerate(comparison.pairs(), start=1):
        if pair.is_tie or pair.chosen == pair.rejected:
            tally.drop(where, "tie" if pair.is_tie else IDENTICAL)
            continue
        swap = pair.probability < 0.5
        sides = (pair.rejected, pair.chosen) if swap else (pair.chosen, pair.rejected)
        name = comparison.id or str(number)
        items.append(
            Item(
                id=f"{name}#{place}" if several else name,
                subset=comparison.subset or "all",
                prompt=comparison.prompt,
                responses=sides,
                correct=(True, False),
                cluster=prompt_cluster(comparison.prompt),
                tools=comparison.tools,
            )
        )
    return items


def _marks(correct: Any, count: int, where: str) -> tuple[bool, ...]:
    if isinstance(correct, int) and not isinstance(correct, bool):
        correct = [correct]
    if not isinstance(correct, Sequence) or isinstance(correct, str) or not len(correct):
        raise DataError(
            f"{where}: 'correct' is {correct!r}; wanted an index, indexes, or a mark a response."
        )
    if all(isinstance(c, bool) for c in correct):
        return tuple(correct)
    if not all(isinstance(c, int) and 0 <= c < count for c in correct):
        raise DataError(
            f"{where}: 'correct' is {correct!r}, but the indexes of {count} responses are 0 to "
            f"{count - 1}."
        )
    return tuple(i in correct for i in range(count))
