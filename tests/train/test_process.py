"""Recovery and contract: a process model learns which steps are right, in every mode."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

import assay
from assay.cli import main
from assay.configs import ProcessTraining
from assay.data.pairs import clusters_of
from assay.data.solutions import Solutions
from assay.errors import ConfigError, DataError
from assay.models.process_model import ProcessRewardModel
from assay.models.step_scoring import score_steps
from assay.train.losses.steps import step_cross_entropy
from assay.train.process import train_process, unscaled
from assay.train.step_examples import class_targets, encode_steps
from assay.train.step_tasks import StepTreeTask
from assay.types import Message, Solution

pytestmark = pytest.mark.usefixtures("own_cache")

FROZEN = {"l2": 0.001, "lr": 1e-2, "epochs": 60, "batch_size": 8}
GOOD, BAD = ("clear", "kind", "precise"), ("rude", "vague", "wrong")


def solution(*steps: tuple[str, int | None], prompt: str = "Say it", **more: object) -> Solution:
    texts, labels = zip(*steps, strict=True)
    return Solution((Message("user", prompt),), texts, labels, **more)


def made(count: int, seed: int = 0) -> Solutions:
    """Solutions of two alternatives a problem; a step is bad where it has a bad word."""
    draw = random.Random(seed)
    solutions = []
    for number in range(count):
        prompt = f"Problem {number // 2}: say it well"
        steps = []
        for _ in range(draw.randint(1, 4)):
            good = draw.random() < 0.6
            steps.append((f"a {draw.choice(GOOD if good else BAD)} step", 1 if good else -1))
        solutions.append(solution(*steps, prompt=prompt))
    return Solutions.of(solutions)


@pytest.fixture
def model(tiny_backbone: Path) -> ProcessRewardModel:
    return ProcessRewardModel.from_backbone(str(tiny_backbone), max_length=300)


@pytest.mark.parametrize("mode", ["frozen", "lora", "full"])
def test_it_learns_which_steps_are_right(mode: str, model: ProcessRewardModel) -> None:
    train, heldout = made(240).split(0.25, seed=0)
    how = {
        "frozen": FROZEN,
        "lora": {"epochs": 12, "lr": 1e-2, "head_lr_multiplier": 1.0},
        "full": {"epochs": 8, "lr": 3e-3},
    }[mode]
    result = train_process(
        model, train, heldout, ProcessTraining(mode=mode, **{"batch_size": 8, **how})
    )
    # a frozen random backbone says less of its words
    assert result.heldout.auc.value > (0.85 if mode == "frozen" else 0.98)
    assert result.length_only.value < 0.7
    rewards = score_steps(model, list(heldout)).rewards
    labels = np.concatenate([s.labels for s in heldout])
    own = np.concatenate(rewards)
    assert own[labels == 1].mean() > own[labels == -1].mean() + 0.1
    assert result.heldout.steps == len(labels)
    assert result.shared_prompts == 0
    assert not model.has_adapters


@pytest.mark.parametrize("classes", ["one", "two", "three"])
def test_every_kind_of_head_learns(classes: str, tiny_backbone: Path) -> None:
    model = ProcessRewardModel.from_backbone(str(tiny_backbone), classes=classes, max_length=300)
    train, heldout = made(120).split(0.25, seed=0)
    result = train_process(model, train, heldout, ProcessTraining(classes=classes, **FROZEN))
    assert result.heldout.auc.value > 0.8


def test_members_have_a_spread_and_one_standard_head(
    model: ProcessRewardModel, tmp_path: Path
) -> None:
    train, heldout = made(120).split(0.25, seed=0)
    result = train_process(model, train, heldout, ProcessTraining(**FROZEN), members=3)
    assert result.heldout.auc.value > 0.8
    scores = score_steps(model, list(heldout))
    assert scores.std is not None
    assert min(float(s.min()) for s in scores.std) > 0
    loaded = ProcessRewardModel.load(model.save(tmp_path / "run"))
    again = score_steps(loaded, list(heldout))
    for a, b in zip((*scores.rewards, *scores.std), (*again.rewards, *again.std), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    loaded.members = None  # the saved head by itself gives the same rewards
    for a, b in zip(scores.rewards, score_steps(loaded, list(heldout)).rewards, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_targets_by_hand() -> None:
    judged = solution(("a", 1), ("b", 0), ("c", -1), ("d", None), ("e", None))
    shares = (0.5, None, None, 0.25, None)
    judged = Solution(judged.prompt, judged.steps, judged.labels, shares)
    two = class_targets(judged, ProcessTraining(), 2)
    assert two == [(0, 1), (0, 1), (1, 0), (0.75, 0.25), None]
    hard = class_targets(judged, ProcessTraining(targets="hard", neutral="bad"), 2)
    assert hard == [(0, 1), (1, 0), (1, 0), (0, 1), None]
    assert class_targets(judged, ProcessTraining(neutral="skip"), 2)[1] is None
    three = class_targets(judged, ProcessTraining(classes="three"), 3)
    assert three == [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0.75, 0, 0.25), None]


def test_the_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    targets = torch.tensor([[0.0, 1.0], [0.25, 0.75]])
    p = torch.softmax(logits, -1)
    wanted = [-p[0, 1].log(), -(0.25 * p[1, 0].log() + 0.75 * p[1, 1].log())]
    torch.testing.assert_close(step_cross_entropy(logits, targets), torch.stack(wanted))
    one = step_cross_entropy(torch.tensor([[1.0]]), torch.tensor([[0.0, 1.0]]))
    assert float(one) == pytest.approx(-float(torch.sigmoid(torch.tensor(1.0)).log()))


def test_trees_change_neither_loss_nor_gradient(model: ProcessRewardModel) -> None:
    """All judged steps in shared trees against every step in a row of its own."""
    solutions = made(12)
    training = ProcessTraining(mode="full")
    found = []
    for share in (True, False):
        model.set_engine("tree" if share else "padded")
        examples, encoding = encode_steps(
            model.step_renderer, solutions, clusters_of(solutions), training, share=share
        )
        task = StepTreeTask(model, examples, examples, 10_000)
        model.zero_grad()
        losses = task.losses(model, range(len(examples)))
        weights = torch.tensor(task.weights)
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        found.append((loss.item(), gradients, encoding))
    (shared, by_tree, encoding), (apart, by_row, whole) = found
    assert encoding.steps == whole.steps == sum(len(s.steps) for s in solutions)
    assert encoding.tokens < whole.tokens
    assert shared == pytest.approx(apart, abs=1e-6)
    assert by_tree.keys() == by_row.keys()
    for name, gradient in by_row.items():
        difference = float((by_tree[name] - gradient).norm())
        assert difference <= 1e-3 * float(gradient.norm()) + 1e-7, name


def test_scaling_is_folded_exactly() -> None:
    head = torch.nn.Linear(5, 2)
    features, mean = torch.randn(7, 5), np.arange(5, dtype=np.float32)
    wanted = head((features - torch.from_numpy(mean)) * 0.3)
    torch.testing.assert_close(unscaled(head, mean, 0.3)(features), wanted)


def test_labels_beyond_the_context_are_counted(tiny_backbone: Path) -> None:
    model = ProcessRewardModel.from_backbone(str(tiny_backbone), max_length=60)
    long = solution(*[(f"a clear step {n}", 1) for n in range(8)], ("a rude step", -1))
    short = Solutions.of([solution(("wrong", -1), ("clear", 1)), long])
    examples, encoding = encode_steps(
        model.step_renderer, short, clusters_of(short), ProcessTraining(), share=True
    )
    kept = sum(len(e.tokens) for e in examples)
    assert encoding.cut["bad"] == 1
    assert encoding.cut["good"] == 11 - kept - 1
    assert f"{encoding.cut['good']:,} good" in str(encoding)


def test_what_cannot_be_learnt_from(model: ProcessRewardModel) -> None:
    good = Solutions.of([solution(("clear", 1)), solution(("kind", 1), prompt="Other")])
    with pytest.raises(DataError, match="same target"):
        train_process(model, good, good)
    unjudged = Solutions.of([solution(("clear", None))])
    with pytest.raises(DataError, match="has a judged step; give labels or probabilities"):
        train_process(model, unjudged, unjudged)
    with pytest.raises(ConfigError, match="members is for mode frozen"):
        train_process(model, made(8), made(8), ProcessTraining(mode="full"), members=2)
    with pytest.raises(ConfigError, match="classes is 'three'"):
        train_process(model, made(8), made(8), ProcessTraining(classes="three"))


@pytest.fixture
def solutions_file(tmp_path: Path) -> Path:
    path = tmp_path / "solutions.jsonl"
    rows = [
        {"prompt": s.prompt[0].content, "steps": list(s.steps), "labels": list(s.labels)}
        for s in made(80)
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def test_the_verb_trains_scores_and_verifies(
    solutions_file: Path, tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    flags = ["--backbone", str(tiny_backbone), "--max-length", "300", "--out", str(run)]
    assert main(["train", "process", "--data", str(solutions_file), *flags, "--l2", "0.01"]) == 0
    said = capsys.readouterr().out
    assert "held-out steps: AUC" in said
    assert "judged steps of 32 problems" not in said  # the held-out ones are told
    names = {p.name for p in run.iterdir()}
    assert {"assay.json", "heldout.json", "README.md", "training.png", "manifest.json"} <= names
    assert json.loads((run / "heldout.json").read_text())["auc"]["n"] > 10
    scored = tmp_path / "scored.jsonl"
    io = ["--input", str(solutions_file), "--output", str(scored)]
    assert main(["score", str(run), *io]) == 0
    row = json.loads(scored.read_text().splitlines()[0])
    assert len(row["step_rewards"][0]) == len(row["steps"])
    assert row["rewards"][0] == pytest.approx(np.prod(row["step_rewards"][0]))
    assert main(["verify", str(run)]) == 0
    scorer = assay.load_scorer(run, reduction="min")
    text = "\n".join(row["steps"])
    if len(row["steps"]) > 1:
        reward = scorer.score([assay.Conversation.of(row["prompt"], text)]).reward[0]
        assert reward == pytest.approx(min(row["step_rewards"][0]), abs=1e-4)
    assert main(["train", "process", "--data", str(solutions_file), *flags]) == 2
    assert "holds a finished run" in capsys.readouterr().err


def test_a_stopped_run_resumes_to_the_same(tiny_backbone: Path, tmp_path: Path) -> None:
    train, heldout = made(60).split(0.25, seed=0)
    training = ProcessTraining(mode="full", epochs=2, batch_size=4, save_every=3)

    def fresh() -> ProcessRewardModel:
        return ProcessRewardModel.from_backbone(str(tiny_backbone), max_length=300)

    whole = train_process(fresh(), train, heldout, training)

    class Stop(Exception):
        pass

    def stop(stage: str, done: int, total: int, tokens: int) -> None:
        if stage == "train" and done == 7:
            raise Stop

    with pytest.raises(Stop):
        train_process(fresh(), train, heldout, training, directory=tmp_path, progress=stop)
    again = train_process(fresh(), train, heldout, training, directory=tmp_path, resume=True)
    assert again.fit.final_loss == pytest.approx(whole.fit.final_loss, abs=1e-6)
    assert again.heldout.auc.value == pytest.approx(whole.heldout.auc.value, abs=1e-9)
