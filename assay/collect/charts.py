"""The charts of reviewers' pages: SVG with a title and a description, in the viewer's language."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from markupsafe import Markup

from assay.collect.pages import Words
from assay.collect.quality import Asked, Period, Person, Quality, Standing
from assay.data.audit.figures import Outcome
from assay.pages.svg import NARROW, WIDTH, Mark, columns_chart, line_chart, rows_chart
from assay.types import Figure

MOST_ROWS = 20
MOST_LABELS = {WIDTH: 8, NARROW: 4}
"""Days that are named under an axis, by its width."""


def day(start: int) -> str:
    """The date of a time."""
    return datetime.fromtimestamp(start / 1000, UTC).strftime("%Y-%m-%d")


def throughput(quality: Quality, words: Words) -> Markup | None:
    """Judgments a day, or a week."""
    if not quality.periods:
        return None
    counts = [float(p.judgments) for p in quality.periods]
    axis = words("review.week" if quality.by_week else "review.day")

    def draw(width: float) -> str:
        labels = [""] * len(counts)
        for place, label in _labels(quality.periods, width):
            labels[int(place)] = label
        title = str(words("review.throughput"))
        return columns_chart(title, labels, [("model", counts)], str(axis), width)

    best = max(quality.periods, key=lambda p: p.judgments)
    return _drawn(
        draw, words("review.throughput-desc", n=len(counts), most=best.judgments,
                   day=day(best.start))
    )  # fmt: skip


def drift(quality: Quality, words: Words) -> Markup | None:
    """Agreement and the share of the first shown over time; None with fewer than two periods."""
    named: dict[str, tuple[str, Callable[[Period], Outcome]]] = {
        "model": (str(words("review.line-alike")), lambda p: p.agreement),
        "length": (str(words("review.line-first")), lambda p: p.first_shown),
    }
    lines = {}
    for style, (_, take) in named.items():
        found = [_bounds(take(period)) for period in quality.periods]
        if any(math.isfinite(value) for value, _, _ in found):
            lines[style] = ([v for v, _, _ in found], [lo for _, lo, _ in found],
                            [hi for _, _, hi in found])  # fmt: skip
    if not lines or len(quality.periods) < 2:
        return None

    def draw(width: float) -> str:
        return line_chart(
            str(words("review.drift")), [float(i) for i in range(len(quality.periods))], lines,
            _labels(quality.periods, width),
            str(words("review.week" if quality.by_week else "review.day")),
            names={style: named[style][0] for style in lines}, width=width,
        )  # fmt: skip

    return _drawn(draw, words("review.drift-desc", n=len(quality.periods)))


def leaderboard(board: Sequence[Standing], words: Words) -> Markup | None:
    """Strengths of the largest group of models that can be compared."""
    rows = [(s.model, s.strength) for s in board if s.group == 0][:MOST_ROWS]
    return _dots(rows, str(words("review.models")), str(words("review.strength")), words,
                 line=0.0)  # fmt: skip


def agreement(asked: Sequence[Asked], name: Callable[[str], Markup], words: Words) -> Markup | None:
    """The coefficient of every question."""
    rows = [
        (name(a.name).unescape(), a.coefficient) for a in asked if isinstance(a.coefficient, Figure)
    ]
    return _dots(rows[:MOST_ROWS], str(words("review.agreement")),
                 str(words("review.coefficient")), words, low=0.0, high=1.0, line=0.0)  # fmt: skip


def annotators(people: Sequence[tuple[str, Person]], words: Words) -> Markup | None:
    """How often each annotator says what the others say, those who judged most first."""
    rows = [
        (name, p.audit.agreement)
        for name, p in people
        if p.audit and isinstance(p.audit.agreement, Figure)
    ]
    return _dots(rows[:MOST_ROWS], str(words("review.alike")), str(words("review.alike")), words,
                 low=0.0, high=1.0)  # fmt: skip


def _dots(
    rows: Sequence[tuple[str, Outcome]],
    title: str,
    xlabel: str,
    words: Words,
    low: float = math.inf,
    high: float = -math.inf,
    line: float | None = None,
) -> Markup | None:
    """Values with their intervals on one axis."""
    found = [(label, _bounds(outcome)) for label, outcome in rows]
    found = [(label, bounds) for label, bounds in found if math.isfinite(bounds[0])]
    if not found:
        return None
    low = min(low, *(bounds[1] for _, bounds in found))
    high = max(high, *(bounds[2] for _, bounds in found))
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    marks = [(label, [Mark(*bounds, "model")]) for label, bounds in found]
    said = "; ".join(f"{label} {v:.2f} [{lo:.2f}, {hi:.2f}]" for label, (v, lo, hi) in found)
    return _drawn(
        lambda width: rows_chart(title, marks, low, high, xlabel, line, width),
        words("review.dots-desc", n=len(found), rows=said),
    )


def _bounds(outcome: Outcome) -> tuple[float, float, float]:
    """Value and interval, which is the value alone where there is none; nan without a value."""
    if not isinstance(outcome, Figure):
        return math.nan, math.nan, math.nan
    value = outcome.value
    return (value, outcome.low if math.isfinite(outcome.low) else value,
            outcome.high if math.isfinite(outcome.high) else value)  # fmt: skip


def _labels(periods: Sequence[Period], width: float) -> list[tuple[float, str]]:
    """Dates of some of the periods, evenly spread."""
    step = max(1, math.ceil(len(periods) / MOST_LABELS[width]))
    return [(float(i), day(periods[i].start)[5:]) for i in range(0, len(periods), step)]


def _drawn(draw: Callable[[float], str], text: Markup) -> Markup:
    """A chart with its description, wide and narrow: the style sheet shows the one that fits."""
    described = (
        draw(width).replace("</title>", f"</title><desc>{text}</desc>", 1)
        for width in (WIDTH, NARROW)
    )
    return Markup("".join(described))  # all of it is escaped
