"""Parity: our forward, on every engine, is what plain transformers reads from the save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import tiny
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from assay.data.trees import build_tree, pack
from assay.errors import BackboneError, ConfigError
from assay.models.backbone_model import pad_right
from assay.models.backbones import cut_layers, head_of
from assay.models.reward_model import RewardModel
from assay.models.scoring import score_conversations
from assay.score.scorer import load_scorer
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache")


CASES = {
    "llama": "chatml",
    "llama-3": "llama3",
    "gemma3_text": "gemma",
    "mistral": "mistral",
    "phi3": "phi3",
    "gpt2": "gpt2",  # a pad token is added, and learned positions
    "qwen2": "gpt2",  # a pad token is added, and an embedding that knows its padding row
    "bert": "bert",
}
TALK = (
    {"role": "user", "content": "what is the time?"},
    {"role": "assistant", "content": "it is late."},
    {"role": "user", "content": "more?"},
)
CONVERSATIONS = [
    Conversation.of(prompt, response)
    for prompt in ("what is the time?", "a question about maps and rain", TALK)
    for response in ("it is late", "the tea is cold, and more words of the reply.", "yes", "maps")
]


def dicts(conversation: Conversation) -> list[dict[str, Any]]:
    return [m.to_dict() for m in conversation.messages]


def plain_rewards(
    directory: Path, conversations: list[Conversation], side: str | None
) -> NDArray[np.float64]:
    """What somebody who knows only transformers gets: one by one (side None), or in one batch."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    network = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32)
    network.eval()
    batches = [conversations] if side else [[c] for c in conversations]
    rewards: list[float] = []
    for batch in batches:
        inputs = tokenizer.apply_chat_template(
            [dicts(c) for c in batch],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            padding=True,
            padding_side=side or "right",
        )
        inputs.pop("token_type_ids", None)
        if network.config.model_type == "gpt2":  # learned positions count from the first real token
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        with torch.inference_mode():
            rewards += network(**inputs).logits[:, 0].tolist()
    return np.array(rewards)


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, own_cache: Path
) -> tuple[RewardModel, Path]:
    """A model of each kind, and where it was saved."""
    architecture = request.param.removesuffix("-3")
    directory = tmp_path_factory.mktemp(request.param)
    tokenizer = families.FAMILIES[CASES[request.param]]()
    backbone = tiny.save_backbone(directory / "backbone", architecture, tokenizer)
    model = RewardModel.from_backbone(str(backbone), max_length=500)
    return model, model.save(directory / "run")


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return tiny.save_backbone(tmp_path / "llama", "llama", families.FAMILIES["chatml"]())


def rewards_of(model: RewardModel, **options: Any) -> NDArray[np.float64]:
    return score_conversations(model, CONVERSATIONS, **options).rewards


def same(got: NDArray[np.float64], wanted: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * wanted.std())


def test_every_way_to_score_gives_the_same_rewards(case: tuple[RewardModel, Path]) -> None:
    model, directory = case
    assert model.engine == "tree"
    wanted = rewards_of(model)
    assert wanted.std() > 1e-3
    tokens = model.renderer.tokenise(CONVERSATIONS)
    with torch.no_grad():
        alone = [model(pack([build_tree([t], share=not model.encoder)])) for t in tokens]
    same(torch.cat(alone).double().numpy(), wanted)
    for engine in ("auto", "tree", "padded"):
        same(load_scorer(directory, engine=engine).score(CONVERSATIONS).reward, wanted)
    same(plain_rewards(directory, CONVERSATIONS, None), wanted)
    same(plain_rewards(directory, CONVERSATIONS, "right"), wanted)
    if not model.encoder:  # encoders read the first position, which left padding takes
        same(plain_rewards(directory, CONVERSATIONS, "left"), wanted)


def test_the_saved_config_says_regression_and_the_contract_s_pad(
    case: tuple[RewardModel, Path],
) -> None:
    from transformers import AutoConfig

    model, directory = case
    config = AutoConfig.from_pretrained(directory)
    assert config.problem_type == "regression"
    assert config.num_labels == 1
    assert config.pad_token_id == model.pad_token_id != model.contract.end_of_response_id
    assert config.vocab_size > model.pad_token_id


def test_fresh_heads_are_small_random_and_seeded(llama: Path) -> None:
    heads = [
        RewardModel.from_backbone(str(llama), max_length=64, seed=s, engine="padded").head.weight
        for s in (0, 0, 1)
    ]
    torch.testing.assert_close(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert float(heads[0].detach().std()) == pytest.approx(33**-0.5, rel=0.5)  # D = 32


def test_a_backbone_loads_the_same_twice_though_a_pad_token_is_added(tmp_path: Path) -> None:
    """The feature cache is named by the weights' digest, so an added row must not be random."""
    from assay.models.backbones import weights_digest

    backbone = tiny.save_backbone(tmp_path, "qwen2", families.FAMILIES["gpt2"]())
    first, second = (
        RewardModel.from_backbone(str(backbone), max_length=64, engine="padded") for _ in range(2)
    )
    assert first.network.get_input_embeddings().weight.shape[0] == first.pad_token_id + 1
    assert weights_digest(first.network.base_model) == weights_digest(second.network.base_model)


def test_all_that_a_classifier_adds_comes_from_the_seed(tmp_path: Path) -> None:
    """RoBERTa's classifier has a dense layer that no backbone brings."""
    backbone = tiny.save_backbone(tmp_path, "roberta", families.wordpiece_tokenizer())
    first, again, other = (
        RewardModel.from_backbone(str(backbone), max_length=64, engine="padded", seed=s)
        for s in (0, 0, 1)
    )
    same(rewards_of(again), rewards_of(first))
    dense = [m.network.classifier.dense.weight for m in (first, other)]
    assert not torch.equal(*dense)


def test_a_backbone_with_a_nan_weight_is_refused(llama: Path) -> None:
    weights = load_file(llama / "model.safetensors")
    weights["model.norm.weight"][3] = torch.nan
    save_file(weights, llama / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"weight model\.norm\.weight holds NaN or infinite"):
        RewardModel.from_backbone(str(llama), max_length=64)


def test_max_length_beyond_the_backbone_is_refused(llama: Path) -> None:
    with pytest.raises(ConfigError, match="max_length 513 is more than the 512 tokens"):
        RewardModel.from_backbone(str(llama), max_length=513)


def test_an_unknown_engine_is_refused(llama: Path) -> None:
    model = RewardModel.from_backbone(str(llama), max_length=64, engine="padded")
    with pytest.raises(ConfigError, match="engine 'fast' is unknown"):
        model.set_engine("fast")


@pytest.mark.parametrize("architecture", ["llama", "bert"])
@pytest.mark.parametrize("pooling", ["mean", "last+mean"])
def test_other_poolings_are_what_they_say_on_both_engines(
    architecture: str, pooling: str, tmp_path: Path
) -> None:
    family = {"llama": "chatml", "bert": "bert"}[architecture]
    backbone = tiny.save_backbone(tmp_path, architecture, families.FAMILIES[family]())
    model = RewardModel.from_backbone(str(backbone), max_length=500)
    model.set_pooling(pooling)
    assert not model.is_standard
    wanted = []
    for tokens in model.renderer.tokenise(CONVERSATIONS):
        ids = torch.from_numpy(tokens.ids).long()[None]
        model.set_engine("padded")
        with torch.no_grad():
            states = model.network.base_model(input_ids=ids).last_hidden_state[0]
            mean = states[tokens.response_start :].mean(0)
            features = mean if pooling == "mean" else torch.cat([states[-1], mean])
            wanted.append(float(model.head(features)))
    for engine in ("padded", "tree"):
        model.set_engine(engine)
        same(rewards_of(model), np.array(wanted))


def test_going_back_to_the_last_state_gives_the_standard_head_back(llama: Path) -> None:
    model = RewardModel.from_backbone(str(llama), max_length=500)
    wanted = rewards_of(model)
    model.set_pooling("mean")
    assert not np.allclose(rewards_of(model), wanted)
    model.set_pooling("last")
    assert model.is_standard
    same(rewards_of(model), wanted)


@pytest.mark.parametrize(
    ("architecture", "family"), [("llama", "chatml"), ("gemma3_text", "gemma")]
)
def test_a_cut_backbone_is_a_plain_shorter_model(
    architecture: str, family: str, tmp_path: Path
) -> None:
    backbone = tiny.save_backbone(tmp_path / "b", architecture, families.FAMILIES[family]())
    model = RewardModel.from_backbone(str(backbone), max_length=500)
    whole = rewards_of(model)
    cut_layers(model.network, 2)
    wanted = rewards_of(model)
    assert np.abs(wanted - whole).max() > 0.1 * whole.std()
    directory = model.save(tmp_path / "run")
    same(plain_rewards(directory, CONVERSATIONS, "left"), wanted)
    same(plain_rewards(directory, CONVERSATIONS, "right"), wanted)
    same(load_scorer(directory).score(CONVERSATIONS).reward, wanted)


@pytest.mark.parametrize("architecture", ["roberta", "distilbert", "electra"])
def test_other_encoders_are_read_as_their_own_classifier_reads_them(
    architecture: str, tmp_path: Path
) -> None:
    tokenizer = families.wordpiece_tokenizer()
    backbone = tiny.save_backbone(tmp_path / "b", architecture, tokenizer)
    model = RewardModel.from_backbone(str(backbone), max_length=500)
    assert model.contract.pooling == "first"
    wanted = rewards_of(model)
    directory = model.save(tmp_path / "run")
    same(plain_rewards(directory, CONVERSATIONS, None), wanted)
    same(plain_rewards(directory, CONVERSATIONS, "right"), wanted)


def test_an_encoder_with_an_unknown_way_to_read_is_refused(tmp_path: Path) -> None:
    backbone = tiny.save_backbone(tmp_path, "bert", families.wordpiece_tokenizer())
    model = RewardModel.from_backbone(str(backbone), max_length=500)
    model.network.config.model_type = "another"
    with pytest.raises(BackboneError, match="its first token is not known to Assay"):
        rewards_of(model)


def test_the_head_is_computed_in_float32_under_autocast(llama: Path) -> None:
    model = RewardModel.from_backbone(str(llama), max_length=500)
    features = torch.randn(3, 32, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rewards = model.reward_of(features)
    assert rewards.dtype == torch.float32
    torch.testing.assert_close(rewards, features.float() @ model.head.weight[0])
    assert isinstance(model.head, nn.Linear)
    assert model.head is head_of(model.network)


def test_padding_by_hand() -> None:
    sequences = [np.array([5, 6, 7], dtype=np.int32), np.array([8], dtype=np.int32)]
    ids, mask = pad_right(sequences, 0)
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    ids, mask = pad_right(sequences, 0, left=True)
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
