"""The record of ``lets_verify.py`` as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common import table

from assay.stats.sampled import MAJORITY

Figures = Mapping[str, Any]


def report(record: Figures) -> str:
    """All tables, as in ``benchmarks/README.md``."""
    parts = []
    for m, found in record["selection"].items():
        parts += [f"m = {m}: {_luck_shown(found)}", _curves_shown(found)]
        parts += [_parts_shown(found), _differences_shown(found)]
    for m, by in record["labels"].items():
        parts += [f"labels by rollouts, m = {m}", _labels_shown(by), _first_errors_shown(by)]
    parts.append(f"search, each probe answered by the truth: {record['search_without_rollouts']}")
    return "\n\n".join(parts)


def _luck_shown(found: Figures) -> str:
    luck = found["samples"]
    by_seed = "; ".join(
        f"seed {seed}: right {cell(each['right'])}, sound {cell(each['sound'])}"
        for seed, each in luck["by_seed"].items()
    )
    return (
        f"samples right {cell(luck['right'])}, sound {cell(luck['sound'])}; of right ones not "
        f"sound {cell(luck['unsound_of_right'])}; of unsound ones right "
        f"{cell(luck['right_of_unsound'])}; step AUC {cell(found['models']['step_auc'])}\n{by_seed}"
    )


def _curves_shown(found: Figures) -> str:
    rows = [
        [name, *(cell(f) if n == found["n"][-1] else f"{f['value']:.3f}"
                 for n, f in zip(found["n"], row, strict=True))]
        for name, row in found["curves"].items()
    ]  # fmt: skip
    last = {name: cell(row[-1]) for name, row in found["sound"]["curves"].items()}
    last |= {MAJORITY: cell(found["sound"]["majority"])}
    return table(
        ["right answers", *(f"n = {n}" for n in found["n"]), f"sound, n = {found['n'][-1]}"],
        [[*row, last.get(row[0], "")] for row in rows],
    )


def _parts_shown(found: Figures) -> str:
    parts, methods = found["parts"], list(found["curves"])
    rows = [[name, *(cell(parts[part][name]) for part in parts)] for name in methods]
    return table([f"right answers, n = {found['n'][-1]}", *parts], rows)


def _differences_shown(found: Figures) -> str:
    rows = [(name, row) for name, row in found["differences"].items()]
    rows.append(("sound reasoning: PRM - ORM", found["sound"]["PRM - ORM"]))
    seeds = list(rows[0][1]["by_seed"])
    return table(
        [f"difference at n = {found['n'][-1]}", *(f"seed {s}" for s in seeds), "all"],
        [
            [name, *(cell(row["by_seed"][s]) for s in seeds), cell(row["n"][-1])]
            for name, row in rows
        ],
    )


def _labels_shown(by: Mapping[str, Figures]) -> str:
    kinds = ("bad_precision", "bad_recall", "good_precision", "good_recall")
    rows = [
        [name, estimation, n, *(cell(figures[k]) for k in kinds)]
        for name, found in by.items()
        for estimation, each in found["by_rollouts"].items()
        for n, figures in each.items()
    ]
    header = [k.replace("_", ": ") for k in kinds]
    return table(["completer", "estimate", "rollouts", *header], rows)


def _first_errors_shown(by: Mapping[str, Figures]) -> str:
    rows = []
    for name, found in by.items():
        after = [cell(found[f"share_right_after_{kind}"]) for kind in ("good", "bad")]
        for how, exact in found["first_error"].items():
            rows.append([name, how, cell(exact["unsound"]), cell(exact["sound"]), *after])
    header = ["first error named: unsound", "sound", "right after a good step", "after a bad one"]
    return table(["completer", "by", *header], rows)


def cell(figure: Mapping[str, Any] | None) -> str:
    """A figure with its interval, as tables have it."""
    if figure is None or figure["value"] is None:
        return "none"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
