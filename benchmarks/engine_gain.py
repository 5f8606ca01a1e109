"""What does sharing the prompt gain, in scoring and in training, against the padded forward?

Synthetic comparisons of K responses of r tokens to a prompt of ρ·r tokens, all of one length, so
that nothing is gained from leaving padding out. The tree engine reads ρ·r + K·r tokens where the
padded forward reads K·(ρ·r + r), so linear layers alone would gain S_K = K(ρ + 1) / (ρ + K).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from common import Recorded, cores, main, shown, spread, table, write_record

from assay.data.contract import Tokens
from assay.data.trees import PackedTrees, build_tree, pack
from assay.errors import TrainingError
from assay.models.reward_model import RewardModel

ENGINES = ("padded", "tree")
TOLERANCE = 1e-4
"""Largest difference of rewards between the engines, in standard deviations of the rewards."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """The tree engine against the padded forward, in turns, in one process."""

    backbone: str = "smollm2-135m"
    """A backbone name or directory."""
    responses: tuple[int, ...] = (2, 4)
    """K: 2 for a pair, more for a ranking."""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """ρ: prompt tokens over response tokens."""
    response_tokens: int = 128
    """r: tokens of each response."""
    trees: int = 2
    """Comparisons in one forward pass."""
    repeats: int = 3
    """Timed runs of each engine."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 times both engines under autocast; that they agree is shown in fp32 first."""
    threads: int = cores()
    """CPU threads. Default: all cores."""


def run(settings: Settings) -> None:
    """Measure every shape, print the table and write the record."""
    torch.set_num_threads(settings.threads)
    longest = settings.response_tokens + prompt_tokens(settings, max(settings.ratios))
    model = RewardModel.from_backbone(
        settings.backbone, max_length=max(1024, longest), engine="tree"
    )
    shapes = [
        measure(model, settings, k, ratio) for k in settings.responses for ratio in settings.ratios
    ]
    rows = [
        [
            str(shape["responses"]),
            f"{shape['ratio']:g}",
            f"{shape['predicted_gain']:.2f}×",
            shown(shape["scoring"]["gain"]["repeats"], 2, "×"),
            shown(shape["training"]["gain"]["repeats"], 2, "×"),
            f"{shape['reward_difference']:.1e}",
        ]
        for shape in shapes
    ]
    print(
        table(["K", "ρ", "S_K", "scoring", "forward and backward", "largest difference (sd)"], rows)
    )
    device = model.network.device.type
    name = "engine_gain" if device == "cpu" else f"engine_gain_{device}_{settings.precision}"
    found = {"device": device_name(model.network.device), "shapes": shapes}
    write_record(name, settings, found if device != "cpu" else {"shapes": shapes})


def device_name(device: torch.device) -> str:
    """What computes."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def predicted_gain(responses: int, ratio: float) -> float:
    """S_K = K(ρ + 1) / (ρ + K): tokens of the padded forward over tokens of the tree."""
    return responses * (ratio + 1) / (ratio + responses)


def prompt_tokens(settings: Settings, ratio: float) -> int:
    """The prompt's length."""
    return round(ratio * settings.response_tokens)


def synthetic(model: RewardModel, settings: Settings, responses: int, ratio: float) -> PackedTrees:
    """Comparisons of random tokens, the same every time."""
    generator = np.random.default_rng([responses, prompt_tokens(settings, ratio)])
    embeddings: Any = model.network.get_input_embeddings()
    vocabulary = int(embeddings.weight.shape[0])
    prompt = prompt_tokens(settings, ratio)

    def ids(count: int) -> Any:
        return generator.integers(0, vocabulary, count).astype(np.int32)

    trees = []
    for _ in range(settings.trees):
        shared = ids(prompt)
        rests = [ids(settings.response_tokens) for _ in range(responses)]
        trees.append(build_tree([Tokens(np.concatenate([shared, r]), prompt) for r in rests]))
    return pack(trees)


def measure(model: RewardModel, settings: Settings, responses: int, ratio: float) -> dict[str, Any]:
    """Comparisons per second of both engines on one shape, their gain, and how rewards differ.

    Raises:
        TrainingError: If the engines' rewards are not equal.
    """
    packed = synthetic(model, settings, responses, ratio)

    device = model.network.device.type
    half = torch.autocast(device, torch.bfloat16, enabled=settings.precision == "bf16")

    def exact() -> torch.Tensor:
        with torch.inference_mode():
            rewards: torch.Tensor = model(packed)
        return rewards

    def score() -> torch.Tensor:
        with half:
            return exact()

    def train() -> torch.Tensor:
        with half:
            rewards: torch.Tensor = model(packed)
        (rewards[::2].sum() - rewards[1::2].sum()).backward()
        model.zero_grad(set_to_none=True)
        return rewards.detach()

    _, rewards = timed(model, exact, 0)
    scoring, _ = timed(model, score, settings.repeats)
    training, _ = timed(model, train, settings.repeats)
    spread_of_rewards = float(rewards["padded"].std())
    difference = float((rewards["tree"] - rewards["padded"]).abs().max()) / spread_of_rewards
    if difference > TOLERANCE:
        raise TrainingError(
            f"The engines' rewards differ by {difference:.1e} standard deviations at K={responses} "
            f"and ρ={ratio:g}, where {TOLERANCE:.0e} is allowed; speed means nothing then."
        )
    padded = sum(len(path) for tree in packed.trees for path in tree.paths())
    return {
        "responses": responses,
        "ratio": ratio,
        "predicted_gain": predicted_gain(responses, ratio),
        "tokens": {"padded": padded, "tree": packed.num_tokens},
        "reward_difference": difference,
        "scoring": figures(scoring, settings.trees),
        "training": figures(training, settings.trees),
    }


def timed(
    model: RewardModel, work: Callable[[], torch.Tensor], repeats: int
) -> tuple[dict[str, list[float]], dict[str, torch.Tensor]]:
    """Seconds of every repeat and the rewards, by engine; in turns, after a warm-up of each."""
    seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    rewards: dict[str, torch.Tensor] = {}
    for repeat in range(repeats + 1):
        for engine in ENGINES:
            model.set_engine(engine)
            started = time.perf_counter()
            rewards[engine] = work()
            if model.network.device.type == "cuda":
                torch.cuda.synchronize()
            if repeat:
                seconds[engine].append(time.perf_counter() - started)
    return seconds, rewards


def figures(seconds: dict[str, list[float]], trees: int) -> dict[str, Any]:
    """Comparisons per second of each engine, and the tree's gain repeat by repeat."""
    gains = [p / t for p, t in zip(seconds["padded"], seconds["tree"], strict=True)]
    return {
        "comparisons_per_second": {e: [trees / s for s in seconds[e]] for e in ENGINES},
        "gain": {"repeats": gains, **spread(gains)},
    }


if __name__ == "__main__":
    main(run, Settings)
