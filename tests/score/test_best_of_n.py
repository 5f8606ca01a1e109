"""Value: the best of n has the highest reward; equals and dropped ones have a rule."""

from __future__ import annotations

import numpy as np
import pytest

from assay.errors import DataError
from assay.score.best_of_n import best_of_n, pick
from assay.types import Message, Scorer, Scores


class LongestWins:
    """Scores a response by its number of characters, and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def score(self, conversations):
        self.asked += conversations
        return Scores(np.array([float(len(c.response_text)) for c in conversations]))


def test_each_prompt_gets_its_own_best():
    scorer = LongestWins()
    assert isinstance(scorer, Scorer)
    best = best_of_n(scorer, ["a?", "b?"], [["1", "333", "22"], ["4444", ""]])
    assert [b.index for b in best] == [1, 0]
    assert [b.rewards.tolist() for b in best] == [[1, 3, 2], [4, 0]]
    assert [c.prompt[0].content for c in scorer.asked] == ["a?"] * 3 + ["b?"] * 2


def test_prompts_and_responses_may_be_messages():
    prompt = (Message("system", "Be brief."), Message("user", "a?"))
    response = (Message("assistant", "yes"),)
    (best,) = best_of_n(LongestWins(), [prompt], [["no", response]])
    assert best.index == 1


def test_the_first_of_equals_wins_and_what_was_dropped_never_does():
    assert pick(np.array([1.0, 2.0, 2.0])).index == 1
    assert pick(np.array([np.nan, -1.0, np.nan])).index == 1
    assert pick(np.array([np.nan, np.nan])).index == -1


def test_prompts_without_responses_are_refused():
    with pytest.raises(DataError, match="2 prompts came with 1 lists of responses"):
        best_of_n(LongestWins(), ["a", "b"], [["x"]])
    with pytest.raises(DataError, match="Prompt 2 has no responses"):
        best_of_n(LongestWins(), ["a", "b"], [["x"], []])
    assert best_of_n(LongestWins(), [], []) == []
