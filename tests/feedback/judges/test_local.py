"""A local judge's probabilities are those of plain forwards, whatever they are batched with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policies import tiny_policy

from assay.data.trees import PackedTrees
from assay.feedback.judges.kept import KeptJudge
from assay.feedback.judges.local import LocalJudge, without_system
from assay.feedback.judges.packs import load_pack
from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.records import Answer, Question, failed
from assay.feedback.judges.steps import step_questions
from assay.feedback.judges.tasks import ChecklistTask, PairTask
from assay.types import Comparison, Message, Solution, as_messages

NAMES = ("llama", "gemma2", "gpt2", "qwen2", "gpt_neox")
TOLD = (Message("system", "Be fair."),)


@pytest.fixture(scope="module", params=NAMES)
def judge(request: pytest.FixtureRequest, tiny_backbone: Path) -> LocalJudge:
    return LocalJudge(tiny_policy(request.param, tiny_backbone))


def questions() -> list[Question]:
    return [
        Question(as_messages("A or B?", "user"), ("A", "B")),
        Question(as_messages("From 1 to 10?", "user"), tuple(str(i) for i in range(1, 11))),
        Question(as_messages("Yes?", "user"), ("yes", "no"), begun="I say "),
        *(Question((*TOLD, Message("user", text)), ("A", "B", "C")) for text in ("x", "x y", "z")),
    ]


def plainly(judge: LocalJudge, question: Question) -> np.ndarray:
    """By one forward an option: Σ log P of what follows the question."""
    policy = judge.policy
    ambiguous = "10" in question.options
    found = []
    for option in question.options:
        said = question.begun + option + (judge._end if ambiguous else "")
        try:
            whole = policy.prompt_ids(question.messages, said)
            before = policy.prompt_ids(question.messages, question.begun)
        except Exception:
            merged = without_system(question.messages)
            whole = policy.prompt_ids(merged, said)
            before = policy.prompt_ids(merged, question.begun)
        ids = torch.from_numpy(whole.astype(np.int64))[None]
        network: Any = policy.network
        with torch.no_grad():
            logits = network(ids, use_cache=False).logits[0, len(before) - 1 : -1]
        picked = torch.log_softmax(logits, -1).gather(1, ids[0, len(before) :, None])
        found.append(float(picked.double().sum()))
    return np.array(found)


def test_the_probabilities_are_those_of_plain_forwards(judge: LocalJudge) -> None:
    for question, answer in zip(questions(), judge.read(questions()), strict=True):
        logprobs = plainly(judge, question)
        shares = np.exp(logprobs - logprobs.max())
        assert answer.probabilities == pytest.approx(shares / shares.sum(), abs=1e-5)
        assert answer.mass == pytest.approx(np.exp(logprobs).sum(), rel=1e-3)
        assert (answer.said, answer.means) == ("answered", "log-probabilities")


def test_an_answer_does_not_depend_on_its_batch(judge: LocalJudge) -> None:
    together = list(judge.read(questions()))
    small = LocalJudge(judge.policy, token_budget=1)
    for question, answer in zip(questions(), together, strict=True):
        (alone,) = judge.read([question])
        assert alone.probabilities == pytest.approx(answer.probabilities, abs=1e-5)
        (tight,) = small.read([question])
        assert tight.probabilities == pytest.approx(answer.probabilities, abs=1e-5)
    assert [a.probabilities for a in judge.read(questions()[::-1])][::-1] == [
        pytest.approx(a.probabilities, abs=1e-5) for a in together
    ]


def asked_of_items(path: Path) -> list[Question]:
    """Both orders of pairs, a checklist, and steps: what has much in common, and what little."""
    path.write_text(
        'name = "short"\nversion = 1\nsystem = "Be fair."\n[questions]\n'
        "pair = \"{{ prompt }} {{ responses|join(' | ') }} A or B?\"\n"
        'check = "{{ prompt }} {{ responses[0] }} {{ item }}"\n'
        "step = \"{{ prompt }} {{ steps|join(' ') }}\"\n"
    )
    questioner = Questioner(load_pack(str(path)))
    prompts = ["Name a prime.", "Name a planet."]
    found = []
    for number, prompt in enumerate(prompts):
        responses = tuple(as_messages(text * 3, "assistant") for text in ("seven ", "a moon "))
        comparison = Comparison(as_messages(prompt, "user"), responses, (), id=str(number))
        found += PairTask(questioner).questions(comparison)
        found += ChecklistTask(questioner, ("Short?", "Shorter?", "True?")).questions(comparison)
    solution = Solution(as_messages("1 + 1?", "user"), ("one", "and one", "is two"), ())
    return [*found, *step_questions(solution, questioner, "step"), found[0]]


def test_questions_that_begin_alike_are_read_as_plainly(judge: LocalJudge, tmp_path: Path) -> None:
    asked = asked_of_items(tmp_path / "short.toml")
    assert len(asked) == 2 * (2 + 6) + 3 + 1
    for question, answer in zip(asked, judge.read(asked), strict=True):
        logprobs = plainly(judge, question)
        shares = np.exp(logprobs - logprobs.max())
        assert answer.probabilities == pytest.approx(shares / shares.sum(), abs=1e-5)
    assert judge._reader.engine == "tree"


def test_what_questions_begin_with_is_read_once(
    judge: LocalJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asked_of_items(tmp_path / "short.toml")
    seen = []
    read = judge._reader.reference

    def counted(packed: PackedTrees) -> Any:
        seen.append(packed.num_tokens)
        return read(packed)

    monkeypatch.setattr(judge._reader, "reference", counted)
    alone = [next(judge.read([question])) for question in asked]
    apart = sum(seen)
    seen.clear()
    together = list(judge.read(asked))
    assert sum(seen) < 0.7 * apart
    assert [a.probabilities for a in together] == [
        pytest.approx(a.probabilities, abs=1e-5) for a in alone
    ]
    seen.clear()
    monkeypatch.setattr(judge._reader, "engine", "padded")
    padded = list(judge.read(asked))
    # plain forwards share nothing: they are as wide as before
    assert sum(seen) > 0.9 * apart
    assert [a.probabilities for a in padded] == [
        pytest.approx(a.probabilities, abs=1e-5) for a in alone
    ]


def test_what_is_too_long_fails_alone(tiny_backbone: Path) -> None:
    judge = LocalJudge(tiny_policy("gpt2", tiny_backbone))
    limit = judge.policy.context
    assert limit is not None
    long = Question(as_messages("x " * limit, "user"), ("A", "B"))
    answers = list(judge.read([questions()[0], long, questions()[0]]))
    assert [a.said for a in answers] == ["answered", "not-asked", "answered"]
    assert "more than" in (answers[1].detail or "")
    assert answers[1].probabilities is None


def test_a_template_without_a_system_role_gets_its_words_in_the_question() -> None:
    told = (*TOLD, Message("user", "A or B?"))
    assert without_system(told) == (Message("user", "Be fair.\n\nA or B?"),)
    assert without_system(told[1:]) == told[1:]


def test_what_was_answered_is_not_computed_again(judge: LocalJudge, tmp_path: Path) -> None:
    asked: list[Question] = []

    class Counting(LocalJudge):
        def _window(self, questions: Any) -> Any:
            asked.extend(questions)
            return super()._window(questions)

    counting = Counting(judge.policy)
    first = list(KeptJudge(counting, tmp_path / "answers.sqlite").read(questions()[:4]))
    second = list(KeptJudge(counting, tmp_path / "answers.sqlite").read(questions()))
    assert asked == questions()
    assert [a.cached for a in second] == [True] * 4 + [False] * 2
    assert [a.probabilities for a in second[:4]] == [a.probabilities for a in first]
    warmer = Counting(judge.policy, temperature=2.0)
    list(KeptJudge(warmer, tmp_path / "answers.sqlite").read(questions()[:1]))
    assert len(asked) == len(questions()) + 1


def test_what_failed_is_asked_again(tmp_path: Path) -> None:
    class Refusing:
        name, identity, asked = "m", {"judge": "m"}, 0

        def read(self, questions: Any) -> Any:
            for _ in questions:
                self.asked += 1
                yield failed("refused", "no") if self.asked == 1 else answered

    answered = Answer("answered", (1.0, 0.0), "text")
    judge = Refusing()
    said = [list(KeptJudge(judge, tmp_path / "a.sqlite").read(questions()[:1])) for _ in range(3)]
    assert [answers[0].said for answers in said] == ["refused", "answered", "answered"]
    assert judge.asked == 2
