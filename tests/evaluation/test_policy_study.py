"""Contract: ``assay overoptimization --runs`` reads logs of RL, and refuses in a sentence."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from policy_logs import gao, rows_of, write_run

from assay.cli import main
from assay.evaluation.policy_answer import fit_in_words
from assay.evaluation.policy_page import policy_page
from assay.evaluation.policy_runs import run_of_rows
from assay.evaluation.policy_study import PolicyStudy, policy_study

HACKED = gao(1.2, 0.6)


@pytest.fixture(autouse=True)
def process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a verb changes for the rest of its process is undone."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with warnings.catch_warnings():
        yield


def write(root: Path, name: str, count: int = 3, gold: Any = HACKED, **rest: Any) -> list[str]:
    """So many runs of a setting, as --runs takes them."""
    return [
        f"{name}={write_run(root / f'{name}{i}', rows_of(gold, seed=i, **rest), seed=i)}"
        for i in range(count)
    ]


def verb(out: Path, *runs: str, more: tuple[str, ...] = ()) -> int:
    return main(["overoptimization", "--runs", *runs, "--out", str(out), *more])


def study_of(count: int = 3, gold: Any = HACKED, **rest: Any) -> PolicyStudy:
    runs = [
        run_of_rows(rows_of(gold, seed=i, **rest), Path(f"r{i}"), "made", i) for i in range(count)
    ]
    return policy_study({"made": runs})


# --- what comes out -------------------------------------------------------------------------------


def test_settings_become_curves_a_page_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    weak = write(tmp_path, "weak", farthest=5.0, raised={90: ["unmatched"]})
    strong = write(tmp_path, "strong", farthest=2.7, audit=HACKED)
    assert verb(out, *weak, *strong) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "policies trained by RL, measured by gold: weak (3 runs), strong (3 runs)\n"
        "gold is a gain over the reference policy, in deviations of the prompts' means under the "
        "reference policy\nweak, strong: intervals are over runs\nleft out: none\n"
    )
    assert re.search(
        r"\nweak: gold falls after √KL ≈ \d\.\d\d .* while the proxy keeps rising", said
    )
    assert "the monitor raised an alarm in 3 of 3 runs (step 90, 90 and 90; unmatched)" in said
    assert "\nstrong: the fit d(α − β log d), R² 0.9" in said
    assert "\nstrong less weak (paired over 3 seeds): gold at the end +" in said
    assert "no difference is shown there." in said
    assert {p.name for p in out.iterdir()} == {
        "config.toml", "overoptimization.html", "results.json"
    }  # fmt: skip
    record = json.loads((out / "results.json").read_text())
    assert (record["schema"], record["method"], record["measure"]) == (1, "rl", "gold")
    assert record["sources"]["weak"] == ["weak0", "weak1", "weak2"]
    curve = record["curves"]["weak"]
    assert curve["falls"]
    assert curve["fit"]["peak_sqrt_kl"]["value"] == pytest.approx(np.e, rel=0.15)
    assert curve["alarms"]["steps"] == [90, 90, 90]
    assert set(curve["lines"]) == {"gold", "proxy"}
    assert set(record["curves"]["strong"]["lines"]) == {"gold", "proxy", "audit"}
    assert record["minus_first"]["strong"]["pairs"] == 3
    assert record["units"]["weak"]["gold"]["deviation"] == pytest.approx(1.0)
    assert record["units"]["weak"]["gold"]["reference_mean"] == pytest.approx(5.0, abs=0.1)
    assert all(answer in said for answer in record["answers"])
    assert str(tmp_path) not in (out / "results.json").read_text()


def test_json_is_what_results_json_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out = write(tmp_path, "x", 1), tmp_path / "out"
    assert verb(out, *runs, more=("--json", "--min-sqrt-kl", "1.0")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "results.json").read_text())
    assert printed["curves"]["x"]["fit"]["min_sqrt_kl"] == 1.0
    assert printed["curves"]["x"]["over"] == "steps"


def test_the_saved_configuration_gives_the_same_curves(tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    assert verb(first, *write(tmp_path, "x", 2)) == 0
    config = str(first / "config.toml")
    assert main(["overoptimization", config, "--out", str(again)]) == 0
    found = [json.loads((p / "results.json").read_text())["curves"] for p in (first, again)]
    assert found[0] == found[1]


def test_every_figure_in_a_chart_is_in_a_table_and_names_cannot_break_out(tmp_path: Path) -> None:
    evil = '<&"'
    runs = [
        run_of_rows(
            [row | {"response/length": 20.0 + row["step"]} for row in rows_of(HACKED, seed=i)],
            Path(f"{evil}{i}"),
            evil,
            i,
        )
        for i in range(3)
    ]
    study = policy_study({evil: runs, "b" * 60: [run_of_rows(rows_of(HACKED), Path("b"), "b")]})
    text = policy_page(study, tmp_path / "page.html").read_text()
    assert evil not in text
    for svg in re.findall(r"<svg.*?</svg>", text, flags=re.S):
        ElementTree.fromstring(svg)
    for curve in study.curves:
        for place in range(len(curve.d)):
            assert f"{curve.at(place).value:+.3f}" in text
    assert text.count("<h2>Length</h2>") == 1  # of the one setting that has it
    assert study.curves[0].lines["length"].value[-1] > 100


# --- what is said ---------------------------------------------------------------------------------


def test_the_audit_takes_the_place_of_gold_and_it_is_said() -> None:
    study = study_of(gold=None, audit=HACKED)
    assert study.record["measure"] == "audit"
    assert any("the audit takes its place" in note for note in study.notes)
    assert study.answers[0].startswith("made: audit falls after √KL") or study.answers[
        0
    ].startswith("made: no fall of audit")


def test_one_run_says_that_its_intervals_know_no_other_seed() -> None:
    study = study_of(1)
    assert any("say nothing of other seeds" in note for note in study.notes)


@pytest.mark.parametrize(
    ("gold", "proxy", "said"),
    [
        (gao(1.2, 0.0), lambda d: d, "made: gold rises all the way, "),
        (gao(-0.5, 0.1), lambda d: d, "made: gold falls without having risen, to "),
        (HACKED, lambda d: np.minimum(d, 1.0), "while the proxy is not shown to move: "),
        (HACKED, HACKED, "while the proxy falls too: "),
        (gao(0.0, 0.0), lambda d: d, "made: no fall of gold is shown; it is highest at √KL ≈ "),
    ],
)
def test_answers_say_what_gold_and_proxy_do(gold: Any, proxy: Any, said: str) -> None:
    assert said in study_of(4, gold, proxy=proxy, farthest=6.0, noise=0.05).answers[0]


def test_a_fit_without_a_peak_where_steps_were_says_so() -> None:
    rising = study_of(3, gao(1.2, -0.2), noise=0.02).curves[0]
    assert fit_in_words(rising.fit, rising).startswith("no peak: β is not shown to lie above 0")
    early = study_of(3, gao(1.5, 0.6), farthest=2.0, noise=0.02).curves[0]
    assert fit_in_words(early.fit, early).startswith(
        "no peak within range: the fit turns at √KL = 4."
    )
    assert fit_in_words(None, early) == "too few steps beyond the least √KL"


def test_a_form_that_does_not_describe_the_curve_is_said_to_follow_it_badly() -> None:
    study = study_of(3, lambda d: np.sin(4 * d), noise=0.02)
    assert any("follows the curve badly" in answer for answer in study.answers)
    assert not any("follows the curve badly" in answer for answer in study_of().answers)


def test_what_was_left_out_is_counted() -> None:
    rows = rows_of(HACKED)
    del rows[50]["objective/gold"]
    run = run_of_rows(rows, Path("a"), "made", 0, unreadable=2)
    assert policy_study({"made": [run]}).notes[-1] == (
        "left out: 2 lines of a log that are no row; 1 steps without gold"
    )


def test_runs_that_the_fit_has_not_are_counted() -> None:
    runs = [
        run_of_rows(rows_of(HACKED, seed=i, farthest=far), Path(f"r{i}"), "made", i)
        for i, far in enumerate((0.2, 2.0, 2.0))
    ]
    note = policy_study({"made": runs}).notes[-1]
    assert "1 runs in no fit, with fewer than 10 steps from √KL = 0.3 on" in note


def test_without_errors_in_the_log_gold_stays_in_its_own_units() -> None:
    rows = [{k: v for k, v in row.items() if not k.endswith("_error")} for row in rows_of(HACKED)]
    study = policy_study({"made": [run_of_rows(rows, Path("a"), "made", 0)]})
    assert any("in its own units" in note for note in study.notes)
    assert study.record["units"]["made"]["gold"]["deviation"] is None


# --- what is refused ------------------------------------------------------------------------------


def test_what_is_no_request_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path, "a", 1)[0]
    bare = f"b={write_run(tmp_path / 'b', rows_of(None), seed=0)}"
    audited = f"c={write_run(tmp_path / 'c', rows_of(None, audit=HACKED), seed=0)}"
    no_proxy = [{k: v for k, v in r.items() if "proxy" not in k} for r in rows_of(HACKED)]
    blind = f"d={write_run(tmp_path / 'd', no_proxy, seed=0)}"
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "results.json").write_text("{}")
    out = ["--out", str(tmp_path / "out")]
    cases = [
        (["--runs", run, "--input", "x.jsonl", *out], "--input is for best-of-n; give one"),
        (["--runs", run, "--max-n", "4", "--aggregators", "mean", *out],
         "--aggregators, --max-n is for best-of-n"),
        (["--runs", run, "--min-sqrt-kl", "-1", *out], "--min-sqrt-kl is -1.0"),
        ([*out], "wants --input (rows with candidates, for best-of-n) or --runs"),
        (["--input", "x.jsonl", "--min-sqrt-kl", "1", *out], "--min-sqrt-kl is for the fit of"),
        (["--runs", bare, *out], "logged neither gold nor audit"),
        (["--runs", run, audited, *out], "a0 no audit; all runs need one of them in common"),
        (["--runs", blind, *out], "logged no 'objective/proxy'"),
        (["--runs", run, "--out", str(tmp_path / "done")], "holds finished results"),
    ]  # fmt: skip
    for arguments, said in cases:
        assert main(["overoptimization", *arguments]) == 2
        error = capsys.readouterr().err.strip()
        assert said in error
        assert "\n" not in error
    assert not (tmp_path / "out").exists()
