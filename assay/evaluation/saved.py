"""Saved scores back into scored items: our own scores.jsonl, RewardBench's files, JudgeBench's.

A layout is recognised by its keys. Everything is checked here, so that formulas need not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.errors import DataError
from assay.evaluation.rewardbench import ties_prompt
from assay.evaluation.steps import check_steps
from assay.evaluation.suite import ScoredItem, SuiteSpec, check_item, check_rewards
from assay.formats.fields import RowError
from assay.formats.files import numbering, read_rows
from assay.formats.step_labels import labels_to_first_error, marks_of_error_steps

Row = Mapping[str, Any]
_Parser = Callable[[Row, str, int], ScoredItem]
_LAYOUTS = (
    "id, subset, rewards, correct (assay); subset, scores_chosen, scores_rejected (RewardBench 1); "
    "id, subset, scores, num_correct (RewardBench 2); pair_id, score_A, score_B, label "
    "(JudgeBench); id, rewards, label (ProcessBench); idx, rewards, classification, error_steps "
    "(PRMBench)"
)


def read_scores(path: str | Path, spec: SuiteSpec, model: str | None = None) -> list[ScoredItem]:
    """The scored items of a file.

    Args:
        model: Which model's rows, where the file holds several.

    Raises:
        DataError: With the line, if a row cannot be counted, or the file holds several models and
            none was named.
    """
    unit = numbering(path)
    items: list[ScoredItem] = []
    seen: set[tuple[str, str]] = set()
    for number, row in _of_model(_unfolded(read_rows(str(path))), path, model):
        where = f"{path} {unit} {number}"
        item = _item(row, where, spec, number)
        if (item.subset, item.id) in seen:
            raise DataError(f"{where}: item {item.id!r} of {item.subset} is there twice.")
        seen.add((item.subset, item.id))
        items.append(item)
    if not items:
        raise DataError(f"{path} is empty; an evaluation needs scores.")
    return items


def _item(row: Row, where: str, spec: SuiteSpec, number: int) -> ScoredItem:
    for keys, parse in _PARSERS.items():
        if all(key in row for key in keys):
            item = _placed(parse, row, where, number)
            break
    else:
        raise DataError(
            f"{where}: wanted saved scores with {_LAYOUTS}; got {', '.join(map(repr, row))}."
        )
    subset = spec.subset(item.subset) if not spec.subsets else _known(spec, item.subset, where)
    one = subset.measure.one_correct
    if subset.measure.of_steps:
        check_steps(item, where)
    else:
        check_item(item.id, item.correct, len(item.rewards), where, one_correct=one)
    if item.lengths is not None and len(item.lengths) != len(item.rewards):
        raise DataError(
            f"{where}: item {item.id!r} has {len(item.lengths)} lengths for "
            f"{len(item.rewards)} rewards."
        )
    if item.stds is not None and (
        len(item.stds) != len(item.rewards) or not all(s >= 0 for s in item.stds)
    ):
        raise DataError(
            f"{where}: 'stds' of item {item.id!r} must be one number of 0 or more for each of its "
            f"{len(item.rewards)} rewards."
        )
    return item


def _placed(parse: _Parser, row: Row, where: str, number: int) -> ScoredItem:
    try:
        return parse(row, where, number)
    except RowError as error:
        raise DataError(f"{where}: {error}.") from error


def _known(spec: SuiteSpec, subset: str, where: str) -> Any:
    try:
        return spec.subset(subset)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _ours(row: Row, where: str, number: int) -> ScoredItem:
    rewards, correct = row["rewards"], row["correct"]
    if not isinstance(rewards, list) or not isinstance(correct, list):
        raise DataError(f"{where}: 'rewards' and 'correct' must be lists of one entry a response.")
    if not all(isinstance(c, bool) for c in correct):
        raise DataError(f"{where}: 'correct' must hold true or false for each response.")
    id, subset = str(row["id"]), str(row["subset"])
    return ScoredItem(
        id=id,
        subset=subset,
        rewards=check_rewards(id, rewards, where),
        correct=tuple(correct),
        cluster=str(row.get("cluster") or _cluster(subset, id, where)),
        lengths=tuple(row["lengths"]) if row.get("lengths") is not None else None,
        tags=dict(row.get("tags") or {}),
        stds=tuple(row["stds"]) if row.get("stds") is not None else None,
    )


def _rewardbench_1(row: Row, where: str, number: int) -> ScoredItem:
    id, subset = str(row.get("id", number)), str(row["subset"])
    sides = [_one(row[key]) for key in ("scores_chosen", "scores_rejected")]
    rewards = check_rewards(id, sides, where)
    # the published set numbers its rows, prompts are not in the file
    return ScoredItem(id, subset, rewards, (True, False), f"{subset}/{id}")


def _rewardbench_2(row: Row, where: str, number: int) -> ScoredItem:
    scores = row["scores"]
    right = row.get("num_correct", 1)
    if not isinstance(scores, list) or not isinstance(right, int):
        raise DataError(f"{where}: 'scores' must be a list, and 'num_correct' a whole number.")
    id, subset = str(row["id"]), str(row["subset"])
    subset = "Ties" if subset.lower() == "ties" else subset
    correct = tuple(i < right for i in range(len(scores)))
    rewards = check_rewards(id, [_one(score) for score in scores], where)
    return ScoredItem(id, subset, rewards, correct, _cluster(subset, id, where))


def _first_error(row: Row, where: str, number: int) -> ScoredItem:
    id = str(row["id"])
    # ProcessBench's ids begin with the subset: gsm8k-17
    subset = str(row.get("subset") or id.rpartition("-")[0])
    rewards = _step_rewards(row, id, where)
    correct = labels_to_first_error(row["label"], len(rewards))
    return ScoredItem(id, subset, rewards, correct, f"{subset}/{id}")


def _error_steps(row: Row, where: str, number: int) -> ScoredItem:
    id, subset = str(row["idx"]), str(row["classification"])
    rewards = _step_rewards(row, id, where)
    correct = marks_of_error_steps(row["error_steps"], len(rewards))
    # variants of one problem share its number, as in circular_prm_test_p1_0
    return ScoredItem(id, subset, rewards, correct, id.removeprefix(f"{subset}_"))


def _step_rewards(row: Row, id: str, where: str) -> tuple[float, ...]:
    if not isinstance(row["rewards"], list):
        raise DataError(f"{where}: 'rewards' must be a list of one number a step.")
    return check_rewards(id, row["rewards"], where)


def _judgebench(row: Row, where: str, number: int) -> ScoredItem:
    if row["label"] not in ("A>B", "B>A"):
        raise DataError(f"{where}: 'label' is {row['label']!r}; wanted 'A>B' or 'B>A'.")
    first = row["label"] == "A>B"
    id = str(row["pair_id"])
    rewards = check_rewards(id, (row["score_A"], row["score_B"]), where)
    return ScoredItem(id, str(row.get("subset", "all")), rewards, (first, not first), id)


_PARSERS: dict[tuple[str, ...], _Parser] = {
    ("id", "subset", "rewards", "correct"): _ours,
    ("id", "rewards", "label"): _first_error,
    ("idx", "rewards", "classification", "error_steps"): _error_steps,
    ("subset", "scores_chosen", "scores_rejected"): _rewardbench_1,
    ("id", "subset", "scores"): _rewardbench_2,
    ("pair_id", "score_A", "score_B", "label"): _judgebench,
}


def _one(score: Any) -> Any:
    """A number; RewardBench's files put some in lists of one."""
    return score[0] if isinstance(score, list) and len(score) == 1 else score


def _cluster(subset: str, id: str, where: str) -> str:
    if subset == "Ties" and ":" in id:
        return ties_prompt(id, where)[1]
    return f"{subset}/{id}"


def _unfolded(rows: Any) -> Any:
    """Rows as they are; a single object of columns becomes one row an item."""
    for number, row in rows:
        columns = row.get("scores_chosen")
        if isinstance(columns, list) and isinstance(row.get("subset"), list):
            names = [k for k, v in row.items() if isinstance(v, list) and len(v) == len(columns)]
            for i in range(len(columns)):
                yield i + 1, {name: row[name][i] for name in names}
        else:
            yield number, row


def _of_model(rows: Any, path: str | Path, model: str | None) -> Sequence[tuple[int, Row]]:
    """The rows of one model, where rows name theirs."""
    listed = list(rows)
    names = list(dict.fromkeys(str(row["rm"]) for _, row in listed if "rm" in row))
    if not names:
        return listed
    if model is None and len(names) > 1:
        raise DataError(f"{path} holds the scores of {', '.join(names)}; say which with --model.")
    wanted = model if model is not None else names[0]
    if wanted not in names:
        raise DataError(f"{path} has no scores of {wanted!r}; it has {', '.join(names)}.")
    return [(number, row) for number, row in listed if str(row.get("rm")) == wanted]
