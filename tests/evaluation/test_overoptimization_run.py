"""Contract: ``assay overoptimization`` measures files and runs alike, and refuses in a sentence."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from assay.cli import main
from assay.configs import Overoptimization
from assay.errors import ConfigError, DataError
from assay.evaluation.overoptimization_page import gold_chart
from assay.evaluation.overoptimization_run import overoptimization
from assay.evaluation.overoptimization_run import run as run_verb
from assay.evaluation.selection import Candidates, Selector
from assay.score.scorer import load_scorer
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache", "few_resamples", "no_pictures")

FILES = {"config.toml", "overoptimization.html", "results.json", "scores.jsonl"}
ROW = {"prompt": "Say it", "responses": ["a", "b", "c"], "gold": [0.0, 1.0, 0.5]}
SCORED = {"prompt": "Say it", "rewards": [0.1, 0.2, 0.3], "gold": [0.0, 1.0, 0.5]}


@pytest.fixture(autouse=True)
def process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a verb changes for the rest of its process is undone."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with warnings.catch_warnings():
        yield


def write(path: Path, *rows: dict[str, Any] | str) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(line + "\n" for line in lines))
    return path


def member_rows(prompts: int = 12, samples: int = 32, members: int = 3) -> list[dict[str, Any]]:
    """Members that like the same thing too much, each with noise and a scale of its own."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(prompts):
        liked = rng.normal(size=samples)
        rewards = liked[:, None] + 0.5 * rng.normal(size=(samples, members))
        gold = liked - 0.7 * np.maximum(liked, 0) ** 2
        rows.append(
            {
                "prompt": f"Prompt {i}",
                "member_rewards": (rewards * [1.0, 5.0, 0.2][:members]).round(4).tolist(),
                "gold": gold.round(4).tolist(),
                "lengths": np.round(100 + 20 * liked).tolist(),
            }
        )
    return rows


def responses_of(good: int, bad: int) -> str:
    return " ".join(["kind"] * good + ["rude"] * bad + ["tea"])


def text_rows(prompts: int = 4) -> list[dict[str, Any]]:
    return [
        {"prompt": f"Write about {i} maps",
         "responses": [responses_of(g, b) for g, b in ((0, 1), (1, 0), (2, 1), (3, 0), (1, 2))],
         "gold": [-1.0, 1.0, 1.0, 3.0, -1.0]}
        for i in range(prompts)
    ]  # fmt: skip


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


# --- files of rewards -----------------------------------------------------------------------------


def test_member_rewards_of_a_file_become_curves_a_page_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write(tmp_path / "in.jsonl", *member_rows()), tmp_path / "out"
    assert main(["overoptimization", "--input", str(source), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "best-of-n by the rewards in the rows (3 members), measured by the gold in the rows: "
        "12 prompts × 32 candidates\nleft out: none; truncated responses: 0\n"
    )
    assert "mean: the proxy keeps rising while gold falls after n ≈ " in said
    assert {p.name for p in out.iterdir()} == FILES
    record = results(out)
    assert list(record["curves"]) == ["single", "mean", "worst-case", "mean-variance 1"]
    assert record["members_scale"] == "candidates"
    assert record["n"][:4] == [1, 2, 3, 4]
    assert record["n"][-1] == 32
    assert record["steady_up_to"] == 3
    curve = record["curves"]["mean"]
    assert set(curve["lines"]) == {"gold", "proxy", "disagreement", "length"}
    assert curve["falls"]
    assert curve["end"]["value"] == pytest.approx(curve["lines"]["gold"]["value"][-1])
    assert set(record["minus_first"]) == {"mean", "worst-case", "mean-variance 1"}
    assert record["answers"][1] in said
    length = curve["lines"]["length"]["value"]
    assert length[-1] > length[0] + 20  # the proxy likes what is long


def test_json_is_what_results_json_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write(tmp_path / "in.jsonl", *member_rows()), tmp_path / "out"
    flags = ["--aggregators", "median", "entropic:0.5", "--max-n", "8", "--json"]
    assert main(["overoptimization", "--input", str(source), "--out", str(out), *flags]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == results(out)
    assert list(printed["curves"]) == ["median", "entropic 0.5"]
    assert printed["n"] == [1, 2, 3, 4, 6, 8]


def test_saved_scores_give_the_same_curves_without_scoring(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *member_rows())
    first, again = tmp_path / "first", tmp_path / "again"
    run_verb(Overoptimization(input=source, out=first))
    run_verb(Overoptimization(input=first / "scores.jsonl", out=again, members_scale="saved"))
    assert results(again)["curves"] == results(first)["curves"]


def test_the_saved_configuration_gives_the_same_curves(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *member_rows(6, 8))
    first, again = tmp_path / "first", tmp_path / "again"
    flags = ["--aggregators", "mean-std:2", "single", "--seed", "3"]
    assert main(["overoptimization", "--input", str(source), "--out", str(first), *flags]) == 0
    assert main(["overoptimization", str(first / "config.toml"), "--out", str(again)]) == 0
    assert results(again)["curves"] == results(first)["curves"]


def test_the_scale_of_members_matters_only_to_what_aggregates_them(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *member_rows())
    for scale in ("saved", "candidates"):
        run_verb(Overoptimization(input=source, out=tmp_path / scale, members_scale=scale))
    saved, equal = (results(tmp_path / s)["curves"] for s in ("saved", "candidates"))
    single = [c["single"]["lines"]["gold"]["value"] for c in (saved, equal)]
    assert single[0] == pytest.approx(single[1])
    # as it is, the second member is five times as loud as the first and decides the mean
    assert saved["mean"]["end"]["value"] != pytest.approx(equal["mean"]["end"]["value"])


def test_one_reward_a_response_is_one_model(tmp_path: Path) -> None:
    rows = member_rows(members=1)
    for row in rows:
        row["rewards"] = [reward for (reward,) in row.pop("member_rewards")]
    study = run_verb(
        Overoptimization(input=write(tmp_path / "in.jsonl", *rows), out=tmp_path / "o")
    )
    assert [curve.selector for curve in study.curves] == ["single"]
    assert "disagreement" not in study.curves[0].lines
    assert results(tmp_path / "o")["members_scale"] is None
    assert "members" not in study.notes[0]


def test_rows_with_another_number_of_candidates_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = member_rows(6, 8) + member_rows(2, 5) + member_rows(1, 9)
    study = run_verb(
        Overoptimization(input=write(tmp_path / "in.jsonl", *rows), out=tmp_path / "o")
    )
    assert study.record["left_out"] == {"another number of candidates than 8": 3}
    assert "left out: 3 rows with another number of candidates than 8;" in str(study)
    assert "left out: 3 rows" in (tmp_path / "o" / "overoptimization.html").read_text()
    assert study.record["prompts"] == 6


def test_rows_with_a_dropped_response_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [{**SCORED, "prompt": f"p{i}"} for i in range(4)]
    rows[1] = {**rows[1], "rewards": [0.1, None, 0.3]}
    study = run_verb(
        Overoptimization(input=write(tmp_path / "in.jsonl", *rows), out=tmp_path / "o")
    )
    assert study.record["left_out"] == {"a candidate that was dropped": 1}
    assert study.record["prompts"] == 3
    assert "left out: 1 row with a candidate that was dropped;" in study.notes[1]


def test_right_and_wrong_can_be_gold(tmp_path: Path) -> None:
    rows = [{**SCORED, "prompt": f"p{i}", "gold": [False, i > 0, True]} for i in range(5)]
    study = run_verb(
        Overoptimization(input=write(tmp_path / "in.jsonl", *rows), out=tmp_path / "o")
    )
    assert study.record["gold_mean"] == pytest.approx(9 / 15)


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ensemble_run(
    tiny_backbone: Path, own_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A saved ensemble of three heads that nobody trained."""
    import torch

    from assay.models.ensemble import HeadEnsemble
    from assay.models.ensemble_checkpoint import Ensemble, save_ensemble
    from assay.models.reward_model import RewardModel
    from assay.models.views import View
    from assay.stats import Aggregator, Standards

    model = RewardModel.from_backbone(str(tiny_backbone), max_length=256)
    weights = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.head.weight.copy_(weights[:1])
    part = HeadEnsemble(model, [View(2)], weights)
    standards = Standards((0.0, 1.0, -1.0), (1.0, 2.0, 3.0))
    out = tmp_path_factory.mktemp("ensemble") / "run"
    save_ensemble(Ensemble((part,), standards, Aggregator()), out)
    return out


@pytest.mark.medium
def test_an_ensemble_selects_by_its_members_as_they_are_served(
    ensemble_run: Path, tmp_path: Path
) -> None:
    source, out = write(tmp_path / "in.jsonl", *text_rows()), tmp_path / "out"
    config = Overoptimization(input=source, run=str(ensemble_run), out=out)
    study = run_verb(config)
    assert study.record["members"] == 3
    assert study.record["proxy"] == "run"
    assert study.record["members_scale"] == "saved"
    saved = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    scorer: Any = load_scorer(ensemble_run)
    row = text_rows()[2]
    rewards, _ = scorer.member_rewards(
        [Conversation.of(row["prompt"], r) for r in row["responses"]]
    )
    assert np.array(saved[2]["member_rewards"]) == pytest.approx(rewards, abs=1e-5)
    assert saved[2]["lengths"] == [len(r) for r in row["responses"]]
    # the best of all five by the mean is the one that the scorer rewards most
    mean = next(c for c in study.curves if c.selector == "mean")
    gold = np.array([r["gold"] for r in text_rows()])
    best = [np.mean(s["member_rewards"], axis=1).argmax() for s in saved]
    gain = (gold[np.arange(4), best] - gold.mean(axis=1)).mean() / gold.std(axis=1).mean()
    assert mean.at(-1).value == pytest.approx(gain)


@pytest.mark.medium
def test_a_run_can_be_the_gold_of_another(
    trained_run: Path, ensemble_run: Path, tmp_path: Path
) -> None:
    rows = [{k: v for k, v in row.items() if k != "gold"} for row in text_rows()]
    source = write(tmp_path / "in.jsonl", *rows)
    gold = shutil.copytree(trained_run, tmp_path / "gold-run")
    study = run_verb(
        Overoptimization(
            input=source, run=str(ensemble_run), gold=str(gold), out=tmp_path / "o", threads=1
        )
    )
    assert study.record["gold"] == "gold-run"
    saved = [json.loads(line) for line in (tmp_path / "o" / "scores.jsonl").open()]
    scores = load_scorer(trained_run).score(
        [Conversation.of(rows[1]["prompt"], r) for r in rows[1]["responses"]]
    )
    assert saved[1]["gold"] == pytest.approx(scores.reward.tolist(), abs=1e-5)
    # a model that is its own gold never falls
    own = Overoptimization(input=source, run=str(gold), gold=str(gold), out=tmp_path / "own")
    assert not run_verb(own).curves[0].falls


def test_verifiers_can_be_the_gold_of_a_run(trained_run: Path, tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "gold"} for row in text_rows(6)]
    source = write(tmp_path / "in.jsonl", *rows)
    gold = tmp_path / "short.json"
    gold.write_text('[{"kind": "letter_frequency", "letter": "e", "at_most": 2}]')
    verb = Overoptimization(
        input=source, run=str(trained_run), gold=str(gold), out=tmp_path / "o", threads=1
    )
    assert run_verb(verb).record["gold"] == "short.json"
    saved = [json.loads(line) for line in (tmp_path / "o" / "scores.jsonl").open()]
    for row, kept in zip(rows, saved, strict=True):
        assert kept["gold"] == [float(r.lower().count("e") <= 2) for r in row["responses"]]


def test_over_long_candidates_are_cut_dropped_or_named(trained_run: Path, tmp_path: Path) -> None:
    rows = text_rows(5)
    rows[3]["prompt"] = "word " * 400
    source = write(tmp_path / "in.jsonl", *rows)
    config = {"input": source, "run": str(trained_run)}
    cut = run_verb(Overoptimization(**config, out=tmp_path / "cut"))
    assert cut.record["truncated"] == {"proxy": 5, "gold": 0}
    assert "truncated responses: 5" in str(cut)
    dropped = run_verb(Overoptimization(**config, out=tmp_path / "drop", truncation="drop"))
    assert dropped.record["left_out"] == {"a candidate that was dropped": 1}
    with pytest.raises(Exception, match=r"in.jsonl line 4: .* tokens where max_length is 256"):
        run_verb(Overoptimization(**config, out=tmp_path / "error", truncation="error"))
    for row in rows:
        row["prompt"] = "word " * 400 + row["prompt"]
    write(source, *rows)
    with pytest.raises(DataError, match=r"In every row of .* a candidate was dropped"):
        run_verb(Overoptimization(**config, out=tmp_path / "none", truncation="drop"))


# --- the page -------------------------------------------------------------------------------------


def test_the_page_shows_every_curve_and_runs_nothing(tmp_path: Path) -> None:
    rows = member_rows()
    rows[0]["prompt"] = "<script>alert(1)</script>"
    run_verb(Overoptimization(input=write(tmp_path / "in.jsonl", *rows), out=tmp_path / "o"))
    text = (tmp_path / "o" / "overoptimization.html").read_text()
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    for name in ("single", "mean", "worst-case", "mean-variance 1"):
        assert f"<h2>Gold and proxy: {name}</h2>" in text
    for heading in ("Gold by what selects", "Peak", "Fit", "Disagreement", "Length"):
        assert f"<h2>{heading}</h2>" in text
    record = results(tmp_path / "o")
    for answer in record["answers"]:
        assert f"<li>{answer}</li>" in text
    end = record["curves"]["worst-case"]["end"]
    assert f"{end['value']:+.3f} [{end['low']:+.3f}, {end['high']:+.3f}]" in text


def test_lines_are_named_where_they_end_and_differ_in_more_than_colour(tmp_path: Path) -> None:
    c = np.random.default_rng(0).normal(size=(4, 8, 3))
    names = ("single", "mean", "median", "worst-case", "mean-std", "mean-variance", "entropic")
    study = overoptimization(Candidates(c, c[..., 0]), [Selector.parse(n) for n in names])
    chart = ElementTree.fromstring(gold_chart(study.curves))
    texts = [e.text for e in chart.iter("text")]
    assert [t for t in texts if t in {curve.selector for curve in study.curves}]
    classes = [e.attrib["class"] for e in chart.iter("polyline")]
    assert classes == [f"curve s{i}" for i in range(6)]  # the seventh is in the table alone
    study.save(tmp_path)
    text = (tmp_path / "overoptimization.html").read_text()
    assert "The first 6 are drawn" in text
    assert not (tmp_path / "scores.jsonl").exists()


def test_one_selector_has_one_chart_of_gold(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    c = rng.normal(size=(4, 3, 1))
    overoptimization(Candidates(c, c[..., 0]), max_n=3).save(tmp_path)
    text = (tmp_path / "overoptimization.html").read_text()
    assert "Gold by what selects" not in text
    assert text.count("<svg") == 1
    assert "<h2>Fit</h2>" not in text  # no α and β from two values of n above 1


# --- what is refused, before anything is written --------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "in.jsonl is empty; a curve needs prompts with candidates"),
        (["{"], "line 1 is not JSON"),
        (
            [{**SCORED, "gold": None}],
            "line 1 has no 'gold': give a list of one a response, or name",
        ),
        ([ROW], "line 1 has no 'rewards' or 'member_rewards': give a list of one a response"),
        ([{**SCORED, "gold": [1, 2]}], "line 1 has 3 rewards, 2 gold; there must be one of each"),
        ([{**SCORED, "gold": 3}], "line 1: 'gold' must be a list of one entry a response"),
        (
            ['{"rewards": [1, 2], "gold": [NaN, 1]}'],
            "gold reward 1 of item '1' is nan; wanted a fi",
        ),
        ([{**SCORED, "gold": [0, None, 1]}], "gold reward 2 of item '1' is None; wanted a number"),
        (
            [{**SCORED, "id": "x", "rewards": [1, "2", 3]}],
            "reward 1 of item 'x' is '2'; wanted a n",
        ),
        (['{"rewards": [Infinity, 2], "gold": [0, 1]}'], "is inf; wanted a finite number"),
        (
            [{**SCORED, "rewards": [1.0], "gold": [1.0]}],
            "line 1 has 1 candidates; selection needs 2",
        ),
        ([{**SCORED, "lengths": [1, 2]}], "line 1 has 3 rewards, 3 gold, 2 lengths"),
        ([{**SCORED, "lengths": "long"}], "'lengths' must be a list of one entry a response"),
        ([{**SCORED, "member_rewards": [1, 2, 3]}], "must hold a list of the members' rewards"),
        (
            [{**SCORED, "member_rewards": [[1], [], [2]]}],
            "must hold a list of the members' rewards",
        ),
        ([{**SCORED, "member_rewards": [[1], [1, 2], [3]]}], "have different numbers of members"),
        (
            [{**SCORED, "member_rewards": [[1, 2]] * 3}, SCORED],
            "in.jsonl line 2 has rewards by 1 members, and",
        ),
        ([SCORED], "has 1 prompt with 3 candidates; intervals are over prompts and need 2"),
        ([SCORED, SCORED], "has 1 prompt with 3 candidates"),
        ([{**SCORED, "responses": ["a", "b"]}] * 2, "line 1 has 2 responses, 3 rewards"),
        ([{**SCORED, "responses": ["a", "", "b"]}] * 2, "line 1: response 2 is empty"),
        (
            [{**SCORED, "prompt": p, "gold": [1, 1, 1]} for p in "ab"],
            "Gold is the same for all candidates of every prompt",
        ),
        (
            [{**SCORED, "prompt": p, "rewards": [1, 1, 1]} for p in "ab"],
            "single rewards all candidates of every prompt alike",
        ),
    ],
)
def test_rows_that_cannot_be_counted_are_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any] | str],
    sentence: str,
) -> None:
    source, out = write(tmp_path / "in.jsonl", *rows), tmp_path / "out"
    assert main(["overoptimization", "--input", str(source), "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--aggregators", "means"], "aggregator 'means' is unknown"),
        (["--aggregators", "mean", "mean"], "An aggregator is named twice: mean, mean"),
        (["--max-n", "1"], "--max-n is 1; selection begins at 2"),
        (["--max-n", "33"], "--max-n 33 is more than the 32 candidates a prompt"),
        (["--run", "missing"], "line 1 has 'member_rewards' already; leave --run out"),
        (["--gold", "missing"], "line 1 has 'gold' already; leave --gold out"),
    ],
)
def test_requests_that_cannot_work_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], sentence: str
) -> None:
    source, out = write(tmp_path / "in.jsonl", *member_rows(3)), tmp_path / "out"
    assert main(["overoptimization", "--input", str(source), "--out", str(out), *flags]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_aggregators_are_not_for_one_model(trained_run: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "texts.jsonl", *text_rows())
    config = {"input": source, "aggregators": ("single", "mean"), "out": tmp_path / "out"}
    with pytest.raises(ConfigError, match="run is one model; leave it out"):
        run_verb(Overoptimization(**config, run=str(trained_run)))
    scored = write(tmp_path / "scored.jsonl", *({**SCORED, "prompt": p} for p in "ab"))
    with pytest.raises(
        ConfigError, match=r"the rewards in .*scored.jsonl are of one; leave it out"
    ):
        run_verb(Overoptimization(**{**config, "input": scored}))
    with pytest.raises(Exception, match="does not exist"):
        run_verb(Overoptimization(**config, run="missing"))


def test_rows_without_texts_cannot_be_scored(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"prompt": "a", "gold": [0, 1]})
    with pytest.raises(DataError, match="no 'prompt' with 'responses', which --run would score"):
        run_verb(Overoptimization(input=source, run="any", out=tmp_path / "o"))


def test_where_curves_may_not_go_nothing_changes(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *member_rows(3))
    with pytest.raises(ConfigError, match="is a file; name a directory for the curves"):
        run_verb(Overoptimization(input=source, out=source))
    out = tmp_path / "out"
    run_verb(Overoptimization(input=source, out=out))
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    with pytest.raises(ConfigError, match="holds finished results; name another directory"):
        run_verb(Overoptimization(input=source, out=out))
    assert {p.name: p.stat().st_mtime_ns for p in out.iterdir()} == before
