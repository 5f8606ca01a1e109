"""Recovery and contract: losses with parameters of their own, through a backbone, end to end."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.configs import RewardTraining
from assay.data.pairs import PreferencePairs
from assay.errors import ConfigError, DataError
from assay.models.reward_model import RewardModel
from assay.score.scorer import load_scorer
from assay.train.reward import train_reward
from assay.train.run import run

pytestmark = pytest.mark.usefixtures("own_cache", "few_resamples", "no_pictures")

# a random backbone's last state says little of the words before it
FROZEN = RewardTraining(
    mode="frozen", layers=2, pooling="last+mean", lr=3e-2, epochs=12, eval_every=10, l2=0.01
)
FULL = RewardTraining(mode="full", lr=2e-3, head_lr_multiplier=3.0, epochs=1, eval_every=5)
LORA = RewardTraining(mode="lora", lr=5e-3, epochs=1, eval_every=5)
RATERS = {"ada": 0.95, "bob": 0.9, "eve": 0.05}


@pytest.fixture
def backbone(tiny_backbone):
    return lambda: RewardModel.from_backbone(str(tiny_backbone), max_length=256)


@pytest.fixture(scope="module")
def rows_of(gold_pairs, gold_reward):
    """``rows_of(loss, n, seed)``: rows that say what a loss learns from, by the gold reward."""

    def judged(row, source):
        judgments = []
        for name, reliability in RATERS.items():
            right = source.random() < reliability
            first = source.randint(0, 1)
            judgment = {"annotator": name, "choice": 0 if right else 1, "first_shown": first}
            judgments.append(judgment)
        responses = [row["chosen"], row["rejected"]]
        return {"prompt": row["prompt"], "responses": responses, "judgments": judgments}

    def tied(row, source):
        near = abs(gold_reward(row["chosen"]) - gold_reward(row["rejected"])) < 1.5
        return {**row, "tie": near and source.random() < 0.7}

    def rated(row, source):
        rows = []
        for side in ("chosen", "rejected"):
            gold = gold_reward(row[side])
            words = float(len(row[side].split()))
            rows.append(
                {
                    "prompt": row["prompt"],
                    "response": row[side],
                    "helpfulness": gold + source.gauss(0, 0.5),
                    "verbosity": words,
                }
            )
        return rows

    def labelled(row, source):
        side = source.choice(("chosen", "rejected"))
        chance = 1 / (1 + np.exp(-2 * gold_reward(row[side])))
        label = source.random() < chance
        return {"prompt": row["prompt"], "completion": row[side], "label": bool(label)}

    make = {
        "annotator": judged,
        "rao-kupper": tied,
        "davidson": tied,
        "regression": rated,
        "quantile": rated,
        "binary": labelled,
        "kto": labelled,
    }

    def rows(loss, n, seed=0):
        source = random.Random(seed)
        made = [make.get(loss, lambda row, _: row)(row, source) for row in gold_pairs(n, seed)]
        return [r for item in made for r in (item if isinstance(item, list) else [item])]

    return rows


def load(loss, rows):
    singles = loss in ("binary", "kto", "regression", "quantile")
    return PreferencePairs.load(rows, singles=singles, apart=loss == "annotator")


@pytest.fixture(scope="module")
def clean(gold_ordered_pairs):
    """Held-out pairs that say the gold order itself, without noise."""
    return PreferencePairs.load(gold_ordered_pairs(100, seed=1))


@pytest.fixture(scope="module")
def few(clean):
    """Some of them, for what any pairs show."""
    return clean.select(range(20))


SETTINGS = {
    "noise-corrected": {"noise_rate": 0.1},
    "quantile": {"attributes": ("helpfulness",)},
    "regression": {"attribute_weights": (1.0, 0.0)},
}
OBJECTIVES = [
    "rao-kupper",
    "davidson",
    "annotator",
    "odin",
    "regression",
    "quantile",
    "binary",
    "kto",
]


@pytest.mark.parametrize("loss", ["noise-corrected", "symmetric", *OBJECTIVES])
def test_a_frozen_backbone_recovers_the_gold_order_with_every_loss(backbone, rows_of, clean, loss):
    count = 100 if loss == "annotator" else 250
    training = replace(FROZEN, loss=loss, **SETTINGS.get(loss, {}))
    result = train_reward(backbone(), load(loss, rows_of(loss, count)), clean, training)
    assert result.heldout.accuracy.value > 0.65
    assert (result.objective is not None) == (loss in OBJECTIVES)


@pytest.mark.parametrize("training", [FULL, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("loss", ["annotator", "odin", "regression", "binary", "davidson"])
@pytest.mark.medium
def test_through_the_backbone_what_is_saved_is_the_reported_reward(
    backbone, rows_of, few, tmp_path, training, loss
):
    training = replace(training, loss=loss, **SETTINGS.get(loss, {}))
    pairs = load(loss, rows_of(loss, 40))
    result = train_reward(backbone(), pairs, few, training)
    assert result.objective["loss"] == loss
    assert not result.model.has_adapters
    assert all(p.requires_grad for p in result.model.parameters())
    result.model.save(tmp_path / "run")
    conversations = [c for comparison in few.comparisons for c in comparison.conversations()]
    saved = load_scorer(tmp_path / "run").score(conversations).reward
    np.testing.assert_allclose(saved[0::2] - saved[1::2], result.heldout.gaps, atol=1e-4)


def test_annotators_are_told_apart_through_a_backbone(backbone, rows_of, clean):
    pairs = load("annotator", rows_of("annotator", 120))
    result = train_reward(backbone(), pairs, clean, replace(FROZEN, loss="annotator"))
    found = {row["annotator"]: row["reliability"] for row in result.objective["annotators"]}
    assert found["eve"]["value"] < 0.5
    assert found["eve"]["high"] < found["ada"]["low"]
    assert {figure["n"] for figure in found.values()} == {120}
    assert "reliability of annotators, lowest first: eve 0." in str(result)
    assert "position" in result.objective["annotators"][0]


def test_unknown_annotators_and_pairs_without_one_are_reported_on(backbone, rows_of, clean):
    train = load("annotator", rows_of("annotator", 40))
    rows = [{**row, "annotator": "new"} for row in rows_of("bradley-terry", 20, seed=2)]
    result = train_reward(
        backbone(), train, PreferencePairs.load(rows), replace(FROZEN, loss="annotator", epochs=2)
    )
    assert result.heldout.accuracy.n == 20
    assert "heldout/nll" in result.fit.best
    unnamed = train_reward(backbone(), train, clean, replace(FROZEN, loss="annotator", epochs=2))
    assert unnamed.fit.best["heldout/loss"] == unnamed.fit.best["heldout/nll"]


@pytest.mark.medium
def test_the_losses_of_an_objective_do_not_depend_on_the_token_budget(backbone, rows_of, few):
    for loss in ("odin", "annotator", "kto"):
        training = replace(FULL, loss=loss, eval_every=100, **SETTINGS.get(loss, {}))
        pairs = load(loss, rows_of(loss, 12))
        whole, cut = (
            train_reward(backbone(), pairs, few, replace(training, token_budget=budget))
            for budget in (100_000, 150)
        )
        traces = [[r["train/loss"] for r in x.fit.rows if "train/loss" in r] for x in (whole, cut)]
        assert traces[1] == pytest.approx(traces[0], abs=1e-5), loss
        np.testing.assert_allclose(cut.heldout.gaps, whole.heldout.gaps, atol=1e-4, err_msg=loss)


class Stopped(Exception):
    pass


@pytest.mark.parametrize(
    ("loss", "training"),
    [("annotator", FULL), ("odin", LORA), ("regression", LORA), ("kto", FROZEN)],
    ids=lambda value: value if isinstance(value, str) else value.mode,
)
@pytest.mark.medium
def test_a_stopped_training_goes_on_to_the_same_end(
    backbone, rows_of, few, tmp_path, loss, training
):
    training = replace(
        training,
        loss=loss,
        epochs=2,
        batch_size=8,
        save_every=2,
        eval_every=3,
        **SETTINGS.get(loss, {}),
    )
    pairs = load(loss, rows_of(loss, 16))
    whole = train_reward(backbone(), pairs, few, training)

    def stop(stage, done, *_):
        if stage == "train" and done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train_reward(backbone(), pairs, few, training, directory=tmp_path, progress=stop)
    again = train_reward(backbone(), pairs, few, training, directory=tmp_path, resume=True)
    np.testing.assert_allclose(again.heldout.gaps, whole.heldout.gaps, atol=1e-6)
    assert again.fit.best_step == whole.fit.best_step
    assert json.dumps(again.objective, sort_keys=True) == json.dumps(
        whole.objective, sort_keys=True
    )


@pytest.mark.medium
def test_labelled_responses_are_reported_on_without_pairs(backbone, rows_of):
    pairs = load("binary", rows_of("binary", 300))
    train, heldout = pairs.split(heldout=0.3)
    result = train_reward(backbone(), train, heldout, replace(FROZEN, loss="binary"))
    report = result.heldout
    assert report.unit == "responses"
    assert report.accuracy.n == len(heldout.comparisons)
    assert report.accuracy.value > 0.65
    assert "responses of" in str(report)
    # the threshold goes with the saved model's rewards, not with the scaled features
    share = np.mean(report.gaps > 0)
    assert share > 0.6


def test_rrm_pairs_are_added_to_the_training_data_alone(backbone, rows_of, few):
    pairs = PreferencePairs.load(rows_of("bradley-terry", 60))
    training = replace(FROZEN, epochs=2, augment="rrm", augment_ratio=0.5)
    result = train_reward(backbone(), pairs, few, training)
    assert result.added.pairs == 30
    assert result.encoding.pairs == 60
    assert "30 training pairs added by rrm; 0 pairs dropped" in str(result)
    plain = train_reward(backbone(), pairs, few, replace(FROZEN, epochs=2))
    assert plain.heldout.length_only_accuracy == result.heldout.length_only_accuracy
    assert result.fit.steps > plain.fit.steps


# --- the verb -------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path):
    def to_file(rows, name="data.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return to_file


@pytest.fixture
def train(tiny_backbone, tmp_path, write):
    from assay.configs import TrainReward

    def start(loss, rows, **changes):
        config = TrainReward(
            data=(write(rows),),
            backbone=str(tiny_backbone),
            out=tmp_path / "run",
            loss=loss,
            epochs=3,
            max_length=256,
            **{**SETTINGS.get(loss, {}), **changes},
        )
        return run(config)

    return start


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ("annotator", "Reliability of annotators, lowest first"),
        ("davidson", "Tie parameter"),
        ("odin", "Discarded head's correlation with length"),
        ("regression", "Reward per point of rating: helpfulness 1.000"),
        ("quantile", "Quantiles of 'helpfulness', reward their mean up to 1"),
        ("binary", "Threshold"),
        ("kto", "Reference"),
    ],
)
def test_a_run_keeps_what_its_loss_learnt(train, rows_of, loss, told):
    result = train(loss, rows_of(loss, 60))
    learnt = json.loads((result.directory / "objective.json").read_text())
    assert learnt["loss"] == loss
    assert result.record["objective"] == learnt
    assert json.loads((result.directory / "assay.json").read_text())["objective"] == learnt
    card = (result.directory / "README.md").read_text()
    assert f"## What the loss learnt besides\n\n{told}" in card
    assert told.lower() in str(result).lower()
    manifest = json.loads((result.directory / "manifest.json").read_text())
    assert "objective.json" in manifest["files"]
    assert load_scorer(result.directory).contract.verified


def test_the_card_of_an_annotator_run_lists_them_all(train, rows_of):
    result = train("annotator", rows_of("annotator", 40))
    card = (result.directory / "README.md").read_text()
    assert "| annotator | judgments | reliability | position | length |" in card
    for name in RATERS:
        assert f"\n| {name} | " in card
    assert "Position is the gap that being shown first is worth." in card
    assert "more tokens are worth." in card


def test_a_labelled_run_says_what_its_figures_are(train, rows_of):
    result = train("binary", rows_of("binary", 80))
    card = (result.directory / "README.md").read_text()
    assert "labelled responses, good against bad, over" in card
    assert "single responses; dropped" in str(result)


def test_a_plain_run_has_no_such_record(train, rows_of):
    result = train("bradley-terry", rows_of("bradley-terry", 40), augment="rrm")
    assert not (result.directory / "objective.json").exists()
    assert "What the loss learnt" not in (result.directory / "README.md").read_text()
    assert "added pairs" in (result.directory / "README.md").read_text()
    assert result.record["data"]["added_pairs"] > 0


# --- what is refused ------------------------------------------------------------------------------


def test_data_and_loss_that_do_not_fit_are_refused(backbone, rows_of, clean):
    def refused(loss, pairs, sentence, heldout=clean, error=ConfigError, **changes):
        training = replace(FROZEN, epochs=1, loss=loss, **changes)
        with pytest.raises(error, match=sentence):
            train_reward(backbone(), pairs, heldout, training)

    pairs = PreferencePairs.load(rows_of("bradley-terry", 8))
    labelled = load("binary", rows_of("binary", 30))
    refused("bradley-terry", labelled, "30 of 30 training comparisons are single responses; use --")
    refused("binary", pairs, "needs a label on every response, and 16 of 16")
    refused("annotator", pairs, "8 of 8 training comparisons name no annotator")
    refused("regression", pairs, "the training data holds no ratings")
    refused("davidson", pairs, "none of the 8 training pairs is a tie")
    refused("bradley-terry", pairs, "held-out data holds no pair to report on", heldout=labelled)
    good = [row for row in rows_of("binary", 60) if row["label"]]
    refused(
        "binary", labelled, "not labelled both good and bad; name others", heldout=load("kto", good)
    )
    one = PreferencePairs.load([{"prompt": "Q", "chosen": "kind", "rejected": "rude"}])
    refused("bradley-terry", one, "have 1 prompt; leave it out", error=DataError, augment="rrm")


def test_features_that_never_differ_are_refused(backbone, rows_of, clean):
    model = backbone()
    with torch.no_grad():
        model.network.get_input_embeddings().weight.zero_()
    pairs = PreferencePairs.load(rows_of("bradley-terry", 8))
    with pytest.raises(DataError, match="all 16 training responses have the same features"):
        train_reward(model, pairs, clean, replace(FROZEN, epochs=1))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"noise_rate": 0.1}, "noise_rate has no meaning for loss bradley-terry; leave it out, or"),
        ({"loss": "noise-corrected"}, "needs the share of flipped labels; give --noise-rate"),
        (
            {"loss": "noise-corrected", "noise_rate": 0.5},
            "noise_rate is 0.5; it is at least 0 and b",
        ),
        ({"loss": "noise-corrected", "noise_rate": float("nan")}, "noise_rate is nan"),
        (
            {"loss": "symmetric", "label_smoothing": 0.1},
            "label_smoothing has no meaning for loss s",
        ),
        ({"loss": "davidson", "tie_parameter": 0.0}, "davidson's ν is more than 0"),
        ({"loss": "rao-kupper", "tie_parameter": 1.0}, "rao-kupper's θ is more than 1"),
        ({"tie_parameter": 2.0}, "tie_parameter has no meaning for loss bradley-terry"),
        (
            {"loss": "annotator", "annotator_prior": (1.0, 1.0)},
            "annotator_prior is 1 right and 1 wr",
        ),
        ({"nuisance": ()}, "nuisance has no meaning for loss bradley-terry"),
        ({"loss": "odin", "odin_length": -1.0}, "odin_length is -1.0; it is more than 0"),
        ({"loss": "kto", "good_weight": 0.0}, "good_weight is 0.0; it is more than 0"),
        (
            {"loss": "binary", "centering": 0.1},
            "centering is for losses of pairs, and the loss is b",
        ),
        (
            {"loss": "regression", "quantiles": (0.5,)},
            "quantiles has no meaning for loss regression",
        ),
        ({"loss": "quantile", "quantiles": (0.5, 0.1)}, "different shares between 0 and 1, rising"),
        ({"loss": "quantile", "quantiles": ()}, "different shares between 0 and 1, rising"),
        ({"loss": "quantile", "quantile_tail": 0.05}, "between the lowest quantile .0.1. and 1"),
        ({"loss": "regression", "attribute_weights": (float("inf"),)}, "they are finite numbers"),
        ({"objective_lr": 0.0}, "objective_lr is 0.0"),
        ({"augment_ratio": 0.5}, "augment_ratio has no meaning without augment"),
        (
            {"augment": "rrm", "augment_ratio": 1.5},
            "augment_ratio is 1.5; it is more than 0 and at m",
        ),
        (
            {"augment": "rrm", "loss": "davidson"},
            "adds pairs that loss davidson would take for judg",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(backbone, rows_of, clean, changes, sentence):
    pairs = PreferencePairs.load(rows_of("bradley-terry", 8))
    with pytest.raises(ConfigError, match=sentence):
        train_reward(backbone(), pairs, clean, RewardTraining(**changes))
