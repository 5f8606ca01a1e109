"""Contract: a scored file is its input with rewards added, row by row, or it is not there."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pyarrow.parquet
import pytest

from assay.configs import BestOfN, Score
from assay.errors import ConfigError, ContractError, DataError
from assay.formats.files import write_rows
from assay.score import files
from assay.score.files import row_conversations, run_best_of_n, run_score
from assay.score.scorer import load_scorer
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def source(tmp_path, gold_pairs):
    """Pairs and rows of three responses, mixed, with columns of their own."""
    rows = []
    for i, row in enumerate(gold_pairs(12)):
        pair = {"note": {"n": i}, **row}
        rows.append(pair)
        responses = [row["chosen"], row["rejected"], f"kind words {i}"]
        rows.append({"prompt": row["prompt"], "responses": responses, "source": "λ"})
    path = tmp_path / "in.jsonl"
    write_rows(path, rows)
    return path, rows


def read(path):
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return [json.loads(line) for line in text.splitlines()]


def score(run, source, output, **changes):
    return run_score(Score(run=str(run), input=source, output=output, **changes))


def test_every_row_comes_back_in_order_with_the_scorers_rewards(trained_run, source, tmp_path):
    path, rows = source
    result = score(trained_run, path, tmp_path / "out.jsonl")
    scored = read(tmp_path / "out.jsonl")
    assert [{k: row[k] for k in row if "reward" not in k} for row in scored] == rows
    scorer = load_scorer(trained_run)
    for row in scored:
        texts = row.get("responses") or [row["chosen"], row["rejected"]]
        alone = [scorer.score([Conversation.of(row["prompt"], t)]).reward[0] for t in texts]
        np.testing.assert_allclose(row["rewards"], alone, atol=1e-5)
        assert row["reward_std"] == [None] * len(texts)
    assert (result.rows, result.responses, result.dropped, result.truncated) == (24, 60, 0, 0)
    assert result.verified
    assert str(result).startswith("60 responses in 24 rows scored to ")
    assert json.loads(json.dumps(result.to_dict()))["rows"] == 24


def test_the_window_and_the_token_budget_change_nothing(trained_run, source, tmp_path, monkeypatch):
    path, _ = source
    score(trained_run, path, tmp_path / "whole.jsonl")
    monkeypatch.setattr(files, "WINDOW", 5)
    score(trained_run, path, tmp_path / "cut.jsonl", token_budget=90)
    for one, other in zip(
        read(tmp_path / "whole.jsonl"), read(tmp_path / "cut.jsonl"), strict=True
    ):
        np.testing.assert_allclose(one["rewards"], other["rewards"], atol=1e-5)


def test_rows_are_read_a_window_at_a_time(trained_run, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WINDOW", 4)
    lead = []
    real = files.read_rows

    def watched(source):
        for number, row in enumerate(real(source)):
            lead.append(number)
            yield row

    monkeypatch.setattr(files, "read_rows", watched)
    ahead = []
    write = files.write_rows

    def writing(path, rows):
        return write(path, (ahead.append(lead[-1] - i) or row for i, row in enumerate(rows)))

    monkeypatch.setattr(files, "write_rows", writing)
    path = tmp_path / "in.jsonl"
    write_rows(path, [{"prompt": "a", "responses": [str(i)]} for i in range(20)])
    score(trained_run, path, tmp_path / "out.jsonl")
    assert len(ahead) == 20
    assert max(ahead) <= 3


def test_best_of_n_adds_the_index_of_the_highest_reward(trained_run, source, tmp_path):
    path, _ = source
    score(trained_run, path, tmp_path / "scored.jsonl")
    run_best_of_n(BestOfN(run=str(trained_run), input=path, output=tmp_path / "best.jsonl"))
    for best, scored in zip(
        read(tmp_path / "best.jsonl"), read(tmp_path / "scored.jsonl"), strict=True
    ):
        assert best["rewards"] == scored["rewards"]
        assert best["best"] == int(np.argmax(best["rewards"]))
        assert "reward_std" not in best


@pytest.mark.parametrize("name", ["out.jsonl.gz", "out.parquet"])
def test_other_formats_hold_the_same(trained_run, source, tmp_path, name):
    path, _ = source
    score(trained_run, path, tmp_path / "out.jsonl")
    score(trained_run, path, tmp_path / name)
    wanted = [row["rewards"] for row in read(tmp_path / "out.jsonl")]
    if name.endswith(".gz"):
        assert [row["rewards"] for row in read(tmp_path / name)] == wanted
        return
    table = pyarrow.parquet.read_table(tmp_path / name)
    assert table["rewards"].to_pylist() == wanted
    score(trained_run, tmp_path / name, tmp_path / "again.jsonl")
    assert [row["rewards"] for row in read(tmp_path / "again.jsonl")] == wanted


LONG = "rain " * 400


@pytest.fixture
def long_rows(tmp_path):
    path = tmp_path / "long.jsonl"
    rows = [
        {"prompt": "a", "responses": ["kind", "rude"]},
        {"prompt": "b", "responses": ["kind", LONG]},
        {"prompt": LONG, "responses": ["kind"]},
    ]
    write_rows(path, rows)
    return path


def test_a_conversation_over_the_length_is_an_error_that_names_its_line(
    trained_run, long_rows, tmp_path
):
    output = tmp_path / "out.jsonl"
    output.write_text("an earlier result\n")
    with pytest.raises(
        ContractError, match=r"long\.jsonl line 2: A conversation has .* max_length is 256"
    ):
        score(trained_run, long_rows, output)
    assert output.read_text() == "an earlier result\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["long.jsonl", "out.jsonl"]


def test_dropped_conversations_have_no_reward_and_are_counted(trained_run, long_rows, tmp_path):
    result = score(trained_run, long_rows, tmp_path / "out.jsonl", truncation="drop")
    rewards = [row["rewards"] for row in read(tmp_path / "out.jsonl")]
    assert [[r is None for r in row] for row in rewards] == [[False, False], [False, True], [True]]
    assert (result.dropped, result.truncated) == (2, 0)
    assert "dropped: 2 too long" in str(result)
    run_best_of_n(
        BestOfN(
            run=str(trained_run), input=long_rows, output=tmp_path / "best.jsonl", truncation="drop"
        )
    )
    assert [row["best"] for row in read(tmp_path / "best.jsonl")][1:] == [0, None]


def test_truncation_cuts_prompts_and_counts_them(trained_run, long_rows, tmp_path):
    result = score(trained_run, long_rows, tmp_path / "out.jsonl", truncation="truncate-left")
    rewards = [row["rewards"] for row in read(tmp_path / "out.jsonl")]
    assert rewards[1][1] is None  # a response too long by itself
    assert isinstance(rewards[2][0], float)
    assert (result.dropped, result.truncated) == (1, 1)


def test_a_model_with_an_inferred_contract_says_so(trained_run, source, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for file in trained_run.iterdir():
        if file.name.startswith(("config.json", "model", "tokenizer", "chat")):
            (foreign / file.name).write_bytes(file.read_bytes())
    result = score(foreign, source[0], tmp_path / "out.jsonl")
    assert not result.verified
    assert "inferred and is unverified" in str(result)


# --- bad input ------------------------------------------------------------------------------------


def test_the_same_file_in_and_out_is_refused(trained_run, source):
    path, _ = source
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="--input and --output are the same file"):
        score(trained_run, path, path)
    with pytest.raises(ConfigError, match="are the same file"):
        score(trained_run, path, path.parent / "." / path.name)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.parquet"])
def test_an_empty_file_is_refused_and_an_earlier_output_kept(trained_run, tmp_path, name):
    write_rows(tmp_path / name, [])
    output = tmp_path / "out.jsonl"
    output.write_text("an earlier result\n")
    with pytest.raises(DataError, match="holds no rows; there is nothing to score"):
        score(trained_run, tmp_path / name, output)
    assert output.read_text() == "an earlier result\n"


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"prompt": "a"}, "wanted 'prompt' with a list 'responses', or .* got 'prompt'"),
        ({"prompt": "a", "responses": "one"}, "wanted 'prompt' with a list"),
        ({"prompt": "a", "responses": []}, "wanted 'prompt' with a list"),
        ({"responses": ["one"]}, "wanted 'prompt' with a list"),
        ({}, "got nothing"),
        ({"prompt": "a", "responses": ["one", ""]}, "response 2 is empty"),
        ({"prompt": "a", "responses": [3]}, "response 1 is empty"),
        ({"prompt": 7, "responses": ["one"]}, "'prompt' is int; wanted text or a list"),
        ({"prompt": "a", "chosen": "b", "rejected": ""}, "'rejected' is empty"),
        ({"prompt": "a", "chosen": "b"}, "got 'prompt', 'chosen'"),
    ],
)
def test_a_row_that_cannot_be_scored_says_why_and_where(row, sentence):
    with pytest.raises(DataError, match=f"^file line 3: .*{sentence}"):
        row_conversations(row, "file line 3")


def test_a_bad_row_late_in_the_file_leaves_no_output(trained_run, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WINDOW", 2)
    rows = [{"prompt": "a", "responses": ["b"]}] * 5 + [{"prompt": "a"}]
    write_rows(tmp_path / "in.jsonl", rows)
    with pytest.raises(DataError, match="line 6"):
        score(trained_run, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([{"prompt": "a", "responses": []}]), tmp_path / "in.parquet"
    )
    with pytest.raises(DataError, match=r"in\.parquet row 1: "):
        score(trained_run, tmp_path / "in.parquet", tmp_path / "out.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "in.parquet"]


def test_messages_and_responses_with_fields_are_read():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a?"}]
    responses = [{"text": "yes"}, {"messages": [{"role": "assistant", "content": "no"}]}]
    first, second = row_conversations({"prompt": messages, "responses": responses}, "here")
    assert [m.role for m in first.prompt] == ["system", "user"]
    assert (first.response_text, second.response_text) == ("yes", "no")


def test_a_soft_pair_keeps_chosen_first():
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "probability": 0.2}
    assert [c.response_text for c in row_conversations(row, "here")] == ["b", "c"]
