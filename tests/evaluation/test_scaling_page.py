"""The page of a study: every curve told apart without colour, every figure in a table, escaped."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from pathlib import Path

import pytest

from assay.evaluation.scaling_answer import place, verdict, ways
from assay.evaluation.scaling_page import scaling_page
from assay.evaluation.scaling_study import ScalingStudy
from assay.pages.html import plain, signed

EVIL = "<script>alert(1)</script>&\"'"


def law(n: float) -> float:
    return 0.8 - 1.4 * n**-0.5


@pytest.fixture(scope="module")
def study(made_study: Callable[..., ScalingStudy]) -> ScalingStudy:
    return made_study((EVIL, "deep", "flat"), (law, lambda n: law(n) + 0.05, lambda n: 0.7))


@pytest.fixture(scope="module")
def text(study: ScalingStudy, tmp_path_factory: pytest.TempPathFactory) -> str:
    return scaling_page(study, tmp_path_factory.mktemp("page") / "scaling.html").read_text()


def test_the_page_says_the_answers_and_every_figure(study: ScalingStudy, text: str) -> None:
    for curve in study.curves:
        assert f"{escape(place(curve))}: {verdict(curve)}.</strong>" in text
        assert escape(ways(curve)[1:]) in text
        for size in curve.sizes:
            assert f"<td>{plain(size.accuracy)}</td>" in text
            assert f"<td>{plain(size.nll)}</td>" in text
        assert curve.holdout is not None
        assert f"<td>{signed(curve.holdout.error)}</td>" in text
    assert "All 75 points" in text


def test_texts_cannot_break_out_and_nothing_is_fetched(text: str) -> None:
    assert "<script" not in text
    assert escape(EVIL) in text
    assert not re.search("https?:|url\\(|@import", text)
    assert "default-src 'none'" in text


def test_a_determined_fit_has_a_curve_and_an_undetermined_one_says_so(text: str) -> None:
    (chart,) = re.findall(r"<svg role.*?</svg>", text, flags=re.DOTALL)
    for style in ("s0", "s1"):
        assert chart.count(f'class="curve {style}"') == 1
        assert chart.count(f'class="band {style}"') == 1
    assert 'class="curve s2"' not in chart
    assert "flat (fit undetermined: no curve)" in text
    # five sizes and the hold-out prediction of each model
    for style, shape in (("s0", "circle"), ("s1", "polygon"), ("s2", "polygon")):
        assert chart.count(f'<{shape} class="dot {style}"') == 5
        assert chart.count(f'<{shape} class="dot {style} open"') == 1
    assert chart.count('class="curve length"') == 1
    assert chart.count('class="chance"') == 1
    assert 'class="beyond"' in chart
    assert ">4,096<" in chart  # where the doubling is predicted


def test_a_study_without_any_fit_has_no_ground_beyond_the_data(
    made_study: Callable[..., ScalingStudy], tmp_path: Path
) -> None:
    short = made_study(("a",), (law,), sizes=(128, 256))
    page = scaling_page(short, tmp_path / "page.html").read_text()
    assert 'class="beyond"' not in page
    assert "fit undetermined" in page
    assert "predicted from its smaller sizes" not in page
