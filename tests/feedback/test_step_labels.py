"""Step labels recover where a synthetic solver goes wrong, cost what is said, and go on."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from solver import Solver, asked, problem

from assay.configs import StepLabelling
from assay.errors import ConfigError
from assay.feedback.client import Client, Endpoint
from assay.feedback.completers import EndpointCompleter, FunctionCompleter
from assay.feedback.http import EndpointError
from assay.feedback.step_labels import label_solutions
from assay.feedback.tallies import Tally
from assay.types import Solution

BISECT = StepLabelling(method="first-error", check_prompt=False)
EVERY = StepLabelling(check_prompt=False)
ERRORS = (0, 2, 4, None, 3)


def batch() -> list[Solution]:
    return [problem(5, error, f"easy {i}") for i, error in enumerate(ERRORS)]


def test_every_step_is_good_until_the_first_wrong_one() -> None:
    solver = Solver()
    found = label_solutions(batch(), solver, EVERY)
    for solution, error in zip(found.solutions, ERRORS, strict=True):
        place = 5 if error is None else error
        assert solution.labels == (1,) * place + (-1,) * (5 - place)
        assert solution.probabilities == (1.0,) * place + (0.0,) * (5 - place)
        assert (solution.first_error, solution.annotator) == (error, "rollouts")
    assert found.tallies[1][1:3] == (Tally(8, 0), Tally(0, 8))
    report = found.report
    assert (report.solutions, report.labelled, report.probes) == (5, 5, 25)
    assert report.steps == {1: 14, 0: 0, -1: 11, None: 0}
    assert (report.right, report.wrong) == (14 * 8, 11 * 8)
    assert len(solver.asked) == 25


def test_bisection_names_the_same_first_errors_with_fewer_probes() -> None:
    solver = Solver()
    found = label_solutions(batch(), solver, BISECT)
    assert [s.first_error for s in found.solutions] == list(ERRORS)
    assert found.solutions[1].labels == (1, 1, -1, None, None)
    assert found.report.probes == len(solver.asked) <= 5 * (math.ceil(math.log2(5)) + 1)
    assert found.report.steps[None] == 4 + 2 + 1
    for solution, tallies in zip(found.solutions, found.tallies, strict=True):
        probed = [i for i, t in enumerate(tallies) if t is not None]
        assert probed == [i for i, p in enumerate(solution.probabilities or ()) if p is not None]


def test_soft_estimates_are_shares_with_two_thresholds() -> None:
    # 2 of 8 rollouts are right after a wrong step
    settings = StepLabelling(estimation="soft", check_prompt=False, bad_below=0.25, good_from=0.5)
    one = [problem(3, 1)]
    found = label_solutions(one, Solver(lucky=2), settings)
    assert found.solutions[0].probabilities == (1.0, 0.25, 0.25)
    assert found.solutions[0].labels == (1, 0, 0)
    settings = StepLabelling(estimation="soft", check_prompt=False, bad_below=0.26)
    assert label_solutions(one, Solver(lucky=2), settings).solutions[0].labels == (1, -1, -1)
    hard = label_solutions(one, Solver(lucky=1), EVERY).solutions[0]
    assert (hard.labels, hard.probabilities) == ((1, 1, 1), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("settings", [EVERY, BISECT])
def test_a_known_end_is_not_probed(settings: StepLabelling) -> None:
    stated = problem(3, 1, "easy a")
    wrong = Solution(stated.prompt, (*stated.steps, "#### 8"), (None,) * 4, answer="7")
    solver = Solver()
    found = label_solutions([wrong, problem(3, None, "easy b", correct=True)], solver, settings)
    assert [s.first_error for s in found.solutions] == [1, None]
    assert [s.correct for s in found.solutions] == [False, True]
    assert found.solutions[0].labels[-1] == (-1 if settings is EVERY else None)
    assert (found.solutions[0].probabilities or ())[-1] == 0.0
    assert all(len(prefix.steps) < 4 for prefix in solver.asked)
    if settings is BISECT:
        assert all(prefix.prompt == stated.prompt for prefix in solver.asked)


@pytest.mark.parametrize("method", ["every-step", "first-error"])
def test_what_cannot_be_labelled_is_counted_and_has_no_label(method: Any) -> None:
    given = [
        problem(4, 2, "easy"),
        problem(4, 2, "easy without", answer=None),
        problem(4, 2, "hard"),
        problem(4, 2, "hard").__class__(asked("hard"), ("other",), (1,), answer="7"),
        problem(4, 2, "easy fails"),
        Solution(asked("easy"), (), (), answer="7"),
    ]
    solver = Solver()
    found = label_solutions(given, solver, StepLabelling(method=method))
    assert [any(x is not None for x in s.labels) for s in found.solutions] == [True] + [False] * 5
    assert all(s.probabilities is None for s in found.solutions[1:])
    assert dict(found.report.dropped) == {
        "no reference answer": 2,
        "prompt that no rollout solves": 2,
        "too few rollouts": 1,
    }
    assert found.report.labelled + sum(found.report.dropped.values()) == 6
    assert found.report.spent.failed > 0
    assert sum(not prefix.steps for prefix in solver.asked) == 3  # a prompt is checked once
    text = str(found.report)
    assert "1 of 6 solutions labelled (not: 2 no reference answer, 2 prompt that no" in text
    assert "first: it is too long" in text


def test_unfinished_and_undecided_rollouts_are_no_labels() -> None:
    found = label_solutions([problem(3, 1, "easy cut")], Solver(lucky=3), EVERY)
    assert found.tallies[0] == (Tally(4, 0, 4), Tally(2, 2, 4), Tally(2, 2, 4))
    assert found.report.unfinished == 12
    strict = StepLabelling(check_prompt=False, min_rollouts=5)
    found = label_solutions([problem(3, 1, "easy cut")], Solver(), strict)
    assert found.solutions[0].labels == (None, None, None)
    assert found.report.dropped["too few rollouts"] == 1

    unsure = FunctionCompleter(lambda prompt, steps, n, seed: ["?"] * n, "unsure")
    from assay.feedback.tallies import Checker

    checker = Checker(lambda response, answer: None, note="install it")
    found = label_solutions([problem(2, 0)], unsure, EVERY, checker=checker)
    assert found.solutions[0].labels == (None, None)
    assert found.report.undecided == 16
    assert str(found.report).endswith("; install it")


@pytest.mark.parametrize("method", ["every-step", "first-error"])
def test_a_run_that_was_stopped_goes_on_to_the_same_result(tmp_path: Path, method: Any) -> None:
    settings = StepLabelling(method=method, batch_size=4)
    whole = label_solutions(batch(), straight := Solver(), settings)
    path = tmp_path / "journal.sqlite"
    stopped = Solver(breaks_at=2, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        label_solutions(batch(), stopped, settings, journal=path)
    rest = Solver()
    found = label_solutions(batch(), rest, settings, journal=path)
    assert found.solutions == whole.solutions
    assert found.tallies == whole.tallies
    assert sorted(map(repr, stopped.asked + rest.asked)) == sorted(map(repr, straight.asked))
    again = Solver()
    assert label_solutions(batch(), again, settings, journal=path).solutions == whole.solutions
    assert again.asked == []


def test_an_endpoint_that_dies_half_way_keeps_what_is_done_and_the_same_call_goes_on(
    server: Any, chat: Any, tmp_path: Path
) -> None:
    path = tmp_path / "journal.sqlite"
    alive = True
    asks = 0

    def answer(body: dict[str, Any]) -> Any:
        nonlocal asks, alive
        asks += 1
        alive = alive and asks <= 9
        if not alive:
            return 503, {}, b"down for maintenance"
        begun = body["messages"][-1]["content"] if len(body["messages"]) > 1 else ""
        return chat(*["#### 8" if "wrong" in begun else "#### 7"] * body["n"])

    server.script = [answer]
    endpoint = Endpoint(
        base_url=server.url, model="m", retries=1, prompt_price=1e6, response_price=1e6
    )

    def label() -> Any:
        client = Client(endpoint, sleep=lambda _: None)
        completer = EndpointCompleter(client, concurrency=1)
        settings = StepLabelling(rollouts=2, batch_size=3)
        with closing(client):
            return label_solutions(batch(), completer, settings, journal=path, price=endpoint.price)

    with pytest.raises(EndpointError) as error:
        label()
    assert "answered 503: 'down for maintenance' (tried 2 times); 16 rollouts" in str(error.value)
    assert str(error.value).endswith(f"are kept in {path}; the same command goes on.")
    assert "\n" not in str(error.value)
    alive, asks = True, -1000
    found = label()
    assert [s.first_error for s in found.solutions] == list(ERRORS)
    assert found.report.spent.found == 16
    assert asks + 1000 == 30 - 8
    assert found.report.cost == pytest.approx((30 - 8) * (7 + 5))
    assert "; cost: 264.0000" in str(found.report)


def test_progress_counts_prefixes() -> None:
    seen: list[tuple[str, int, int, int]] = []

    def report(stage: str, done: int, total: int, tokens: int) -> None:
        seen.append((stage, done, total, tokens))

    label_solutions(batch(), Solver(), StepLabelling(batch_size=10), progress=report)
    assert seen == [
        ("prompts", 5, 5, 120),
        ("steps", 10, 25, 240),
        ("steps", 20, 25, 240),
        ("steps", 25, 25, 120),
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rollouts": 0}, "rollouts is 0; wanted 1"),
        ({"batch_size": 0}, "batch_size is 0;"),
        ({"min_rollouts": 9}, "min_rollouts 9 is more than the 8 rollouts"),
        ({"bad_below": 0.6}, "bad_below is 0.6 and good_from 0.5; wanted"),
        ({"good_from": 1.5}, "good_from 1.5"),
    ],
)
def test_settings_that_cannot_work_are_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        label_solutions([], Solver(), StepLabelling(**settings))
