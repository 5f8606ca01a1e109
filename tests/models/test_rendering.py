"""A model's renderer writes without its weights what it writes with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.errors import CheckpointError
from assay.models.ensemble_checkpoint import Ensemble, save_ensemble
from assay.models.rendering import load_renderer
from assay.models.reward_model import RewardModel
from assay.stats.aggregation import Aggregator, Standards
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache")

CONVERSATION = Conversation.of("Hi", "clear")


def test_a_run_and_an_ensemble_of_it_write_alike(tiny_backbone: Path, tmp_path: Path) -> None:
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=64)
    one = load_renderer(model.save(tmp_path / "one"))
    assert one.contract == model.contract
    assert one.render(CONVERSATION) == model.renderer.render(CONVERSATION)
    ensemble = Ensemble(
        parts=(model,), standards=Standards((0.0,), (1.0,)), aggregator=Aggregator("mean")
    )
    every = load_renderer(save_ensemble(ensemble, tmp_path / "every"))
    assert every.contract == one.contract
    assert every.render(CONVERSATION) == one.render(CONVERSATION)


def test_the_contract_of_another_directory_is_inferred(tiny_backbone: Path) -> None:
    text = load_renderer(tiny_backbone).render(CONVERSATION)
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nclear<|im_end|>"


def test_what_cannot_be_read_is_said(tiny_backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be loaded: No tokenizer could be loaded"):
        load_renderer(tmp_path)
    run = RewardModel.from_backbone(str(tiny_backbone), max_length=64).save(tmp_path / "run")
    record = json.loads((run / "assay.json").read_text())
    (run / "assay.json").write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(CheckpointError, match="has format 99 where this assay reads"):
        load_renderer(run)
