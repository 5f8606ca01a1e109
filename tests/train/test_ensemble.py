"""Recovery and contract: ensembles of every kind train, save, load, verify and score alike."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay.cli import main
from assay.configs import EnsembleTraining, RewardTraining, TrainEnsemble
from assay.data.pairs import PreferencePairs
from assay.errors import CheckpointError, ConfigError, DataError, DriftError
from assay.models.ensemble import HeadEnsemble, TrunkEnsemble
from assay.models.ensemble_checkpoint import (
    Ensemble,
    average_of,
    check_contracts,
    load_ensemble,
    save_ensemble,
    weight_average,
)
from assay.models.reward_model import RewardModel
from assay.score.ensemble import EnsembleScorer
from assay.score.scorer import load_scorer
from assay.score.verify import verify
from assay.stats import Aggregator, Standards
from assay.train.encode import encode
from assay.train.ensemble import part_rewards, train_ensemble
from assay.train.ensemble_run import run
from assay.train.heads import bootstrap_weights, fold_of
from assay.train.reward import train_reward

pytestmark = pytest.mark.usefixtures("own_cache", "few_resamples", "no_pictures")

GENERATOR = torch.Generator().manual_seed(0)
HEADS = EnsembleTraining(
    members=3, diversity="heads", layers=2, pooling="last+mean", lr=1e-2, epochs=15, eval_every=30
)
LAYERS = replace(HEADS, diversity="layers", layers=None, pooling="last",
                 views=("2:last+mean", "1:mean", "2:mean"))  # fmt: skip
LORA = EnsembleTraining(
    members=3, diversity="lora", mode="lora", lr=5e-3, epochs=1, eval_every=20, shared_layers=0.5
)
SEEDS = replace(LORA, diversity="seeds", members=2)
BACKBONES = replace(HEADS, diversity="backbones")
KINDS = {"heads": HEADS, "layers": LAYERS, "lora": LORA, "seeds": SEEDS, "backbones": BACKBONES}
EVERY_KIND = [
    pytest.param(kind, marks=() if kind in ("heads", "layers") else pytest.mark.medium)
    for kind in KINDS
]


@pytest.fixture(scope="module")
def backbone(tiny_backbone: Path) -> Any:
    return lambda **changes: RewardModel.from_backbone(
        str(tiny_backbone), max_length=256, **changes
    )


@pytest.fixture(scope="module")
def data(gold_pairs: Any) -> tuple[PreferencePairs, PreferencePairs, PreferencePairs]:
    return tuple(
        PreferencePairs.load(gold_pairs(n, seed=s)) for n, s in ((160, 0), (60, 1), (40, 2))
    )  # type: ignore[return-value]


class Trained(dict[str, Any]):
    """One result of every kind, trained when it is first asked for."""

    def __init__(self, backbone: Any, data: Any) -> None:
        super().__init__()
        self.backbone, self.data = backbone, data

    def __missing__(self, kind: str) -> Any:
        train, heldout, shifted = self.data
        models = [self.backbone() for _ in range(2 if kind == "backbones" else 1)]
        with torch.no_grad():  # another backbone
            for parameter in models[1].network.base_model.parameters() if models[1:] else ():
                parameter += 0.02 * torch.randn(parameter.shape, generator=GENERATOR)
        self[kind] = train_ensemble(models, train, heldout, KINDS[kind], shifted=shifted)
        return self[kind]


@pytest.fixture(scope="module")
def trained(backbone: Any, data: Any, own_cache: Path) -> Trained:
    return Trained(backbone, data)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_is_reported_beside_its_members(kind: str, trained: Any) -> None:
    result = trained[kind]
    report, members = result.report, {"seeds": 2, "backbones": 2}.get(kind, 3)
    assert result.members == len(report.members) == members
    assert set(report.diversity) == {"heldout", "shifted"}
    record = json.loads(json.dumps(report.to_dict()))
    assert record["accuracy"]["n"] == 60
    assert len(record["ensemble"]["members"]) == members
    # the mean of gaps loses less than the members on average: the loss is convex
    assert report.against_members["nll"].value <= 1e-9
    mean = np.mean([m.figures["nll"].value for m in report.members])
    assert report.heldout.figures["nll"].value - mean == pytest.approx(
        report.against_members["nll"].value
    )
    assert 0 < report.diversity["heldout"].disagreement.value < 1
    assert "Two members order" in str(result)


@pytest.mark.medium
def test_frozen_members_are_rewarded_from_their_features_as_by_a_forward(
    trained: Any, data: Any
) -> None:
    for part in trained["backbones"].parts:
        examples, _ = encode(part.renderer, data[1].comparisons, range(60), share=True)
        tokens = [t for e in examples for t in e.tokens]
        with np.errstate(all="raise"):
            kept = part_rewards(part, tokens, True)
        np.testing.assert_allclose(kept, part_rewards(part, tokens, False), atol=1e-4)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_saved_and_loaded_it_scores_the_same(
    kind: str, trained: Any, data: Any, tmp_path: Path
) -> None:
    result = trained[kind]
    ensemble = Ensemble(result.parts, result.standards, result.aggregator)
    save_ensemble(ensemble, tmp_path / "run")
    conversations = [c for x in data[1].comparisons[:20] for c in x.conversations()]
    before, _ = EnsembleScorer(ensemble).member_rewards(conversations)
    scorer = load_scorer(tmp_path / "run")
    assert isinstance(scorer, EnsembleScorer)
    after, _ = scorer.member_rewards(conversations)
    assert after == pytest.approx(before, abs=1e-5)
    scores = scorer.score(conversations)
    assert scores.reward == pytest.approx(before.mean(axis=1), abs=1e-5)
    assert scores.std == pytest.approx(before.std(axis=1), abs=1e-5)
    gaps = (scores.reward[::2] - scores.reward[1::2])[:5]
    assert gaps == pytest.approx(result.report.heldout.gaps[:5], abs=1e-5)
    # alone and in another order: the same
    order = np.random.default_rng(0).permutation(len(conversations))
    assert scorer.score([conversations[i] for i in order]).reward == pytest.approx(
        scores.reward[order], abs=1e-5
    )
    one = [scorer.score([c]).reward[0] for c in conversations[:4]]
    assert one == pytest.approx(scores.reward[:4], abs=1e-5)
    checked = verify(tmp_path / "run")
    assert (checked.members, checked.difference < 1e-4) == (result.members, True)
    assert f"by {result.members} members" in str(checked)
    low = load_scorer(tmp_path / "run", aggregator="mean-std", strength=2.0)
    assert low.score(conversations).reward == pytest.approx(
        before.mean(axis=1) - 2 * before.std(axis=1), abs=1e-5
    )
    assert low.digest != scorer.digest == load_scorer(tmp_path / "run").digest


@pytest.mark.medium
def test_a_part_is_its_first_member(trained: Any, data: Any, tmp_path: Path) -> None:
    conversations = data[1].comparisons[0].conversations()
    for kind in ("heads", "layers", "lora"):
        result = trained[kind]
        save_ensemble(Ensemble(result.parts, result.standards, result.aggregator), tmp_path / kind)
        alone = load_scorer(tmp_path / kind / "part-0").score(conversations).reward
        (part,) = result.parts
        scorer = EnsembleScorer(
            Ensemble((part,), Standards((0.0,) * 3, (1.0,) * 3), result.aggregator)
        )
        members, _ = scorer.member_rewards(conversations)
        assert alone == pytest.approx(members[:, 0], abs=1e-5)


@pytest.mark.medium
def test_kinds_have_the_structure_they_say(trained: Any) -> None:
    assert isinstance(trained["heads"].parts[0], HeadEnsemble)
    assert len(trained["layers"].parts[0].views) == 3
    weights = trained["layers"].parts[0].weights  # each member looks at one view
    assert ((weights != 0).sum(dim=1) == torch.tensor([64, 32, 32])).all()
    assert isinstance(trained["lora"].parts[0], TrunkEnsemble)
    assert trained["lora"].parts[0].shared == 1
    assert len(trained["seeds"].parts) == len(trained["backbones"].parts) == 2


@pytest.mark.medium
def test_lora_members_differ_above_the_trunk_alone(trained: Any, backbone: Any) -> None:
    (part,) = trained["lora"].parts
    fresh = backbone().network.base_model.layers[0].state_dict()
    for name, tensor in part.trunk.network.base_model.layers[0].state_dict().items():
        assert torch.equal(tensor, fresh[name])
    one, two = (s["layers.0.self_attn.q_proj.weight"] for s in part.states())
    assert not torch.equal(one, two)


# --- heads ----------------------------------------------------------------------------------------


def test_one_head_without_bootstrap_is_a_frozen_model(backbone: Any, data: Any) -> None:
    train, heldout, _ = data
    same = {"layers": 2, "pooling": "mean", "lr": 1e-2, "epochs": 10, "eval_every": 20}
    single = train_reward(backbone(), train, heldout, RewardTraining(**same))
    pair = train_ensemble(
        [backbone()],
        train,
        heldout,
        EnsembleTraining(members=2, diversity="heads", bootstrap=False, **same),
    )
    (part,) = pair.parts
    ours, theirs = part.weights[0].numpy(), single.model.head.weight[0].detach().numpy()
    # their clipping of the gradient differs a little: that of two heads is clipped together
    assert np.corrcoef(ours, theirs)[0, 1] > 0.999
    gaps = pair.report.members[0].gaps
    assert np.corrcoef(gaps, single.heldout.gaps)[0, 1] > 0.999


def test_bootstraps_draw_whole_prompts() -> None:
    clusters = [0, 0, 1, 2, 2, 2, 3]
    weights = bootstrap_weights(clusters, seed=1)
    assert weights[0] == weights[1]
    assert weights[3] == weights[4] == weights[5]
    by_prompt = weights[[0, 2, 3, 6]]
    assert by_prompt.sum() == 4
    mean = np.mean([bootstrap_weights(clusters, s) for s in range(2000)], axis=0)
    assert mean == pytest.approx(np.ones(7), abs=0.1)


def test_folds_keep_prompts_together_and_are_of_a_size() -> None:
    clusters = np.random.default_rng(0).integers(0, 53, 400).tolist()
    fold = fold_of(clusters, 5, seed=0)
    for name in set(clusters):
        assert len({int(f) for f, c in zip(fold, clusters, strict=True) if c == name}) == 1
    prompts = [len({c for f, c in zip(fold, clusters, strict=True) if f == k}) for k in range(5)]
    assert max(prompts) - min(prompts) <= 1


def test_a_share_of_the_features_and_spread_penalties_make_members_differ(
    backbone: Any, data: Any
) -> None:
    train, heldout, _ = data
    result = train_ensemble(
        [backbone()], train, heldout, replace(HEADS, feature_share=0.5, l2_spread=100.0)
    )
    (part,) = result.parts
    assert ((part.weights != 0).sum(dim=1) == 32).all()
    norms = part.weights.norm(dim=1)
    assert norms[0] > norms[2]  # a smaller penalty lets the head grow


# --- averages -------------------------------------------------------------------------------------


def test_the_average_of_heads_is_the_ensemble_mean(trained: Any, data: Any) -> None:
    result = trained["heads"]
    ensemble = Ensemble(result.parts, result.standards, result.aggregator)
    conversations = [c for x in data[1].comparisons[:10] for c in x.conversations()]
    raw = EnsembleScorer(
        replace(ensemble, standards=Standards((0.0,) * 3, (1.0,) * 3))
    ).member_rewards(conversations)[0]
    from assay.models.scoring import score_conversations

    averaged = score_conversations(average_of(ensemble), conversations).rewards
    assert averaged == pytest.approx(raw.mean(axis=1), abs=1e-5)


@pytest.mark.medium
def test_averages_of_whole_members_are_means_of_weights(trained: Any) -> None:
    for kind in ("lora", "seeds"):
        result = trained[kind]
        average = average_of(Ensemble(result.parts, result.standards, result.aggregator))
        if kind == "lora":
            members = [result.parts[0].member(i) for i in range(3)]
        else:
            members = list(result.parts)
        wanted = torch.stack([m.head.weight for m in members]).mean(dim=0)
        torch.testing.assert_close(average.head.weight, wanted)


def test_what_cannot_be_averaged_is_refused(trained: Any, backbone: Any) -> None:
    result = trained["layers"]
    with pytest.raises(ConfigError, match="read different states have no average"):
        average_of(Ensemble(result.parts, result.standards, result.aggregator))
    other = backbone()
    other.set_contract(chat_template=f"{other.contract.chat_template} ")
    with pytest.raises(ConfigError, match="Member 2 has another contract or other layers"):
        weight_average([backbone(), other])


# --- the verb -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(
    tiny_backbone: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory, own_cache: Path
) -> Path:
    out = tmp_path_factory.mktemp("ensemble") / "run"
    run(
        TrainEnsemble(
            data=(str(pairs_file),), out=out, backbone=(str(tiny_backbone),), members=3,
            diversity="heads", epochs=4, max_length=256, weight_average=True,
        )
    )  # fmt: skip
    return out


def test_the_verb_writes_a_run_that_verifies(finished: Path, capsys: Any) -> None:
    names = {p.name for p in finished.iterdir()}
    assert {"assay.json", "golden.jsonl", "manifest.json", "heldout.json", "config.toml",
            "report.html", "README.md", "metrics.jsonl", "part-0", "average"} <= names  # fmt: skip
    assert "resume" not in names
    assert main(["verify", str(finished)]) == 0
    assert "3 members" in capsys.readouterr().out
    record = json.loads((finished / "heldout.json").read_text())
    assert set(record["ensemble"]["diversity"]) == {"heldout", "shifted"}
    page = (finished / "report.html").read_text()
    assert "How different the members are" in page
    assert "member 3" in page
    card = (finished / "README.md").read_text()
    assert "Ensemble of 3 reward models" in card


def test_scores_and_best_of_n_carry_the_deviation(
    finished: Path, tmp_path: Path, capsys: Any
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"prompt": "Tea?", "responses": ["kind calm", "rude", "so"]}))
    for verb in ("score", "best-of-n"):
        out = tmp_path / f"{verb}.jsonl"
        words = [verb, str(finished), "--input", str(source), "--output", str(out)]
        assert main([*words, "--aggregator", "worst-case"]) == 0
        row = json.loads(out.read_text())
        assert all(s > 0 for s in row["reward_std"])
        assert len(row["rewards"]) == 3
    capsys.readouterr()
    worst = row["rewards"]
    assert main([*words, "--aggregator", "mean"]) == 0
    assert np.less(worst, json.loads(out.read_text())["rewards"]).all()


def test_an_average_is_a_plain_model(finished: Path, pairs_file: Path) -> None:
    scorer = load_scorer(finished / "average")
    assert not isinstance(scorer, EnsembleScorer)
    with pytest.raises(ConfigError, match="is one model; an aggregator is for ensembles"):
        load_scorer(finished / "average", aggregator="median")


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "models", "sentence"),
    [
        ({"members": 1}, 1, "members is 1; an ensemble has at least 2"),
        ({"diversity": "backbones"}, 1, "wants a backbone for each member"),
        ({}, 2, "starts all members from one backbone, and 2 were named"),
        ({"mode": "full"}, 1, "trains frozen heads, and the mode is full"),
        ({"diversity": "seeds"}, 1, "use --mode lora or full, or --diversity heads"),
        ({"diversity": "lora", "mode": "full"}, 1, "trains adapters, and the mode is full"),
        ({"loss": "plackett-luce"}, 1, "trained on gaps, which plackett-luce is not"),
        ({"centering": 0.1}, 1, "which centering cannot move"),
        ({"feature_share": 0.0}, 1, "feature_share is 0.0"),
        ({"l2_spread": 0.5}, 1, "l2_spread is 0.5"),
        ({"shared_layers": 1.0}, 1, "shared_layers is 1.0"),
        ({"views": ("1",)}, 1, "views are for diversity layers"),
        ({"diversity": "layers", "weight_average": True}, 1, "their average is no model"),
        ({"diversity": "layers", "views": ("7",)}, 1, "the backbone has 2"),
        ({"aggregator": "entropic", "strength": 0.0}, 1, "use worst-case"),
    ],
)
def test_settings_that_do_not_go_together(
    changes: dict[str, Any], models: int, sentence: str, backbone: Any, data: Any
) -> None:
    training = replace(EnsembleTraining(members=3, diversity="heads"), **changes)
    with pytest.raises(ConfigError, match=sentence):
        train_ensemble([backbone() for _ in range(models)], data[0], data[1], training)


def test_constant_features_are_named(backbone: Any, data: Any) -> None:
    model = backbone()
    with torch.no_grad():
        model.network.model.norm.weight.zero_()
    with pytest.raises(DataError, match=r"Member 1 of 3 rewards all \d+ reference responses alike"):
        train_ensemble([model], data[0], data[1], replace(HEADS, epochs=1))


def test_members_with_other_contracts_are_refused(trained: Any, backbone: Any) -> None:
    short = backbone()
    short.set_contract(max_length=64)
    with pytest.raises(ConfigError, match="Member 2 has max_length 64 and member 1 has 256"):
        check_contracts([backbone().contract, short.contract])
    ensemble = Ensemble((backbone(), short), Standards((0.0, 0.0), (1.0, 1.0)), Aggregator())
    with pytest.raises(ConfigError, match="train them with the same"):
        EnsembleScorer(ensemble)


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_a_corrupt_member_is_named(copied: Path) -> None:
    weights = copied / "part-0" / "members.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    with pytest.raises(
        CheckpointError, match=r"members.safetensors is not the file that was saved"
    ):
        load_scorer(copied)
    with pytest.raises(DriftError, match=r"members.safetensors is not the file that was saved"):
        verify(copied)


def test_a_missing_or_exchanged_part_is_named(copied: Path, trained: Any, tmp_path: Path) -> None:
    result = trained["heads"]
    save_ensemble(Ensemble(result.parts, result.standards, result.aggregator), tmp_path / "other")
    shutil.rmtree(copied / "part-0")
    with pytest.raises(CheckpointError, match="lacks part-0"):
        load_ensemble(copied)
    shutil.copytree(tmp_path / "other" / "part-0", copied / "part-0")
    with pytest.raises(CheckpointError, match="is not the part this ensemble was saved with"):
        load_ensemble(copied)


def test_an_ensemble_is_no_single_model(finished: Path) -> None:
    with pytest.raises(CheckpointError, match="is an ensemble, and one reward model is wanted"):
        RewardModel.load(finished)


def test_moved_golden_rewards_are_named(copied: Path) -> None:
    from assay.models.checkpoint import write_manifest

    golden = copied / "golden.jsonl"
    rows = [json.loads(line) for line in golden.read_text().splitlines()]
    rows[3]["rewards"][1] += 0.5
    golden.write_text("".join(json.dumps(r) + "\n" for r in rows))
    write_manifest(copied)
    with pytest.raises(DriftError, match="golden rewards of member 2 moved by"):
        verify(copied)


def test_encodings_say_which_comparison_they_are(backbone: Any, data: Any) -> None:
    model = backbone()
    examples, _ = encode(model.renderer, data[0].comparisons, [0] * len(data[0]), share=True)
    assert [e.number for e in examples] == list(range(len(examples)))
