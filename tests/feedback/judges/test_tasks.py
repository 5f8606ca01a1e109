"""Tasks against judges that hold what they are told: pairs, choices, ratings, checklists."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import ConfigError
from assay.feedback.judges.packs import load_pack
from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.records import Answer, failed
from assay.feedback.judges.rows import judged_row, preferences_of
from assay.feedback.judges.scorer import JudgeScorer, JudgeStepScorer
from assay.feedback.judges.tasks import ChecklistTask, ChoiceTask, PairTask, RatingTask, rating_of
from assay.types import Comparison, Conversation, Solution, as_messages

ASK = Questioner(load_pack())


def comparison(*texts, prompt="What is it?"):
    responses = tuple(as_messages(text, "assistant") for text in texts)
    return Comparison(as_messages(prompt, "user"), responses, (), id="c")


def said(*probabilities):
    return Answer("answered", tuple(float(p) for p in probabilities), "text")


class Fake:
    """Answers by the words of the question: a function of its text and options."""

    name = "fake"
    identity = {"judge": "fake"}  # noqa: RUF012

    def __init__(self, answer):
        self.answer = answer

    def read(self, questions):
        for question in questions:
            yield self.answer(question.messages[-1].content, question.options)


def shown(text, responses):
    """Responses by the place they are shown in."""
    there = [i for i, response in enumerate(responses) if f"\n{response}\n" in text]
    return sorted(there, key=lambda i: text.index(f"\n{responses[i]}\n"))


def by_quality(qualities, bias=0.0):
    """A judge that knows the quality of each text and likes what stands first."""

    def answer(text, options):
        names = list(qualities)
        order = shown(text, names)
        values = np.array([qualities[names[i]] for i in order])
        values[0] += bias
        shares = np.exp(values) / np.exp(values).sum()
        return said(*shares)

    return Fake(answer)


def judged(task, judge, item):
    return task.judged(item, list(judge.read(task.questions(item))))


QUALITIES = {"alpha": 0.2, "beta": 1.5, "gamma": -0.7}


def test_both_orders_remove_a_bias_of_position():
    item = comparison("alpha", "beta")
    fair, biased = (
        by_quality({"alpha": 0.2, "beta": 1.5}),
        by_quality({"alpha": 0.2, "beta": 1.5}, 3.0),
    )
    both, one = PairTask(ASK), PairTask(ASK, orders="fixed")
    assert judged(one, fair, item).pairs[0].choice == 1
    assert judged(one, biased, item).pairs[0].choice == 0
    assert judged(both, biased, item).pairs[0].outcome == "inconsistent"
    assert judged(both, biased, item).pairs[0].probability < 0.5
    assert judged(both, biased, item).pairs[0].first > 0.85
    assert judged(both, fair, item).pairs[0].first == pytest.approx(0.5)


def test_every_pair_of_three_is_asked_in_both_orders():
    item = comparison(*QUALITIES)
    found = judged(PairTask(ASK), by_quality(QUALITIES), item)
    assert [p.pair for p in found.pairs] == [(0, 1), (0, 2), (1, 2)]
    assert [p.choice for p in found.pairs] == [1, 0, 1]
    assert len(found.answers) == 6


def test_repeats_are_asked_and_the_first_decides():
    item = comparison("alpha", "beta")
    task = PairTask(ASK, repeats=3)
    questions = task.questions(item)
    assert [q.stream for q in questions] == [0, 1, 2, 0, 1, 2]
    answers = [said(0.9, 0.1), said(0, 1), said(0, 1), said(0.2, 0.8), said(1, 0), said(1, 0)]
    assert task.judged(item, answers).pairs[0].probability == pytest.approx(0.85)


def test_a_random_order_depends_on_the_texts_and_not_on_the_place():
    task = PairTask(ASK, orders="random")
    orders = set()
    for i in range(40):
        item = comparison("alpha", "beta", prompt=f"prompt {i}")
        question = task.questions(item)
        assert question == task.questions(item)
        assert len(question) == 1
        orders.add(tuple(shown(question[0].messages[-1].content, ["alpha", "beta"])))
    assert orders == {(0, 1), (1, 0)}


def test_dimensions_are_averaged_and_kept():
    item = comparison("alpha", "beta")
    task = PairTask(ASK, dimensions=("tact", "truth"))
    answers = [said(0.9, 0.1), said(0.1, 0.9), said(0.6, 0.4), said(0.8, 0.2)]
    found = task.judged(item, answers)
    tact, truth = (0.9 + 0.9) / 2, (0.6 + 0.2) / 2
    assert found.pairs[0].probability == pytest.approx((tact + truth) / 2)
    assert found.aspects["tact"][0].probability == pytest.approx(tact)
    assert found.aspects["truth"][0].outcome == "inconsistent"
    lost = task.judged(item, [*answers[:3], failed("unparsable", "x")])
    assert (lost.pairs[0].outcome, lost.pairs[0].probability) == ("unparsable", None)


def test_a_choice_of_k_gives_pairs_by_their_odds():
    item = comparison(*QUALITIES)
    found = judged(ChoiceTask(ASK), by_quality(QUALITIES), item)
    for pair in found.pairs:
        i, j = pair.pair
        gap = list(QUALITIES.values())[i] - list(QUALITIES.values())[j]
        assert pair.probability == pytest.approx(1 / (1 + np.exp(-gap)))
        assert pair.outcome == "verdict"
    assert [len(q.options) for q in ChoiceTask(ASK).questions(item)] == [3, 3]
    one, other = (
        shown(q.messages[-1].content, list(QUALITIES)) for q in ChoiceTask(ASK).questions(item)
    )
    assert one == other[::-1]
    assert len(ChoiceTask(ASK, orders="fixed").questions(item)) == 1


def test_a_choice_that_likes_the_first_is_inconsistent():
    item = comparison("alpha", "beta")
    found = judged(ChoiceTask(ASK), by_quality({"alpha": 0.2, "beta": 0.3}, bias=2.0), item)
    assert found.pairs[0].outcome == "inconsistent"


def test_ratings_give_the_probability_of_a_higher_draw():
    item = comparison("alpha", "beta")
    p = [0.0] * 10
    q = [0.0] * 10
    p[7], p[3] = 0.5, 0.5
    q[3], q[0] = 0.5, 0.5
    found = RatingTask(ASK).judged(item, [said(*p), said(*q)])
    # 8 beats both; 4 ties with 4 and beats 1
    assert found.pairs[0].probability == pytest.approx(0.5 * 1 + 0.5 * (0.5 * 0.5 + 0.5 * 1))
    assert found.ratings[0]["rating"] == pytest.approx(6.0)
    assert found.ratings[1]["rating"] == pytest.approx(2.5)
    lost = RatingTask(ASK).judged(item, [said(*p), failed("refused", "no")])
    assert (lost.pairs[0].outcome, lost.ratings) == ("refused", ({"rating": 6.0}, {}))


def test_a_checklist_weighs_its_items():
    item = comparison("alpha", "beta")
    task = ChecklistTask(ASK, ("short", "true"), (1.0, 3.0))
    found = task.judged(item, [said(1, 0), said(0, 1), said(0, 1), said(1, 0)])
    assert found.ratings[0]["checklist"] == pytest.approx(0.25)
    assert found.ratings[1]["checklist"] == pytest.approx(0.75)
    assert (found.pairs[0].choice, found.pairs[0].probability) == (1, 0.0)
    same = task.judged(item, [said(1, 0)] * 4)
    assert same.pairs[0].outcome == "tie"
    lost = task.judged(item, [said(1, 0), failed("http-error", "x"), said(1, 0), said(1, 0)])
    assert lost.pairs[0].outcome == "http-error"
    with pytest.raises(ConfigError, match="0 items"):
        ChecklistTask(ASK, ())


def test_references_go_into_the_question():
    task = PairTask(ASK, references={"c": "thirteen"})
    assert all("thirteen" in q.messages[-1].content for q in task.questions(comparison("a", "b")))


@settings(deadline=None, max_examples=30)
@given(shares=st.lists(st.floats(0, 1).map(float), min_size=6, max_size=6))
def test_soft_labels_are_what_was_judged_and_the_better_stands_first(shares):
    item = comparison("alpha", "beta", "gamma")
    found = PairTask(ASK).judged(item, [said(p, 1 - p) for p in shares])
    preferences = preferences_of(found.pairs)
    assert len(preferences) == 3
    for pair, p in zip(found.pairs, preferences, strict=True):
        assert p.probability >= 0.5
        expected = pair.probability if p.chosen == pair.pair[0] else 1 - pair.probability
        assert p.probability == pytest.approx(expected)
    kept = preferences_of(found.pairs, "drop")
    assert len(kept) == sum(pair.outcome != "inconsistent" for pair in found.pairs)


def test_a_row_says_no_verdict_where_there_was_none():
    item = comparison("alpha", "beta", "gamma")
    answers = [said(0.9, 0.1), said(0.1, 0.9), failed("http-error", "503"), said(0.5, 0.5),
               said(0.8, 0.2), said(0.8, 0.2)]  # fmt: skip
    row = judged_row(PairTask(ASK).judged(item, answers), "fake", {"judge": "fake"})
    assert [p["outcome"] for p in row["judged"]["pairs"]] == [
        "verdict",
        "http-error",
        "inconsistent",
    ]
    assert row["judgments"] == [
        {
            "annotator": "fake",
            "kind": "model",
            "ranking": [[0], [1]],
            "strength": pytest.approx(0.8),
        }
    ]
    assert [(p["chosen"], p["rejected"]) for p in row["preferences"]] == [(0, 1), (1, 2)]
    assert row["judged"]["pairs"][1]["answers"][0]["detail"] == "503"


def test_a_judge_is_a_scorer():
    def answer(text, options):
        p = [0.0] * 10
        p[8 if "\ngood\n" in text else 1] = 1.0
        return failed("refused", "no") if "\nno\n" in text else said(*p)

    scorer = JudgeScorer(Fake(answer), ASK)
    scores = scorer.score([Conversation.of("?", text) for text in ("good", "bad", "no")])
    assert scores.reward[:2].tolist() == [9.0, 2.0]
    assert np.isnan(scores.reward[2])
    assert scores.std[:2].tolist() == [0.0, 0.0]
    assert rating_of([0.5] + [0.0] * 8 + [0.5]) == pytest.approx(5.5)


def test_a_judge_scores_steps_by_what_came_before_them():
    asked = []

    def answer(text, options):
        asked.append(text)
        return said(0.25, 0.75) if "wrong" in text.rpartition("NEXT STEP")[0] else said(0.75, 0.25)

    solution = Solution(as_messages("?", "user"), ("one", "wrong", "three"), (None,) * 3)
    scores = JudgeStepScorer(Fake(answer), ASK).score_steps([solution, solution])
    assert [r.tolist() for r in scores.rewards] == [[0.75, 0.25, 0.25]] * 2
    assert len(asked) == 6
    assert "three" not in asked[1]


def test_pairs_of_every_k_are_all_there():
    for k in range(2, 6):
        names = [f"text{i}" for i in range(k)]
        item = comparison(*names)
        values = {name: float(i) for i, name in enumerate(names)}
        found = judged(PairTask(ASK), by_quality(values), item)
        assert [p.pair for p in found.pairs] == list(combinations(range(k), 2))
