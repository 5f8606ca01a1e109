"""Tiny process models in the layouts of published families, and how their own code scores them.

Each reference is plain transformers and torch: all tokens in one forward, read as upstream does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import families
import torch
from safetensors.torch import save_file
from tiny import ARCHITECTURES
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    PreTrainedTokenizerFast,
)

QWEN = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nReason step by step.<|im_end|>\\n' }}{% endif %}" + families.CHATML
)
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXTS = ("2 and 3.\nit makes 5.\nso it is 5.\n", "Step 1: 2 and 3. ки\nStep 2: + ки - ки + - \n")

PROMPT = "What is 2 and 3?"
SOLUTIONS = (
    ("2 and 3.", "it makes 5.", "so it is 5."),
    ("it makes 6.",),
    ("2 and 3.", "it makes 6.", "no, 5!", "so 5."),
)


@dataclass(frozen=True)
class Family:
    """A family: its model written to a directory, and the step rewards its own code gives."""

    save: Callable[[Path], Any]
    rewards: Callable[[Any, Sequence[str]], list[float]]


def qwen_like(*, extra: bool = False, bos: bool = False) -> Any:
    """A byte-level tokenizer that makes one token of punctuation and a newline, as Qwen2's does."""
    core = Tokenizer(models.BPE())
    words = Regex(r"[^\s\p{L}\p{N}]+[\r\n]*|\p{L}+|\p{N}|\s*[\r\n]+|\s+")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    specials = [*SPECIALS, *(["<extra_0>"] if extra else [])]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(TEXTS * 4, trainer)
    named = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    if bos:
        named["bos_token"] = "<|im_start|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=4096, **named)
    tokenizer.chat_template = QWEN
    return tokenizer


def mistral_like() -> Any:
    """A tokenizer of words that begin with ▁, as SentencePiece's, with BOS before every text."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace(prepend_scheme="first")]
    )
    core.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    letters = " ".join("abcdefghijklmnopqrstuvwxyz0123456789.,!?:+-")
    core.train_from_iterator([*TEXTS * 4, letters, letters.upper()], trainer)
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", core.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=4096,
    )


def network(family: str, tokenizer: Any, kind: Any = AutoModelForCausalLM, **changes: Any) -> Any:
    """A random network with the tokenizer's rows and weights so wide that differences show."""
    settings = {**ARCHITECTURES[family], "vocab_size": len(tokenizer), **changes}
    settings["n_positions" if family == "gpt2" else "max_position_embeddings"] = 512
    settings |= {
        f"{t}_token_id": getattr(tokenizer, f"{t}_token_id") for t in ("bos", "eos", "pad")
    }
    torch.manual_seed(3)
    made = kind.from_config(AutoConfig.for_model(family, **settings)).float().eval()
    return wide(made)


def wide(module: Any) -> Any:
    """The module with random weights that are not small."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            is_norm = parameter.ndim == 1 and name.endswith("weight")
            parameter.normal_(1.0 if is_norm else 0.0, 0.3)
    return module


def rewrite(directory: Path, **changes: Any) -> None:
    """Change what a directory's ``config.json`` says."""
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def save_qwen(directory: Path) -> Any:
    """``model.*`` and ``score.0``, ``score.2``, with code of its own that must not run."""
    tokenizer = qwen_like(extra=True)
    model = network("qwen2", tokenizer)
    score = wide(nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)))
    model.config.save_pretrained(directory)
    weights = {f"model.{n}": t for n, t in model.model.state_dict().items()}
    weights |= {f"score.{n}": t for n, t in score.state_dict().items()}
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    tokenizer.save_pretrained(directory)
    rewrite(
        directory,
        architectures=["Qwen2ForProcessRewardModel"],
        auto_map={
            "AutoConfig": "modeling_qwen2_rm.Config",
            "AutoModel": "modeling_qwen2_rm.Model",
        },
    )
    (directory / "modeling_qwen2_rm.py").write_text("raise SystemExit('this code was run')")
    return tokenizer, model, score


def qwen_rewards(saved: Any, steps: Sequence[str]) -> list[float]:
    """P(class 1) at every ``<extra_0>`` of the whole chat."""
    tokenizer, model, score = saved
    chat = [
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
    ]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    places = ids[0] == tokenizer.convert_tokens_to_ids("<extra_0>")
    logits = score(model.model(ids).last_hidden_state)[0, places]
    return torch.softmax(logits, -1)[:, 1].tolist()


def save_causal(family: str, make: Callable[[], Any]) -> Callable[[Path], Any]:
    """A plain language model with its tokenizer."""

    def save(directory: Path) -> Any:
        tokenizer = make()
        model = network(family, tokenizer)
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        return tokenizer, model

    return save


def shepherd_rewards(saved: Any, steps: Sequence[str]) -> list[float]:
    """Softmax over + and - at every ``ки`` of the numbered text."""
    tokenizer, model = saved
    text = " ки\n".join(f"Step {n}: {step}" for n, step in enumerate(steps, 1)) + " ки"
    ids = torch.tensor([tokenizer.encode(f"{PROMPT} {text}")])
    candidates = tokenizer.encode("+ -")[1:]
    assert len(candidates) == 2
    chances = model(ids).logits[:, :, candidates].softmax(-1)[:, :, 0]
    return chances[ids == tokenizer.encode("ки")[-1]].tolist()


def rlhflow_rewards(saved: Any, steps: Sequence[str]) -> list[float]:
    """Softmax over + and - where the answer + to each step's turn is predicted: third from last."""
    tokenizer, model = saved
    candidates = [tokenizer.encode(word)[-1] for word in "+-"]
    chat: list[dict[str, str]] = []
    rewards = []
    for k, step in enumerate(steps):
        chat.append({"role": "user", "content": step if k else f"{PROMPT} {step}"})
        chat.append({"role": "assistant", "content": "+"})
        text = tokenizer.apply_chat_template(chat, tokenize=False, date_string="26 Jul 2024")
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        rewards.append(float(model(ids).logits[0, -3, candidates].softmax(-1)[0]))
    return rewards


def in_pieces(
    tokenizer: Any, steps: Sequence[str], *, bos: bool, gap: str = ""
) -> tuple[Tensor, list[int]]:
    """Prompt, steps and newlines tokenised each by itself, and the places of the newlines."""
    ids = [tokenizer.bos_token_id] if bos else []
    ids += tokenizer(PROMPT + gap, add_special_tokens=False)["input_ids"]
    places = []
    for step in steps:
        ids += tokenizer(step, add_special_tokens=False)["input_ids"]
        ids += tokenizer("\n", add_special_tokens=False)["input_ids"]
        places.append(len(ids) - 1)
    return torch.tensor([ids]), places


def save_labels(family: str, *, bos: bool) -> Callable[[Path], Any]:
    """A token classifier with 2 labels."""

    def save(directory: Path) -> Any:
        tokenizer = qwen_like(bos=bos)
        model = network(family, tokenizer, AutoModelForTokenClassification, num_labels=2)
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        return tokenizer, model

    return save


def pure_rewards(saved: Any, steps: Sequence[str]) -> list[float]:
    """P(+) - P(-) at the newlines, from -1 to 1, brought to 0 to 1."""
    tokenizer, model = saved
    ids, places = in_pieces(tokenizer, steps, bos=False)
    chances = model(ids).logits[0, places].softmax(-1)
    return ((chances[:, 1] - chances[:, 0] + 1) / 2).tolist()


def trl_rewards(saved: Any, steps: Sequence[str]) -> list[float]:
    """P(label 1) at the newlines, BOS first."""
    tokenizer, model = saved
    ids, places = in_pieces(tokenizer, steps, bos=True)
    return model(ids).logits[0, places].softmax(-1)[:, 1].tolist()


def save_skywork(prefix: str) -> Callable[[Path], Any]:
    """A language model and ``v_head.summary``, as TRL's model with a value head is saved."""

    def save(directory: Path) -> Any:
        tokenizer = qwen_like(bos=True)
        model = network("qwen2", tokenizer)
        head = wide(nn.Linear(32, 1))
        model.config.save_pretrained(directory)
        weights = {f"{prefix}{n}": t.clone() for n, t in model.state_dict().items()}
        weights |= {f"v_head.summary.{n}": t for n, t in head.state_dict().items()}
        save_file(weights, directory / "model.safetensors", {"format": "pt"})
        tokenizer.save_pretrained(directory)
        rewrite(directory, architectures=["Qwen2ForPrmModel"])
        return tokenizer, model, head

    return save


def skywork_rewards(saved: Any, steps: Sequence[str]) -> list[float]:
    """The sigmoid of the value at every newline after a step."""
    tokenizer, model, head = saved
    ids, places = in_pieces(tokenizer, steps, bos=True, gap="\n")
    hidden = model(ids, output_hidden_states=True).hidden_states[-1]
    return torch.sigmoid(head(hidden))[0, places, 0].tolist()


FAMILIES = {
    "qwen2.5-math-prm": Family(save_qwen, qwen_rewards),
    "math-shepherd": Family(save_causal("mistral", mistral_like), shepherd_rewards),
    "rlhflow": Family(save_causal("llama", families.FAMILIES["llama3"]), rlhflow_rewards),
    "pure": Family(save_labels("qwen2", bos=False), pure_rewards),
    "skywork-o1": Family(save_skywork("pretrained_model."), skywork_rewards),
    "skywork-o1 unwrapped": Family(save_skywork(""), skywork_rewards),
    "trl": Family(save_labels("llama", bos=True), trl_rewards),
    "trl gpt2": Family(save_labels("gpt2", bos=True), trl_rewards),
}
"""The first word of a key is the name of the preset."""
