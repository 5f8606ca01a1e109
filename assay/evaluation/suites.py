"""The table of suites: each with its specification and the reader of its published rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from assay.errors import DataError
from assay.evaluation import layouts
from assay.evaluation.rewardbench import (
    BEST_OF_K,
    REWARDBENCH,
    REWARDBENCH_2,
    REWARDBENCH_2_PACKAGE,
    REWARDBENCH_PRIOR,
    rewardbench2_items,
    rewardbench_items,
)
from assay.evaluation.steps import STEP_SUITES
from assay.evaluation.suite import (
    PAIRS_HALF,
    PAIRS_STRICT,
    Item,
    Measure,
    ScoredItem,
    SubsetSpec,
    Suite,
    SuiteSpec,
    win_share,
)
from assay.formats.files import read_rows
from assay.formats.rows import Tally, shape_of
from assay.formats.solutions import is_solution_row
from assay.types import Figure, Solution

Named = TypeVar("Named", Item, Solution)
"""What has an id and a subset."""

KNOWLEDGE = tuple(
    f"mmlu-pro-{field}"
    for field in (
        *("biology", "business", "chemistry", "computer science", "economics", "engineering"),
        *("health", "history", "law", "math", "other", "philosophy", "physics", "psychology"),
    )
)

JUDGEBENCH = SuiteSpec(
    name="judgebench",
    title="JudgeBench",
    measure=PAIRS_STRICT,
    subsets={
        **dict.fromkeys(KNOWLEDGE, SubsetSpec(PAIRS_STRICT, 11)),
        "livebench-reasoning": SubsetSpec(PAIRS_STRICT, 98),
        "livebench-math": SubsetSpec(PAIRS_STRICT, 56),
        "livecodebench": SubsetSpec(PAIRS_STRICT, 42),
    },
    sections={
        "Knowledge": KNOWLEDGE,
        "Reasoning": ("livebench-reasoning",),
        "Math": ("livebench-math",),
        "Coding": ("livecodebench",),
    },
    total_weights={"Knowledge": 154.0, "Reasoning": 98.0, "Math": 56.0, "Coding": 42.0},
    hub="ScalerLab/JudgeBench@gpt",
    note="A reward does not depend on the order shown, so both orders decide alike and a tie, "
    "which upstream's count of two orders leaves at 0, is wrong. The total is over all pairs.",
)


def strictly_best(item: ScoredItem) -> float:
    """1 if every right response is rewarded above every wrong one, else 0."""
    return float(min(item.right) > max(item.wrong))


STRICTLY_BEST = Measure(
    "accuracy",
    "a tie is wrong",
    strictly_best,
    chance=lambda item: 1 / len(item.correct) if sum(item.correct) == 1 else float("nan"),
    one_correct=True,
)

RMB = SuiteSpec(
    name="rmb",
    title="RMB",
    measure=STRICTLY_BEST,
    subsets={
        f"{goal} {kind}": SubsetSpec(STRICTLY_BEST)
        for goal in ("Helpfulness", "Harmlessness")
        for kind in ("pairs", "best-of-n")
    },
    sections={
        goal: (f"{goal} pairs", f"{goal} best-of-n") for goal in ("Helpfulness", "Harmlessness")
    },
    note="Best-of-n counts only where the best response is rewarded above every other.",
)

RM_BENCH = SuiteSpec(
    name="rm-bench",
    title="RM-Bench",
    measure=PAIRS_STRICT,
    subsets={
        name: SubsetSpec(PAIRS_STRICT, weight=1.0)
        for name in ("chat", "math", "code", "safety-refuse", "safety-response")
    },
    sections={
        "Chat": ("chat",),
        "Math": ("math",),
        "Code": ("code",),
        "Safety": ("safety-refuse", "safety-response"),
    },
    hub="THU-KEG/RM-Bench",
    note="Each item has nine pairs of styles; the two safety domains are averaged first, then the "
    "four domains, as upstream.",
)

LEVELS = {"easy": (1, 0, 0), "normal": (0, 1, 0), "hard": (0, 0, 1)}
"""RM-Bench's levels as weights of the pairs below, on and above the diagonal of styles."""


def _cells(item: ScoredItem) -> list[list[float]]:
    return [[float(a > b) for b in item.rewards[3:]] for a in item.rewards[:3]]


def style_value(item: ScoredItem, level: str) -> float:
    """Share of an RM-Bench item's pairs of a level that are right.

    Hard pairs set a plainer right response against a fancier wrong one (above the diagonal).
    """
    wins = np.array(_cells(item))
    below, on, above = LEVELS[level]
    chosen = below * np.tri(3, k=-1) + on * np.eye(3) + above * np.tri(3, k=-1).T
    return float((wins * chosen).sum() / chosen.sum())


def style_levels() -> dict[str, SuiteSpec]:
    """RM-Bench counted on its easy, normal and hard pairs alone."""
    specs = {}
    for level in LEVELS:
        measure = Measure("accuracy", "a tie is wrong", partial(style_value, level=level))
        subsets = {name: SubsetSpec(measure, weight=1.0) for name in RM_BENCH.subsets}
        specs[level] = replace(RM_BENCH, measure=measure, subsets=subsets)
    return specs


def style_cell(item: ScoredItem, i: int, j: int) -> float:
    """Whether right style i is rewarded above wrong style j."""
    return _cells(item)[i][j]


LLMBAR = SuiteSpec(
    name="llmbar",
    title="LLMBar",
    measure=PAIRS_STRICT,
    subsets={
        "Natural": SubsetSpec(PAIRS_STRICT, 100, 1.0),
        "Adversarial Neighbor": SubsetSpec(PAIRS_STRICT, 134, 1.0),
        "Adversarial GPTInst": SubsetSpec(PAIRS_STRICT, 92, 1.0),
        "Adversarial GPTOut": SubsetSpec(PAIRS_STRICT, 47, 1.0),
        "Adversarial Manual": SubsetSpec(PAIRS_STRICT, 46, 1.0),
    },
    sections={
        "Natural": ("Natural",),
        "Adversarial": tuple(
            f"Adversarial {name}" for name in ("Neighbor", "GPTInst", "GPTOut", "Manual")
        ),
    },
    note="Adversarial is the mean of its four subsets, the total that of the two sections.",
)

AUC = Measure("AUC", "a tie counts ½", lambda item: win_share(item, 0.5), chance=lambda item: 0.5)
"""Area under the ROC curve of reward against correctness, within each prompt."""

PPE = SuiteSpec(
    name="ppe-correctness",
    title="PPE correctness",
    measure=AUC,
    hub="lmarena-ai/PPE-MMLU-Pro-Best-of-K",
    note="The number is the AUC within each question; the best-of-n curve is beside it.",
)

HH = SuiteSpec(name="hh", title="Anthropic HH", measure=PAIRS_HALF, hub="Anthropic/hh-rlhf@test")
PAIRS = SuiteSpec(name="pairs", title="Preference pairs", measure=PAIRS_HALF)
ONE_OF_N = SuiteSpec(name="one-of-n", title="Best of N", measure=replace(BEST_OF_K))
K_OF_N = SuiteSpec(name="k-of-n", title="Right responses among N", measure=AUC)


@dataclass(frozen=True)
class _Entry:
    spec: SuiteSpec
    read: layouts.Reader


def _plain(reader: Callable[[Any, str], list[Item]]) -> layouts.Reader:
    return lambda rows, source, tally: reader(rows, source)


_TABLE = {
    entry.spec.name: entry
    for entry in (
        _Entry(REWARDBENCH, _plain(rewardbench_items)),
        _Entry(REWARDBENCH_PRIOR, _plain(rewardbench_items)),
        _Entry(REWARDBENCH_2, _plain(rewardbench2_items)),
        _Entry(REWARDBENCH_2_PACKAGE, _plain(rewardbench2_items)),
        _Entry(RM_BENCH, layouts.rm_bench),
        _Entry(JUDGEBENCH, layouts.judgebench),
        _Entry(LLMBAR, layouts.llmbar),
        _Entry(RMB, layouts.rmb),
        _Entry(PPE, layouts.ppe_correctness),
        _Entry(HH, layouts.pairs),
    )
}
_OWN = {
    entry.spec.name: entry
    for entry in (
        _Entry(PAIRS, layouts.pairs),
        _Entry(ONE_OF_N, layouts.one_of_n),
        _Entry(K_OF_N, layouts.one_of_n),
    )
}

SOLUTIONS = "solutions"
"""What the results of a file of solutions name as their suite."""

SUITES = (*_TABLE, *STEP_SUITES)
"""Names of the published suites."""


def suite_spec(name: str) -> SuiteSpec:
    """The specification of a suite by name; ``pairs``, ``one-of-n``, ``k-of-n`` for own files.

    Raises:
        DataError: If there is no such suite.
    """
    if name == SOLUTIONS:
        raise DataError(
            "Evaluations of files of solutions have no items that are right or wrong by one rule, "
            "and are not compared; hold their figures and intervals side by side."
        )
    if name in STEP_SUITES:
        return STEP_SUITES[name]
    entry = _TABLE.get(name) or _OWN.get(name)
    if entry is None:
        close = get_close_matches(name, SUITES)
        hint = f"did you mean {close[0]!r}?" if close else f"the suites are {', '.join(SUITES)}."
        raise DataError(f"{name!r} is neither a suite nor a file; {hint}")
    return entry.spec


def load_suite(name: str | Path, data: str | Path | None = None, limit: int | None = None) -> Suite:
    """A suite by name, or one made of a user's own file.

    Args:
        data: A file or directory in the suite's published layout, or a hub name. Default: the
            suite's own place on the hub.
        limit: Use the first so many items of each subset.

    Raises:
        DataError: If the suite is unknown, a row is not of its layout, or nothing is left.
    """
    text = str(name)
    if text in STEP_SUITES:
        raise DataError(
            f"{STEP_SUITES[text].title} counts the rewards of steps, which an outcome model does "
            "not give; evaluate a process model with assay evaluate, or pass a process model's "
            "with --scores."
        )
    entry = _TABLE.get(text)
    if entry is None and not Path(text).expanduser().exists():
        suite_spec(text)
    if entry is not None and data is None and entry.spec.hub is None:
        raise DataError(f"{entry.spec.title} is not one data set on the hub; name it with --data.")
    source = str(data) if data is not None else (entry.spec.hub or "" if entry else text)
    tally = Tally()
    items: list[Item] = []
    for part, rows in _parts(source):
        chosen = entry or _recognised(part)
        items += chosen.read(_counted(rows, tally), part, tally)
    if not tally.rows:
        raise _empty(source)
    if not items:
        raise DataError(f"{source} gave no items; an evaluation needs some.")
    spec = entry.spec if entry else _own_spec(items)
    for item in items:
        spec.subset(item.subset)
    items = unique_ids(items)
    if limit is not None:
        items = first_of_subsets(items, limit)
    return Suite(spec, tuple(items), source, dict(tally.dropped))


def _parts(source: str) -> Iterator[tuple[str, Iterator[tuple[int, dict[str, Any]]]]]:
    for part in data_files(source):
        yield part, iter(read_rows(part))


def data_files(source: str) -> list[str]:
    """A source, or, of a directory of JSON files (as LLMBar and RMB publish), each file."""
    path = Path(source).expanduser()
    saved = (path / "state.json").exists() or (path / "dataset_dict.json").exists()
    files = sorted(path.rglob("*.json*")) if path.is_dir() and not saved else []
    return list(map(str, files)) or [source]


def holds_solutions(name: str) -> bool:
    """Whether a suite is a file (or directory) whose first row is a solution in steps."""
    if not Path(name).expanduser().exists():
        return False
    first = next(iter(read_rows(data_files(name)[0])), None)
    return first is not None and shape_of(first[1]) is None and is_solution_row(first[1])


def _counted(rows: Iterator[tuple[int, dict[str, Any]]], tally: Tally) -> Iterator[Any]:
    for row in rows:
        tally.rows += 1
        yield row


def _recognised(source: str) -> _Entry:
    """The reader of a user's own file, by the keys of its first row."""
    first = next(iter(read_rows(source)), None)
    if first is None:
        raise _empty(source)
    row = first[1]
    if {"pair_id", "response_A", "response_B", "label"} <= set(row):
        return _TABLE["judgebench"]
    if "responses" in row and "correct" in row:
        return _OWN["one-of-n"]
    if isinstance(row.get("chosen"), list) and "num_correct" in row:
        return _TABLE["rewardbench-2"]
    return _OWN["pairs"]


def _empty(source: str) -> DataError:
    return DataError(f"{source} is empty; an evaluation needs items.")


def _own_spec(items: list[Item]) -> SuiteSpec:
    """How a user's own items are counted: by what they hold."""
    if all(len(item.correct) == 2 for item in items):
        return PAIRS
    return ONE_OF_N if all(sum(item.correct) == 1 for item in items) else K_OF_N


def unique_ids(items: Iterable[Named]) -> list[Named]:
    """Ids made unique within a subset; the second of an id gets a number after it."""
    seen: dict[tuple[str | None, str | None], int] = {}
    unique = []
    for item in items:
        count = seen[item.subset, item.id] = seen.get((item.subset, item.id), 0) + 1
        unique.append(item if count == 1 else replace(item, id=f"{item.id}~{count}"))
    return unique


def first_of_subsets(items: Iterable[Named], limit: int) -> list[Named]:
    """The first so many items of each subset."""
    groups: dict[str | None, list[Named]] = {}
    for item in items:
        groups.setdefault(item.subset, []).append(item)
    return list(chain.from_iterable(islice(group, limit) for group in groups.values()))


def style_matrix(scored: list[ScoredItem]) -> list[list[Figure]]:
    """RM-Bench's 3 × 3 matrix: accuracy of right style i against wrong style j."""
    from assay.evaluation.results import figures

    def cell(i: int, j: int) -> Figure:
        measure = Measure("accuracy", "a tie is wrong", partial(style_cell, i=i, j=j))
        subsets: Mapping[str, SubsetSpec] = {
            name: SubsetSpec(measure, weight=1.0) for name in RM_BENCH.subsets
        }
        spec = replace(RM_BENCH, measure=measure, subsets=subsets)
        found = figures(spec, scored)
        whole = found.total or found.accuracy
        assert whole is not None
        return whole.accuracy

    return [[cell(i, j) for j in range(3)] for i in range(3)]
