"""Contract: a run verifies until a byte, a token or a reward of it is another."""

from __future__ import annotations

import json
import shutil

import pytest

from assay.configs import Verify
from assay.errors import CheckpointError, DriftError
from assay.models.checkpoint import write_manifest
from assay.models.golden import replay
from assay.models.reward_model import RewardModel
from assay.score.verify import run, verify

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def copied(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "copy")


def test_an_untouched_run_passes(trained_run):
    result = run(Verify(run=trained_run))
    assert result.golden > 10
    assert result.difference < 1e-5
    assert result.to_dict()["passed"] is True
    assert json.dumps(result.to_dict())
    assert f"{result.golden} golden conversations replayed on the tree engine" in str(result)
    assert f"{trained_run}: {result.files} files unchanged" in str(result)


def test_both_engines_give_the_saved_rewards(trained_run):
    assert verify(trained_run, engine="padded").difference < 1e-4


def test_a_flipped_byte_of_the_weights_is_named(copied):
    path = copied / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        DriftError, match=r"model\.safetensors is not the file that was saved: its SHA"
    ):
        verify(copied)


def test_another_chat_template_is_named_even_with_a_new_manifest(copied):
    path = copied / "assay.json"
    record = json.loads(path.read_text())
    template = record["contract"]["chat_template"].replace("<|im_start|>'", "<|im_start|> '")
    assert template != record["contract"]["chat_template"]
    record["contract"]["chat_template"] = template
    path.write_text(json.dumps(record))
    with pytest.raises(DriftError, match=r"assay\.json is not the file that was saved"):
        verify(copied)
    write_manifest(copied)
    with pytest.raises(DriftError, match="have other token ids than were saved; the chat template"):
        verify(copied)


def test_a_template_that_no_longer_renders_is_drift(copied):
    path = copied / "assay.json"
    record = json.loads(path.read_text())
    record["contract"]["chat_template"] = "{{ raise_exception('no') }}"
    path.write_text(json.dumps(record))
    write_manifest(copied)
    with pytest.raises(DriftError, match="can no longer be rendered"):
        verify(copied)


def test_other_weights_under_a_new_manifest_move_the_rewards(copied):
    from safetensors.torch import load_file, save_file

    path = copied / "model.safetensors"
    tensors = load_file(path)
    tensors["score.weight"] = tensors["score.weight"] * 1.01
    save_file(tensors, path, metadata={"format": "pt"})
    write_manifest(copied)
    with pytest.raises(DriftError, match=r"golden rewards moved by .* deviations where 0\.0001"):
        verify(copied)
    assert verify(copied, tolerance=0.1).difference > 1e-3


def test_rewards_that_are_no_numbers_are_drift(copied):
    path = copied / "golden.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["reward"] = float("nan")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_manifest(copied)
    with pytest.raises(DriftError, match="golden rewards moved by nan"):
        verify(copied)


def test_a_directory_that_is_no_run_is_refused(tmp_path, tiny_backbone):
    with pytest.raises(CheckpointError, match=r"is not a finished run: it has neither assay\.json"):
        verify(tiny_backbone)
    with pytest.raises(CheckpointError, match="is not a finished run"):
        verify(tmp_path / "nowhere")


def test_a_model_too_short_for_any_golden_conversation_still_verifies(tiny_backbone, tmp_path):
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=12)
    assert replay(model, []).count == 0
    model.save(tmp_path / "run")
    assert verify(tmp_path / "run").golden == 0
