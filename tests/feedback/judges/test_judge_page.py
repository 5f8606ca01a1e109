"""The judge's page: whole, escaped, without anything from elsewhere, and what its charts show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from judged_made import certain, comparison, crowd, failure

from assay.feedback.judges.judge_page import judge_page
from assay.feedback.judges.judge_report import judge_report
from assay.feedback.judges.judged import JudgedComparison


def written(tmp_path: Path, records: list[JudgedComparison], judge: str = "j") -> str:
    report = judge_report(records, judge, resamples=20)
    return judge_page(report.to_dict(), tmp_path / "judge.html").read_text("utf-8")


@pytest.mark.medium
def test_the_page_shows_every_figure_and_needs_nothing_else(tmp_path: Path) -> None:
    records = [*crowd(60, bias=0.4, length=0.5), comparison(failure("refused"), "x")]
    text = written(tmp_path, records)
    assert "http" not in re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert "<script" not in text
    assert "style=" not in text
    assert text.count("<svg role") == 5
    report = judge_report(records, "j", resamples=20)
    for figure in (report.coverage, report.position.bias, report.agreement.accuracy):
        assert f"{figure.value:.3f}" in text
    assert report.agreement.averaging in text
    scatter = text[text.index("<title>P(i is better) by either order") :]
    circles = scatter[: scatter.index("</svg>")].count("<circle")
    assert circles == 60
    assert "refused" in text


def test_names_are_escaped_and_what_is_lacking_says_why(tmp_path: Path) -> None:
    text = written(tmp_path, [comparison(failure("http-error"))], '<b>&"')
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;" in text
    for why in ("no comparison was judged by people", "asked in both orders", "asked again"):
        assert why in text


def test_single_prompts_and_partly_undefined_blocks_are_shown(tmp_path: Path) -> None:
    one = written(tmp_path, [comparison(certain(0.9), human=1.0, lengths=(3, 9))])
    assert "it takes two prompts" in one
    assert "no comparison has the votes of two people" in one
    assert "why there is none" in one
    repeated = written(tmp_path, [comparison(certain(0.9), repeats=(certain(0.8),))])
    assert "Asked again (1 times)" in repeated


def test_a_judges_own_responses_are_shown(tmp_path: Path) -> None:
    records = [comparison(certain(0.8), str(i), human=0.0, models=("me", "you")) for i in range(3)]
    report = judge_report(records, "me", own={"me"}, resamples=20)
    text = judge_page(report.to_dict(), tmp_path / "own.html").read_text("utf-8")
    assert "win rate of its own, by people" in text
    assert "+1.000" in text
