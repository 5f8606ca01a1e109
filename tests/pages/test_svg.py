"""Charts as SVG: marks where the numbers say, round ticks, labels that cannot break out."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.pages.svg import (
    LETTER,
    NARROW,
    WIDTH,
    Dot,
    Mark,
    Series,
    apart,
    bars_chart,
    columns_chart,
    line_chart,
    log_chart,
    reliability_chart,
    round_ticks,
    rows_chart,
    scatter_chart,
    symbol,
)


def dots(svg: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'<circle [^>]*cx="(.*?)" cy="(.*?)"', svg)]


def chart(*marks: Mark, low: float = 0.0, high: float = 1.0) -> str:
    return rows_chart("t", [(str(i), [m]) for i, m in enumerate(marks)], low, high, "share")


def test_dots_lie_on_the_axis_in_proportion() -> None:
    found = dots(chart(*(Mark(v, None, None, "model") for v in (0.0, 0.5, 1.0))))
    xs = [x for x, _ in found]
    assert xs[1] == pytest.approx((xs[0] + xs[2]) / 2, abs=0.1)
    assert [y for _, y in found] == sorted(y for _, y in found)
    ticks = re.findall(r'<text x="(.*?)" [^>]*>([\d.]+)</text>', chart())
    by_value = {float(v): float(x) for x, v in ticks}
    assert by_value[0.0] == pytest.approx(xs[0], abs=0.1)
    assert by_value[1.0] == pytest.approx(xs[2], abs=0.1)


def test_what_lies_outside_is_an_arrowhead_at_the_end() -> None:
    text = chart(Mark(7.0, -3.0, 9.0, "model"), Mark(0.5, None, None, "model"))
    assert len(dots(text)) == 1
    assert 'class="dot model" points=' in text


def test_all_charts_are_well_formed_and_named() -> None:
    evil = '<&"'
    charts = [
        rows_chart(evil, [(evil * 20, [Mark(0.5, 0.4, 0.6, "length")])], 0.0, 1.0, evil, 0.5),
        line_chart(evil, [0.0, 1.0], {"gold": ([0.1, 0.2], [0.0, 0.1], [0.2, 0.3])},
                   [(0.0, evil)], evil),
        reliability_chart(evil, [(0.7, 0.65, 0.31, 0.9)]),
        log_chart(evil, [curve()], [(100.0, evil)], evil, line=0.5, beyond=200.0),
        bars_chart(evil, [0.0, 0.5, 1.0], [3, 0], evil),
    ]  # fmt: skip
    for text in charts:
        root = ElementTree.fromstring(text)
        assert root.attrib["role"] == "img"
        assert root.findtext("title") == evil


@pytest.mark.parametrize("width", [WIDTH, NARROW])
def test_all_that_is_drawn_and_said_is_inside_a_chart_of_any_width(width: float) -> None:
    long = "a name that is far too long for its place"
    lines = {"a": ([0.1, 0.9], [0.0, 0.8], [0.2, 1.0]), "b": ([0.2, 0.3], [0.1] * 2, [0.4] * 2)}
    for text in (
        rows_chart("t", [(long, [Mark(0.5, 0.4, 0.6, "model")])], 0.0, 1.0, "x", 0.5, width),
        line_chart("t", [0.0, 1.0], lines, [(0.0, "11-01"), (1.0, "11-25")], "x",
                   names={"a": "Übereinstimmung", "b": "Zuerst gezeigt"}, width=width),
        columns_chart("t", ["11-01", "", "11-25"], [("model", [3.0, 1.0, 2.0])], "x", width),
    ):  # fmt: skip
        root = ElementTree.fromstring(text)
        assert root.attrib["viewBox"].split()[2] == f"{width:g}"
        assert root.attrib["class"] == ("wide" if width == WIDTH else "narrow")
        for part in root.iter("text"):
            at, room = float(part.attrib["x"]), LETTER * len(part.text or "")
            before = {"start": 0.0, "middle": room / 2, "end": room}[part.attrib["text-anchor"]]
            assert at - before >= 0, part.text
            assert at - before + room <= width + 1, part.text
        for part in root.iter("line"):
            assert 0 <= float(part.attrib["x1"]) <= float(part.attrib["x2"]) <= width


def test_lines_are_named_at_their_ends_and_the_axis_has_two_rows() -> None:
    lines = {"a": ([0.0, 1.0], [0.0, 1.0], [0.0, 1.0]), "b": ([0.0, 0.99], [0.0] * 2, [1.0] * 2)}
    text = line_chart("t", [0.0, 2.0], lines, [(0.0, "one")], "x", [(2.0, "two")],
                      {"a": "upper", "b": "lower"})  # fmt: skip
    found = {t.text: t.attrib for t in ElementTree.fromstring(text).iter("text")}
    assert float(found["lower"]["y"]) - float(found["upper"]["y"]) >= 14  # they would overlap
    ends = re.findall(r'<polyline class="curve a" points="\S+ ([\d.]+),', text)
    assert float(found["upper"]["x"]) > float(ends[0])
    assert float(found["two"]["y"]) - float(found["one"]["y"]) == 16
    assert float(found["two"]["x"]) == float(ends[0])


@given(st.lists(st.floats(0, 100), min_size=1, max_size=7))
def test_places_are_kept_apart_in_order_and_inside(wanted: list[float]) -> None:
    places = {str(i): y for i, y in enumerate(wanted)}
    found = apart(places, 14.0, 0.0, 100.0)
    assert set(found) == set(places)
    inside = sorted(found.values())
    assert all(b - a >= 14.0 - 1e-9 for a, b in pairwise(inside))
    assert inside[0] >= -1e-9
    assert inside[-1] <= 100.0 + 1e-9
    order = sorted(places, key=lambda name: places[name])
    assert sorted(found, key=lambda name: found[name]) == order


def test_places_with_room_stay_and_two_that_are_close_part_evenly() -> None:
    assert apart({"a": 10.0, "b": 90.0}, 14.0, 0.0, 100.0) == {"a": 10.0, "b": 90.0}
    assert apart({"a": 50.0, "b": 54.0}, 14.0, 0.0, 100.0) == {"a": 45.0, "b": 59.0}


def curve(style: str = "s0", *dots: Dot) -> Series:
    given = dots or (
        Dot(100.0, 0.6, 0.55, 0.65),
        Dot(200.0, 0.7, 0.6, 0.8),
        Dot(400.0, 0.7, 0.6, 0.8),
    )
    return Series(style, given, [(100.0, 0.6, 0.5, 0.7), (400.0, 0.75, 0.7, 0.8)])


def test_doublings_are_equal_steps_on_a_logarithmic_axis() -> None:
    text = log_chart("t", [curve()], [(100.0, "a"), (200.0, "b"), (400.0, "c")], "pairs")
    xs = [x for x, _ in dots(text)]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    labels = re.findall(r'<text x="([\d.]+)" [^>]*>[abc]</text>', text)
    assert [float(x) for x in labels] == pytest.approx(xs, abs=0.1)
    # the curve ends under the first and the last point
    path = re.search(r'class="curve s0" points="(.*?)"', text)
    assert path is not None
    ends = [float(p.split(",")[0]) for p in path.group(1).split()]
    assert ends == pytest.approx([xs[0], xs[2]], abs=0.1)


def test_series_at_one_place_stand_side_by_side_in_other_shapes() -> None:
    styles = ["s0", "s1", "s2", "s3", "s4", "s5"]
    text = log_chart("t", [curve(style) for style in styles], [], "pairs")
    bars = re.findall(r'class="bar (s\d)" x1="(.*?)"', text)
    first = {style: float(x) for style, x in reversed(bars)}
    assert len(set(first.values())) == 6
    shapes = {re.sub(r'class="[^"]*"', "", symbol(style)) for style in styles}
    assert len(shapes) == 6


def test_what_was_predicted_is_open_and_does_not_stretch_the_axis() -> None:
    wild = Dot(400.0, 0.7, -5.0, 5.0, is_open=True)
    text = log_chart("t", [curve("s0", Dot(100.0, 0.6, 0.55, 0.65), wild)], [], "pairs")
    assert text.count('class="dot s0 open"') == 1
    ticks = [float(v) for v in re.findall(r">([\d.-]+)</text>", text)]
    assert min(ticks) >= 0.5
    assert max(ticks) <= 0.8
    ys = [float(y) for y in re.findall(r'class="bar s0"[^>]*y[12]="(.*?)"', text)]
    assert all(12.0 <= y <= 352.0 for y in ys)


def test_the_ground_beyond_the_data_is_shaded() -> None:
    assert 'class="beyond"' in log_chart("t", [curve()], [], "pairs", beyond=200.0)
    assert 'class="beyond"' not in log_chart("t", [curve()], [], "pairs", beyond=400.0)
    assert 'class="beyond"' not in log_chart("t", [curve()], [], "pairs")
    one = log_chart("t", [Series("s0", [Dot(100.0, 0.6, 0.6, 0.6)], [])], [], "pairs")
    assert "nan" not in one


def test_bars_are_as_high_as_their_counts_and_lie_between_their_edges() -> None:
    text = bars_chart("t", [0.0, 0.25, 0.5, 1.0], [10, 5, 0], "x")
    found = re.findall(r'<rect [^>]*x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"', text)
    xs, ys, widths, heights = (tuple(map(float, column)) for column in zip(*found, strict=True))
    assert heights[1] == pytest.approx(heights[0] / 2, abs=0.1)
    assert heights[2] == 0
    assert ys[0] + heights[0] == pytest.approx(ys[1] + heights[1], abs=0.1)
    assert xs[0] + widths[0] + 2 == pytest.approx(xs[1], abs=0.2)
    assert widths[2] + 2 == pytest.approx(2 * (widths[0] + 2), abs=0.2)
    assert "0.25 to 0.5: 5" in text
    assert "nan" not in bars_chart("t", [0.0, 1.0], [0], "x")


def test_a_flat_line_has_a_range_of_its_own() -> None:
    text = line_chart("t", [0.0, 1.0], {"a": ([1.0, 1.0], [1.0, 1.0], [1.0, 1.0])}, [], "x")
    assert "nan" not in text
    assert "inf" not in text


def test_reliability_reaches_down_to_the_lowest_interval() -> None:
    text = reliability_chart("t", [(0.6, 0.4, 0.18, 0.7)])
    assert ">0.2<" in text
    ys = [float(y) for y in re.findall(r'class="bar model"[^>]*y1="(.*?)"', text)]
    assert max(ys) <= 330.0


@given(st.floats(-50, 50), st.floats(0.01, 100))
def test_ticks_are_round_and_inside(low: float, span: float) -> None:
    ticks = round_ticks(low, low + span)
    assert 1 <= len(ticks) <= 12
    assert all(low - 1e-6 * span <= t <= low + span * (1 + 1e-6) for t in ticks)
    if len(ticks) > 1:
        step = ticks[1] - ticks[0]
        digits = f"{step:.6e}"
        assert digits[0] in "125"
        assert float(digits.split("e")[0]) == pytest.approx(int(digits[0]), abs=1e-4)


def test_ticks_of_the_usual_axes() -> None:
    assert round_ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert round_ticks(-0.9, 0.5) == [-0.5, 0.0, 0.5]


def test_columns_are_as_high_as_their_values_say() -> None:
    text = columns_chart("t", ["a", "<b>"], [("model", [1.0, 4.0]), ("length", [2.0, 0.0])], "x")
    found = re.findall(r'<rect class="(.*?)" x="(.*?)" y=".*?" width="(.*?)" height="(.*?)"', text)
    heights = {(style, float(x)): float(height) for style, x, _, height in found}
    tallest = max(heights.values())
    by_place = [heights[key] / tallest for key in sorted(heights, key=lambda key: key[1])]
    assert by_place == pytest.approx([0.25, 0.5, 1.0, 0.0], abs=0.005)
    assert "&lt;b&gt;" in text
    ElementTree.fromstring(text)


def test_columns_of_nothing_are_a_chart() -> None:
    ElementTree.fromstring(columns_chart("t", [], [], "x"))
    ElementTree.fromstring(columns_chart("t", ["a"], [("model", [0.0])], "x"))


def test_a_line_passes_over_what_is_missing() -> None:
    gap = [1.0, float("nan"), 3.0]
    svg = line_chart("t", [0.0, 1.0, 2.0], {"s0": (gap, gap, gap)}, [], "x", names={"s0": "end"})
    (line,) = re.findall(r'<polyline class="curve s0" points="(.*?)"', svg)
    assert len(line.split()) == 2
    assert "nan" not in svg
    ElementTree.fromstring(svg)


def test_the_usual_ground_and_marks_lie_where_they_should() -> None:
    line = [0.0, 1.0, 2.0]
    svg = line_chart(
        "t",
        [0.0, 1.0, 2.0],
        {"s0": (line, line, line)},
        [],
        "x",
        level=(0.5, 1.5),
        marks=[(1.0, "here")],
    )
    points = re.findall(r'<polyline class="curve s0" points="(.*?)"', svg)[0].split()
    places = [tuple(map(float, point.split(","))) for point in points]
    ((top, height),) = re.findall(
        r'class="usual" x=".*?" y="(.*?)" width=".*?" height="(.*?)"', svg
    )
    # half of the way between two points at either end
    assert float(top) == pytest.approx((places[1][1] + places[2][1]) / 2, abs=0.1)
    assert float(height) == pytest.approx((places[0][1] - places[2][1]) / 2, abs=0.2)
    assert f'<line class="mark" x1="{places[1][0]:.1f}"' in svg
    assert ">here</text>" in svg


def test_lines_may_have_places_of_their_own_on_one_axis() -> None:
    flat = ([0.0, 1.0], [0.0, 1.0], [0.0, 1.0])
    svg = line_chart(
        "t", {"gold": [0.0, 1.0], "random": [0.0, 2.0]}, {"gold": flat, "random": flat}, [], "x"
    )
    curves = re.findall(r'<polyline class="curve (\w+)" points="(.*?)"', svg)
    ends = {name: float(points.split()[-1].split(",")[0]) for name, points in curves}
    starts = {name: float(points.split()[0].split(",")[0]) for name, points in curves}
    assert starts["gold"] == starts["random"]
    assert ends["gold"] - starts["gold"] == pytest.approx(
        (ends["random"] - starts["random"]) / 2, abs=0.1
    )


def test_points_of_two_probabilities_lie_where_they_are() -> None:
    text = scatter_chart("t", [(0.5, 0.5), (0.0, 1.0), (1.0, 1.0)], "x", "<y>")
    (mid, middle), (left, top), (right, other) = dots(text)
    assert top == other
    assert mid == pytest.approx((left + right) / 2, abs=0.1)
    assert middle > top
    assert text.count('class="beyond"') == 2
    ElementTree.fromstring(text)
