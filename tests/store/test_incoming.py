"""Rows of every format to comparisons: who judged, in which order, how clearly; and bad rows."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from assay.errors import ConfigError, DataError
from assay.store.incoming import new_comparisons
from assay.store.records import NewComparison
from assay.store.store import PreferenceStore


def read(*rows: dict[str, Any], **how: Any) -> list[NewComparison]:
    return list(new_comparisons(rows, **how))


def one(row: dict[str, Any], **how: Any) -> NewComparison:
    (found,) = read(row, **how)
    return found


def texts(new: NewComparison) -> list[str]:
    return [r.messages[-1].content for r in new.responses]


def test_unlabelled_rows_in_all_their_spellings():
    for row in (
        {"prompt": "p", "responses": ["a", "b"]},
        {"prompt": "p", "responses": [{"text": "a"}, {"output": "b", "generator": "m"}]},
        {"instruction": "p", "response_1": "a", "response_2": "b"},
        {"question": "p", "answer_a": "a", "answer_b": "b"},
        {"fields": {"prompt": "p", "response-1": "a", "response-2": "b"}},
        {"data": {"prompt": "p", "response_1": "a", "response_2": "b"}, "annotations": []},
    ):
        new = one(row)
        assert (new.kind, texts(new), new.judgments) == ("pair", ["a", "b"], ()), row
        assert new.prompt[0].content == "p"
    assert one({"prompt": "p", "responses": list("abc")}).kind == "ranking"
    assert one({"prompt": "p", "responses": list("ab")}, kind="ranking").kind == "ranking"
    steps = one({"prompt": "p", "steps": ["s", "t"]})
    assert (steps.kind, [s["text"] for s in steps.responses[0].steps]) == ("steps", ["s", "t"])


def test_a_chosen_side_becomes_a_judgment_and_the_rest_is_kept():
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "annotator": "ada", "probability": 0.75,
           "first_shown": "rejected", "chosen_model": "m", "id": "7", "topic": "x"}  # fmt: skip
    new = one(row)
    (judgment,) = new.judgments
    assert judgment.annotator == "ada"
    assert judgment.answer["choice"] == 0
    assert judgment.answer["strength"] == 0.5
    assert judgment.shown == (1, 0)
    assert [r.model for r in new.responses] == ["m", None]
    assert new.extra == {"id": "7", "topic": "x"}
    hh = {"chosen": "\n\nHuman: p\n\nAssistant: a", "rejected": "\n\nHuman: p\n\nAssistant: b"}
    assert texts(one(hh)) == ["a", "b"]
    assert one(row | {"probability": None, "tie": True}).judgments[0].answer["choice"] is None
    assert one(row, judgments=False).judgments == ()


def test_helpsteer_tulu_pandalm_and_ultrafeedback_keep_how_clear_it_was():
    two = {"prompt": "p", "response_1": "a", "response_2": "b", "preference_strength": 2}
    answer = one(two).judgments[0].answer
    assert (answer["choice"], answer["strength"], answer["raw"]) == (1, 2 / 3, "second-better")
    three = {"context": [{"role": "user", "content": "p"}], "response1": "a", "response2": "b",
             "overall_preference": -1, "individual_preference": [
                 {"score": -3, "reasoning": "clear"},
                 {"score": 0, "reasoning": "same"}]}  # fmt: skip
    first, second = one(three).judgments
    assert (first.answer["choice"], first.answer["rationale"]) == (0, "clear")
    assert second.answer["choice"] is None
    tulu = {"prompt": "p", "completion_a": "a", "completion_b": "b", "a_acceptable": "yes",
            "b_acceptable": "no", "preference": "a-is-slightly-better", "evaluator": "e1",
            "model_a": "m", "model_b": "n", "timestamp": "2023-05-19 13:11:45"}  # fmt: skip
    new = one(tulu)
    assert new.judgments[0].answer["acceptability"] == {"0": "good", "1": "bad"}
    assert new.judgments[0].submitted == 1_684_501_905_000
    assert [r.model for r in new.responses] == ["m", "n"]
    votes = {"instruction": "p", "input": "", "response_1": "a", "response_2": "b",
             "votes": [1, 2, 0]}  # fmt: skip
    assert [j.answer["choice"] for j in one(votes).judgments] == [0, 1, None]
    scored = {"instruction": "p", "source": "s", "completions": [
        {"response": "a", "model": "m", "overall_score": 2.0,
         "annotations": {"honesty": {"Rating": "3", "Rationale": "why"}}},
        {"response": "b", "overall_score": 9.0},
        {"response": "c", "overall_score": 2.0}]}  # fmt: skip
    new = one(scored)
    assert new.judgments[0].answer["groups"] == [[1], [0, 2]]
    assert new.judgments[0].answer["dimensions"] == {"honesty": {"ratings": {"0": 3.0}}}
    rated = [{"prompt": "p", "response": t, "helpfulness": h} for t, h in (("a", 1), ("b", 4))]
    (new,) = read(*rated)
    assert new.judgments[0].answer["choice"] == 1


def test_arena_votes_with_conversations():
    turn = {"role": "user", "content": "p"}
    row = {"question_id": "q", "model_a": "m", "model_b": "n", "winner": "model_b", "judge": "j",
           "conversation_a": [turn, {"role": "assistant", "content": "a"}],
           "conversation_b": [turn, {"role": "assistant", "content": "b"}],
           "tstamp": 1682351591.5, "turn": 1}  # fmt: skip
    new = one(row)
    assert texts(new) == ["a", "b"]
    assert (new.judgments[0].answer["choice"], new.judgments[0].annotator) == (1, "j")
    assert new.judgments[0].submitted == 1_682_351_591_500
    bad = one(row | {"winner": "tie (bothbad)"}).judgments[0].answer
    assert (bad["choice"], bad["acceptability"]) == (None, {"0": "bad", "1": "bad"})
    lmsys = {"prompt": ["p"], "response_a": "a", "response_b": "b", "model_a": "m", "model_b": "n",
             "winner_model_a": 0, "winner_model_b": 0, "winner_tie": 1}  # fmt: skip
    assert one(lmsys).judgments[0].answer["choice"] is None


def test_argilla_and_label_studio_as_they_export():
    fields = {"prompt": "p", "response-1": "a", "response-2": "b"}
    values = {"preference": {"value": "response-2"}, "why": {"value": "It is short."}}
    old = {"fields": fields, "external_id": "7",
           "responses": [{"user_id": "u", "values": values, "status": "submitted"},
                         {"user_id": "v", "values": {}, "status": "discarded"}]}  # fmt: skip
    new = one(old)
    (judgment,) = new.judgments
    assert (judgment.annotator, judgment.answer["choice"]) == ("u", 1)
    assert judgment.answer["rationale"] == "It is short."
    ranked = {"fields": fields | {"response-3": "c"}, "responses": {"ranking": [{"user_id": "u",
              "value": [{"value": "response-3", "rank": 1}, {"value": "response-1", "rank": 2},
                        {"value": "response-2", "rank": 2}]}]}}  # fmt: skip
    assert one(ranked).judgments[0].answer["groups"] == [[2], [0, 1]]
    task = {"id": 3, "data": {"prompt": "p", "answer1": "a", "answer2": "b"}, "annotations": [
        {"completed_by": {"email": "x@y"}, "lead_time": 2.5, "created_at": "2024-01-01T00:00:00Z",
         "result": [{"type": "pairwise", "from_name": "c", "value": {"selected": "left"}},
                    {"type": "textarea", "from_name": "why", "value": {"text": ["good"]}}]},
        {"completed_by": 2, "was_cancelled": True, "result": []}]}  # fmt: skip
    (judgment,) = one(task).judgments
    assert (judgment.annotator, judgment.active_ms) == ("x@y", 2500)
    assert (judgment.answer["choice"], judgment.answer["rationale"]) == (0, "good")


def test_labelled_responses_to_one_prompt_are_compared():
    rows = [{"prompt": "p", "completion": t, "label": g} for t, g in (("a", False), ("b", True))]
    (new,) = read(*rows)
    assert new.judgments[0].answer["choice"] == 1
    assert new.judgments[0].answer["acceptability"] == {"0": "bad", "1": "good"}
    alone = new_comparisons([*rows, {"prompt": "q", "completion": "a", "label": True}])
    assert len(list(alone)) == 1
    assert alone.report.left_out == {"single labelled response": 1}


def test_prm800k_records_and_candidates_become_solutions_with_alternatives():
    record = {
        "labeler": "l", "timestamp": "2022-07-01T00:00:00", "question": {
            "problem": "p", "ground_truth_answer": "4"}, "is_quality_control_question": False,
        "label": {"finish_reason": "solution", "total_time": 9000, "steps": [
            {"completions": [{"text": "x", "rating": -1}, {"text": "y", "rating": None}],
             "human_completion": None, "chosen_completion": 1},
            {"completions": [{"text": "z", "rating": 0}], "human_completion": {"text": "h"},
             "chosen_completion": None}]},
    }  # fmt: skip
    new = one(record)
    assert new.responses[0].steps == ({"text": "x", "alternatives": ["y"]}, {"text": "z"})
    answer = new.judgments[0].answer
    assert (answer["labels"], answer["alternatives"]) == ([-1, 0], [[None], []])
    assert (answer["chosen"], answer["written"]) == ([1, None], {"1": "h"})
    step = {"problem": "p", "prefix": [], "rating": 1, "preferred": False}
    (new,) = read(
        step | {"step": "x", "rating": 0}, step | {"step": "y", "preferred": True},
        step | {"prefix": ["y"], "step": "z", "rating": -1},
    )  # fmt: skip
    assert new.responses[0].steps == ({"text": "x", "alternatives": ["y"]}, {"text": "z"})
    assert new.judgments[0].answer["chosen"] == [1, None]


def test_items_with_a_known_answer():
    row = {"prompt": "p", "responses": ["a", "b"]}
    assert one(row | {"expected": 1}, purpose="gold").expected == {"choice": 1}
    assert one(row | {"expected": {"choice": None}}, purpose="attention").expected == {
        "choice": None
    }
    gold = one({"prompt": "p", "chosen": "a", "rejected": "b"}, purpose="screening")
    assert (gold.purpose, gold.expected, gold.judgments) == ("screening", {"choice": 0}, ())
    three = {"prompt": "p", "responses": list("abc"), "expected": 2}
    assert one(three, purpose="gold").expected == {"best": 2}
    steps = {"prompt": "p", "steps": ["a", "b"], "labels": [1, -1]}
    assert one(steps, purpose="training").expected == {"labels": [1, -1]}
    with pytest.raises(DataError, match="says no expected answer"):
        one(row, purpose="gold")


def test_shuffled_numbers_keep_what_was_said():
    rows = [{"prompt": f"p{i}", "chosen": "a", "rejected": "b", "first_shown": "chosen"}
            for i in range(40)]  # fmt: skip
    found = read(*rows, shuffle_seed=1)
    firsts = {texts(new)[0] for new in found}
    assert firsts == {"a", "b"}
    for new in found:
        (judgment,) = new.judgments
        assert texts(new)[judgment.answer["choice"]] == "a"
        assert texts(new)[judgment.shown[0]] == "a"
    assert [texts(n) for n in found] == [texts(n) for n in read(*rows, shuffle_seed=1)]


GOOD = {"prompt": "p", "responses": ["a", "b"], "judgments": [{"choice": 0}]}
BAD = [
    ({"prompt": "p", "responses": ["a"]}, "has 1 responses"),
    ({"prompt": "p", "responses": ["a", "a"]}, "are the same"),
    ({"prompt": "", "responses": ["a", "b"]}, "'prompt' is empty"),
    ({"prompt": "p", "responses": ["a", " "]}, "is empty"),
    ({"prompt": "p", "responses": ["a", 3]}, "must be text or a list of messages"),
    ({"prompt": "p", "responses": ["a", "b\x00"]}, "zero character"),
    ({"prompt": "p", "responses": ["a", "b\ud800"]}, "half a character"),
    ({"prompt": "p", "responses": ["a", "b"], "topic": "\x00"}, "zero character"),
    ({"prompt": "p", "responses": ["a", "b"], "topic": float("nan")}, "cannot be stored as JSON"),
    ({"prompt": "p", "responses": ["a", "b"], "overlap": 0}, "'overlap'"),
    ({"prompt": "p", "responses": ["a", "b"], "language": "x" * 40}, "'language'"),
    ({**GOOD, "judgments": [{"choice": 2}]}, "'choice' must be the index"),
    ({**GOOD, "judgments": [{}]}, "neither 'ranking' nor 'choice'"),
    ({**GOOD, "judgments": [3]}, "must hold objects"),
    ({**GOOD, "judgments": [{"choice": 0, "strength": -1}]}, "'strength'"),
    ({**GOOD, "judgments": [{"choice": 0, "display_order": [0, 0]}]}, "'display_order'"),
    ({**GOOD, "judgments": [{"choice": 0, "submitted": "yesterday"}]}, "'submitted'"),
    ({**GOOD, "judgments": [{"choice": 0, "acceptability": ["fine"]}]}, "'acceptability'"),
    ({**GOOD, "judgments": [{"choice": 0, "rationale": 3}]}, "'rationale'"),
    ({**GOOD, "judgments": [{"choice": 0, "annotator": "x" * 99}]}, "a name of at most"),
    ({**GOOD, "judgments": [{"choice": 0, "annotator": "Ada"}, {"choice": 1, "annotator": "ada"}]},
     "two judgments by 'ada'"),
    ({**GOOD, "expected": 7}, "'expected' names response 7"),
    ({**GOOD, "expected": {"x": 1}}, "'expected' says nothing"),
    ({**GOOD, "purpose": "gold"}, "needs an expected answer"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "says"), BAD, ids=[says[:24] for _, says in BAD])
def test_every_bad_row_gives_a_sentence_with_its_place(row, says):
    with pytest.raises(DataError) as caught:
        read(GOOD, row, name="f.jsonl")
    message = str(caught.value)
    assert message.startswith("f.jsonl row 2: ")
    assert says in message
    assert "--on-bad-row skip" in message
    reading = new_comparisons([GOOD, row, GOOD], on_bad_row="skip")
    assert len(list(reading)) == 2
    assert sum(reading.report.left_out.values()) == 1
    assert reading.counts()["rows"] == 3


STRANGE = [
    {"prompt": "p"}, {"messages": []}, {"chosen": "a"}, {"a": 1}, {},
    {"model_a": "m", "model_b": "n", "winner": "model_a"},
    {"fields": {"x": "p"}}, {"fields": {"prompt": "p", "response-1": "a"}},
    {"data": {"prompt": "p", "response_1": "a"}, "annotations": []},
    {"prompt": "p", "completion": "a", "label": "yes"},
    {"question": {"problem": "p"}, "label": {"steps": [3]}},
    {"problem": "p", "prefix": [], "step": "s", "rating": 9},
    {"prompt": "p", "response_a": "a", "response_b": "b", "winner": "who"},
]  # fmt: skip


@pytest.mark.parametrize(
    "row", STRANGE, ids=[", ".join(map(str, row)) or "none" for row in STRANGE]
)
def test_rows_of_no_format_are_refused_with_a_sentence(row):
    with pytest.raises(DataError, match=r"given data row 1: .+\. "):
        read(row)


def test_files_of_all_suffixes_give_the_same(tmp_path):
    row = {"prompt": 'p, "q"', "chosen": "a\nb", "rejected": "c", "annotator": "ada"}
    line = json.dumps(row) + "\n"
    (tmp_path / "a.jsonl").write_text(line)
    (tmp_path / "a.json").write_text(f"[{line}]")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/a.jsonl", line)
    (tmp_path / "a.csv").write_text('prompt,chosen,rejected,annotator\n"p, ""q""","a\nb",c,ada\n')
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    (expected,) = read(row)
    for path in sorted(tmp_path.iterdir()):
        assert list(new_comparisons(path)) == [expected], path.name
    (tmp_path / "b.csv").write_text("prompt,response_a,response_b,winner\np,a,b,B\n")
    (new,) = new_comparisons(tmp_path / "b.csv")
    assert new.judgments[0].answer["choice"] == 1


def test_a_bad_line_says_which_and_an_empty_file_that_it_is(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(GOOD) + "\n{\n")
    with pytest.raises(DataError, match=r"a\.jsonl line 2 is not JSON"):
        list(new_comparisons(tmp_path / "a.jsonl"))
    (tmp_path / "b.jsonl").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        list(new_comparisons(tmp_path / "b.jsonl"))
    with pytest.raises(DataError, match="does not exist"):
        list(new_comparisons(tmp_path / "c.jsonl"))
    with pytest.raises(DataError, match="split the file"):
        read(GOOD, {"prompt": "p", "chosen": "a", "rejected": "b"})


def test_settings_that_cannot_be_are_refused_at_once():
    for how in ({"format": "x"}, {"limit": 0}, {"overlap": 0}):
        with pytest.raises(ConfigError):
            new_comparisons([GOOD], **how)
    with pytest.raises(DataError, match="kind pair, and steps was asked"):
        read(GOOD, kind="steps", format="assay")


def test_the_documented_row_of_the_own_form_is_read():
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    new = one(json.loads(text.partition("```json store\n")[2].partition("\n```")[0]))
    (judgment,) = new.judgments
    assert judgment.answer["rationale"] == "It is right."
    assert (judgment.shown, judgment.active_ms) == ((1, 0), 29120)
    assert new.extra["topic"] == "sums"


SHARED = {
    "hh_helpful": 300, "hh_harmless": 300, "tulu1_human_eval": 768, "pandalm_test": 639,
    "prm800k_phase1_train": 20, "bigbench_mistake": 300, "stepverify": 300,
    "gsm8k_model_solutions": 300, "alpacaeval_many": 50,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_public_data_is_imported(name, tmp_path):
    path = Path(os.environ.get("ASSAY_DATA", ""), f"{name}.jsonl.gz")
    if not os.environ.get("ASSAY_DATA") or not path.exists():
        pytest.skip(f"{name} is not here; set ASSAY_DATA")
    reading = new_comparisons(path, on_bad_row="skip", limit=SHARED[name])
    with PreferenceStore.open(":memory:") as store:
        found = store.add_comparisons(store.create_project("p"), reading, source=name)
        assert found.comparisons == SHARED[name]
        assert store.problems() == []
