"""Contract of a run directory: whole, checked, loadable; each kind of damage has its sentence."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import tiny
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from assay.errors import AssayError, CheckpointError, ContractError, DriftError
from assay.models import checkpoint
from assay.models.checkpoint import check_manifest, load_model, save_model, write_manifest
from assay.models.reward_model import RewardModel
from assay.models.scoring import score_conversations
from assay.score.scorer import load_scorer
from assay.score.verify import verify
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache")


CONVERSATIONS = [
    Conversation.of(prompt, response)
    for prompt in ("what is the time?", "tell me about maps")
    for response in ("it is late", "the tea is cold, and more words of the reply.", "yes")
]


def rewards_of(model: RewardModel) -> NDArray[np.float64]:
    return score_conversations(model, CONVERSATIONS).rewards


def same(got: NDArray[np.float64], wanted: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * wanted.std())


@pytest.fixture(scope="module")
def model(tiny_backbone: Path, own_cache: Path) -> RewardModel:
    return RewardModel.from_backbone(str(tiny_backbone), max_length=1000)


@pytest.fixture(scope="module")
def saved(model: RewardModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.save(tmp_path_factory.mktemp("saved") / "run", {"heldout": {"pairs": 3}})


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(saved, tmp_path / "run"))


@pytest.fixture
def foreign(run: Path) -> Path:
    """The same model as somebody else would publish it."""
    for name in ("assay.json", "golden.jsonl", "manifest.json"):
        (run / name).unlink()
    return run


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(run: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(run / "model.safetensors")
    change(weights)
    save_file(weights, run / "model.safetensors", metadata={"format": "pt"})


# --- a whole run ------------------------------------------------------------------------------


def test_a_run_scores_as_its_model_did_and_passes(model: RewardModel, saved: Path) -> None:
    loaded = RewardModel.load(saved)
    same(rewards_of(loaded), rewards_of(model))
    assert loaded.contract == model.contract
    assert loaded.contract.verified
    assert loaded.provenance == model.provenance
    result = verify(saved)
    assert result.golden >= 15
    assert result.difference < 1e-4
    record = json.loads((saved / "assay.json").read_text())
    assert record["heldout"] == {"pairs": 3}
    assert set(record["versions"]) == {"assay", "torch", "transformers"}


def test_saving_what_was_loaded_changes_nothing(model: RewardModel, run: Path) -> None:
    loaded = load_model(run)
    loaded.save(run)
    verify(run)
    same(rewards_of(load_model(run)), rewards_of(model))


@pytest.mark.parametrize("pooling", ["mean", "last+mean"])
def test_another_pooling_comes_back_as_it_was(
    pooling: str, tiny_backbone: Path, tmp_path: Path
) -> None:
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=1000)
    model.set_pooling(pooling)
    directory = model.save(tmp_path / "run")
    assert json.loads((directory / "assay.json").read_text())["standard"] is False
    loaded = load_model(directory)
    assert loaded.contract.pooling == pooling
    same(rewards_of(loaded), rewards_of(model))
    verify(directory)
    (directory / "assay_head.safetensors").unlink()
    write_manifest(directory)
    with pytest.raises(CheckpointError, match=r"no readable assay_head.safetensors"):
        load_model(directory)


def test_nothing_is_left_behind_by_a_save_and_old_leftovers_go(
    model: RewardModel, run: Path
) -> None:
    (run / ".saving-old").mkdir()
    (run / ".saving-old" / "model.safetensors").write_bytes(b"half")
    (run / ".assay.json.x.part").write_text("half")
    save_model(model, run)
    assert [p.name for p in run.iterdir() if p.name.startswith(".")] == []
    verify(run)


def test_metrics_may_grow_after_the_manifest(run: Path) -> None:
    (run / "metrics.jsonl").write_text("{}\n")
    verify(run)


# --- damage -----------------------------------------------------------------------------------


def flip_a_byte(run: Path) -> None:
    data = bytearray((run / "model.safetensors").read_bytes())
    data[-5] ^= 1
    (run / "model.safetensors").write_bytes(data)


def truncate(run: Path) -> None:
    data = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(data[: len(data) // 2])


def change_template(run: Path) -> None:
    path = run / "chat_template.jinja"
    path.write_text(path.read_text().replace("<|im_start|>", "<|im_start|> "))


def remove_manifest(run: Path) -> None:
    (run / "manifest.json").unlink()


def remove_contract(run: Path) -> None:
    (run / "assay.json").unlink()


def remove_tokenizer(run: Path) -> None:
    (run / "tokenizer.json").unlink()


def cut_manifest(run: Path) -> None:
    path = run / "manifest.json"
    path.write_text(path.read_text()[:40])


def cut_contract(run: Path) -> None:
    path = run / "assay.json"
    path.write_text(path.read_text()[:40])


DAMAGE = [
    (flip_a_byte, r"model\.safetensors is not the file that was saved"),
    (truncate, r"model\.safetensors is not the file that was saved"),
    (change_template, r"chat_template\.jinja is not the file that was saved"),
    (remove_manifest, r"has no manifest\.json"),
    (remove_contract, r"lacks assay\.json"),
    (remove_tokenizer, r"lacks tokenizer\.json"),
    (cut_manifest, r"manifest\.json is damaged"),
    (cut_contract, r"assay\.json is not the file that was saved"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_a_changed_file_is_refused_by_load_and_by_verify(
    damage: Callable[[Path], None], message: str, run: Path
) -> None:
    damage(run)
    with pytest.raises(CheckpointError, match=message):
        load_model(run)
    with pytest.raises(DriftError, match=message):
        verify(run)


@pytest.mark.parametrize("content", ["[]", '{"files": []}', '{"files": {"assay.json": {}}}'])
def test_a_manifest_of_another_shape_is_damaged(content: str, run: Path) -> None:
    (run / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        check_manifest(run)


# The same with a manifest that fits: a run that was put together wrongly, or by another version.


def drop_head(run: Path) -> None:
    edit_weights(run, lambda weights: weights.pop("score.weight"))


def drop_layer(run: Path) -> None:
    edit_weights(run, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))


def put_nan(run: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights["model.layers.0.mlp.up_proj.weight"][3, 3] = torch.nan

    edit_weights(run, change)


def two_labels(run: Path) -> None:
    edit_weights(run, lambda w: w.update({"score.weight": w["score.weight"].repeat(2, 1)}))


def only_a_pickle(run: Path) -> None:
    weights = load_file(run / "model.safetensors")
    (run / "model.safetensors").unlink()
    torch.save(weights, run / "pytorch_model.bin")


def no_weights(run: Path) -> None:
    (run / "model.safetensors").unlink()


def unknown_format(run: Path) -> None:
    edit_json(run / "assay.json", format=99)


def unknown_architecture(run: Path) -> None:
    edit_json(run / "config.json", model_type="a-model-of-tomorrow")


def no_contract(run: Path) -> None:
    record = json.loads((run / "assay.json").read_text())
    del record["contract"]
    (run / "assay.json").write_text(json.dumps(record))


UNFIT = [
    (drop_head, r"no head among its \d+ weights; its rewards would be random"),
    (drop_layer, r"lacks 1 of its backbone's weights, model\.layers\.1\.mlp\.up_proj\.weight"),
    (put_nan, r"weight \S*up_proj\.weight holds NaN or infinite"),
    (two_labels, r"cannot be loaded"),
    (only_a_pickle, r"as a pickle \(pytorch_model\.bin\)"),
    (no_weights, r"no safetensors weights"),
    (truncate, r"model\.safetensors is damaged"),
    (unknown_format, r"has format 99 where this assay reads 1; upgrade assay"),
    (unknown_architecture, r"cannot be loaded"),
    (cut_contract, r"assay\.json is damaged"),
    (no_contract, r"assay\.json is damaged"),
    (remove_tokenizer, r"cannot be loaded"),
]


@pytest.mark.parametrize(("damage", "message"), UNFIT)
def test_an_unfit_run_is_refused_with_the_reason(
    damage: Callable[[Path], None], message: str, run: Path
) -> None:
    damage(run)
    write_manifest(run)
    with pytest.raises(CheckpointError, match=message):
        load_model(run)
    with pytest.raises(AssayError, match=message):
        verify(run)


def test_a_contract_of_another_version_is_refused(run: Path) -> None:
    record = json.loads((run / "assay.json").read_text())
    edit_json(run / "assay.json", contract={**record["contract"], "colour": "blue"})
    write_manifest(run)
    with pytest.raises(ContractError, match="does not fit this version"):
        load_model(run)


def test_a_nan_weight_is_not_saved(tiny_backbone: Path, run: Path) -> None:
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=1000)
    with torch.no_grad():
        model.head.weight[0, 0] = torch.inf
    before = (run / "manifest.json").read_bytes()
    with pytest.raises(CheckpointError, match=r"score\.weight holds NaN or infinite.*nothing was"):
        model.save(run)
    assert (run / "manifest.json").read_bytes() == before
    verify(run)


@pytest.mark.parametrize("pooling", ["mean", "last+mean"])
def test_a_nan_in_a_pooled_head_is_not_saved(
    pooling: str, tiny_backbone: Path, tmp_path: Path
) -> None:
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=1000)
    model.set_pooling(pooling)
    with torch.no_grad():
        model.head.weight[0, 0] = torch.nan
    with pytest.raises(CheckpointError, match="holds NaN or infinite"):
        model.save(tmp_path / "run")


# --- a save that fails ------------------------------------------------------------------------


def full_disk(*_args: Any, **_kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["network", "tokenizer", "golden", "record", "manifest"])
def test_a_full_disk_leaves_the_last_checkpoint_whole(
    step: str, tiny_backbone: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = rewards_of(load_model(run))
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=1000, seed=7)
    assert np.abs(rewards_of(model) - wanted).max() > 0.1
    with monkeypatch.context() as patch:
        if step in ("network", "tokenizer"):
            owner = {"network": model.network, "tokenizer": model.renderer.tokenizer}[step]
            patch.setattr(type(owner), "save_pretrained", full_disk)
        elif step == "golden":
            patch.setattr(checkpoint, "write_jsonl", full_disk)
        else:
            name = {"record": "assay.json", "manifest": "manifest.json"}[step]
            write = checkpoint.write_json

            def write_json(path: Path, value: Any) -> None:
                full_disk() if path.name == name else write(path, value)

            patch.setattr(checkpoint, "write_json", write_json)
        with pytest.raises(OSError, match="No space left"):
            model.save(run)
    assert [p.name for p in run.iterdir() if p.name.startswith(".")] == []
    same(rewards_of(load_model(run)), wanted)
    verify(run)


# --- somebody else's model --------------------------------------------------------------------


def test_a_foreign_model_gets_an_inferred_contract(saved: Path, foreign: Path) -> None:
    scorer = load_scorer(foreign)
    assert not scorer.contract.verified
    assert scorer.contract.max_length == 2048  # the backbone's own
    assert scorer.model.provenance == {"inferred_from": str(foreign)}
    same(scorer.score(CONVERSATIONS).reward, rewards_of(load_model(saved)))


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_a_foreign_model_without_a_pad_token_is_scored(name: str, tmp_path: Path) -> None:
    """Its tokenizer has one special token, so a row is added to pad with; no reward changes."""
    network = tiny.tiny_network(
        name, vocab_size=len(families.FAMILIES["gpt2"]()), pad_token_id=None
    )
    network.save_pretrained(tmp_path)
    families.FAMILIES["gpt2"]().save_pretrained(tmp_path)
    tree = load_scorer(tmp_path, engine="tree").score(CONVERSATIONS).reward
    padded = load_scorer(tmp_path, engine="padded")
    same(padded.score(CONVERSATIONS).reward, tree)
    (tokens,) = padded.model.renderer.tokenise(CONVERSATIONS[:1])
    with torch.no_grad():
        plain = network(input_ids=torch.from_numpy(tokens.ids).long()[None]).logits[0, 0]
    assert float(plain) == pytest.approx(tree[0], abs=1e-4 * tree.std())


def test_a_foreign_encoder_is_read_at_its_first_token(tmp_path: Path) -> None:
    tokenizer = families.wordpiece_tokenizer()
    network = tiny.tiny_network("bert", vocab_size=len(tokenizer))
    network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    scorer = load_scorer(tmp_path)
    assert scorer.contract.pooling == "first"
    (tokens,) = scorer.model.renderer.tokenise(CONVERSATIONS[:1])
    with torch.no_grad():
        plain = network(input_ids=torch.from_numpy(tokens.ids).long()[None]).logits[0, 0]
    assert float(plain) == pytest.approx(scorer.score(CONVERSATIONS[:1]).reward[0], abs=1e-4)


def foreign_labels(run: Path) -> None:
    edit_json(run / "config.json", id2label={"0": "bad", "1": "good"})


def foreign_architecture(run: Path) -> None:
    edit_json(run / "config.json", architectures=["LlamaForCausalLM"])


def cut_config(run: Path) -> None:
    path = run / "config.json"
    path.write_text(path.read_text()[:30])


FOREIGN = [
    (foreign_labels, r"has 2 output labels; a reward model has 1\. Was this a classifier\?"),
    (foreign_architecture, r"is a LlamaForCausalLM; a reward model is a \*ForSequence"),
    (cut_config, r"config\.json is damaged"),
    (drop_head, r"no head among its \d+ weights"),
    (drop_layer, r"lacks 1 of its backbone's weights"),
    (put_nan, r"holds NaN or infinite"),
    (only_a_pickle, r"as a pickle \(pytorch_model\.bin\)"),
    (no_weights, r"no safetensors weights"),
    (truncate, r"model\.safetensors is damaged"),
    (two_labels, r"cannot be loaded"),
    (remove_tokenizer, r"cannot be loaded"),
    (unknown_architecture, r"cannot be loaded"),
]


@pytest.mark.parametrize(("damage", "message"), FOREIGN)
def test_an_unfit_foreign_model_is_refused_with_the_reason(
    damage: Callable[[Path], None], message: str, foreign: Path
) -> None:
    damage(foreign)
    with pytest.raises(CheckpointError, match=message):
        load_model(foreign)


def test_what_is_no_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither assay\.json nor config\.json"):
        load_model(tmp_path)
    with pytest.raises(CheckpointError, match=r"neither assay.json nor manifest.json"):
        verify(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is a file; a run is a directory"):
        load_model(file)
    with pytest.raises(CheckpointError, match="does not exist; give a run directory or a hub name"):
        load_model(tmp_path / "nothing")


def test_a_hub_name_is_read_like_the_directory_it_holds(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[tuple[str, list[str]]] = []

    def snapshot_download(name: str, *, ignore_patterns: list[str]) -> str:
        asked.append((name, ignore_patterns))
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    model = load_model("owner/model")
    assert model.contract.verified
    same(rewards_of(model), rewards_of(load_model(saved)))
    assert asked[0][0] == "owner/model"
    assert "*.bin" in asked[0][1]


def test_a_hub_name_that_cannot_be_read_is_said() -> None:
    with pytest.raises(CheckpointError, match="owner/model is no directory, and as a hub name"):
        load_model("owner/model")
