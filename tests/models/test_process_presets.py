"""Parity: models of published families give what their own code gives, from their own layout."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import FAMILIES, PROMPT, SOLUTIONS, mistral_like, qwen_like, rewrite, save_labels
from safetensors.torch import load_file, save_file
from tiny import save_backbone

from assay.errors import CheckpointError, ConfigError
from assay.models.process_checkpoint import load_process
from assay.models.process_model import ProcessRewardModel
from assay.models.process_presets import PRESETS, recognise
from assay.models.step_scoring import score_steps
from assay.score.verify import verify
from assay.types import Message, Solution

pytestmark = pytest.mark.usefixtures("own_cache")

WRITTEN = [Solution((Message("user", PROMPT),), steps, (None,) * len(steps)) for steps in SOLUTIONS]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Each family's directory, and what its reference needs."""
    root = tmp_path_factory.mktemp("upstream")
    found = {}
    for key, family in FAMILIES.items():
        directory = root / key.replace(" ", "-")
        directory.mkdir()
        found[key] = directory, family.save(directory)
    return found


def rewards(model: ProcessRewardModel) -> np.ndarray:
    return np.concatenate(score_steps(model, WRITTEN).rewards)


@pytest.mark.parametrize("key", FAMILIES)
def test_it_scores_as_its_own_code_does(
    key: str, upstream: dict[str, tuple[Path, Any]], tmp_path: Path
) -> None:
    directory, saved = upstream[key]
    name = key.split()[0]
    model = ProcessRewardModel.load(directory, preset=name)
    with torch.no_grad():
        wanted = [r for steps in SOLUTIONS for r in FAMILIES[key].rewards(saved, steps)]
    got = rewards(model)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
    assert got.std() > 0.03
    assert not model.contract.verified
    assert model.provenance["inferred_from"] == str(directory)
    assert model.provenance["preset"] == name

    run = model.save(tmp_path / "run")
    again = load_process(run)
    assert (again.steps, again.provenance) == (model.steps, model.provenance)
    np.testing.assert_allclose(rewards(again), got, rtol=0, atol=1e-6)
    assert verify(run).golden >= 5


@pytest.mark.parametrize("key", FAMILIES)
def test_families_are_recognised(key: str, upstream: dict[str, tuple[Path, Any]]) -> None:
    directory, _ = upstream[key]
    name = key.split()[0]
    # a PURE model is TRL's without BOS, and its tokenizer has none; RLHFlow's is any Llama
    recognised = {"pure": "trl"}.get(name, name)
    assert load_process(directory).provenance["preset"] == recognised


def test_what_no_preset_knows_is_named(tmp_path: Path) -> None:
    plain = save_backbone(tmp_path / "plain", "llama", qwen_like())
    with pytest.raises(CheckpointError) as caught:
        load_process(plain)
    assert str(caught.value) == (
        f"{plain} has no assay.json, and as LlamaForCausalLM it fits no preset; a process model is "
        "what 'assay train process' wrote, or one that is loaded with one of the presets "
        "qwen2.5-math-prm, math-shepherd, rlhflow, pure, skywork-o1, trl."
    )
    with pytest.raises(ConfigError, match="preset 'prm' is unknown; use one of"):
        load_process(plain, preset="prm")
    with pytest.raises(CheckpointError, match="no single token"):
        load_process(save_backbone(tmp_path / "letters", "llama", word_pieces()), preset="rlhflow")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"neither assay\.json nor config\.json"):
        load_process(tmp_path / "empty")


def word_pieces() -> Any:
    """A tokenizer without + and -."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "a": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", eos_token="</s>", pad_token="<unk>"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return tokenizer


def test_a_language_model_is_no_process_model_for_its_architecture_alone() -> None:
    config = {"architectures": ["MistralForCausalLM"]}
    tokenizer = mistral_like()
    assert recognise(config, tokenizer, (), "x") is PRESETS["math-shepherd"]
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    assert recognise(config, tokenizer, (), "x") is None
    assert recognise(config, qwen_like(), (), "x") is None
    llama = {"architectures": ["LlamaForCausalLM"]}
    assert recognise(llama, qwen_like(), (), "owner/model") is None
    assert recognise(llama, qwen_like(), (), "RLHFlow/Llama3.1-8B-PRM") is PRESETS["rlhflow"]
    assert recognise({}, qwen_like(), (), "x") is None


@pytest.mark.parametrize(
    ("key", "gone", "said"),
    [
        ("qwen2.5-math-prm", "score.2.bias", "no weight 'score.2.bias'"),
        ("qwen2.5-math-prm", "model.layers.1.mlp.up_proj.weight", "lacks 1 of its backbone's"),
        ("skywork-o1", "v_head.summary.weight", "no weight 'v_head.summary.weight'"),
        ("math-shepherd", "lm_head.weight", "no weight 'lm_head.weight'"),
        ("trl", "score.weight", "no weight 'score.weight'"),
    ],
)
def test_missing_weights_are_refused(
    key: str, gone: str, said: str, upstream: dict[str, tuple[Path, Any]], tmp_path: Path
) -> None:
    place = shutil.copytree(upstream[key][0], tmp_path / "copy")
    weights = load_file(place / "model.safetensors")
    del weights[gone]
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=said):
        load_process(place, preset=key)


def test_other_shapes_are_refused(upstream: dict[str, tuple[Path, Any]], tmp_path: Path) -> None:
    three = tmp_path / "three"
    shutil.copytree(upstream["trl"][0], three)
    weights = load_file(three / "model.safetensors")
    weights["score.weight"], weights["score.bias"] = torch.ones(3, 32), torch.ones(3)
    save_file(weights, three / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="head of 32 inputs and 3 outputs where 32 and 2"):
        load_process(three)
    weights["model.norm.weight"] = torch.ones(31)
    save_file(weights, three / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"norm\.weight of shape \(31,\) where \(32,\) was"):
        load_process(three)
    cut = shutil.copytree(upstream["math-shepherd"][0], tmp_path / "cut")
    weights = load_file(cut / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"][:4].clone()
    save_file(weights, cut / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lm_head.weight has 4 rows"):
        load_process(cut)


def test_tied_embeddings_give_the_words_rows(
    upstream: dict[str, tuple[Path, Any]], tmp_path: Path
) -> None:
    place = shutil.copytree(upstream["math-shepherd"][0], tmp_path / "tied")
    weights = load_file(place / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    wanted = rewards(load_process(place))
    del weights["lm_head.weight"]
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    rewrite(place, tie_word_embeddings=True)
    np.testing.assert_allclose(rewards(load_process(place)), wanted, rtol=0, atol=1e-6)


def test_pickles_encoders_and_strange_code_are_refused(
    upstream: dict[str, tuple[Path, Any]], tmp_path: Path
) -> None:
    pickled = shutil.copytree(upstream["math-shepherd"][0], tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="as a pickle"):
        load_process(pickled)
    both = tmp_path / "both"
    save_labels("bert", bos=True)(both)
    with pytest.raises(CheckpointError, match="reads in both directions"):
        load_process(both)
    strange = shutil.copytree(upstream["trl"][0], tmp_path / "strange")
    rewrite(strange, model_type="my_own", auto_map={"AutoConfig": "code.Config"})
    (strange / "code.py").write_text("raise SystemExit('this code was run')")
    with pytest.raises(CheckpointError, match="'my_own', which transformers does not have"):
        load_process(strange)
    with pytest.raises(CheckpointError, match="'<extra_0>', which its tokenizer has not"):
        load_process(upstream["trl"][0], preset="qwen2.5-math-prm")


def test_trls_separator_is_an_argument(
    upstream: dict[str, tuple[Path, Any]], tmp_path: Path
) -> None:
    directory, _ = upstream["trl"]
    model = load_process(directory, separator=" ;")
    assert model.steps.separator == " ;"
    newline = rewards(load_process(directory))
    assert np.abs(rewards(model) - newline).max() > 1e-3
    with pytest.raises(ConfigError, match="has its own separator"):
        load_process(directory, preset="pure", separator=";")
    with pytest.raises(ConfigError, match="is a run of Assay"):
        load_process(model.save(tmp_path / "run"), preset="trl")


def test_steps_that_are_numbered_keep_their_number(
    upstream: dict[str, tuple[Path, Any]],
) -> None:
    model = load_process(upstream["math-shepherd"][0])
    numbered = [
        Solution(s.prompt, tuple(f"Step {n}: {t}" for n, t in enumerate(s.steps, 1)), s.labels)
        for s in WRITTEN
    ]
    got = np.concatenate(score_steps(model, numbered).rewards)
    np.testing.assert_array_equal(got, rewards(model))
