"""The miniature of Let's Verify: its domain is judged right, its figures are what they say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import import_module
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from assay.errors import ConfigError

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(import_module("arithmetic"), "MODULUS", 20)
    return import_module


def problem(domain: ModuleType, start: int, *operations: tuple[str, int]) -> Any:
    return domain.Problem(start, tuple(domain.Operation(*o) for o in operations))


# --- the domain -----------------------------------------------------------------------------------


def test_a_problem_is_worked_from_left_to_right(script: Callable[[str], ModuleType]) -> None:
    p = problem(script("arithmetic"), 7, ("+", 5), ("*", 3), ("-", 9))
    assert p.text == "7a+5b*3c-9"
    assert p.value == 7  # 12, 36 mod 20 = 16, 7
    assert not p.is_hard
    assert problem(script("arithmetic"), 2, ("*", 7)).is_hard


@pytest.mark.parametrize(
    ("steps", "wrong"),
    [
        (["7a+5=12", "12b*3=16", "16c-9=7"], None),
        (["7a+5=13", "13b*3=19", "19c-9=10"], 0),  # a wrong result
        (["7a+5=12", "12b*4=8", "8c-9=19"], 1),  # another operand
        (["7a+5=12", "12b+3=15", "15c-9=6"], 1),  # another operator
        (["7a+5=12", "12b*3=16", "15c-9=6"], 2),  # another value than the line before gave
        (["7a+5=12", "so 16", "16c-9=7"], 1),  # no step
        (["7a+5=12", "12b*3=16"], None),  # stops early: no answer, and no wrong step
        (["7a+5=12", "12b*3=16", "16c-9=7", "7d+2=9"], 3),  # goes on
        ([""], 0),
    ],
)
def test_the_first_error_is_where_a_step_is_wrong(
    script: Callable[[str], ModuleType], steps: list[str], wrong: int | None
) -> None:
    domain = script("arithmetic")
    p = problem(domain, 7, ("+", 5), ("*", 3), ("-", 9))
    assert domain.first_error(p, steps) == wrong
    solution = domain.judged(p, "\n".join(steps), 10)
    assert solution.first_error == wrong
    if wrong is not None:
        assert set(solution.labels[wrong + 1 :]) <= {None}


def test_an_answer_may_be_right_by_luck(script: Callable[[str], ModuleType]) -> None:
    domain = script("arithmetic")
    p = problem(domain, 7, ("+", 5), ("*", 3), ("-", 9))
    lucky = domain.judged(p, "7a+5=13\n13b*3=19\n19c-9=11", 2)
    assert (lucky.correct, lucky.first_error, lucky.answer) == (True, 0, "c1")
    assert not domain.judged(p, "7a+5=13\n13b*3=19\n19c-9=11", 10).correct
    assert domain.judged(p, "7a+5=13\nnothing", 2).correct is False
    early = "7a+5=12\n12b*3=7"
    assert not domain.judged(p, early, 10).correct  # 7 is right, but not yet
    assert not domain.is_complete(p, early)
    assert domain.is_complete(p, f"{early}\n7c-9=18")


def test_chains_go_wrong_as_their_writers_do(script: Callable[[str], ModuleType]) -> None:
    domain, rng = script("arithmetic"), np.random.default_rng(0)
    problems = domain.draw_problems(400, rng, (4, 7))
    assert len(set(problems)) == 400
    assert {len(p.operations) for p in problems} == {4, 5, 6, 7}
    for p in problems:
        assert domain.first_error(p, domain.write_chain(p, domain.CAREFUL, rng)) is None
    slips = domain.Habits(slip=0.1, table=0.0)
    firsts = [domain.first_error(p, domain.write_chain(p, slips, rng)) for p in problems]
    wanted = np.mean([0.9 ** len(p.operations) for p in problems])
    assert np.mean([f is None for f in firsts]) == pytest.approx(wanted, abs=0.08)
    # a row too low in the times table, the same every time
    table = domain.Habits(slip=0.0, table=1.0)
    assert domain.write_chain(problem(domain, 7, ("*", 8)), table, rng) == ["7a*8=9"]


def test_who_rescues_undoes_the_slip_of_the_line_before(
    script: Callable[[str], ModuleType],
) -> None:
    domain, rng = script("arithmetic"), np.random.default_rng(0)
    p = problem(domain, 7, ("+", 5), ("*", 3), ("-", 9))
    assert domain.write_chain(p, domain.RESCUING, rng, ["7a+5=13"])[1:] == ["12b*3=16", "16c-9=7"]
    assert domain.write_chain(p, domain.RESCUING, rng, ["7a+6=13"])[1:] == ["12b*3=16", "16c-9=7"]
    assert domain.write_chain(p, domain.CAREFUL, rng, ["7a+5=13"])[1:] == ["13b*3=19", "19c-9=10"]


# --- the policy -----------------------------------------------------------------------------------


def test_the_policy_learns_what_is_not_given(
    script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    from assay.models.policy import Policy

    domain, policy = script("arithmetic"), script("arithmetic_policy")
    tokenizer = policy.new_tokenizer()
    rng = np.random.default_rng(0)
    (tokens, targets), *_ = policy._batches(tokenizer, domain.CAREFUL, 1, 8, (3, 3), rng, 1.0)
    for row, target in zip(tokens.tolist(), targets.tolist(), strict=True):
        learnt = tokenizer.decode([t for t in target if t != policy.IGNORED])
        assert learnt.endswith(policy.END)
        assert learnt.count("=") == 3
        assert re.search(r"=\d", learnt) is None  # spoiled results are shown, not learnt
        assert len(re.findall(r"=\d", tokenizer.decode(row))) == 3
    network = policy.new_network(tokenizer, 16, 1, 0)
    losses: list[float] = []
    policy.pretrain(
        network, tokenizer, domain.SLOPPY, steps=30, batch_size=8, lr=1e-2, lengths=(2, 2), seed=0,
        on_step=lambda step, loss: losses.append(loss),
    )  # fmt: skip
    assert np.mean(losses[-5:]) < 0.9 * losses[0]
    policy.save(network, tokenizer, tmp_path / "policy")
    loaded = Policy.load(str(tmp_path / "policy"))
    asked = problem(domain, 7, ("+", 5)).prompt
    assert loaded.text(loaded.prompt_ids(asked, "7a+5=12\n").tolist()) == "7a+5\n7a+5=12\n"
    assert loaded.end_ids == {tokenizer.eos_token_id}


# --- figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimation", ["hard", "soft"])
def test_fewer_rollouts_are_all_subsets_of_more(
    script: Callable[[str], ModuleType], estimation: str
) -> None:
    labels = script("lets_verify_labels")
    right = np.array([0, 1, 3, 6])
    for n in (1, 2, 3, 6):
        found = labels.called_good(right, np.full(4, 6), n, estimation)
        for count, chance in zip(right, found, strict=True):
            rollouts = [1] * count + [0] * (6 - count)
            subsets = [sum(c) for c in combinations(rollouts, n)]
            least = 1 if estimation == "hard" else n / 2
            assert chance == pytest.approx(np.mean([s >= least for s in subsets]))


def test_precision_and_recall_by_hand(script: Callable[[str], ModuleType]) -> None:
    labels = script("lets_verify_labels")
    bad, calls = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.5, 1.0, 0.5])
    found = labels.precision_and_recall(bad, calls, ["a", "b", "c", "d"])
    assert found["bad_precision"]["value"] == pytest.approx(1.5 / 2)
    assert found["bad_recall"]["value"] == pytest.approx(1.5 / 2)
    assert found["good_precision"]["value"] == pytest.approx(1.5 / 2)
    assert found["good_recall"]["value"] == pytest.approx(1.5 / 2)
    assert (
        labels.precision_and_recall(bad, np.ones(4), ["a", "b", "c", "d"])["bad_precision"] is None
    )


def test_searches_are_counted_against_their_bound(script: Callable[[str], ModuleType]) -> None:
    labels = script("lets_verify_labels")
    found = labels.probe_counts([(3, 4), (4, 4), (1, 1)])
    assert (found["most"], found["within"], found["searches"]) == (4, 2, 3)
    p = problem(script("arithmetic"), 7, ("+", 5), ("*", 3), ("-", 9))
    texts = ["7a+5=12\n12b*3=16\n16c-9=7", "7a+5=13\n13b*3=19\n19c-9=10"]
    world = {"problems": [p], "texts": [texts]}
    searched = labels.searched([world])
    assert searched["untold"]["exact"] == searched["untold"]["within"] == 2
    assert searched["told"]["searches"] == 1


def test_a_vote_is_as_sound_as_the_samples_of_its_answer(
    script: Callable[[str], ModuleType],
) -> None:
    selection = script("lets_verify_selection")
    p = problem(script("arithmetic"), 7, ("+", 5))
    sampled = selection.Sampled(
        seed=0, problem=p, labels=[(1,), (-1,), (-1,), (-1,)],
        right=np.array([True, True, False, False]), sound=np.array([True, False, False, False]),
        answers=["0", "0", "1", None], rewards=[np.ones(1)] * 4, outcome=np.ones(4),
    )  # fmt: skip
    assert selection.voted_sound(sampled) == 0.5


# --- the whole ------------------------------------------------------------------------------------


@pytest.fixture
def settings(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setattr(script("arithmetic"), "MODULUS", 3)  # so few facts are learnt in seconds
    return script("lets_verify").Settings(
        seeds=(0,), lengths=(1, 2), test_problems=6, samples=4, train_problems=30,
        train_samples=6, width=32, layers=2, policy_steps=300, weak_steps=100, habit_steps=20,
        chains=16, lr=5e-3, epochs=1, labelled_problems=4, rollouts=(1, 4),
        out=tmp_path / "out",
    )  # fmt: skip


def test_a_stopped_run_goes_on_to_the_same_figures(
    script: Callable[[str], ModuleType],
    settings: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    verify = script("lets_verify")

    def record() -> dict[str, Any]:
        verify.run(settings)
        found: dict[str, Any] = json.loads((settings.out / "lets_verify.json").read_text())
        found.pop("seconds")
        return found

    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "stopped"))
    with monkeypatch.context() as patch:
        patch.setattr(verify, "outcome_probabilities", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            verify.run(settings)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "stopped" / "lets_verify").rglob("*.json")}
    assert any(p.name == "process.json" for p in kept)
    stopped = record()
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items())  # nothing was done again
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "whole"))
    assert record() == stopped
    assert set(stopped["selection"]) == set(stopped["labels"]) == {"2", "10"}
    two = stopped["selection"]["2"]
    assert two["n"] == [1, 2, 4]
    assert two["problems"] == 6
    first = {name: row[0]["value"] for name, row in two["curves"].items()}
    assert first["PRM"] == pytest.approx(first["pass"])  # of one sample nothing is selected
    assert first["majority"] == pytest.approx(two["samples"]["right"]["value"])
    assert set(stopped["labels"]["2"]) == {"weak", "policy", "careful", "rescuing"}
    assert stopped["search_without_rollouts"]["untold"]["searches"] > 0
    assert "PRM weighted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples": 6}, "a power of two"),
        ({"weak_steps": 300}, "--weak-steps"),
        ({"labelled_problems": 7}, "--labelled-problems"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    script: Callable[[str], ModuleType], settings: Any, changes: dict[str, Any], said: str
) -> None:
    from dataclasses import replace

    with pytest.raises(ConfigError, match=said):
        script("lets_verify").run(replace(settings, **changes))
