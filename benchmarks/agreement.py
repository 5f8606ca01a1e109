"""Is the reward of a conversation one number, whichever way it is asked for?

Scores the same conversations of the bundled set in every way Assay and plain transformers offer and
gives the largest difference from the training forward, in standard deviations of the rewards.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Recorded, cores, main, table, write_record
from numpy.typing import NDArray

from assay.bundled import HELDOUT
from assay.data.pairs import PreferencePairs
from assay.data.trees import build_tree, pack
from assay.errors import TrainingError
from assay.models.adapters import add_lora, merge_in_place
from assay.models.backbone_model import pad_right
from assay.models.backbones import head_of, initialise_head
from assay.models.reward_model import RewardModel
from assay.models.scoring import score_conversations
from assay.score.best_of_n import best_of_n
from assay.score.scorer import load_scorer
from assay.types import Comparison, Conversation, Scorer

TOLERANCE = 1e-4

Rewards = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Rewards of the same conversations, asked for in every way."""

    backbone: str = "smollm2-135m"
    """A backbone name or directory; its head is drawn at random."""
    conversations: int = 200
    """How many conversations of the bundled held-out prompts."""
    threads: int = cores()
    """CPU threads. Default: all cores."""


def run(settings: Settings) -> None:
    """Compare every way with the training forward and write the record."""
    torch.set_num_threads(settings.threads)
    comparisons = chosen_comparisons(settings.conversations)
    model = RewardModel.from_backbone(settings.backbone, max_length=512)
    rows = {**ways(model, comparisons), **lora_ways(settings.backbone, comparisons)}
    print(table(("way", "largest difference / std"), [(w, f"{d:.1e}") for w, d in rows.items()]))
    record = {"tolerance": TOLERANCE, "engine": model.engine, "differences": rows}
    write_record(f"agreement_{Path(settings.backbone).name}", settings, record)
    worst = max(rows, key=lambda way: rows[way])
    if rows[worst] > TOLERANCE:
        raise TrainingError(
            f"'{worst}' differs by {rows[worst]:.1e} standard deviations, over {TOLERANCE}."
        )


def chosen_comparisons(conversations: int) -> list[Comparison]:
    """Whole comparisons until there are so many conversations."""
    chosen: list[Comparison] = []
    for comparison in PreferencePairs.load(str(HELDOUT)).comparisons:
        if sum(len(c.responses) for c in chosen) < conversations:
            chosen.append(comparison)
    return chosen


def ways(model: RewardModel, comparisons: list[Comparison]) -> dict[str, float]:
    """Largest difference of each way from the training forward, over the rewards' deviation."""
    conversations = [c for comparison in comparisons for c in comparison.conversations()]
    wanted = training_forward(model, comparisons)
    with tempfile.TemporaryDirectory() as directory:
        model.save(directory)
        scorer = load_scorer(directory)
        found = {
            **own_ways(model, conversations),
            "load_scorer after save": scorer.score(conversations).reward,
            "best-of-n": best_of_each(scorer, comparisons),
            **plain_ways(directory, model, conversations),
        }
    return {way: difference(wanted, got) for way, got in found.items()}


def training_forward(model: RewardModel, comparisons: list[Comparison]) -> Rewards:
    """Rewards as a training step computes them: whole comparisons as trees, gradients on."""
    found = []
    for comparison in comparisons:
        tree = build_tree(
            model.renderer.tokenise(comparison.conversations()), share=not model.encoder
        )
        found.append(model(pack([tree])).detach().double().numpy())
    return np.concatenate(found)


def own_ways(model: RewardModel, conversations: list[Conversation]) -> dict[str, Rewards]:
    """Assay's own forward by batch, order and engine."""

    def scored(items: list[Conversation], budget: int) -> Rewards:
        return score_conversations(model, items, token_budget=budget).rewards

    order = np.random.default_rng(0).permutation(len(conversations))
    shuffled = np.empty(len(conversations))
    shuffled[order] = scored([conversations[i] for i in order], 4096)
    found = {
        "one at a time": np.concatenate([scored([c], 1) for c in conversations]),
        "32 at a time": np.concatenate(
            [scored(conversations[i : i + 32], 1 << 20) for i in range(0, len(conversations), 32)]
        ),
        "shuffled": shuffled,
    }
    engine = model.engine
    for other in ("tree", "padded"):
        model.set_engine(other)
        found[f"{other} engine"] = scored(conversations, 4096)
    model.set_engine(engine)
    return found


def best_of_each(scorer: Scorer, comparisons: list[Comparison]) -> Rewards:
    """Rewards as best-of-n gives them."""
    best = best_of_n(scorer, [c.prompt for c in comparisons], [c.responses for c in comparisons])
    return np.concatenate([b.rewards for b in best])


def plain_ways(
    directory: str, model: RewardModel, conversations: list[Conversation]
) -> dict[str, Rewards]:
    """Plain transformers on the saved directory: its own tokenizer, template and padding."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    plain = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    rendered = [
        tokenizer.apply_chat_template([m.to_dict() for m in c.messages], return_dict=False)
        for c in conversations
    ]

    def read(rows: list[Any], left: bool) -> Rewards:
        ids, mask = pad_right(
            [np.asarray(r, dtype=np.int32) for r in rows], int(tokenizer.pad_token_id), left=left
        )
        with torch.inference_mode():
            rewards: Rewards = (
                plain(input_ids=ids, attention_mask=mask).logits[:, 0].double().numpy()
            )
        return rewards

    def batched(size: int, left: bool) -> Rewards:
        starts = range(0, len(rendered), size)
        return np.concatenate([read(rendered[i : i + size], left) for i in starts])

    return {
        "plain transformers, single": batched(1, False),
        "plain transformers, right-padded": batched(16, False),
        "plain transformers, left-padded": batched(16, True),
    }


def lora_ways(backbone: str, comparisons: list[Comparison]) -> dict[str, float]:
    """The same before and after merging LoRA adapters that are far from zero."""
    model = RewardModel.from_backbone(backbone, max_length=512)
    if model.encoder:
        return {}
    initialise_head(head_of(model.network), 1)
    add_lora(model, rank=8, alpha=16, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
    before = training_forward(model, comparisons)
    merge_in_place(model)
    conversations = [c for comparison in comparisons for c in comparison.conversations()]
    after = score_conversations(model, conversations).rewards
    return {"LoRA before and after merging": difference(before, after)}


def difference(wanted: Rewards, got: Rewards) -> float:
    """Largest |difference| over the standard deviation of the wanted rewards."""
    return float(np.abs(wanted - got).max() / wanted.std())


if __name__ == "__main__":
    main(run, Settings)
