"""Contract of golden conversations: what replay notices, and what verification then says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import tiny
import torch

from assay.configs import Verify
from assay.data.contract import Renderer
from assay.errors import CheckpointError, DriftError
from assay.models import scoring
from assay.models.checkpoint import write_manifest
from assay.models.golden import (
    PASSES,
    UnsteadyWarning,
    golden_conversations,
    golden_rows,
    ids_digest,
    replay,
)
from assay.models.reward_model import RewardModel
from assay.score.verify import run as run_verify
from assay.score.verify import verify

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def model(tiny_backbone: Path, own_cache: Path) -> RewardModel:
    return RewardModel.from_backbone(str(tiny_backbone), max_length=1000)


@pytest.fixture(scope="module")
def saved(tiny_backbone: Path, own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=1000)
    return model.save(tmp_path_factory.mktemp("golden") / "run")


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


def test_golden_conversations_are_varied(model: RewardModel) -> None:
    conversations = golden_conversations(model)
    roles = {m.role for c in conversations for m in c.prompt}
    assert roles == {"system", "user", "assistant"}
    texts = "".join(c.response_text for c in conversations)
    assert "こ" in texts
    assert "\n" in texts
    lengths = [row["tokens"] for row in golden_rows(model)]
    assert max(lengths) > 5 * min(lengths)


def test_what_the_contract_cannot_render_or_hold_is_left_out(
    model: RewardModel, tmp_path: Path
) -> None:
    whole = len(golden_conversations(model))
    model.set_contract(max_length=120)
    short = golden_conversations(model)
    assert 0 < len(short) < whole
    assert all(len(t.ids) <= 120 for t in model.renderer.tokenise(short))
    backbone = tiny.save_backbone(tmp_path, "llama", families.FAMILIES["gemma"]())
    gemma = RewardModel.from_backbone(str(backbone), max_length=500, engine="tree")
    roles = {m.role for c in golden_conversations(gemma) for m in c.prompt}
    assert roles == {"user", "assistant"}  # its template takes no system message


def test_replay_of_the_same_model_finds_nothing(model: RewardModel) -> None:
    rows = json.loads(json.dumps(golden_rows(model)))
    for engine in ("tree", "padded"):
        model.set_engine(engine)
        result = replay(model, rows)
        assert result.count == len(rows)
        assert result.retokenised == 0
        assert result.difference < 1e-4


def test_replay_measures_a_moved_reward_in_standard_deviations(model: RewardModel) -> None:
    rows = golden_rows(model)
    with torch.no_grad():
        model.head.weight.mul_(2.0)
    rewards = torch.tensor([row["reward"] for row in rows], dtype=torch.float64)
    wanted = float(rewards.abs().max() / rewards.std(correction=0))
    assert replay(model, rows).difference == pytest.approx(wanted, rel=1e-3)


def test_replay_counts_conversations_with_other_tokens(model: RewardModel) -> None:
    rows = golden_rows(model)
    contract = model.contract
    template = contract.chat_template.replace("'<|im_start|>' +", "'<|im_start|> ' +")
    model.renderer = Renderer(replace(contract, chat_template=template), model.renderer.tokenizer)
    result = replay(model, rows)
    assert result.retokenised == len(rows)


def test_nothing_to_replay_is_no_drift(model: RewardModel) -> None:
    model.set_contract(max_length=5)
    assert golden_rows(model) == []
    assert replay(model, []).difference == 0.0


def disturb(monkeypatch: pytest.MonkeyPatch, passes: set[int]) -> list[int]:
    """Move one reward in these passes over the golden conversations; gives the passes made."""
    real, made = scoring.score_conversations, []

    def score(*args: Any, **kwargs: Any) -> scoring.Scored:
        scored = real(*args, **kwargs)
        if len(made) in passes:
            scored.rewards[3] += 0.002 * (len(made) + 1) * scored.rewards.std()
        made.append(len(made))
        return scored

    monkeypatch.setattr(scoring, "score_conversations", score)
    return made


@pytest.mark.parametrize("bad", [0, 1])
def test_one_faulty_pass_is_neither_saved_nor_taken_for_drift(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    wanted = golden_rows(model)
    disturb(monkeypatch, {bad})
    with pytest.warns(UnsteadyWarning, match=r"up to 0\.00[24] standard deviations away"):
        assert golden_rows(model) == wanted
    disturb(monkeypatch, {bad})
    with pytest.warns(UnsteadyWarning):
        assert replay(model, wanted).difference < 1e-4


def test_a_machine_that_never_agrees_with_itself_saves_nothing(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = disturb(monkeypatch, set(range(9)))
    with pytest.raises(CheckpointError, match="does not compute reliably"):
        model.save(tmp_path / "run")
    assert len(made) == PASSES
    assert not list((tmp_path / "run").iterdir())


def test_the_digest_is_of_ids_in_their_order() -> None:
    ids = np.array([1, 2, 300], dtype=np.int32)
    assert ids_digest(ids) == ids_digest(np.array([9, 1, 2, 300], dtype=np.int32)[1:])
    assert ids_digest(ids) != ids_digest(ids[::-1])


# --- verification of a run whose manifest fits ------------------------------------------------


def edit(run: Path, **changes: Any) -> None:
    record = json.loads((run / "assay.json").read_text())
    record["contract"].update(changes)
    (run / "assay.json").write_text(json.dumps(record))
    write_manifest(run)


def test_a_whole_run_passes_on_both_engines(saved: Path) -> None:
    for engine in ("tree", "padded"):
        result = verify(saved, engine=engine)
        assert result.engine == engine
        assert "files unchanged" in str(result)
    assert run_verify(Verify(run=saved)).to_dict()["passed"] is True


def test_another_template_is_drift(run: Path) -> None:
    template = json.loads((run / "assay.json").read_text())["contract"]["chat_template"]
    edit(run, chat_template=template.replace("'<|im_start|>' +", "'<|im_start|> ' +"))
    with pytest.raises(DriftError, match=r"golden conversations have other token ids"):
        verify(run)


def test_a_template_that_no_longer_ends_a_response_is_drift(run: Path) -> None:
    edit(run, chat_template=families.CHATML)
    with pytest.raises(DriftError, match="can no longer be rendered"):
        verify(run)


def test_moved_rewards_are_drift_beyond_the_tolerance(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "golden.jsonl").read_text().splitlines()]
    spread = torch.tensor([r["reward"] for r in rows], dtype=torch.float64).std(correction=0)
    rows[3]["reward"] += 0.01 * float(spread)
    (run / "golden.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    write_manifest(run)
    with pytest.raises(DriftError, match=r"moved by 0\.01 standard.* 0\.0001 is allowed, in 1 of "):
        verify(run)
    assert verify(run, tolerance=0.02).difference == pytest.approx(0.01, rel=0.02)


def test_a_golden_reward_that_is_no_number_is_drift(run: Path) -> None:
    text = (run / "golden.jsonl").read_text().splitlines()
    row = {**json.loads(text[0]), "reward": float("nan")}
    (run / "golden.jsonl").write_text("\n".join([json.dumps(row), *text[1:]]))
    write_manifest(run)
    with pytest.raises(DriftError, match="moved by nan"):
        verify(run)
