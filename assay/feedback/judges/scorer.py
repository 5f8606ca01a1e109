"""A judge as a ``Scorer`` and as a ``StepScorer``: ratings and steps for whatever takes rewards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.records import Judge, Question
from assay.feedback.judges.steps import step_questions
from assay.feedback.judges.tasks import rating_of
from assay.types import Conversation, Scores, Solution, StepScores


class JudgeScorer:
    """The judge's mean rating of each conversation, 1 to 10; NaN where it gave none.

    ``std`` is the deviation of its distribution over the ratings: its own doubt about this
    response, not that between judges.
    """

    def __init__(self, judge: Judge, questioner: Questioner, dimension: str | None = None) -> None:
        self.judge = judge
        self.questioner = questioner
        self.dimension = dimension

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """Mean ratings, in order."""
        asked = (
            self.questioner.rating(c.prompt, c.response, dimension=self.dimension)
            for c in conversations
        )
        rewards, deviations = [], []
        for answer in self.judge.read(asked):
            if answer.probabilities is None:
                rewards.append(float("nan"))
                deviations.append(float("nan"))
                continue
            mean = rating_of(answer.probabilities)
            places = np.arange(1, len(answer.probabilities) + 1)
            spread = float(np.dot(answer.probabilities, (places - mean) ** 2))
            rewards.append(mean)
            deviations.append(spread**0.5)
        return Scores(np.array(rewards, dtype=np.float64), np.array(deviations, dtype=np.float64))


class JudgeStepScorer:
    """P(the step is right) of every step by a judge that reads the steps before it.

    A step without an answer is NaN, and counted as cut.
    """

    def __init__(self, judge: Judge, questioner: Questioner) -> None:
        self.judge = judge
        self.questioner = questioner

    def score_steps(self, solutions: Sequence[Solution]) -> StepScores:
        """Step rewards, in order."""
        answers = self.judge.read(self._questions(solutions))
        rewards = []
        for solution in solutions:
            said = [next(answers).probabilities for _ in solution.steps]
            rewards.append(np.array([p[0] if p else np.nan for p in said], dtype=np.float64))
        return StepScores(tuple(rewards), cut=int(sum(np.isnan(r).sum() for r in rewards)))

    def _questions(self, solutions: Sequence[Solution]) -> Iterator[Question]:
        for solution in solutions:
            yield from step_questions(solution, self.questioner, "step")
