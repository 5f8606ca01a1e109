"""The report page: self-contained, escaped, a table for every chart, nothing that is not so."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.evaluation.leaderboard import leaderboard_page
from assay.evaluation.report import report_page
from assay.evaluation.rewardbench import COUNTS, REWARDBENCH
from assay.evaluation.run import evaluate
from assay.evaluation.scoring import ScoredSuite
from assay.evaluation.suite import Item, ScoredItem, Suite
from assay.evaluation.suites import ONE_OF_N, RM_BENCH
from assay.pages.html import CSS, page, shown, table
from assay.types import Scores, as_messages

EVIL = "<script>alert(1)</script>&\"'"


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on a tag that is not closed in order."""

    VOID = frozenset({"meta", "br", "circle", "rect", "polygon", "polyline", "line"})

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


class Noisy:
    """Rewards that depend on the text alone."""

    def score(self, conversations: Any) -> Scores:
        draws = [
            np.random.default_rng(sum(map(ord, c.response_text))).normal() for c in conversations
        ]
        return Scores(np.array(draws))


def items(count: int, responses: int, subset: str, right: int = 1) -> list[Item]:
    rng = np.random.default_rng(1)
    return [
        Item(
            f"{subset}-{i}",
            subset,
            as_messages(f"{EVIL} {i}?", "user"),
            tuple(
                as_messages(" ".join(rng.choice(["tea", "rain", EVIL, "so."], 7)), "assistant")
                for _ in range(responses)
            ),
            tuple(j < right for j in range(responses)),
            str(i),
        )
        for i in range(count)
    ]


def rendered(record: Any, path: Path) -> tuple[str, Page]:
    text = report_page(record, path).read_text("utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    """One of N with probes and best-of-n, every text of it hostile."""
    suite = Suite(ONE_OF_N, (*items(24, 4, EVIL), *items(12, 4, "plain")), EVIL)
    done = evaluate(Noisy(), suite, model=EVIL, probed=20)
    return rendered(done.record, tmp_path_factory.mktemp("evil") / "report.html")


def test_all_text_is_escaped(evil: tuple[str, Page]) -> None:
    text, parsed = evil
    assert "<script" not in text
    assert "<script>alert(1)</script>" in parsed.text  # as words to read
    assert {tag for tag, _ in parsed.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "small"),
        *("strong", "figure", "div", "span", "svg", "text", "line", "circle", "rect", "polygon"),
        *("polyline", "table", "caption", "thead", "tbody", "tr", "th", "td", "details"),
        *("summary", "pre", "dl", "dt", "dd"),
    }


def test_nothing_is_loaded_and_nothing_runs(evil: tuple[str, Page]) -> None:
    text, parsed = evil
    assert not re.search(r"https?://|//[a-z]|@import|url\(", text)
    for _, attributes in parsed.tags:
        assert not {"src", "href", "style", "srcset"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
    digest = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")


def test_every_chart_has_a_title_and_a_table(evil: tuple[str, Page]) -> None:
    _, parsed = evil
    charts = sum(t == "svg" and a.get("role") == "img" for t, a in parsed.tags)
    assert charts == 4  # subsets, reliability, probes, best-of-n
    assert sum(t == "table" for t, _ in parsed.tags) >= charts
    assert sum(t == "caption" for t, _ in parsed.tags) == sum(t == "table" for t, _ in parsed.tags)
    for axis in ("accuracy", "standard deviations", "confidence", "KL = log n"):
        assert axis in parsed.text


def test_the_figures_of_the_page_are_those_of_the_record(tmp_path: Path) -> None:
    suite = Suite(ONE_OF_N, tuple(items(30, 4, "all")), "made")
    record = evaluate(Noisy(), suite, model="mine", probed=0).record
    _, parsed = rendered(record, tmp_path / "r.html")
    total = record["total"]
    assert f"{total['value']:.3f} 95 % interval {total['low']:.3f} to" in parsed.text
    for key in ("length_only_accuracy", "text_only_accuracy"):
        assert f"{record['subsets']['all'][key]['value']:.3f}" in parsed.text
    assert f"{record['calibration']['ece']['value']:.3f}" in parsed.text
    assert "not shown bias probes" in parsed.text


def test_a_partial_suite_says_so_and_shows_no_total(tmp_path: Path) -> None:
    rows = tuple(
        ScoredItem(str(i), "math-prm", (float(i % 2), 0.5), (True, False), str(i)) for i in range(9)
    )
    record = evaluate(None, Suite(REWARDBENCH, (), "s"), scored=ScoredSuite(rows, 0, 0, 0)).record
    _, parsed = rendered(record, tmp_path / "r.html")
    assert "Partial: 0 of 23 subsets are whole, so there is no total." in parsed.text
    assert "math-prm 9 of 447" in parsed.text
    assert "class" not in [a for t, a in parsed.tags if t == "p" and a.get("class") == "head"]
    assert not [a for t, a in parsed.tags if a.get("class") == "head"]
    assert "length only" in parsed.text  # the column stays, with dashes
    assert "bag of words" in parsed.text


def test_the_legend_names_what_is_drawn_and_nothing_else(tmp_path: Path) -> None:
    rows = tuple(
        ScoredItem(str(i), name, (float(i % 3), 0.5), (True, False), f"{name}{i}")
        for name, count in COUNTS.items()
        for i in range(count)
    )
    record = evaluate(None, Suite(REWARDBENCH, (), "s"), scored=ScoredSuite(rows, 0, 0, 0)).record
    text, _ = rendered(record, tmp_path / "r.html")
    keys = re.findall(r'<div class="key">(.*?)</div>', text)
    assert len(keys) == 1
    assert "model, 95 % interval" in keys[0]
    assert "length only" not in keys[0]


def test_styles_of_rm_bench_have_their_matrix(tmp_path: Path) -> None:
    suite = Suite(RM_BENCH, tuple(items(10, 6, "chat", right=3)), "made")
    _, parsed = rendered(evaluate(Noisy(), suite, probed=0).record, tmp_path / "r.html")
    assert "Style against substance" in parsed.text
    assert "right: concise" in parsed.text
    assert "easy" in parsed.text


def test_few_measured_probes_do_not_stretch_the_axis(tmp_path: Path) -> None:
    suite = Suite(ONE_OF_N, tuple(items(30, 4, "all")), "made")
    record = dict(evaluate(Noisy(), suite, probed=20).record)
    probes = [dict(p) for p in record["probes"]]
    wild = {"value": 40.0, "low": -500.0, "high": 580.0, "n": 2}
    probes[0]["effect"] = wild
    before, _ = rendered(record, tmp_path / "a.html")
    after, parsed = rendered({**record, "probes": probes}, tmp_path / "b.html")
    axis = re.compile(r"Effect of each edit on the reward</title>(.*?)</svg>")
    ticks = [re.findall(r">(-?[\d.]+)</text>", axis.search(t).group(1)) for t in (before, after)]  # type: ignore[union-attr]
    assert ticks[0] == ticks[1]
    assert f"the axis leaves out of account: {probes[0]['name']}" in parsed.text
    assert "+40.000 [-500.000, +580.000]" in parsed.text  # the table has it all the same


def test_a_figure_as_text() -> None:
    figure = {"value": 0.5, "low": 0.25, "high": None, "n": 1}
    assert shown(figure) == "0.500"
    assert shown({**figure, "high": 0.75}, signed=True) == "+0.500 [+0.250, +0.750]"
    assert shown({**figure, "value": None}) == shown(None) == "–"


def test_a_table_is_escaped_and_wraps_only_words() -> None:
    text = table("c", ["", EVIL], [[EVIL, "1"]], bold=[0], words=[1])
    Page(text)
    assert "<script" not in text
    assert '<tr class="section">' in text
    assert '<td class="words">1</td>' in text


def test_a_page_is_whole() -> None:
    assert Page(page("title & more", "<p>x</p>")).text == "title & more x"


def leader(name: str, right: int, tmp_path: Path) -> dict[str, Any]:
    rows = tuple(
        ScoredItem(str(i), "all", (1.0, 0.0) if i < right else (0.0, 1.0), (True, False), str(i),
                   (9, 4 + i % 9))
        for i in range(80)
    )  # fmt: skip
    suite = Suite(replace(ONE_OF_N), (), "s")
    record = evaluate(None, suite, scored=ScoredSuite(rows, 0, 0, 0), model=name).record
    return dict(record)


def test_the_leaderboard_is_in_order_with_baselines_and_overlaps(tmp_path: Path) -> None:
    results = [
        leader("low", 40, tmp_path),
        leader(EVIL, 70, tmp_path),
        leader("near", 68, tmp_path),
    ]
    text = leaderboard_page(results, tmp_path / "l.html").read_text("utf-8")
    parsed = Page(text)
    assert "<script" not in text
    names = re.findall(r'<th scope="row">(.*?)</th>', text)
    order = [n for n in names if "baseline" not in n]
    assert [("script" in n) or n for n in order] == [True, "near", "low"]
    assert any("baseline" in n for n in names)
    near = re.search(r'<th scope="row">near</th>(.*?)</tr>', text)
    low = re.search(r'<th scope="row">low</th>(.*?)</tr>', text)
    assert near is not None
    assert low is not None
    assert "overlaps" in near.group(1)
    assert "overlaps" not in low.group(1)
    assert "3 evaluations" in parsed.text
