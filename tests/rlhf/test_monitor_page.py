"""The page: self-contained, escaped, and true to the numbers."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from assay.rlhf.monitor import Monitoring, OveroptimizationMonitor
from assay.rlhf.monitor_page import MOST_POINTS, _bins, _line

SETTINGS = Monitoring(steps=40, window=3, panel=2, page_every=50)


@pytest.fixture(scope="module")
def hacked_page(make_policy: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    policy = make_policy()
    policy.text = "<script>alert('x')</script> & so on"
    monitor = OveroptimizationMonitor(SETTINGS, tmp_path_factory.mktemp("run"))
    for _ in range(3):
        monitor.baseline(*policy.step())
    for t in range(1, 41):
        monitor.observe(t, *policy.step(t / 10, -t / 10, 20 + t), {"ppo/loss": 1.0})
    return monitor.write_page().read_text()


class Tags(HTMLParser):
    """All tags and attributes, and that they close in order."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def test_the_page_needs_nothing_else_and_runs_nothing(hacked_page: str) -> None:
    tags = read(hacked_page)
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(tags.tags)
    names = {name for name, _ in tags.attributes}
    assert not {"src", "href", "style", "onload", "onclick"} & names
    assert "default-src 'none'" in hacked_page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; so on" in hacked_page


def test_charts_are_well_formed_and_named(hacked_page: str) -> None:
    charts = re.findall(r"<svg role.*?</svg>", hacked_page)
    assert len(charts) > 8
    for chart in charts:
        title = ElementTree.fromstring(chart).find("title")
        assert title is not None
        assert title.text
    # both reward charts name all three lines, and the alarm stands at its step
    assert all(f">{name}</text>" in charts[0] for name in ("proxy", "audit", "gold", "alarm"))
    assert 'class="mark"' in charts[0]
    assert "√KL" in charts[1]


def test_alarms_and_warnings_stand_there_in_words(hacked_page: str) -> None:
    text = re.sub(r"<[^>]+>", " ", hacked_page)
    assert re.search(r"Alarm at step \d+", text)
    assert re.search(r"unmatched\.\s+Step \d+\. The audit does not follow the proxy", text)
    assert "Stop and go back" in text
    assert re.search(r"longer\.\s+Step \d+\. Tokens of a response: [\d.]+ over the last", text)
    assert "40 of 40" in text
    # what is 0 throughout is said, and not drawn
    assert re.search(r"\d+ counts that are 0 throughout are not drawn", text)


def test_the_samples_are_shown_before_and_now(hacked_page: str) -> None:
    assert hacked_page.count("<h3>Before</h3>") == 2
    assert "reference policy · proxy" in hacked_page
    assert re.search(r"step \d+ · proxy -?[\d.]+ · audit -?[\d.]+ · gold", hacked_page)


def test_a_quiet_run_without_an_audit_has_a_page(policy: Any, tmp_path: Path) -> None:
    policy.has_audit = policy.has_gold = False
    monitor = OveroptimizationMonitor(SETTINGS)
    for _ in range(3):
        monitor.baseline(*policy.step())
    monitor.observe(1, *policy.step())
    page = monitor.write_page(tmp_path / "deep" / "page.html").read_text()
    read(page)
    assert "Cannot be told: there is no audit" in page
    assert "What is not watched" in page


def test_the_page_after_a_resume_is_the_same(policy: Any, tmp_path: Path) -> None:
    monitor = OveroptimizationMonitor(SETTINGS, tmp_path)
    for _ in range(3):
        monitor.baseline(*policy.step())
    for t in range(1, 6):
        monitor.observe(t, *policy.step())
    before = monitor.write_page().read_text()
    resumed = OveroptimizationMonitor(SETTINGS, tmp_path)
    resumed.restore(monitor.state())
    after = resumed.write_page().read_text()

    def without_time(text: str) -> str:
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "", text)

    assert without_time(after) == without_time(before)


def test_lines_have_few_points_with_intervals_of_means() -> None:
    steps = np.concatenate([np.zeros(3), np.arange(1.0, 1001)])
    bins = _bins(steps)
    assert len(bins) <= MOST_POINTS + 1
    assert bins[0] == [0, 1, 2]  # the baseline is one point
    assert sorted(i for rows in bins for i in rows) == list(range(1003))
    values, errors = np.array([1.0, 3.0, np.nan, 5.0]), np.array([0.3, 0.4, np.nan, np.nan])
    middle, low, high = _line(values, errors, [[0, 1, 2], [2], [3]])
    assert middle[0] == 2.0
    assert high[0] - low[0] == pytest.approx(2 * 1.959964 * 0.25)  # √(0.09 + 0.16) / 2
    assert np.isnan(middle[1])
    assert (low[2], high[2]) == (5.0, 5.0)


@pytest.mark.medium
def test_the_page_is_not_wider_than_its_window(
    hacked_page: str, tmp_path: Path, measured_pages: Any
) -> None:
    path = tmp_path / "monitor.html"
    # all charts in sight: a closed one has no width
    path.write_text(hacked_page.replace("<details>", "<details open>"))
    for inside, window, letters, narrowest in measured_pages([path], tmp_path):
        assert inside <= window
        assert letters > 100
        assert narrowest >= 600
