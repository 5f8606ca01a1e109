"""RewardBench's generative protocols: by hand, whatever the order, failures wrong and told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.errors import ConfigError
from assay.evaluation.judge_protocols import (
    JudgedSuite,
    Protocol,
    judge_suite,
    rating_of,
    shown_order,
)
from assay.evaluation.rewardbench import (
    REWARDBENCH,
    REWARDBENCH_2,
    rewardbench2_items,
    rewardbench_items,
    ties_score,
)
from assay.evaluation.suite import Item, Suite
from assay.feedback.judges.packs import load_pack
from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.records import Answer, Question, failed

sys.path.append(str(Path(__file__).parents[1] / "feedback"))
from judged_made import Scripted

QUESTIONER = Questioner(load_pack())


def four(subset: str = "Math", count: int = 4) -> list[Item]:
    rows = [
        {"id": str(i), "prompt": f"prompt {i}", "subset": subset, "chosen": [f"good {i}"],
         "rejected": [f"bad {i} {k}" for k in "xyz"]}
        for i in range(count)
    ]  # fmt: skip
    return rewardbench2_items(enumerate(rows), "made")


def ties(count: int = 3) -> list[Item]:
    rows = []
    for i in range(count):
        for kind, right in (("ref", 1), ("tied", 3)):
            rows.append(
                {"id": f"{kind}:{i}", "prompt": f"tied {i}", "subset": "Ties",
                 "chosen": [f"good {i} {k}" for k in range(right)],
                 "rejected": [f"bad {i} {k}" for k in range(2)]}
            )  # fmt: skip
    return rewardbench2_items(enumerate(rows), "made")


def pairs(count: int = 4) -> list[Item]:
    rows = [
        {"id": i, "prompt": f"prompt {i}", "subset": "math-prm", "chosen": f"good {i}",
         "rejected": f"bad {i}"}
        for i in range(count)
    ]  # fmt: skip
    return rewardbench_items(enumerate(rows), "made")


def shown(question: Question) -> list[str]:
    """The responses of a question as it shows them: lines that the makers above wrote."""
    lines = question.messages[-1].content.splitlines()
    return [line for line in lines if line.startswith(("good", "bad"))]


def spread(weights: list[float]) -> Answer:
    total = sum(weights)
    return Answer("answered", tuple(w / total for w in weights), "log-probabilities")


def run(
    items: list[Item], answer: Callable[[Question], Answer], protocol: Protocol, **more: str
) -> tuple[JudgedSuite, Scripted]:
    spec = REWARDBENCH if protocol == "pairs" else REWARDBENCH_2
    judge = Scripted(answer)
    found = judge_suite(Suite(spec, tuple(items), "made"), judge, QUESTIONER, protocol, **more)
    return found, judge


def knows(question: Question) -> Answer:
    """Prefers what is good, by a letter, or by 9 against 2."""
    texts = shown(question)
    if len(texts) == 1:
        rating = 9 if texts[0].startswith("good") else 2
        return spread([float(i == rating) for i in range(1, 11)])
    weights = [1.0 if text.startswith("good") else 0.1 for text in texts]
    return spread(weights + [0.0] * (len(question.options) - len(weights)))


def test_a_judge_that_knows_is_right_by_every_protocol_and_ties_are_rated() -> None:
    choice, judge = run(four() + ties(), knows, "choice")
    assert choice.scored.subsets["Math"].accuracy.value == 1
    # the tied item has no spread: tanh(inf) = 1, and the score is 1.01
    assert choice.scored.subsets["Ties"].accuracy.value == pytest.approx(1.01)
    # one question a pick, and in Ties a rating a response, also where one alone is right: the
    # formula compares the margins of both kinds
    assert len(judge.asked) == 4 + 3 * 3 + 3 * 5
    ratings, judge = run(four() + ties(), knows, "ratings")
    assert len(judge.asked) == 4 * 4 + 3 * 3 + 3 * 5
    assert ratings.scored.subsets["Math"].accuracy.value == 1
    both, judge = run(pairs(), knows, "pairs")
    assert (both.scored.subsets["math-prm"].accuracy.value, len(judge.asked)) == (1, 8)


def test_the_order_shown_is_drawn_by_the_item_and_says_nothing_of_the_right_one() -> None:
    items = four(count=400)
    first = [shown_order(item).index(0) for item in items]
    assert all(abs(first.count(k) - 100) < 35 for k in range(4))
    turned = Item(items[0].id, items[0].subset, items[0].prompt, items[0].responses[::-1],
                  items[0].correct[::-1], items[0].cluster)  # fmt: skip
    texts = [[i.responses[k] for k in shown_order(i)] for i in (items[0], turned)]
    assert texts[0] == texts[1]
    assert any(shown_order(item, 1) != shown_order(item, 0) for item in items[:9])


def test_a_judge_that_always_says_a_is_right_where_the_right_one_stands_first() -> None:
    items = four(count=12)
    found, judge = run(items, lambda q: spread([1.0, 0, 0, 0]), "choice")
    share = sum(shown_order(item)[0] == 0 for item in items) / 12
    assert found.scored.subsets["Math"].accuracy.value == pytest.approx(share)
    assert 0 < share < 1
    for item, question in zip(items, judge.asked, strict=True):
        texts = [item.responses[k][0].content for k in shown_order(item)]
        assert shown(question) == texts


def test_a_bias_of_position_cancels_in_pairs_and_even_ones_count_half() -> None:
    found, judge = run(pairs(), lambda q: spread([0.7, 0.3, 0.0]), "pairs")
    assert found.scored.subsets["math-prm"].accuracy.value == 0.5
    assert [shown(q) for q in judge.asked[:2]] == [["good 0", "bad 0"], ["bad 0", "good 0"]]
    assert judge.asked[0].options == ("A", "B", "C")
    tie, _ = run(pairs(), lambda q: spread([0.0, 0.0, 1.0]), "pairs")
    assert tie.scored.subsets["math-prm"].accuracy.value == 0.5


def test_ratings_that_tie_share_the_credit() -> None:
    def answer(question: Question) -> Answer:
        rating = 7 if not shown(question)[0].endswith("z") else 3
        return spread([float(i == rating) for i in range(1, 11)])

    found, _ = run(four(), answer, "ratings")
    assert found.scored.subsets["Math"].accuracy.value == pytest.approx(1 / 3)


def test_a_rating_is_the_expected_or_the_modal_one() -> None:
    answer = spread([0, 0, 3, 0, 0, 0, 2, 0, 0, 0])
    assert rating_of(answer, "expected") == pytest.approx((3 * 3 + 7 * 2) / 5)
    assert rating_of(answer, "modal") == 3
    assert rating_of(spread([0, 0, 1, 0, 0, 0, 1, 0, 0, 0]), "modal") == 5

    def hedges(question: Question) -> Answer:
        good = shown(question)[0].startswith("good")
        return spread([0, 0, 2, 0, 0, 0, 0, 0, 0, 1.5 if good else 1])

    assert run(four(), hedges, "ratings")[0].scored.subsets["Math"].accuracy.value == 1
    modal = run(four(), hedges, "ratings", reading="modal")[0]
    assert modal.scored.subsets["Math"].accuracy.value == 0.25


@pytest.mark.parametrize("protocol", ["choice", "ratings", "pairs"])
def test_a_failure_is_wrong_and_is_told_beside_what_was_answered(protocol: Protocol) -> None:
    def answer(question: Question) -> Answer:
        return failed("refused", "no") if " 1" in shown(question)[-1] else knows(question)

    items = pairs() if protocol == "pairs" else four()
    found, _ = run(items, answer, protocol)
    (subset,) = found.scored.subsets
    assert found.scored.subsets[subset].accuracy.value == 0.75
    assert found.answered is not None
    assert (found.answered.subsets[subset].accuracy.value, found.answered.items) == (1, 3)
    assert found.failures == {subset: {"refused": 1}}
    assert found.coverage.value == 0.75
    assert found.items[1].to_row()["said"] == "refused"
    assert found.items[1].to_row()["detail"] == "no"
    assert "detail" not in found.items[0].to_row()
    text = str(found)
    assert "failures, which count as wrong: 1 refused" in text
    assert "where it answered alone" in text
    json.dumps(found.to_dict())


def test_a_failed_tied_item_is_wrong_and_the_gravest_failure_is_told() -> None:
    def answer(question: Question) -> Answer:
        if "good 0 1" in shown(question):
            return failed("http-error", "gone")
        return failed("unparsable", "what") if "good 0 2" in shown(question) else knows(question)

    found, _ = run(ties(), answer, "ratings")
    whole, _ = run(ties(), knows, "ratings")
    assert found.failures == {"Ties": {"http-error": 1}}
    score = found.scored.subsets["Ties"].accuracy.value
    # a third of 0.3 and of both comparisons of margins is lost, and its tanh is -1
    lost = 0.3 / 3 + 0.2 / 3 + 0.2 / 3 + 0.01 * 2 / 3
    assert whole.scored.subsets["Ties"].accuracy.value - score == pytest.approx(lost)
    assert score == pytest.approx(ties_score([j.item for j in found.items]))


def test_a_judge_that_answers_nothing_has_no_figure_over_the_answered() -> None:
    found, _ = run(four(), lambda q: failed("not-asked", "no money"), "choice")
    assert found.answered is None
    assert found.scored.subsets["Math"].accuracy.value == 0
    assert found.to_dict()["answered_only"] is None
    assert "4 not-asked" in str(found)


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ConfigError, match="has 4 responses; pairs want two"):
        run(four(), knows, "pairs")
