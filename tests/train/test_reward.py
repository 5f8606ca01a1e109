"""Recovery: training on gold-labelled pairs recovers the gold order in every mode and loss."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.configs import RewardTraining
from assay.data.pairs import PreferencePairs
from assay.errors import ConfigError
from assay.models.reward_model import RewardModel
from assay.models.scoring import score_conversations
from assay.score.scorer import load_scorer
from assay.train.encode import encode
from assay.train.plan import FitSettings
from assay.train.reward import fold_head, gap_scale, resolve, train_reward
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache", "few_resamples")

FULL = RewardTraining(mode="full", lr=2e-3, head_lr_multiplier=3.0, epochs=1, eval_every=10)
LORA = RewardTraining(mode="lora", lr=5e-3, epochs=2, eval_every=10)
# a random backbone's last state says little of the words before it
FROZEN = RewardTraining(
    mode="frozen", layers=2, pooling="last+mean", lr=1e-2, epochs=30, eval_every=40
)


@pytest.fixture
def backbone(tiny_backbone):
    return lambda **changes: RewardModel.from_backbone(
        str(tiny_backbone), max_length=256, **changes
    )


@pytest.fixture(scope="module")
def train(gold_pairs):
    return PreferencePairs.load(gold_pairs(500))


@pytest.fixture(scope="module")
def clean(gold_ordered_pairs):
    """Held-out pairs that say the gold order itself, without noise."""
    return PreferencePairs.load(gold_ordered_pairs(150, seed=1))


def small(pairs, count=40):
    return pairs.select(range(count))


def losses_of(result):
    return [row["train/loss"] for row in result.fit.rows if "train/loss" in row]


# --- recovery -------------------------------------------------------------------------------------


@pytest.mark.medium
def test_full_training_recovers_the_gold_order(backbone, train, clean):
    result = train_reward(backbone(), train, clean, FULL)
    assert result.heldout.accuracy.value > 0.85
    assert result.heldout.accuracy.low > result.heldout.length_only_accuracy.value
    assert result.fit.best["heldout/accuracy"] == result.heldout.accuracy.value
    assert f"best state at step {result.fit.best_step} of {result.fit.steps}" in str(result)
    rewards = score_conversations(result.model, clean.comparisons[0].conversations()).rewards
    assert rewards[0] - rewards[1] == pytest.approx(result.heldout.gaps[0], abs=1e-5)


@pytest.mark.medium
def test_lora_trains_adapters_and_head_and_is_merged(backbone, train, clean, tmp_path):
    model = backbone()
    head = model.head.weight.detach().clone()
    embeddings = model.network.get_input_embeddings().weight.detach().clone()
    result = train_reward(model, train, clean, LORA)
    assert result.heldout.accuracy.value > 0.75
    assert not model.has_adapters
    assert not torch.equal(model.head.weight, head)
    assert torch.equal(model.network.get_input_embeddings().weight, embeddings)
    # the last evaluation ran with adapters apart, the report with them merged, the scorer from disk
    assert result.heldout.figures["nll"].value == pytest.approx(
        result.fit.best["heldout/loss"], rel=1e-5
    )
    model.save(tmp_path / "run")
    conversations = [c for comparison in clean.comparisons for c in comparison.conversations()]
    saved = load_scorer(tmp_path / "run").score(conversations).reward
    np.testing.assert_allclose(saved[0::2] - saved[1::2], result.heldout.gaps, atol=1e-5)


@pytest.mark.parametrize("loss", ["bradley-terry", "margin", "scaled"])
@pytest.mark.medium
def test_a_frozen_backbone_recovers_the_gold_order_with_every_pairwise_loss(
    backbone, gold_pairs, gold_reward, clean, loss
):
    rows = [
        {**row, "margin": 0.1 + abs(gold_reward(row["chosen"]) - gold_reward(row["rejected"])) / 4}
        for row in gold_pairs(500)
    ]
    result = train_reward(backbone(), PreferencePairs.load(rows), clean, replace(FROZEN, loss=loss))
    assert result.heldout.accuracy.value > 0.7


def rankings(gold_reward, rows):
    """Comparisons of four responses, ranked by the gold reward with its ties."""
    comparisons = []
    for group in zip(rows[::2], rows[1::2], strict=True):
        responses = [row[side] for row in group for side in ("chosen", "rejected")]
        scores = [gold_reward(text) for text in responses]
        levels = sorted(set(scores), reverse=True)
        if len(levels) < 2 or len(set(responses)) < 4:
            continue
        ranking = [[i for i, s in enumerate(scores) if s == level] for level in levels]
        judgment = {"annotator": "gold", "kind": "verifier", "ranking": ranking}
        comparisons.append(
            {"prompt": group[0]["prompt"], "responses": responses, "judgments": [judgment]}
        )
    return PreferencePairs.load(comparisons)


@pytest.mark.parametrize("loss", ["plackett-luce", "bradley-terry"])
@pytest.mark.medium
def test_rankings_of_four_recover_the_gold_order(backbone, gold_pairs, gold_reward, clean, loss):
    ranked = rankings(gold_reward, gold_pairs(400))
    assert all(len(c.responses) == 4 for c in ranked.comparisons)
    result = train_reward(backbone(), ranked, clean, replace(FROZEN, loss=loss))
    assert result.heldout.accuracy.value > 0.7
    assert result.encoding.pairs > 4 * result.encoding.comparisons


def test_soft_labels_pull_the_gap_to_their_log_odds(backbone, gold_pairs):
    rows = [{**row, "probability": 0.75} for row in gold_pairs(20)]
    pairs = PreferencePairs.load(rows)
    training = replace(FROZEN, epochs=400, eval_every=400, l2=0.0, lr=3e-2)
    result = train_reward(backbone(), pairs, pairs, training)
    np.testing.assert_allclose(result.heldout.gaps, np.log(3), atol=0.1)


def test_ties_are_no_gap(backbone, gold_pairs):
    pairs = PreferencePairs.load([{**row, "tie": True} for row in gold_pairs(20)])
    training = replace(FROZEN, epochs=400, eval_every=400, l2=0.0, lr=3e-2)
    result = train_reward(backbone(), pairs, pairs, training)
    np.testing.assert_allclose(result.heldout.gaps, 0.0, atol=0.1)
    assert result.heldout.ties == 20


@pytest.mark.medium
def test_centring_draws_rewards_to_zero(backbone, train, clean):
    means = []
    for weight in (0.0, 0.5):
        training = replace(FULL, centering=weight)
        result = train_reward(backbone(), small(train, 160), small(clean), training)
        conversations = [c for comparison in clean.comparisons for c in comparison.conversations()]
        rewards = score_conversations(result.model, conversations).rewards
        means.append(abs(rewards.mean()))
    assert means[1] < 0.5 * means[0]


# --- the way does not matter ----------------------------------------------------------------------


def test_losses_do_not_depend_on_the_token_budget_or_the_engine(backbone, train, clean):
    def run(**changes):
        training = replace(FULL, epochs=1, **changes)
        return train_reward(backbone(), small(train), small(clean), training)

    whole = run(token_budget=100_000)
    for other in (run(token_budget=150), run(engine="padded")):
        assert losses_of(other) == pytest.approx(losses_of(whole), abs=1e-5)
        np.testing.assert_allclose(other.heldout.gaps, whole.heldout.gaps, atol=1e-4)


@pytest.mark.parametrize("training", [FULL, LORA], ids=["full", "lora"])
def test_gradient_checkpointing_recomputes_and_changes_nothing(backbone, train, clean, training):
    def run(**changes):
        model = backbone()
        calls = []
        layer = model.network.base_model.layers[0].mlp
        hook = layer.register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled()))
        result = train_reward(
            model,
            small(train),
            small(clean),
            replace(training, epochs=1, engine="tree", **changes),  # no probe to be counted
        )
        hook.remove()
        assert not any(m.training for m in model.modules())
        return result, sum(calls)

    plain, once = run()
    checkpointed, twice = run(gradient_checkpointing=True)
    assert twice == 2 * once
    assert losses_of(checkpointed) == pytest.approx(losses_of(plain), abs=1e-5)
    norms = [
        [row["train/gradient_norm"] for row in r.fit.rows if "train/loss" in row]
        for r in (plain, checkpointed)
    ]
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)


def test_bf16_trains_close_to_fp32_and_keeps_fp32_weights(backbone, train, clean):
    def run(precision):
        training = replace(FULL, precision=precision)
        return train_reward(backbone(), small(train), small(clean), training)

    full, half = run("fp32"), run("bf16")
    assert losses_of(half) != losses_of(full)
    assert losses_of(half) == pytest.approx(losses_of(full), abs=0.1)
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}


def test_a_weight_of_two_is_the_pair_twice(backbone, gold_pairs):
    rows = gold_pairs(8)
    heavy = [{**rows[0], "weight": 2.0}, *rows[1:]]
    twice = [rows[0], *rows]
    training = replace(FULL, epochs=1, batch_size=16, max_grad_norm=0.0)
    held = PreferencePairs.load(rows)
    results = [
        train_reward(backbone(), PreferencePairs.load(data, deduplicate=False), held, training)
        for data in (heavy, twice)
    ]
    assert losses_of(results[1]) == pytest.approx(losses_of(results[0]), rel=1e-5)
    norms = [r.fit.rows[1]["train/gradient_norm"] for r in results]
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)


def test_the_seed_decides_everything(backbone, train, clean):
    def run(seed):
        model = backbone(seed=seed)
        return train_reward(model, small(train), small(clean), replace(FULL, epochs=1, seed=seed))

    first, again, other = run(0), run(0), run(1)
    np.testing.assert_array_equal(first.heldout.gaps, again.heldout.gaps)
    assert losses_of(first) == losses_of(again)
    assert losses_of(first) != losses_of(other)


# --- modes ----------------------------------------------------------------------------------------


def test_frozen_keeps_four_fifths_of_the_layers_and_every_weight_but_the_heads(
    backbone, train, clean
):
    model = backbone()
    before = {k: v.clone() for k, v in model.network.base_model.state_dict().items()}
    result = train_reward(model, small(train), small(clean), RewardTraining(epochs=2))
    assert model.network.config.num_hidden_layers == 2  # 80 % of 2, rounded
    assert model.provenance["layers"] == [2, 2]
    after = model.network.base_model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in after)
    assert result.settings.token_budget >= 1 << 30

    cut = backbone()
    train_reward(cut, small(train), small(clean), RewardTraining(epochs=2, layers=1))
    assert cut.provenance["layers"] == [1, 2]
    assert len(cut.network.base_model.layers) == 1


def test_the_scaling_of_features_is_folded_into_the_head(backbone):
    model = backbone()
    features = np.random.default_rng(0).normal(size=(7, 32)).astype(np.float32)
    head = torch.nn.Linear(32, 1, bias=False)
    fold_head(model, head, 0.25)
    wanted = head(torch.from_numpy(features * 0.25)).squeeze(-1)
    torch.testing.assert_close(model.reward_of(torch.from_numpy(features)), wanted)


def test_scaled_gaps_have_mean_square_one(backbone, train):
    model = backbone()
    examples, _ = encode(model.renderer, small(train).comparisons, range(40), share=True)
    features = np.random.default_rng(0).normal(3.0, 5.0, size=(80, 8)).astype(np.float32)
    gaps = features[0::2] - features[1::2]
    scale = gap_scale(features, examples)
    assert np.mean((gaps * scale) ** 2) == pytest.approx(1.0, rel=1e-5)
    assert gap_scale(np.zeros((80, 8), dtype=np.float32), examples) == 1.0


def test_l2_shrinks_the_gaps_and_is_not_in_the_heldout_loss(backbone, train, clean):
    wide, narrow = (
        train_reward(backbone(), small(train), small(clean), replace(FROZEN, epochs=20, l2=l2))
        for l2 in (0.0, 3.0)
    )
    assert np.abs(narrow.heldout.gaps).mean() < 0.8 * np.abs(wide.heldout.gaps).mean()
    logged = narrow.fit.best["heldout/loss"]
    assert logged == pytest.approx(narrow.heldout.figures["nll"].value, rel=1e-3)


@pytest.mark.parametrize(
    "training",
    [FULL, LORA, FROZEN, replace(FROZEN, pooling="last", layers=1)],
    ids=["full", "lora", "mean", "cut"],
)
def test_a_trained_model_goes_on_where_it_was(backbone, train, clean, tmp_path, training):
    training = replace(training, epochs=1)
    first = train_reward(backbone(), small(train), small(clean), training)
    first.model.save(tmp_path / "run")
    model = RewardModel.load(tmp_path / "run")
    layers = None if training.mode != "frozen" else training.layers
    second = train_reward(model, small(train), small(clean), replace(training, layers=layers))
    begun = second.fit.rows[0]["heldout/loss"]
    assert begun == pytest.approx(first.fit.best["heldout/loss"], abs=1e-5)


def test_going_on_frozen_keeps_the_layers_that_are_left(backbone, train, clean):
    model = backbone()
    training = RewardTraining(epochs=2, layers=1)
    first = train_reward(model, small(train), small(clean), training)
    second = train_reward(model, small(train), small(clean), replace(training, layers=None))
    assert model.provenance["layers"] == [1, 1]
    assert second.fit.rows[0]["heldout/loss"] == pytest.approx(
        first.fit.best["heldout/loss"], abs=1e-5
    )
    other = train_reward(model, small(train), small(clean), replace(training, pooling="mean"))
    assert other.fit.rows[0]["heldout/loss"] != pytest.approx(second.fit.best["heldout/loss"])


# --- settings -------------------------------------------------------------------------------------


def test_defaults_are_resolved_by_mode_and_data(backbone, train):
    model = backbone()
    examples, _ = encode(model.renderer, small(train).comparisons, range(40), share=True)
    full = resolve(RewardTraining(mode="full"), examples)
    assert isinstance(full, FitSettings)
    assert (full.epochs, full.lr, full.batch_size, full.token_budget) == (1, 2e-5, 16, 1536)
    assert (full.weight_decay, full.head_lr_multiplier, full.save_every) == (0.0, 10.0, 50)
    frozen = resolve(RewardTraining(), examples)
    assert (frozen.epochs, frozen.lr, frozen.batch_size) == (60, 1e-3, 40)
    assert (frozen.weight_decay, frozen.head_lr_multiplier, frozen.eval_every) == (0.0, 1.0, 5)
    longest = max(e.tree.num_tokens for e in examples)
    assert resolve(RewardTraining(mode="lora", token_budget=longest), examples).lr == 2e-4
    with pytest.raises(ConfigError, match=f"smaller than the longest comparison .{longest} tokens"):
        resolve(RewardTraining(mode="full", token_budget=longest - 1), examples)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"label_smoothing": 0.5}, "label_smoothing is 0.5; it lies between 0 and 0.5"),
        ({"loss": "plackett-luce", "label_smoothing": 0.1}, "no meaning for loss plackett-luce"),
        ({"mode": "full", "layers": 1}, "layers is for mode frozen"),
        ({"mode": "lora", "pooling": "mean"}, "pooling is for mode frozen"),
        ({"epochs": 0}, "epochs is 0; it is at least 1"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it is 0 or more"),
        ({"centering": float("nan")}, "centering is nan"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(backbone, train, clean, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        train_reward(backbone(engine="padded"), train, clean, RewardTraining(**changes))


def test_plackett_luce_refuses_comparisons_without_a_ranking(backbone, gold_pairs, clean):
    soft = PreferencePairs.load([{**row, "probability": 0.8} for row in gold_pairs(5)])
    with pytest.raises(ConfigError, match="needs rankings, and 5 of 5 comparisons have soft"):
        train_reward(backbone(), soft, clean, replace(FROZEN, loss="plackett-luce"))


def test_resume_refuses_any_other_setting(backbone, train, clean, tmp_path):
    pairs = small(train), small(clean)
    training = RewardTraining(epochs=1)
    train_reward(backbone(), *pairs, training, directory=tmp_path)
    for changes in ({"centering": 0.1}, {"layers": 1}, {"label_smoothing": 0.2}, {"lr": 0.5}):
        changed = replace(training, **changes)
        with pytest.raises(ConfigError, match=f"was made with {next(iter(changes))} = "):
            train_reward(backbone(), *pairs, changed, directory=tmp_path, resume=True)
    state = json.loads((tmp_path / "resume" / "state.json").read_text())
    assert state["fingerprint"]["data"] == pairs[0].digest


def test_progress_counts_features_and_steps(backbone, train, clean):
    seen = []
    result = train_reward(
        backbone(),
        small(train),
        small(clean),
        RewardTraining(epochs=2),
        progress=lambda *args: seen.append(args),
    )
    features = [args for args in seen if args[0] == "features"]
    assert features[-1][1:3] == (160, 160)
    assert [args[1] for args in seen if args[0] == "train"] == list(range(1, result.fit.steps + 1))


def test_prompts_in_both_parts_are_counted(backbone, train):
    result = train_reward(backbone(), small(train), small(train), RewardTraining(epochs=1))
    assert result.shared_prompts == len(set(small(train).prompt_keys()))


def test_a_conversation_scores_the_same_in_the_trained_model_and_alone(backbone, train, clean):
    result = train_reward(backbone(), small(train), small(clean), replace(FULL, epochs=1))
    one = Conversation.of("Write 1 words about tea", "kind and clear")
    two = Conversation.of("Write 1 words about tea", "rude")
    both = score_conversations(result.model, [one, two]).rewards
    alone = [score_conversations(result.model, [c]).rewards[0] for c in (one, two)]
    np.testing.assert_allclose(both, alone, atol=1e-6)
