"""A weighted reward is worked out by hand, and no failure of a part goes unsaid."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import ConfigError, DataError, TrainingError
from assay.feedback.http import EndpointError
from assay.rlhf.functions import FunctionScorer
from assay.rlhf.rewards import Normalisation, Part, Reward, fit_normalisation, single
from assay.types import Conversation, Scorer, Scores


@dataclass
class Known:
    """Rewards a response by the number it says; ``does`` may refuse it first."""

    std: float | None = None
    does: Callable[[str], Any] = lambda _: None
    calls: int = 0

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        self.calls += 1
        for c in conversations:
            self.does(c.response_text)
        rewards = np.array([float(c.response_text) for c in conversations])
        return Scores(rewards, None if self.std is None else np.full(len(rewards), self.std))


def said(*numbers: float | str) -> list[Conversation]:
    return [Conversation.of("How many?", str(n)) for n in numbers]


def test_a_sum_is_worked_out_by_hand() -> None:
    reward = Reward(
        parts=(
            Part(
                scorer=Known(std=3.0),
                name="a",
                weight=0.5,
                normalisation=Normalisation(2.0, -1.0, 9),
                penalty="mean-std",
                strength=0.25,
            ),
            Part(scorer=Known(std=1.0), name="b", weight=-2.0, penalty="mean-variance"),
        )
    )
    scores = reward.score(said(1, 2))
    # a: 0.5 (2 r - 1) - 0.5 × 0.25 × 2 × 3; b: -2 r - 2 × 1 × 1²: doubt lowers it, not raises
    expected = [0.5 * 1 - 0.75 - 2 - 2, 0.5 * 3 - 0.75 - 4 - 2]
    np.testing.assert_allclose(scores.reward, expected)
    np.testing.assert_allclose(scores.std, np.sqrt(3.0**2 + 2.0**2))
    np.testing.assert_allclose(
        replace(reward, clip=(-7.0, -5.0)).score(said(1, 2)).reward, [-5, -5.25]
    )
    assert reward.name == "0.5*a+-2*b"
    assert isinstance(reward, Scorer)


def test_one_part_is_the_scorer_itself() -> None:
    scores = single(Known()).score(said(1.5, -2))
    assert scores.reward.tolist() == [1.5, -2.0]
    assert scores.std is None
    assert single(Known()).score([]).reward.shape == (0,)


def test_a_sum_is_a_part_of_a_sum() -> None:
    inner = Reward(parts=(Part(scorer=Known(), name="a", weight=2.0),))
    outer = Reward(parts=(Part(scorer=inner, name="inner"), Part(scorer=Known(), name="b")))
    assert outer.score(said(1, 2)).reward.tolist() == [3.0, 6.0]


@settings(max_examples=50)
@given(
    numbers=st.lists(st.floats(-100, 100), min_size=2, max_size=20, unique=True),
    shift=st.floats(-1e3, 1e3),
    scale=st.floats(0.1, 10),
)
def test_normalised_rewards_have_mean_0_and_deviation_1_whatever_the_scale(
    numbers: list[float], shift: float, scale: float
) -> None:
    r = np.array(numbers) * scale + shift
    if r.std() < 1e-3:
        return
    fitted = Normalisation.fit(r)
    normal = fitted.reward_gain * r + fitted.reward_bias
    assert abs(normal.mean()) < 1e-6
    assert abs(normal.std() - 1) < 1e-6
    assert fitted.n == len(numbers)


def test_each_part_is_normalised_on_reference_responses() -> None:
    parts = (Part(scorer=Known(), name="a", weight=3.0), Part(scorer=Known(), name="b"))
    fitted = fit_normalisation(Reward(parts=parts), said(2, 4))
    assert fitted.score(said(2, 3, 5)).reward.tolist() == [-4.0, 0.0, 8.0]
    assert fitted.parts[0].lock is parts[0].lock  # still one turn for the scorer
    missing = Reward(parts=parts, on_failure="skip")
    fitted = fit_normalisation(missing, said(2, 4, "nan"))
    assert fitted.parts[0].normalisation == Normalisation(1.0, -3.0, 2, 1)
    assert missing.failures.counts == {"not a number": 2}
    assert fitted.failures.total == 0
    assert str(fitted.failures) == "no reward failed"
    with pytest.raises(DataError, match=r"'a' cannot be normalised: All 2 .* have the reward 5;"):
        fit_normalisation(Reward(parts=parts), said(5, 5))
    with pytest.raises(DataError, match="of 1 given 1 had a finite reward"):
        fit_normalisation(Reward(parts=parts), said(5))


def refuse(text: str) -> None:
    if text == "13":
        raise ValueError("unlucky\nand more")


def stop(text: str) -> None:
    raise EndpointError("http://h/get_reward answered 401", is_gone=True)


def test_a_failing_response_stops_with_one_sentence_or_is_left_out_alone() -> None:
    numbers = said(1, 2, 13, 4, "inf", 6, "nan", 8)
    with pytest.raises(
        TrainingError,
        match=r"The reward 'odd' gave none for response 3 of 8: ValueError unlucky; repair that",
    ):
        Reward(parts=(Part(scorer=Known(does=refuse), name="odd"),)).score(numbers)
    skipping = Reward(parts=(Part(scorer=Known(does=refuse), name="odd"),), on_failure="skip")
    rewards = skipping.score(numbers).reward
    np.testing.assert_array_equal(rewards, [1, 2, np.nan, 4, np.nan, 6, np.nan, 8])
    assert skipping.failures.counts == {"error": 1, "infinite": 1, "not a number": 1}
    assert skipping.failures.total == 3
    assert "3 rewards failed (1 error, 1 infinite, 1 not a number). The first: " in str(
        skipping.failures
    )
    assert "response 3 of 8: ValueError unlucky; left out." in str(skipping.failures)


@pytest.mark.parametrize(
    ("number", "said_"),
    [("nan", "response 2 of 2: it is not a number"), ("-inf", "response 2 of 2: infinite")],
)
def test_a_reward_that_is_not_finite_stops(number: str, said_: str) -> None:
    with pytest.raises(TrainingError, match=said_):
        single(Known()).score(said(1, number))


def test_a_part_that_fails_makes_the_sum_missing_and_the_other_parts_are_asked() -> None:
    parts = (Part(scorer=Known(does=refuse), name="a"), Part(scorer=Known(), name="b"))
    reward = Reward(parts=parts, on_failure="skip")
    np.testing.assert_array_equal(reward.score(said(1, 13)).reward, [2, np.nan])
    a, b = reward.by_part(said(1, 13))
    assert np.isnan(a.reward[1])
    assert b.reward.tolist() == [1.0, 13.0]


def test_a_server_that_is_gone_is_not_asked_again_for_every_response() -> None:
    gone = Known(does=stop)
    reward = single(gone, on_failure="skip")
    assert np.isnan(reward.score(said(*range(8))).reward).all()
    assert gone.calls == 1
    assert reward.failures.counts == {"error": 8}


@settings(max_examples=40)
@given(bad=st.lists(st.booleans(), max_size=20))
def test_whatever_fails_the_others_keep_their_rewards(bad: list[bool]) -> None:
    reward = single(Known(does=refuse), on_failure="skip")
    numbers = ["13" if b else str(i + 100) for i, b in enumerate(bad)]
    expected = [np.nan if b else i + 100 for i, b in enumerate(bad)]
    np.testing.assert_array_equal(reward.score(said(*numbers)).reward, expected)
    assert reward.failures.total == sum(bad)


@pytest.mark.parametrize(
    ("answer", "said_"),
    [
        (lambda p, r: [1.0], "it answered 1 rewards to 2 responses"),
        (lambda p, r: ["x"] * len(r), "it answered something that is no list of numbers"),
        (lambda p, r: 3, "it answered something that is no list of numbers"),
        (lambda p, r: [[1.0]] * len(r), "it answered something that is no list of numbers"),
        (lambda p, r: 1 / 0, "ZeroDivisionError division by zero"),
        (lambda p, r: [None] * len(r), "it is not a number"),
    ],
)
def test_functions_that_answer_nonsense_are_named(answer: Any, said_: str) -> None:
    reward = Reward(parts=(Part(scorer=FunctionScorer(answer), name="f.py:mine"),))
    with pytest.raises(TrainingError, match=f"'f.py:mine' gave none for response 1 of 2: {said_}"):
        reward.score(said(1, 2))


def test_with_a_wrong_count_no_reward_is_taken() -> None:
    reward = single(FunctionScorer(lambda p, r: [1.0]), on_failure="skip")
    assert np.isnan(reward.score(said(1, 2, 3)).reward).all()
    assert reward.failures.counts == {"wrong count": 3}


def test_functions_get_texts_or_messages() -> None:
    seen: list[Any] = []

    def mine(prompts: list[Any], responses: list[Any]) -> list[float]:
        seen.append((prompts, responses))
        return [float(len(r)) for r in responses]

    turns = [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Hi", "name": "Ann"},
    ]
    conversation = Conversation.of(turns, "Hello")
    assert FunctionScorer(mine).score([conversation]).reward.tolist() == [5.0]
    assert FunctionScorer(mine, messages=True).score([conversation]).reward.tolist() == [1.0]
    assert seen[0] == (["system: Be kind\n\nuser: Hi"], ["Hello"])
    assert seen[1] == ([turns], [[{"role": "assistant", "content": "Hello"}]])
    assert FunctionScorer(mine).name == "mine"


def test_a_scorer_that_takes_too_long_is_left_behind_and_waited_for() -> None:
    released = threading.Event()
    slow = Known(does=lambda text: released.wait(10) if text == "13" else None)
    part = Part(scorer=slow, name="slow", timeout_seconds=0.2)
    reward = Reward(parts=(part,), on_failure="skip")
    began = time.monotonic()
    assert np.isnan(reward.score(said(13, 1)).reward).all()
    assert np.isnan(reward.score(said(1)).reward).all()  # the first call still holds its turn
    assert time.monotonic() - began < 5
    assert reward.failures.counts == {"timeout": 3}
    with pytest.raises(TrainingError, match=r"an earlier call still ran after 0\.2 s"):
        replace(reward, on_failure="error").score(said(1))
    released.set()
    with part.lock:  # it ends, and gives its turn back
        pass
    assert reward.score(said(1)).reward.tolist() == [1.0]
    assert slow.calls == 2


def test_an_error_within_a_timed_call_is_that_error() -> None:
    reward = Reward(parts=(Part(scorer=Known(does=refuse), name="a", timeout_seconds=5.0),))
    with pytest.raises(TrainingError, match="response 2 of 2: ValueError unlucky"):
        reward.score(said(1, 13))
    assert reward.score(said(1)).reward.tolist() == [1.0]


def test_threads_take_turns() -> None:
    inside, most = [0], [0]

    def enter(_: str) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.005)
        inside[0] -= 1

    reward = single(Known(does=enter))
    threads = [threading.Thread(target=reward.score, args=(said(1),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Part(scorer=Known(), weight=0.0), "weight 0; wanted a number other than 0"),
        (lambda: Part(scorer=Known(), weight=float("nan")), "weight nan"),
        (lambda: Part(scorer=Known(), strength=-1.0), "penalty of strength -1"),
        (lambda: Part(scorer=Known(), timeout_seconds=0.0), "timeout_seconds 0; wanted"),
        (lambda: Reward(parts=()), "has no parts"),
        (lambda: Reward(parts=(Part(scorer=Known()), Part(scorer=Known()))), "named twice"),
        (lambda: Reward(parts=(Part(scorer=Known()),), clip=(1.0, 1.0)), "clip is 1 to 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_penalty_needs_a_deviation_and_is_not_taken_twice() -> None:
    part = Part(scorer=Known(), name="a", penalty="mean-std")
    with pytest.raises(ConfigError, match="'a' has a penalty mean-std, and its scorer says no"):
        Reward(parts=(part,)).score(said(1))
    pessimist = Known(std=1.0)
    pessimist.aggregator = SimpleNamespace(name="worst-case")  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="would take off its doubt twice"):
        Part(scorer=pessimist, penalty="mean-std")
