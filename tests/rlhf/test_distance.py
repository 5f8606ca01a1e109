"""The distance from training data is Mahalanobis's, and larger for what is not like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assay.errors import DataError
from assay.models.reward_model import RewardModel
from assay.rlhf.distance import FeatureDistance, _read
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache")


def said(texts: list[str]) -> list[Conversation]:
    return [Conversation.of("Write about tea", text) for text in texts]


def texts(count: int, seed: int, words: list[str]) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(words, 6)) for _ in range(count)]


def test_training_data_is_near_and_other_data_far(tiny_backbone: Path) -> None:
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=256)
    usual = ["tea", "cup", "warm", "leaf", "pot"]
    train = said(texts(120, 0, usual))
    distance = FeatureDistance.fit(model, train)
    near = distance(said(texts(60, 1, usual)))
    far = distance(said(["ZZZZ 9999 !!!! ####" * 3] * 5 + texts(10, 2, ["QX", "77", "%%"])))
    assert 0.3 < near.mean() < 1.5
    assert far.min() > near.mean()
    features = _read(model, train)
    away = features - features.mean(0)
    plain = np.sqrt([a @ distance.precision @ a / len(a) for a in away])
    np.testing.assert_allclose(distance(train), plain, rtol=1e-6)


def test_too_little_data_is_refused_and_too_long_is_no_number(tiny_backbone: Path) -> None:
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=256)
    with pytest.raises(DataError, match="3 training responses"):
        FeatureDistance.fit(model, said(["a", "b", "c"]))
    distance = FeatureDistance.fit(model, said(texts(20, 0, ["tea", "cup"])))
    found = distance(said(["tea", "tea " * 200]))
    assert np.isfinite(found[0])
    assert np.isnan(found[1])
