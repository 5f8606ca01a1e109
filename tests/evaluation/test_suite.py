"""Items, measures and specifications: what they hold and what they refuse."""

from __future__ import annotations

import pytest

from assay.errors import DataError
from assay.evaluation.suite import Item, Measure, ScoredItem, Suite, check_item, check_rewards
from assay.evaluation.suites import PAIRS
from assay.types import as_messages


def test_an_item_is_one_conversation_a_response() -> None:
    responses = (as_messages("yes", "assistant"), as_messages("no", "assistant"))
    item = Item("1", "all", as_messages("Really?", "user"), responses, (True, False), "1")
    assert [c.response_text for c in item.conversations()] == ["yes", "no"]
    assert {c.prompt[0].content for c in item.conversations()} == {"Really?"}


def test_a_line_of_scores_leaves_out_what_is_not_known() -> None:
    row = ScoredItem("1", "all", (1.0, 0.0), (True, False), "c").to_row()
    assert row == {
        "id": "1",
        "subset": "all",
        "rewards": [1.0, 0.0],
        "correct": [True, False],
        "cluster": "c",
    }


def test_right_and_wrong_rewards_are_told_apart() -> None:
    item = ScoredItem("1", "all", (1.0, 2.0, 3.0), (True, False, True), "c")
    assert (item.right, item.wrong) == ([1.0, 3.0], [2.0])


def test_a_measure_is_the_mean_of_its_items_or_a_formula_of_all() -> None:
    items = [ScoredItem(str(i), "x", (float(i), 0.0), (True, False), str(i)) for i in range(3)]
    mean = Measure("m", "", of_item=lambda item: item.rewards[0])
    assert mean(items) == 1.0
    assert mean.values(items) == [0.0, 1.0, 2.0]
    assert Measure("m", "", of_subset=lambda rows: float(len(rows)))(items) == 3.0


def test_rewards_become_floats_or_are_refused() -> None:
    assert check_rewards("1", [1, 0.5], "f") == (1.0, 0.5)
    with pytest.raises(DataError, match=r"f line 3: reward 2 of item '1' is nan"):
        check_rewards("1", [1, float("nan")], "f line 3")


def test_items_must_have_something_right_and_something_wrong() -> None:
    check_item("1", [True, False, True], 3, "f")
    with pytest.raises(DataError, match="2 right responses; wanted exactly one"):
        check_item("1", [True, False, True], 3, "f", one_correct=True)
    with pytest.raises(DataError, match="0 right of 2 responses"):
        check_item("1", [False, False], 2, "f")


def test_a_suite_of_ones_own_takes_any_subset() -> None:
    assert PAIRS.subset("anything").measure is PAIRS.measure


def test_suite_load_reads_a_file(tmp_path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    suite = Suite.load(path)
    assert suite.spec is PAIRS
    assert len(suite.items) == 1
