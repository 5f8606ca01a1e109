"""Step labels by a judge: each step, the first error, and what it says of what it cannot tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import fake_endpoint

from assay import Solutions
from assay.cli import main
from assay.feedback.judges.packs import load_pack
from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.records import Answer, failed
from assay.feedback.judges.steps import labelled_solutions, step_questions
from assay.types import Solution, as_messages

ASK = Questioner(load_pack())
SOLUTION = Solution(as_messages("2 + 2 + 2?", "user"), ("2 + 2 = 4", "4 + 2 = 7", "7"), (None,) * 3)


def said(*probabilities: float) -> Answer:
    return Answer("answered", tuple(float(p) for p in probabilities), "text")


def test_every_step_is_asked_about_after_those_before_it() -> None:
    asked = [q.messages[-1].content for q in step_questions(SOLUTION, ASK, "step")]
    assert len(asked) == 3
    assert "4 + 2 = 7" not in asked[0]
    assert "2 + 2 = 4" in asked[1].split("NEXT STEP")[0]
    (whole,) = step_questions(SOLUTION, ASK, "first-error")
    assert whole.options == ("0", "1", "2", "3")


def test_labels_are_the_likelier_side_and_a_failure_is_no_label() -> None:
    answers = [said(0.9, 0.1), said(0.2, 0.8), failed("http-error", "503")]
    (found,) = labelled_solutions([SOLUTION], answers, "step", "m")
    assert found.labels == (1, -1, None)
    assert found.probabilities == (0.9, 0.2, None)
    assert found.annotator == "m"
    (even,) = labelled_solutions([SOLUTION], [said(0.5, 0.5)] * 3, "step", "m")
    assert even.labels == (None,) * 3


@pytest.mark.parametrize(
    ("answer", "labels"),
    [
        (said(0.1, 0.2, 0.6, 0.1), (1, -1, None)),
        (said(0.7, 0.1, 0.1, 0.1), (1, 1, 1)),
        (said(0.4, 0.4, 0.1, 0.1), (None, None, None)),
        (failed("refused", "no"), (None, None, None)),
    ],
)
def test_the_first_error_labels_up_to_itself(answer: Answer, labels: tuple[Any, ...]) -> None:
    (found,) = labelled_solutions([SOLUTION], [answer], "first-error", "m")
    assert found.labels == labels
    assert found.probabilities is None


def test_judged_solutions_are_read_by_training(tmp_path: Path, tiny_backbone: Path,
                                               capsys: Any, own_cache: Path) -> None:  # fmt: skip
    pack = tmp_path / "short.toml"
    pack.write_text('name = "short"\nversion = 1\n[questions]\nstep = "{{ steps[-1] }}?"\n')
    data, out = tmp_path / "s.jsonl", tmp_path / "judged.jsonl"
    rows = [{"prompt": f"{i}?", "steps": ["It is said.", f"It is {i}."]} for i in range(3)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--task", "step", "--judge", str(tiny_backbone), "--pack", str(pack)]
    assert main(["judge", str(data), "--out", str(out), *flags, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["questions"], report["coverage"], report["steps"]) == (6, 1.0, 6)
    solutions = Solutions.load(out)
    assert all(p is not None for s in solutions for p in s.probabilities or (None,))
    assert {s.annotator for s in solutions} == {tiny_backbone.name}


def test_too_few_answers_write_nothing(tmp_path: Path, capsys: Any) -> None:
    data, out = tmp_path / "s.jsonl", tmp_path / "judged.jsonl"
    data.write_text(json.dumps({"prompt": "?", "steps": ["a", "b"]}) + "\n")
    with fake_endpoint() as endpoint:  # it says A, which is neither yes nor no
        flags = ["--endpoint", endpoint.url, "--endpoint-model", "m", "--task", "step"]
        assert main(["judge", str(data), "--out", str(out), *flags]) == 1
    assert "Only 0.000 of 2 questions were answered, wanted 0.95: 2 unparsable" in (
        capsys.readouterr().err
    )
    assert not out.exists()


@pytest.mark.parametrize(("task", "questions"), [("step", 3), ("first-error", 2)])
def test_a_dry_run_asks_nothing_of_steps_either(
    tmp_path: Path, capsys: Any, task: str, questions: int
) -> None:
    data, out = tmp_path / "s.jsonl", tmp_path / "judged.jsonl"
    rows = [{"prompt": "?", "steps": ["a", "b"]}, {"prompt": "!", "steps": ["c"]}]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with fake_endpoint() as endpoint:
        flags = ["--endpoint", endpoint.url, "--endpoint-model", "m", "--task", task]
        flags += ["--dry-run", "--json"]
        assert main(["judge", str(data), "--out", str(out), *flags]) == 0
        assert sum(endpoint.asked.values()) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["rows"], plan["questions"]) == (2, questions)
    assert not list(tmp_path.glob("judged*"))


def test_a_reference_goes_into_every_question_about_steps() -> None:
    for task in ("step", "first-error"):
        asked = list(step_questions(SOLUTION, ASK, task, "it is six"))
        assert all("it is six" in q.messages[-1].content for q in asked)
