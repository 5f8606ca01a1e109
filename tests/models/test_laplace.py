"""A run with a posterior: the same rewards, a deviation with each, and both survive saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.configs import RewardTraining, TrainReward
from assay.data.pairs import PreferencePairs, clusters_of
from assay.errors import CheckpointError, ConfigError, DataError
from assay.models.laplace import LAPLACE, load_laplace
from assay.models.reward_model import RewardModel
from assay.models.scoring import score_conversations
from assay.score.best_of_n import best_of_n
from assay.score.scorer import load_scorer
from assay.score.verify import verify
from assay.stats import LastLayerLaplace
from assay.train.encode import encode, pair_index
from assay.train.reward import train_reward
from assay.train.run import run

pytestmark = pytest.mark.usefixtures("own_cache", "few_resamples", "no_pictures")


@pytest.fixture(scope="module")
def finished(
    tiny_backbone: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory, own_cache: Path
) -> Path:
    out = tmp_path_factory.mktemp("laplace") / "run"
    run(TrainReward(data=(str(pairs_file),), out=out, backbone=str(tiny_backbone), epochs=5,
                    max_length=256, laplace=True))  # fmt: skip
    return out


def test_rewards_are_the_models_and_deviations_the_posteriors(
    finished: Path, pairs_file: Path
) -> None:
    scorer = load_scorer(finished)
    conversations = [
        c for x in PreferencePairs.load(str(pairs_file)).comparisons[:8] for c in x.conversations()
    ]
    scores = scorer.score(conversations)
    assert scores.reward == pytest.approx(
        score_conversations(scorer.model, conversations).rewards, abs=1e-6
    )
    assert scores.std is not None
    assert (scores.std > 0).all()
    model = scorer.model
    tokens = model.renderer.tokenise(conversations)
    from assay.models.features import FeatureCache

    features = FeatureCache.of(model).get(model, tokens, token_budget=500)
    wanted = load_laplace(finished).std(features)
    assert scores.std == pytest.approx(wanted, rel=1e-3)
    # alone as among others
    assert scorer.score(conversations[3:4]).std == pytest.approx(scores.std[3:4], rel=1e-4)
    assert verify(finished).difference < 1e-4
    best = best_of_n(scorer, ["Tea?"], [["kind calm", "rude"]])[0]
    assert best.std is not None
    assert best.std.shape == (2,)


def test_the_posterior_is_that_of_the_loss_that_was_trained(
    tiny_backbone: Path, gold_pairs: Any
) -> None:
    train = PreferencePairs.load(gold_pairs(80))
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=256)
    training = RewardTraining(epochs=5, l2=0.5, laplace=True)
    result = train_reward(model, train, PreferencePairs.load(gold_pairs(20, seed=1)), training)
    assert result.laplace is not None
    examples, _ = encode(model.renderer, train.comparisons, clusters_of(train), share=True)
    index = pair_index(examples)
    from assay.models.features import FeatureCache

    tokens = [t for e in examples for t in e.tokens]
    features = FeatureCache.of(model).get(model, tokens, token_budget=500)
    gaps = features[index.chosen] - features[index.rejected]
    scale = 1 / np.sqrt(np.mean(gaps**2))
    head = model.head.weight[0].detach().numpy()
    # the loop's penalty: l2 / 2 of the head on scaled features, for every comparison
    wanted = LastLayerLaplace.fit(gaps, gaps @ head, float(0.5 * len(examples) / scale**2))
    assert result.laplace.factor == pytest.approx(wanted.factor, rel=1e-4, abs=1e-6)


def test_what_cannot_have_a_posterior_is_refused(
    finished: Path, tiny_backbone: Path, gold_pairs: Any, tmp_path: Path
) -> None:
    pairs = PreferencePairs.load(gold_pairs(30))
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=256)
    for training in (
        RewardTraining(mode="full", laplace=True),
        RewardTraining(loss="plackett-luce", laplace=True),
    ):
        with pytest.raises(ConfigError, match="laplace is the posterior of a frozen model's head"):
            train_reward(model, pairs, pairs, training)
    with pytest.raises(DataError, match="is singular, so variances are infinite; raise --l2"):
        train_reward(model, pairs, pairs, RewardTraining(l2=0.0, epochs=1, laplace=True))
    (tmp_path / LAPLACE).write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_laplace(tmp_path)
