"""Contract: ``assay check`` writes what every verifier says of every response, or why not."""

from __future__ import annotations

import json

import pytest

from assay.cli import main
from assay.configs import CheckResponses
from assay.errors import ConfigError, DataError
from assay.feedback.check_run import Tally, run
from assay.feedback.verifiers import Check
from assay.stats import cluster_mean, wilson

SPEC = [
    {"kind": "no_commas"},
    {"kind": "numeric_answer", "name": "value"},
    {"kind": "word_count", "at_most": 4},
]


@pytest.fixture
def check(tmp_path):
    def checked(rows, spec=SPEC, **more):
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "data.jsonl").write_text(text)
        paths = {"verifiers": "spec.json", "data": "data.jsonl", "out": "out.jsonl"}
        return run(CheckResponses(**{k: tmp_path / v for k, v in paths.items()}, **more))

    return checked


def written(tmp_path):
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


def test_every_response_is_checked_and_counted(check, tmp_path):
    rows = [
        {"prompt": "a", "response": "It is 4", "answer": 4},
        {"prompt": "b", "response": "It is, say, 5", "answer": "4"},
        {"prompt": "c", "response": "", "answer": 4},
        {"prompt": "d", "response": [{"role": "assistant", "content": "It is 4"}]},
    ]
    report = check(rows)
    commas, value, words = report.verifiers
    assert (commas.passed, commas.unchecked) == (wilson(2, 4), 0)
    assert (value.passed, value.unchecked) == (wilson(1, 3), 1)
    assert (words.passed, words.unchecked) == (wilson(3, 4), 0)
    assert str(report).splitlines()[2] == f"  value: {wilson(1, 3)}; could not be checked: 1"
    out = written(tmp_path)
    assert [{k: row[k] for k in row if k != "checks"} for row in out] == rows
    assert out[0]["checks"]["value"]["passed"] is True
    assert out[3]["checks"]["value"] == {
        "passed": None, "score": None, "detail": "no right answer is known",
    }  # fmt: skip


def test_responses_of_a_prompt_are_one_cluster(check, tmp_path):
    rows = [
        {"prompt": "a", "responses": ["It is 4", {"text": "It is 5"}], "truth": 4},
        {"prompt": "b", "responses": ["So 4"], "truth": 4},
    ]
    report = check(rows, truth="truth")
    value = report.verifiers[1].passed
    assert value == cluster_mean([1.0, 0.0, 1.0], [0, 0, 1], bounds=(0.0, 1.0))
    assert (report.rows, report.responses) == (2, 3)
    out = written(tmp_path)
    assert [[c["value"]["passed"] for c in row["checks"]] for row in out] == [[True, False], [True]]


def test_nothing_checked_is_said():
    tally = Tally()
    tally.add(Check.unchecked("no truth"), 0)
    assert tally.figure().n == 0
    assert tally.unchecked == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a"}, "data.jsonl line 1: a 'response', or a list 'responses', is wanted"),
        ({"prompt": "a", "responses": []}, "is wanted"),
        ({"prompt": "a", "responses": "x"}, "is wanted"),
        ({"prompt": "a", "response": 3}, "must be text or a list of messages, not 3"),
        ({"prompt": "a", "response": [3]}, "must be text or a list of messages"),
        ({"response": "a"}, "'prompt' is missing"),
        ({"prompt": "a", "response": "a", "answer": [4]}, "'answer' must be text or a number"),
    ],
)
def test_a_row_that_is_wrong_is_named_and_nothing_is_written(check, tmp_path, row, said):
    with pytest.raises(DataError) as error:
        check([row])
    assert said in str(error.value)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_file_without_rows_is_refused(check):
    with pytest.raises(DataError, match="holds no rows"):
        check("")


def test_the_input_is_not_overwritten(tmp_path):
    (tmp_path / "spec.json").write_text('[{"kind": "json"}]')
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    same = tmp_path / "data.jsonl"
    with pytest.raises(ConfigError, match="are the same file"):
        run(CheckResponses(verifiers=tmp_path / "spec.json", data=same, out=same))
    with pytest.raises(DataError, match="must end in"):
        run(CheckResponses(verifiers=tmp_path / "spec.json", data=same, out=tmp_path / "out.txt"))


def test_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.json").write_text(json.dumps(SPEC[:1]))
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    flags = ["check", "--verifiers", "spec.json", "--data", "data.jsonl", "--out", "out.jsonl"]
    assert main([*flags, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verifiers"][0]["name"] == "no_commas"
    assert said["verifiers"][0]["passed"]["value"] == 1
    assert main(flags) == 0
    assert "no_commas: 1.000 [" in capsys.readouterr().out
    (tmp_path / "spec.json").write_text('[{"kind": "no_comma"}]')
    assert main(flags) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "ConfigError: spec.json: 'no_comma' is no kind of verifier; did you mean 'no_commas'"
    )
