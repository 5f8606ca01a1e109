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
NARROW = 320.0
"""Of a chart for a telephone: scaled down to it, the text of a wide one could not be read."""
ROW = 26.0
LABEL = 190.0
LETTER = 7.2
"""Of 12 px, in a wide face, about so wide."""
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
    width: float = WIDTH,
) -> str:
    """A row a label, with dots and intervals on one axis, and an upright line at a value.

    What lies outside the axis is drawn at its end, as an arrowhead in place of the dot.
    """
    bottom = 8 + ROW * len(rows) + 6.0
    height = bottom + 48
    left, right = min(LABEL, 0.36 * width), width - 20
    letters = int((left - 14) / LETTER)

    def x(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * (right - left)

    parts = []
    for value in round_ticks(low, high, _ticks(width)):
        parts.append(_line(x(value), 8.0, x(value), bottom, "grid"))
        parts.append(_text(x(value), bottom + 18, f"{value:g}"))
    parts.append(_text((left + right) / 2, bottom + 40, xlabel))
    if line is not None:
        parts.append(_line(x(line), 8.0, x(line), bottom, "chance"))
    for i, (label, marks) in enumerate(rows):
        y = 8 + ROW * (i + 0.5)
        parts.append(_text(left - 10, y + 4, _short(label, letters), "end"))
        for mark in reversed(marks):
            if mark.low is not None and mark.high is not None:
                parts.append(_line(x(mark.low), y, x(mark.high), y, f"bar {mark.style}"))
            if low <= mark.value <= high:
                parts.append(_symbol(x(mark.value), y, mark.style))
            else:
                parts.append(_arrow(x(mark.value), y, mark.value > high, mark.style))
    return _svg(title, width, height, parts, _kind(width))


def line_chart(
    title: str,
    xs: Sequence[float] | Mapping[str, Sequence[float]],
    lines: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    labels: Sequence[tuple[float, str]],
    xlabel: str,
    below: Sequence[tuple[float, str]] = (),
    names: Mapping[str, str] | None = None,
    level: tuple[float, float] | None = None,
    marks: Sequence[tuple[float, str]] = (),
    width: float = WIDTH,
) -> str:
    """Lines with bands: name to (value, low, high); a line goes past the x where it has nan.

    Args:
        xs: Of all lines, or of each by its name.
        below: A second row of labels under the axis.
        names: What to write at the right end of each line.
        level: From where to where the ground is shaded across.
        marks: Upright lines, each with the label at its top.
    """
    left, top, bottom = 54.0, 12.0, 286.0
    height = 346.0 if below else 330.0
    right = width - (min(NAME, 0.36 * width) if names else 20.0)
    every = [v for value, low_, high_ in lines.values() for v in (*value, *low_, *high_)]
    every = [v for v in (*every, *(level or ())) if math.isfinite(v)]
    low, high = min(every), max(every)
    pad = (high - low) * 0.05 or 0.05
    low, high = low - pad, high + pad
    of_line = xs if isinstance(xs, Mapping) else dict.fromkeys(lines, xs)
    first = min(v for values in of_line.values() for v in values)
    span = (max(v for values in of_line.values() for v in values) - first) or 1.0

    def x(value: float) -> float:
        return left + (value - first) / span * (right - left)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = []
    if level is not None:
        parts.append(_rect("usual", left, y(level[1]), right - left, y(level[0]) - y(level[1])))
    for value in round_ticks(low, high):
        parts.append(_line(left, y(value), right, y(value), "grid"))
        parts.append(_text(left - 6, y(value) + 4, f"{value:g}", "end"))
    for at, label in marks:
        parts.append(_line(x(at), top, x(at), bottom, "mark"))
        parts.append(_text(x(at), top - 2, label))
    for row, under in enumerate((labels, below)):
        parts += [_text(x(at), bottom + 18 + 16 * row, label) for at, label in under]
    parts.append(_text((left + width) / 2, height - 6, xlabel))
    ends = {n: y([v for v in lines[n][0] if math.isfinite(v)][-1]) for n in names or {}}
    for name, at in apart(ends, 14.0, top, bottom).items():
        parts.append(_text(right + 8, at + 4, (names or {})[name], "start"))
    for name, (middle, lower, upper) in lines.items():
        rows = zip(of_line[name], middle, lower, upper, strict=True)
        drawn = [(x(a), y(v), y(lo), y(hi)) for a, v, lo, hi in rows if math.isfinite(v)]
        parts += _curve(name, drawn)
    return _svg(title, width, height, parts, _kind(width))


class Dot(NamedTuple):
    """A point with its interval; an open one was not measured but predicted."""

    x: float
    value: float
    low: float
    high: float
    is_open: bool = False


class Series(NamedTuple):
    """Points and a curve with its band, (x, value, low, high), in the style of a class."""

    style: str
    dots: Sequence[Dot]
    curve: Sequence[tuple[float, float, float, float]]


def log_chart(
    title: str,
    series: Sequence[Series],
    labels: Sequence[tuple[float, str]],
    xlabel: str,
    line: float | None = None,
    beyond: float | None = None,
) -> str:
    """Points with intervals and curves with bands over a logarithmic axis.

    The points of different series at one x are drawn side by side, open ones on the right. The
    other axis is as long as measured intervals and curves need; bands and predicted intervals that
    are longer are cut off.

    Args:
        line: Where a level line is drawn.
        beyond: From this x on the ground is shaded: nothing was measured there.
    """
    height, left, right, top, bottom = 400.0, 54.0, 20.0, 12.0, 352.0
    dots = [d for s in series for d in s.dots]
    xs = [d.x for d in dots] + [p[0] for s in series for p in s.curve]
    every: list[float] = [
        v for d in dots for v in (d.value, *(() if d.is_open else (d.low, d.high)))
    ]
    every += [p[1] for s in series for p in s.curve] + ([] if line is None else [line])
    pad = (max(every) - min(every)) * 0.05 or 0.05
    low, high = min(every) - pad, max(every) + pad
    span: float = math.log(max(xs) / min(xs)) or 1.0
    columns = sum(bool(s.dots) for s in series)
    step = min(9.0, 40.0 / max(columns, 1))
    inset = 1.5 * step * columns + 10  # room for the points of several series side by side

    def x(value: float) -> float:
        share = math.log(value / min(xs)) / span
        return left + inset + share * (WIDTH - left - right - 2 * inset)

    def y(value: float) -> float:
        return bottom - (min(max(value, low), high) - low) / (high - low) * (bottom - top)

    parts = []
    if beyond is not None and beyond < max(xs):
        edge = x(beyond) + (inset if any(d.is_open for d in dots) else step * columns / 2 + 6)
        parts.append(_rect("beyond", edge, top, WIDTH - right - edge, bottom - top))
    for value in round_ticks(low, high):
        parts.append(_line(left, y(value), WIDTH - right, y(value), "grid"))
        parts.append(_text(left - 6, y(value) + 4, f"{value:g}", "end"))
    for at, label in labels:
        parts.append(_text(x(at), bottom + 18, label))
    parts.append(_text((left + WIDTH - right) / 2, height - 8, xlabel))
    if line is not None:
        parts.append(_line(left, y(line), WIDTH - right, y(line), "chance"))
    for s in series:
        parts += _curve(s.style, [(x(a), y(v), y(lo), y(hi)) for a, v, lo, hi in s.curve])
    for place, s in enumerate(s for s in series if s.dots):
        aside = step * (place - (columns - 1) / 2)
        for dot in s.dots:
            at = x(dot.x) + aside + (step * columns if dot.is_open else 0.0)
            parts.append(_line(at, y(dot.low), at, y(dot.high), f"bar {s.style}"))
            parts.append(_symbol(at, y(dot.value), s.style, dot.is_open))
    return _svg(title, WIDTH, height, parts)


def _curve(style: str, points: Sequence[tuple[float, float, float, float]]) -> list[str]:
    """A line with its band, from pixels (x, value, low, high)."""
    if not points:
        return []
    around = [(a, lower) for a, _, lower, _ in points]
    around += [(a, upper) for a, _, _, upper in points][::-1]
    path = [(a, value) for a, value, _, _ in points]
    return [
        f'<polygon class="band {style}" points="{_points(around)}"/>',
        f'<polyline class="curve {style}" points="{_points(path)}"/>',
    ]


def bars_chart(title: str, edges: Sequence[float], counts: Sequence[int], xlabel: str) -> str:
    """A histogram: a bar from each edge to the next, as high as its count."""
    height, left, top, bottom = 300.0, 62.0, 12.0, 246.0
    highest = float(max([*counts, 1]))

    def x(value: float) -> float:
        return left + (value - edges[0]) / (edges[-1] - edges[0]) * (WIDTH - left - 20)

    def y(value: float) -> float:
        return bottom - value / highest * (bottom - top)

    parts = []
    for value in round_ticks(0.0, highest):
        parts.append(_line(left, y(value), WIDTH - 20.0, y(value), "grid"))
        parts.append(_text(left - 6, y(value) + 4, f"{value:,g}", "end"))
    for value in round_ticks(edges[0], edges[-1]):
        parts.append(_text(x(value), bottom + 18, f"{value:g}"))
    for low, high, count in zip(edges, edges[1:], map(float, counts), strict=False):
        wide = max(x(high) - x(low) - 2, 1.0)
        parts.append(
            f'<rect class="model" x="{_n(x(low) + 1)}" y="{_n(y(count))}" width="{_n(wide)}" '
            f'height="{_n(bottom - y(count))}"><title>{low:g} to {high:g}: {count:,g}</title>'
            "</rect>"
        )
    parts.append(_text((left + WIDTH) / 2, height - 10, xlabel))
    return _svg(title, WIDTH, height, parts)


def columns_chart(
    title: str,
    labels: Sequence[str],
    groups: Sequence[tuple[str, Sequence[float]]],
    xlabel: str,
    width: float = WIDTH,
) -> str:
    """Upright bars over labelled bins, one of each group side by side: (style, heights)."""
    height, left, top, bottom = 260.0, 54.0, 12.0, 206.0
    highest = max((v for _, values in groups for v in values), default=0.0) or 1.0
    step = (width - left - 20) / max(len(labels), 1)
    wide = step * 0.8 / max(len(groups), 1)

    def y(value: float) -> float:
        return bottom - value / highest * (bottom - top)

    parts = []
    for value in round_ticks(0.0, highest, wanted=4):
        parts.append(_line(left, y(value), width - 20.0, y(value), "grid"))
        parts.append(_text(left - 6, y(value) + 4, f"{value:g}", "end"))
    for i, label in enumerate(labels):
        at = left + step * (i + 0.1)
        parts.append(_text(at + step * 0.4, bottom + 18, label))
        for k, (style, values) in enumerate(groups):
            parts.append(_rect(style, at + k * wide, y(values[i]), wide, bottom - y(values[i])))
    parts.append(_text((left + width) / 2, height - 8, xlabel))
    return _svg(title, width, height, parts, _kind(width))


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


def scatter_chart(
    title: str, points: Sequence[tuple[float, float]], xlabel: str, ylabel: str
) -> str:
    """Points of two probabilities, the diagonal, and the ground shaded where they take sides.

    The shaded quarters are those where one is above ½ and the other below.
    """
    size, left, top, bottom = 380.0, 54.0, 24.0, 330.0
    right = size - 16.0

    def x(value: float) -> float:
        return left + value * (right - left)

    def y(value: float) -> float:
        return bottom - value * (bottom - top)

    wide, high = (right - left) / 2, (bottom - top) / 2
    parts = [
        _rect("beyond", x(0.0), y(1.0), wide, high),
        _rect("beyond", x(0.5), y(0.5), wide, high),
    ]
    for value in round_ticks(0.0, 1.0):
        parts.append(_line(left, y(value), right, y(value), "grid"))
        parts.append(_text(left - 6, y(value) + 4, f"{value:g}", "end"))
        parts.append(_text(x(value), bottom + 18, f"{value:g}"))
    parts.append(_line(x(0.0), y(0.0), x(1.0), y(1.0), "chance"))
    parts += [
        f'<circle class="dot model" cx="{_n(x(a))}" cy="{_n(y(b))}" r="3.5" fill-opacity="0.5"/>'
        for a, b in points
    ]
    parts.append(_text((left + size) / 2, size - 8, xlabel))
    parts.append(_text(left - 40, top - 10, ylabel, "start"))
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


_SHAPES = {
    "text": ((0.0, -5.5), (5.5, 4.5), (-5.5, 4.5)),
    "s1": ((0.0, -5.5), (5.5, 4.5), (-5.5, 4.5)),
    "s2": ((0.0, -6.5), (6.5, 0.0), (0.0, 6.5), (-6.5, 0.0)),
    "s3": ((0.0, 5.5), (5.5, -4.5), (-5.5, -4.5)),
    "s4": ((-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)),
    "s5": ((-6.0, -2.0), (6.0, -2.0), (6.0, 2.0), (-6.0, 2.0)),
}
"""Corners of the symbols that are no circle, by style."""


def symbol(style: str, is_open: bool = False) -> str:
    """The symbol of a style in a square of 12, for a legend."""
    return _symbol(6.0, 6.0, style, is_open)


def _symbol(x: float, y: float, style: str, is_open: bool = False) -> str:
    kind = f"dot {style}{' open' if is_open else ''}"
    if style == "length":
        return f'<rect class="{kind}" x="{_n(x - 4)}" y="{_n(y - 4)}" width="8" height="8"/>'
    if style in _SHAPES:
        corners = [(x + dx, y + dy) for dx, dy in _SHAPES[style]]
        return f'<polygon class="{kind}" points="{_points(corners)}"/>'
    return f'<circle class="{kind}" cx="{_n(x)}" cy="{_n(y)}" r="5"/>'


def _arrow(x: float, y: float, right: bool, style: str) -> str:
    tip = 7.0 if right else -7.0
    return (
        f'<polygon class="dot {style}" '
        f'points="{_points([(x + tip, y), (x - tip / 2, y - 5.5), (x - tip / 2, y + 5.5)])}"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'


def _rect(style: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{style}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"/>'
    )


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_n(a)},{_n(b)}" for a, b in points)


def _svg(title: str, width: float, height: float, parts: Sequence[str], kind: str = "wide") -> str:
    return (
        f'<svg role="img" class="{kind}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _kind(width: float) -> str:
    return "wide" if width >= WIDTH else "narrow"


def _ticks(width: float) -> int:
    return 6 if width >= WIDTH else 5


def _short(label: str, most: int) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _n(value: float) -> str:
    return f"{value:.1f}"
