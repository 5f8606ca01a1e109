"""Outcomes of solutions as labelled responses or pairs: by hand, counted, and trained on."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.configs import RewardTraining
from assay.data.outcomes import outcome_pairs
from assay.errors import ConfigError, DataError
from assay.types import LABEL, Message, Preference, Solution


def solution(text: str, correct: bool | None, prompt: str = "Q", **fields: Any) -> Solution:
    steps = tuple(text.split())
    return Solution(
        (Message("user", prompt),), steps, (None,) * len(steps), correct=correct, **fields
    )


SOLUTIONS = [
    solution("a b", True, id="1", subset="s"),
    solution("a c", False),
    solution("a d", None),
    solution("a b", True),
    solution("a e", False),
    solution("x", True, prompt="R"),
    solution("y", True, prompt="S"),
    solution("y", False, prompt="S"),
    solution("y", True, prompt="S"),
]


def test_every_known_outcome_is_a_labelled_response() -> None:
    pairs = outcome_pairs(SOLUTIONS, separator="\n")
    told = [(c.prompt[0].content, c.responses[0][0].content, c.ratings) for c in pairs.comparisons]
    assert told == [
        ("Q", "a\nb", ({LABEL: 1.0},)),
        ("Q", "a\nc", ({LABEL: 0.0},)),
        ("Q", "a\ne", ({LABEL: 0.0},)),
        ("R", "x", ({LABEL: 1.0},)),
    ]
    assert (pairs.comparisons[0].id, pairs.comparisons[0].subset) == ("1", "s")
    report = pairs.report
    assert (report.rows, report.singles, report.pairs) == (9, 4, 0)
    assert report.dropped == {
        "solution of unknown outcome": 1,
        "duplicate": 1,
        "response that is both right and wrong": 3,
    }
    assert report.rows == report.singles + sum(report.dropped.values())


def test_right_responses_are_preferred_to_wrong_ones() -> None:
    pairs = outcome_pairs([*SOLUTIONS, solution("b", True)], paired=True)
    (comparison,) = pairs.comparisons
    assert [r[0].content for r in comparison.responses] == ["a\n\nb", "a\n\nc", "a\n\ne", "b"]
    assert comparison.preferences == tuple(
        Preference(i, j) for i, j in ((0, 1), (0, 2), (3, 1), (3, 2))
    )
    assert pairs.report.dropped["solution of a problem without both a right and a wrong one"] == 1


def test_the_most_pairs_are_drawn_by_seed_and_not_by_order() -> None:
    many = [solution(f"r{i}", True) for i in range(4)] + [
        solution(f"w{i}", False) for i in range(4)
    ]

    def drawn(solutions: list[Solution], seed: int) -> set[tuple[str, str]]:
        pairs = outcome_pairs(solutions, paired=True, most=5, seed=seed)
        assert len(pairs) == 5
        assert pairs.report.dropped == {"pair beyond the most of a problem": 11}
        used = {r for p in pairs for r in (p.chosen, p.rejected)}
        assert used == set(pairs.comparisons[0].responses)
        return {(p.chosen[0].content, p.rejected[0].content) for p in pairs}

    assert drawn(many, 0) == drawn(random.Random(1).sample(many, len(many)), 0)
    assert len({frozenset(drawn(many, seed)) for seed in range(5)}) > 1
    assert all(chosen < rejected for chosen, rejected in drawn(many, 3))  # r before w


def test_nothing_to_learn_from_is_an_error_with_the_reasons() -> None:
    with pytest.raises(DataError) as caught:
        outcome_pairs([solution("a", None), solution("b", None)])
    assert str(caught.value) == (
        "none of the 2 solutions gave a labelled response; dropped: 2 solution of unknown outcome. "
        "Outcomes are the field 'correct'."
    )
    with pytest.raises(DataError, match="1 solution of a problem without both"):
        outcome_pairs([solution("a", True)], paired=True)
    for settings in ({"most": 0, "paired": True}, {"most": 2}):
        with pytest.raises(ConfigError, match="1 or more, and needs paired=True"):
            outcome_pairs(SOLUTIONS, **settings)


@pytest.mark.usefixtures("own_cache", "few_resamples", "no_pictures")
@pytest.mark.parametrize("paired", [False, True])
def test_an_outcome_model_learns_from_it(
    paired: bool, tiny_backbone: Path, gold_reward: Callable[[str], float]
) -> None:
    """Recovery: solutions are right where their words are mostly good; new ones are told apart."""
    from assay.models.reward_model import RewardModel
    from assay.train.reward import train_reward

    source = random.Random(0)
    words = ["clear", "kind", "rude", "vague", "tea", "maps"]
    solutions = []
    while len(solutions) < 300:
        text = " ".join(source.choices(words, k=4))
        if gold := gold_reward(text):
            number = len(solutions) // 6
            solutions.append(solution(text, gold > 0, prompt=f"Write {number} words"))
    pairs = outcome_pairs(solutions, paired=paired, separator=" ")
    train, heldout = pairs.split(heldout=0.25, seed=0)
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=256)
    training = RewardTraining(
        loss="bradley-terry" if paired else "binary",
        mode="frozen",
        pooling="last+mean",
        lr=3e-2,
        epochs=10,
        l2=0.01,
    )
    train_reward(model, train, heldout, training)

    from assay.score.scorer import RewardScorer

    conversations = [c for k in heldout.comparisons for c in k.conversations()]
    rewards = RewardScorer(model).score(conversations).reward
    gold = np.array([gold_reward(c.response_text) for c in conversations])
    assert np.mean(rewards[gold > 0]) - np.mean(rewards[gold < 0]) > np.std(rewards)
