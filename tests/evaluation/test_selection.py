"""Value: what is selected, by whom, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from assay.errors import ConfigError, DataError
from assay.evaluation.selection import Candidates, Selector, deviation, selected
from assay.stats import Aggregator, expected_best


def made(members: int = 3, prompts: int = 6, samples: int = 16, seed: int = 0) -> Candidates:
    rng = np.random.default_rng(seed)
    gold = rng.normal(size=(prompts, samples))
    rewards = gold[..., None] + rng.normal(size=(prompts, samples, members))
    lengths = rng.integers(1, 99, size=gold.shape).astype(float)
    return Candidates(rewards, gold, lengths)


def test_three_candidates_by_hand() -> None:
    # two prompts alike: rewards 1, 2, 3 have gold 0, 6, 3, whose variance is 6
    rewards = np.array([[[1.0], [2.0], [3.0]]] * 2)
    candidates = Candidates(rewards, np.array([[0.0, 6.0, 3.0]] * 2))
    assert candidates.gold_std == pytest.approx(6**0.5)
    found = selected(candidates, Selector(), (1, 2, 3))
    # of two, the best is the third in two of three draws: (2 × 3 + 6) / 3 = 4; of three it is 3
    assert found["gold"] * 6**0.5 == pytest.approx(np.array([[0.0, 4 - 3, 3 - 3]] * 2))
    scale = (2 / 3) ** 0.5
    assert found["proxy"] * scale == pytest.approx(np.array([[0.0, 8 / 3 - 2, 3 - 2]] * 2))
    assert set(found) == {"gold", "proxy"}


def test_single_is_the_mean_of_the_members_own_curves() -> None:
    c = made()
    one = [selected(Candidates(c.rewards[..., [m]], c.gold), Selector(), (1, 4, 16))["gold"]
           for m in range(3)]  # fmt: skip
    assert selected(c, Selector(), (1, 4, 16))["gold"] == pytest.approx(np.mean(one, axis=0))


def test_what_is_watched_is_that_of_the_candidate_picked() -> None:
    c = made()
    worst = Aggregator("worst-case")
    found = selected(c, Selector(worst), (1, 16))
    best = worst(c.rewards).argmax(axis=1)
    rows = np.arange(6)
    assert found["length"][:, 1] == pytest.approx(c.lengths[rows, best])
    assert found["length"][:, 0] == pytest.approx(c.lengths.mean(axis=1))
    assert found["disagreement"][:, 1] == pytest.approx(c.rewards.std(axis=2)[rows, best])


def test_members_that_are_one_model_make_all_selectors_one() -> None:
    c = made(members=1)
    same = Candidates(np.repeat(c.rewards, 5, axis=2), c.gold)
    curves = [
        selected(same, Selector.parse(name), (1, 4, 16))["gold"]
        for name in ("single", "mean", "median", "worst-case", "mean-variance:2", "entropic:1")
    ]
    for curve in curves[1:]:
        assert curve == pytest.approx(curves[0])


def test_rows_of_one_prompt_are_averaged_into_it() -> None:
    c = made(prompts=4)
    named = Candidates(c.rewards, c.gold, prompts=("b", "a", "b", "c"))
    assert named.count == 3
    found = selected(named, Selector.parse("mean"), (1, 8))["gold"]
    rows = expected_best(c.rewards.mean(axis=2), c.gold, (1, 8)) / c.gold_std
    gains = rows - rows[:, :1]
    assert found == pytest.approx(np.stack([gains[1], (gains[0] + gains[2]) / 2, gains[3]]))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("single", "single"),
        ("mean", "mean"),
        ("worst-case", "worst-case"),
        ("mean-variance", "mean-variance 1"),
        ("mean-variance:0.5", "mean-variance 0.5"),
        ("mean-std:2", "mean-std 2"),
        ("entropic:1e-2", "entropic 0.01"),
    ],
)
def test_selectors_are_read_from_text(text: str, name: str) -> None:
    assert str(Selector.parse(text)) == name


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("means", "aggregator 'means' is unknown; use NAME or NAME:STRENGTH, single, mean,"),
        ("single:1", "aggregator 'single:1' is unknown"),
        ("mean-std:much", "the strength 'much' is no number; write mean-std:1"),
        ("mean-std:", "the strength '' is no number"),
        ("mean-variance:-1", "a number of 0 or more"),
        ("entropic:0", "use worst-case"),
    ],
)
def test_other_texts_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Selector.parse(text)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"gold": np.zeros((6, 15))}, r"got arrays of \(6, 16, 3\), \(6, 15\)"),
        ({"lengths": np.zeros(6)}, "Wanted rewards of rows × candidates × members"),
        ({"rewards": np.zeros((6, 16))}, "Wanted rewards"),
        ({"prompts": ("a",) * 6}, "needs 2 or more, and there is 1"),
        ({"gold": np.ones((6, 16))}, "Gold is the same for all candidates"),
    ],
)
def test_what_is_no_set_of_candidates_is_refused(changes, sentence: str) -> None:
    c = made()
    parts = {"rewards": c.rewards, "gold": c.gold, **changes}
    with pytest.raises(DataError, match=sentence):
        Candidates(**parts)


def test_one_candidate_and_numbers_that_are_none_are_refused() -> None:
    c = made()
    with pytest.raises(DataError, match="needs 2 or more candidates of each prompt, and there is"):
        Candidates(c.rewards[:, :1], c.gold[:, :1])
    rewards = c.rewards.copy()
    rewards[2, 4, 1] = np.nan
    with pytest.raises(DataError, match=r"The reward of candidate 5 in row 3 is not finite \(1 "):
        Candidates(rewards, c.gold)
    gold = c.gold.copy()
    gold[0, 0] = np.inf
    with pytest.raises(DataError, match="The gold reward of candidate 1 in row 1"):
        Candidates(c.rewards, gold)


def test_a_selector_that_tells_nothing_apart_is_refused() -> None:
    c = made()
    with pytest.raises(DataError, match="mean rewards all candidates of every prompt alike"):
        selected(Candidates(np.full_like(c.rewards, 0.1), c.gold), Selector.parse("mean"), (1, 2))


def test_the_deviation_is_within_rows() -> None:
    assert deviation(np.array([[0.0, 2.0], [100.0, 104.0]])) == pytest.approx(2.5**0.5)
    assert deviation(np.full((3, 7), 0.1)) == 0.0
