"""A page that ranks evaluations of one suite, with intervals and baselines among the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from assay.atomic import write_text
from assay.errors import DataError
from assay.pages.html import page, shown, table
from assay.pages.svg import Mark, rows_chart


@dataclass(frozen=True)
class Row:
    """One model or baseline of a leaderboard; ``total`` is None where the suite was partial."""

    name: str
    total: Mapping[str, Any] | None
    sections: Mapping[str, Mapping[str, Any]]
    is_baseline: bool = False
    with_first: bool = False
    """Whether its interval reaches into that of the first."""


def leaderboard_rows(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows by total, best first, baselines among them, and partial evaluations last.

    Baselines are those of the first evaluation that has them: the items are the same.

    Raises:
        DataError: If there is nothing, or the suites differ.
    """
    suites = {str(r["suite"]) for r in results}
    if len(suites) != 1:
        raise DataError(
            f"A leaderboard is of one suite, got {', '.join(sorted(suites)) or 'none'}."
        )
    rows = [
        Row(str(r["model"]), r["total"], {n: p["accuracy"] for n, p in r["sections"].items()})
        for r in results
    ]
    for key, name in (("length_only", "length only"), ("text_only", "bag of words")):
        known = [r for r in results if r["baseline_totals"].get(key)]
        if known:
            parts = known[0]["sections"].items()
            rows.append(
                Row(
                    name,
                    known[0]["baseline_totals"][key],
                    {n: p[f"{key}_accuracy"] for n, p in parts if p.get(f"{key}_accuracy")},
                    is_baseline=True,
                )
            )
    whole = sorted(
        (r for r in rows if r.total),
        key=lambda r: (-float(r.total["value"]), r.name),  # type: ignore[index]
    )
    if whole and whole[0].total:
        floor = whole[0].total["low"]
        whole = [
            Row(r.name, r.total, r.sections, r.is_baseline, i > 0 and r.total["high"] >= floor)  # type: ignore[index]
            for i, r in enumerate(whole)
        ]
    return [*whole, *(r for r in rows if not r.total)]


def leaderboard_page(results: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Write the page.

    Raises:
        DataError: If there is nothing, or the suites differ.
    """
    rows = leaderboard_rows(results)
    title = str(results[0]["title"])
    sections = list(dict.fromkeys(name for row in rows for name in row.sections))
    whole = [row for row in rows if row.total]
    chart = ""
    if whole:
        marks = [
            (
                row.name,
                [
                    Mark(
                        row.total["value"],  # type: ignore[index]
                        row.total["low"],  # type: ignore[index]
                        row.total["high"],  # type: ignore[index]
                        "length" if row.is_baseline else "model",
                    )
                ],
            )
            for row in whole
        ]
        chart = rows_chart(f"{title}: totals with 95 % intervals", marks, 0.0, 1.0, "total")
        chart = f'<figure><div class="box">{chart}</div></figure>'
    lines = [
        [
            row.name + (" (baseline)" if row.is_baseline else ""),
            shown(row.total) if row.total else "partial",
            "overlaps" if row.with_first else "",
            *(shown(row.sections.get(name), interval=False) for name in sections),
        ]
        for row in rows
    ]
    note = (
        "Overlapping intervals say that the order is uncertain; a paired comparison (assay compare)"
        " decides more. Partial evaluations have no total and stand last."
    )
    body = (
        f'<h1>{escape(title)}</h1><p class="soft">{len(results)} evaluations</p>{chart}'
        + table(
            f"Total with 95 % interval, and sections; {results[0]['tie_rule']}.",
            ["model", "total", "with the first", *sections],
            lines,
        )
        + f"<p>{escape(note)}</p>"
    )
    write_text(path, page(f"{title} leaderboard", body))
    return Path(path)
