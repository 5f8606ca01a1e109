"""Parity on the real models that come as packages: our engines and plain transformers agree."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from assay.models.backbone_model import pad_right
from assay.models.backbones import PACKAGED
from assay.models.probe import compare_engines, random_trees
from assay.models.reward_model import RewardModel
from assay.models.scoring import score_conversations
from assay.score.scorer import load_scorer
from assay.score.verify import verify
from assay.types import Conversation

pytestmark = pytest.mark.slow

CONVERSATIONS = [
    Conversation.of(prompt, response)
    for prompt in ("What is the capital of Australia?", "Write a haiku about rain. " * 12)
    for response in ("Canberra.", "I would rather talk about my cat. " * 5, "Rain taps on the roof")
]


@pytest.fixture(scope="module", params=sorted(PACKAGED))
def model(request: pytest.FixtureRequest) -> RewardModel:
    if importlib.util.find_spec(PACKAGED[request.param].package) is None:
        pytest.skip(f"{PACKAGED[request.param].requirement} is not installed")
    return RewardModel.from_backbone(request.param, max_length=256)


def test_both_engines_agree_in_values_and_gradients(model: RewardModel) -> None:
    rows = model.network.get_input_embeddings().weight.shape[0]
    window = getattr(model.network.config, "sliding_window", None)
    packed = random_trees(
        rows, 560, share=not model.encoder, banned=model.pad_token_id, window=window
    )
    result = compare_engines(model, packed)
    assert result.passed, result
    assert model.engine == "tree"


def test_plain_transformers_reads_the_saved_rewards(model: RewardModel, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    wanted = score_conversations(model, CONVERSATIONS).rewards

    def same(got: NDArray[np.float64]) -> None:
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * wanted.std())

    directory = model.save(tmp_path / "run")
    scorer = load_scorer(directory)
    assert verify(directory).golden >= 15
    same(scorer.score(CONVERSATIONS).reward)
    tokens = [t.ids for t in model.renderer.tokenise(CONVERSATIONS)]
    plain = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32)
    plain.eval()
    with torch.inference_mode():
        alone = [float(plain(torch.from_numpy(t).long()[None]).logits) for t in tokens]
        same(np.array(alone))
        for left in (False,) if model.encoder else (False, True):
            ids, mask = pad_right(tokens, model.pad_token_id, left=left)
            same(plain(input_ids=ids, attention_mask=mask).logits[:, 0].double().numpy())
