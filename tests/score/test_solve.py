"""Search by step rewards: what is chosen, what order and batches change, that it resumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.cli import main
from assay.configs import ProcessTraining, Solving
from assay.data.solutions import Solutions
from assay.errors import ConfigError
from assay.models.policy import Policy
from assay.models.process_model import ProcessRewardModel
from assay.score import solve_run
from assay.score.solve import Candidate, by_answer, chosen, solve
from assay.score.solve_run import reference_of
from assay.train.process import train_process
from assay.types import Message, Solution, StepScores, as_messages

pytestmark = pytest.mark.usefixtures("own_cache")

PROMPTS = [as_messages(text, "user") for text in ("Say it", "Again", "And once more, at length")]
FAST = Solving(samples=3, max_new_tokens=12, temperature=1.0, separator="e", width=2, max_steps=3)


class LettersScorer:
    """A step is the better the more a's and o's it has."""

    def __init__(self) -> None:
        self.asked: list[Solution] = []

    def score_steps(self, solutions: Sequence[Solution]) -> StepScores:
        self.asked += solutions
        rewards = [
            np.array([(1 + s.count("a") + s.count("o")) / (2 + len(s)) for s in one.steps])
            for one in solutions
        ]
        return StepScores(tuple(rewards))


@pytest.fixture(scope="module")
def policy(tiny_backbone: Path) -> Policy:
    return Policy.load(str(tiny_backbone))


@pytest.mark.parametrize("method", ["best-of-n", "beam"])
def test_order_and_batches_change_nothing(method: str, policy: Policy) -> None:
    settings = replace(FAST, method=method)
    found = solve(policy, LettersScorer(), PROMPTS, settings)
    alone = [
        solve(policy, LettersScorer(), [prompt], replace(settings, batch_size=1), streams=[n])[0]
        for n, prompt in enumerate(PROMPTS)
    ]
    assert [f.best and f.best.steps for f in found] == [f.best and f.best.steps for f in alone]
    assert [f.tokens for f in found] == [f.tokens for f in alone]


def test_the_best_of_whole_solutions_is_chosen(policy: Policy) -> None:
    for one in solve(policy, LettersScorer(), PROMPTS, FAST):
        assert len(one.candidates) <= 3
        ended = [c for c in one.candidates if c.ended] or list(one.candidates)
        assert one.best is not None
        assert one.best.reward == max(c.reward for c in ended)


def test_a_beam_keeps_the_best_steps_as_they_are_written(policy: Policy) -> None:
    scorer = LettersScorer()
    settings = replace(FAST, method="beam", samples=6, reduction="mean")
    (one,) = solve(policy, scorer, PROMPTS[:1], settings)
    assert one.best is not None
    depths = {len(s.steps) for s in scorer.asked}
    assert max(depths) <= settings.max_steps
    assert len(one.best.steps) <= settings.max_steps
    # what goes on begins with one of the two best beginnings of the step before
    first = sorted({s.steps: s for s in scorer.asked if len(s.steps) == 1}.values(), key=_mean)
    kept = {s.steps for s in first[-settings.width :]}
    assert {s.steps[:1] for s in scorer.asked if len(s.steps) == 2} <= kept


def _mean(solution: Solution) -> float:
    return float(LettersScorer().score_steps([solution]).rewards[0].mean())


def candidate(answer: str | None, reward: float, ended: bool = True) -> Candidate:
    return Candidate((f"The answer is {answer}",), (reward,), reward, ended, answer)


def test_votes_by_hand() -> None:
    three = (candidate("1/2", 0.3), candidate("0.5", 0.3), candidate("7", 0.5))
    assert [len(g) for g in by_answer(three)] == [2, 1]
    assert chosen(three, "best-of-n", 0).answer == "7"
    assert chosen(three, "weighted-vote", 0).answer in ("1/2", "0.5")
    assert chosen(three, "majority", 0).answer in ("1/2", "0.5")
    tie = (candidate("1", 0.2), candidate("2", 0.3))
    assert chosen(tie, "majority", 0).answer == "2"
    assert chosen((candidate(None, 0.9), candidate("3", 0.1)), "majority", 0).answer == "3"


def test_what_did_not_end_is_chosen_only_if_nothing_did() -> None:
    cut = candidate("9", 0.9, ended=False)
    assert chosen((cut, candidate("1", 0.1)), "best-of-n", 0).answer == "1"
    assert chosen((cut,), "best-of-n", 0).answer == "9"
    assert chosen((), "best-of-n", 0).best is None
    assert chosen((replace(cut, reward=float("nan")),), "best-of-n", 0).best is None


def test_settings_that_cannot_work(policy: Policy) -> None:
    for settings, said in ((replace(FAST, width=0), "width is 0"), (replace(FAST, separator=""),
                           "separator is empty")):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            solve(policy, LettersScorer(), PROMPTS, settings)


def test_references_as_data_sets_write_them() -> None:
    assert reference_of({"answer": "so 3 * 4 = 12\n#### 12"}) == "12"
    assert reference_of({"target": "(B)"}) == "(B)"
    assert reference_of({"answer": 5}) == "5"
    assert reference_of({"prompt": "x"}) is None


@pytest.fixture(scope="module")
def process_run(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = ProcessRewardModel.from_backbone(str(tiny_backbone), max_length=300)
    solutions = Solutions.of(
        [
            Solution((Message("user", f"Problem {n}"),), ("a kind step", "a rude step"), (1, -1))
            for n in range(12)
        ]
    )
    train, heldout = solutions.split(0.3, seed=0)
    train_process(model, train, heldout, ProcessTraining(epochs=3))
    return model.save(tmp_path_factory.mktemp("process") / "run")


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = [{"prompt": f"Say {n}", "answer": str(n)} for n in range(10)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def verb(run: Path, problems: Path, out: Path, policy: Path, *flags: str) -> int:
    common = ["--input", str(problems), "--output", str(out), "--policy", str(policy)]
    small = ["--samples", "2", "--max-new-tokens", "8", "--temperature", "1"]
    return main(["solve", str(run), *common, *small, *flags])


@pytest.mark.parametrize("method", ["best-of-n", "weighted-vote", "beam"])
def test_the_verb(
    method: str,
    process_run: Path,
    problems: Path,
    tiny_backbone: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "solved.jsonl"
    flags = ("--method", method, "--max-steps", "2")
    assert verb(process_run, problems, out, tiny_backbone, *flags) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 10
    for row in rows:
        if row["steps"]:
            assert len(row["steps"]) == len(row["step_rewards"])
    said = capsys.readouterr().out
    assert "10 problems solved" in said
    assert "right answers: " in said
    assert not list(tmp_path.glob(".*journal"))


def test_a_killed_search_goes_on(
    process_run: Path,
    problems: Path,
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, again = tmp_path / "whole.jsonl", tmp_path / "again.jsonl"
    assert verb(process_run, problems, whole, tiny_backbone) == 0
    asked: list[int] = []
    plain = solve_run.solve

    def counted(policy, scorer, prompts, settings, *, streams):
        if len(asked) == 1:
            asked.append(0)
            raise KeyboardInterrupt
        asked.extend([len(streams)] if not asked else list(streams))
        return plain(policy, scorer, prompts, settings, streams=streams)

    monkeypatch.setattr(solve_run, "solve", counted)
    assert verb(process_run, problems, again, tiny_backbone) == 1
    assert not again.exists()
    assert verb(process_run, problems, again, tiny_backbone) == 0
    assert asked[2:] == [8, 9]  # the first eight were kept
    assert again.read_text() == whole.read_text()


def test_an_outcome_model_chooses_whole_solutions_and_no_steps(
    trained_run: Path,
    problems: Path,
    tiny_backbone: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "solved.jsonl"
    assert verb(trained_run, problems, out, tiny_backbone, "--limit", "2") == 0
    assert len(out.read_text().splitlines()) == 2
    capsys.readouterr()
    assert verb(trained_run, problems, out, tiny_backbone, "--method", "beam") == 2
    assert "rewards whole responses, and a beam search looks at steps" in capsys.readouterr().err
    assert verb(trained_run, problems, out, tiny_backbone, "--reduction", "mean") == 2
    assert "no mean over steps" in capsys.readouterr().err


def test_a_file_without_problems(
    process_run: Path, tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "hello"}\n')
    out = tmp_path / "solved.jsonl"
    assert verb(process_run, path, out, tiny_backbone) == 2
    assert "'input'; got 'text'" in (capsys.readouterr().err)
    assert not out.exists()
