"""Small charts as SVG text: no script, no style attribute, the same bytes for the same numbers.

Colours come from the page's classes, so that they follow light and dark. Every chart has a title
and a description, and nothing is said by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH = 720.0
ROW = 26.0
LABEL = 190.0
NAME = 150.0


class Mark(NamedTuple):
    """A value with its interval (None where it has none), drawn in the style of a class."""

    value: float
    low: float | None
    high: float | None
    style: str


def rows_chart(
    title: str,
    rows: Sequence[tuple[str, Sequence[Mark]]],
    low: float,
    high: float,
    xlabel: str,
    line: float | None = None,
) -> str:
    """A row a label, with dots and intervals on one axis, and an upright line at a value.

    What lies outside the axis is drawn at its end, as an arrowhead in place of the dot.
    """
    bottom = 8 + ROW * len(rows) + 6.0
    height = bottom + 48

    def x(value: float) -> float:
        return LABEL + (min(max(value, low), high) - low) / (high - low) * (WIDTH - LABEL - 20)

    parts = []
    for value in round_ticks(low, high):
        parts.append(_line(x(value), 8.0, x(value), bottom, "grid"))
        parts.append(_text(x(value), bottom + 18, f"{value:g}"))
    parts.append(_text((LABEL + WIDTH - 20) / 2, bottom + 40, xlabel))
    if line is not None:
        parts.append(_line(x(line), 8.0, x(line), bottom, "chance"))
    for i, (label, marks) in enumerate(rows):
        y = 8 + ROW * (i + 0.5)
        parts.append(_text(LABEL - 10, y + 4, _short(label), "end"))
        for mark in reversed(marks):
            if mark.low is not None and mark.high is not None:
                parts.append(_line(x(mark.low), y, x(mark.high), y, f"bar {mark.style}"))
            if low <= mark.value <= high:
                parts.append(_symbol(x(mark.value), y, mark.style))
            else:
                parts.append(_arrow(x(mark.value), y, mark.value > high, mark.style))
    return _svg(title, WIDTH, height, parts)


def line_chart(
    title: str,
    xs: Sequence[float],
    lines: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    labels: Sequence[tuple[float, str]],
    xlabel: str,
    below: Sequence[tuple[float, str]] = (),
    names: Mapping[str, str] | None = None,
) -> str:
    """Lines with bands: name to (value, low, high).

    Args:
        below: A second row of labels under the axis.
        names: What to write at the right end of each line.
    """
    left, top, bottom = 54.0, 12.0, 286.0
    height = 346.0 if below else 330.0
    right = WIDTH - (NAME if names else 20.0)
    every = [v for value, low_, high_ in lines.values() for v in (*value, *low_, *high_)]
    low, high = min(every), max(every)
    pad = (high - low) * 0.05 or 0.05
    low, high = low - pad, high + pad
    span = (max(xs) - min(xs)) or 1.0

    def x(value: float) -> float:
        return left + (value - min(xs)) / span * (right - left)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = []
    for value in round_ticks(low, high):
        parts.append(_line(left, y(value), right, y(value), "grid"))
        parts.append(_text(left - 6, y(value) + 4, f"{value:g}", "end"))
    for row, under in enumerate((labels, below)):
        parts += [_text(x(at), bottom + 18 + 16 * row, label) for at, label in under]
    parts.append(_text((left + WIDTH) / 2, height - 6, xlabel))
    ends = {name: y(lines[name][0][-1]) for name in names or {}}
    for name, at in apart(ends, 14.0, top, bottom).items():
        parts.append(_text(right + 8, at + 4, (names or {})[name], "start"))
    for name, (middle, lower, upper) in lines.items():
        around = [(x(a), y(b)) for a, b in zip(xs, lower, strict=True)]
        around += [(x(a), y(b)) for a, b in zip(xs, upper, strict=True)][::-1]
        parts.append(f'<polygon class="band {name}" points="{_points(around)}"/>')
        path = [(x(a), y(b)) for a, b in zip(xs, middle, strict=True)]
        parts.append(f'<polyline class="curve {name}" points="{_points(path)}"/>')
    return _svg(title, WIDTH, height, parts)


def apart(places: Mapping[str, float], gap: float, low: float, high: float) -> dict[str, float]:
    """Places moved as little as keeps them a gap apart and, if there is room, between two ends.

    Neighbours that are too close become a block about their own mean, until no blocks touch.
    """
    order = sorted(places, key=lambda name: places[name])
    blocks = [[name] for name in order]

    def start(block: list[str]) -> float:
        room = gap * (len(block) - 1)
        mean = sum(places[name] for name in block) / len(block)
        return max(low, min(mean - room / 2, high - room))

    i = 0
    while i + 1 < len(blocks):
        if start(blocks[i]) + gap * len(blocks[i]) > start(blocks[i + 1]):
            blocks[i] += blocks.pop(i + 1)
            i = max(i - 1, 0)
        else:
            i += 1
    return {
        name: start(block) + gap * place for block in blocks for place, name in enumerate(block)
    }


def reliability_chart(title: str, bins: Sequence[tuple[float, float, float, float]]) -> str:
    """Share right against confidence, each (confidence, share, low, high), and the diagonal."""
    size, left, top, bottom = 380.0, 54.0, 12.0, 330.0

    def x(value: float) -> float:
        return left + (value - 0.5) / 0.5 * (size - left - 16)

    floor = math.floor(10 * min([0.5, *(low for _, _, low, _ in bins)])) / 10

    def y(value: float) -> float:
        return bottom - (value - floor) / (1 - floor) * (bottom - top)

    parts = []
    for value in round_ticks(0.5, 1.0):
        parts.append(_text(x(value), bottom + 18, f"{value:g}"))
    for value in round_ticks(floor, 1.0):
        parts.append(_line(left, y(value), size - 16, y(value), "grid"))
        parts.append(_text(left - 6, y(value) + 4, f"{value:g}", "end"))
    parts.append(_line(x(0.5), y(0.5), x(1.0), y(1.0), "chance"))
    for confidence, share, low, high in bins:
        parts.append(_line(x(confidence), y(low), x(confidence), y(high), "bar model"))
        parts.append(_symbol(x(confidence), y(share), "model"))
    parts.append(_text((left + size) / 2, size - 8, "confidence: σ(|gap|), the model's own"))
    return _svg(title, size, size, parts, "square")


def round_ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """About so many round numbers between two: steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / max(wanted - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1.0, 2.0, 5.0, 10.0) if power * m >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * i, 12) + 0.0 for i in range(first, last + 1)]


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _symbol(x: float, y: float, style: str) -> str:
    if style == "length":
        return f'<rect class="dot {style}" x="{_n(x - 4)}" y="{_n(y - 4)}" width="8" height="8"/>'
    if style == "text":
        points = [(x, y - 5.5), (x + 5.5, y + 4.5), (x - 5.5, y + 4.5)]
        return f'<polygon class="dot {style}" points="{_points(points)}"/>'
    return f'<circle class="dot {style}" cx="{_n(x)}" cy="{_n(y)}" r="5"/>'


def _arrow(x: float, y: float, right: bool, style: str) -> str:
    tip = 7.0 if right else -7.0
    return (
        f'<polygon class="dot {style}" '
        f'points="{_points([(x + tip, y), (x - tip / 2, y - 5.5), (x - tip / 2, y + 5.5)])}"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_n(a)},{_n(b)}" for a, b in points)


def _svg(title: str, width: float, height: float, parts: Sequence[str], kind: str = "wide") -> str:
    return (
        f'<svg role="img" class="{kind}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _short(label: str) -> str:
    return label if len(label) <= 27 else label[:26] + "…"


def _n(value: float) -> str:
    return f"{value:.1f}"
