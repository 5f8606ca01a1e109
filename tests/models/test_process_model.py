"""Parity: step rewards in one pass are those of separate passes, and survive saving and loading."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import families
import numpy as np
import pytest
import torch
from tiny import save_backbone
from transformers import AutoModelForTokenClassification, AutoTokenizer

from assay.configs import ProcessTraining
from assay.data.trees import build_tree
from assay.errors import CheckpointError, ContractError, DriftError
from assay.models.checkpoint import load_model
from assay.models.process_checkpoint import load_process
from assay.models.process_model import ProcessRewardModel, class_logits, step_rewards
from assay.models.scoring import pack_groups
from assay.models.step_scoring import score_steps
from assay.score.process import ProcessScorer
from assay.score.verify import verify
from assay.train.step_examples import encode_steps
from assay.types import Conversation, Message, Solution

pytestmark = pytest.mark.usefixtures("own_cache")

ENCODERS = ("bert", "roberta", "distilbert")
FAMILIES = ("llama", "gemma3_text", "gpt_neox", "opt", "gpt2", *ENCODERS)
WITHOUT_CLASSIFIER = ("gemma3_text", "opt")


def solution(prompt: str, *steps: str) -> Solution:
    return Solution((Message("user", prompt),), steps, (None,) * len(steps))


SOLUTIONS = [
    solution("2 + 3?", "2 and 3", "makes 5", "so 5."),
    solution("2 + 3?", "2 and 3", "makes 6", "so 6.", "done"),
    solution("Is it odd?", "no"),
]

Make = Callable[..., ProcessRewardModel]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, own_cache: Path) -> Make:
    """Process models on small random backbones with their kind of tokenizer."""
    root = tmp_path_factory.mktemp("backbones")

    def model(family: str, engine: str = "auto", **how: object) -> ProcessRewardModel:
        directory = root / family
        if not directory.exists():
            kind = "bert" if family in ENCODERS else "chatml"
            save_backbone(directory, family, families.FAMILIES[kind]())
        return ProcessRewardModel.from_backbone(
            str(directory), max_length=400, engine=engine, **how
        )

    return model


def apart(model: ProcessRewardModel, solutions: list[Solution]) -> list[np.ndarray]:
    """Every step by the padded forward of the solution that ends with it, one at a time."""
    model.set_engine("padded")
    found = []
    for whole in solutions:
        beginnings = [
            replace(whole, steps=whole.steps[: k + 1], labels=whole.labels[: k + 1])
            for k in range(len(whole.steps))
        ]
        found.append(np.array([score_steps(model, [b]).rewards[0][-1] for b in beginnings]))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_one_pass_gives_what_separate_passes_give(family: str, make: Make) -> None:
    model = make(family)
    together = score_steps(model, SOLUTIONS).rewards
    for one, wanted in zip(together, apart(model, SOLUTIONS), strict=True):
        np.testing.assert_allclose(one, wanted, rtol=0, atol=1e-4)
    assert np.concatenate(together).std() > 1e-3


def test_solutions_of_a_problem_share_its_prompt_and_equal_steps(make: Make) -> None:
    model = make("llama")
    tokens = [t for group in model.step_renderer.tokenise(SOLUTIONS[:2]) for t in group]
    ((indexes, packed),) = pack_groups(tokens, 10_000, share=True)
    assert len(indexes) == 7
    wholes = {t.ids.tobytes(): len(t.ids) for t in (tokens[2], tokens[6])}
    shared = build_tree([tokens[0], tokens[3]]).num_tokens  # "2 and 3" of both
    assert packed.num_tokens <= sum(wholes.values()) - shared + 1
    assert build_tree(tokens[:3]).num_tokens == len(tokens[2].ids)  # one path, no branch


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("classes", ["one", "two", "three"])
def test_saved_and_loaded_it_rewards_alike(
    family: str, classes: str, make: Make, tmp_path: Path
) -> None:
    model = make(family, classes=classes)
    with torch.no_grad():
        model.head.bias.normal_()
    wanted = np.concatenate(score_steps(model, SOLUTIONS).rewards)
    run = model.save(tmp_path / "run")
    loaded = ProcessRewardModel.load(run)
    assert loaded.steps == model.steps
    got = np.concatenate(score_steps(loaded, SOLUTIONS).rewards)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)
    assert verify(run).golden >= 5


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in WITHOUT_CLASSIFIER])
def test_plain_transformers_reads_the_same_logits(family: str, make: Make, tmp_path: Path) -> None:
    model = make(family)
    run = model.save(tmp_path / "run")
    plain = AutoModelForTokenClassification.from_pretrained(run).eval()
    tokenizer = AutoTokenizer.from_pretrained(run)
    assert plain.config.id2label == {0: "bad", 1: "good"}
    for whole, rewards in zip(SOLUTIONS, score_steps(model, SOLUTIONS).rewards, strict=True):
        text = model.step_renderer.beginnings(whole)[-1]
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            chance = torch.softmax(plain(ids).logits[0], -1)[-1, 1]
        assert float(chance) == pytest.approx(rewards[-1], abs=1e-4)


def test_a_damaged_head_is_drift(make: Make, tmp_path: Path) -> None:
    run = make("llama").save(tmp_path / "run")
    other = make("llama", seed=1).save(tmp_path / "other")
    for name in ("model.safetensors", "manifest.json"):
        shutil.copy(other / name, run / name)
    with pytest.raises(DriftError, match=r"manifest|moved"):
        verify(run)


def test_an_outcome_model_is_asked_for_by_its_own_name(make: Make, tmp_path: Path) -> None:
    run = make("llama").save(tmp_path / "run")
    with pytest.raises(CheckpointError, match="rewards steps"):
        load_model(run)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="assay train process"):
        load_process(tmp_path / "empty")


def test_what_the_outputs_mean() -> None:
    logits = torch.tensor([[0.0], [2.0]])
    torch.testing.assert_close(
        step_rewards(logits, ("good",)), torch.sigmoid(logits[:, 0].double())
    )
    assert class_logits(logits).tolist() == [[0.0, 0.0], [0.0, 2.0]]
    three = torch.log(torch.tensor([[0.2, 0.5, 0.3]]))
    assert step_rewards(three, ("bad", "neutral", "good")).tolist() == pytest.approx([0.8])
    assert step_rewards(three[:, :2], ("bad", "good")).tolist() == pytest.approx([5 / 7])


def test_steps_beyond_the_context_are_counted_or_refused(make: Make) -> None:
    model = make("llama")
    long = solution("count", *[f"and then there were {n} of them" for n in range(30)])
    scores = score_steps(model, [SOLUTIONS[0], long], truncation="drop")
    kept = np.isfinite(scores.rewards[1])
    assert 0 < kept.sum() < 30
    assert scores.cut == 30 - kept.sum()
    assert kept[: kept.sum()].all()
    with pytest.raises(ContractError, match=r"Step \d+ of solution 2: .*max_length is 400"):
        score_steps(model, [SOLUTIONS[0], long])


def test_an_error_counts_solutions_from_the_first_of_all(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.models.step_scoring.WINDOW", 2)
    monkeypatch.setattr("assay.train.step_examples.WINDOW", 2)
    model = make("llama")
    bad = solution("2 + 3?", "2 and 3", f"makes {model.contract.end_of_response}")
    with pytest.raises(ContractError, match=r"Step 2 of solution 4 contains"):
        score_steps(model, [*SOLUTIONS, bad])
    _, encoding = encode_steps(
        model.step_renderer,
        [*(replace(s, labels=(1,) * len(s.steps)) for s in SOLUTIONS), bad],
        [0, 0, 1, 2],
        ProcessTraining(),
        share=True,
    )
    assert "solution 4" in encoding.first_refusal


def test_steps_behind_a_shortened_prompt_are_counted(make: Make) -> None:
    long = solution("count " * 200, "one", "two")
    scores = score_steps(make("llama"), [SOLUTIONS[0], long], truncation="truncate-left")
    assert scores.truncated == (0, 2)
    scorer = ProcessScorer(make("llama"), truncation="truncate-left")
    conversation = Conversation(long.prompt, (Message("assistant", "one\n\ntwo"),))
    assert scorer.score([conversation]).truncated == 1


def test_order_and_batches_change_nothing(make: Make) -> None:
    model = make("gemma3_text")
    wanted = score_steps(model, SOLUTIONS).rewards
    backwards = score_steps(model, SOLUTIONS[::-1], token_budget=20).rewards[::-1]
    for a, b in zip(wanted, backwards, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
