"""What scoring all steps of a solution in one pass saves over a pass for every step.

Solutions of K steps on a frozen or whole backbone. The baseline reads every beginning by itself,
packed without padding but sharing nothing; both run in one process, in turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from common import Recorded, cores, main, shown, spread, table, write_record

from assay.configs import TOKEN_BUDGET
from assay.data.contract import Tokens
from assay.models.process_model import ProcessRewardModel, step_rewards
from assay.models.scoring import pack_groups
from assay.types import Message, Solution

WORDS = ("we", "add", "two", "sides", "and", "find", "each", "term", "of", "it", "is", "even", "so")


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Solutions of made-up steps."""

    backbone: str = "smollm2-135m"
    """The backbone."""
    steps: tuple[int, ...] = (4, 8, 16)
    """Steps of a solution."""
    words: int = 24
    """Words of a step."""
    solutions: int = 8
    """Solutions scored in one repeat, each of a prompt of its own."""
    repeats: int = 5
    """Repeats of each system, after a first one that is not counted."""
    threads: int = cores()
    """CPU threads. Default: all cores."""


def run(settings: Settings) -> None:
    """Time both ways, compare their rewards, print the table and write the record."""
    torch.set_num_threads(settings.threads)
    model = ProcessRewardModel.from_backbone(settings.backbone, max_length=2048)
    rows, record = [], []
    for count in settings.steps:
        found = compare(settings, model, count)
        record.append(found)
        ratio = shown(found["ratios"], 2, "x")
        rows.append(
            [
                str(count),
                ratio,
                f"{count / 3:.2f}x",
                f"{found['tokens'][0]:,} / {found['tokens'][1]:,}",
                f"{found['difference']:.1e}",
            ]
        )
        print(rows[-1], flush=True)
    header = ["steps K", "times faster", "wanted (K / 3)", "tokens read", "largest difference"]
    print(table(header, rows))
    write_record("step_scoring", settings, {"systems": record})


def compare(settings: Settings, model: ProcessRewardModel, count: int) -> dict[str, Any]:
    """Seconds of both ways in turns, and their largest difference in P(right)."""
    draw = np.random.default_rng(count)
    solutions = [
        Solution(
            (Message("user", f"Problem {n}: " + _words(draw, 40)),),
            tuple(f"{_words(draw, settings.words)}." for _ in range(count)),
            (None,) * count,
        )
        for n in range(settings.solutions)
    ]
    tokens = [t for group in model.step_renderer.tokenise(solutions) for t in group]
    seconds: dict[bool, list[float]] = {True: [], False: []}
    rewards = {}
    for repeat in range(settings.repeats + 1):
        for share in (True, False):
            began = perf_counter()
            rewards[share] = rewards_of(model, tokens, share)
            if repeat:
                seconds[share].append(perf_counter() - began)
    ratios = [b / a for a, b in zip(seconds[True], seconds[False], strict=True)]
    read = [
        sum(packed.num_tokens for _, packed in pack_groups(tokens, TOKEN_BUDGET, share=share))
        for share in (True, False)
    ]
    return {
        "steps": count,
        "ratios": ratios,
        "ratio": spread(ratios),
        "seconds_one_pass": spread(seconds[True]),
        "seconds_apart": spread(seconds[False]),
        "tokens": read,
        "difference": float(np.abs(rewards[True] - rewards[False]).max()),
    }


def rewards_of(model: ProcessRewardModel, tokens: list[Tokens], share: bool) -> np.ndarray:
    """P(right) at the end of every beginning."""
    rewards = np.empty(len(tokens))
    for indexes, packed in pack_groups(tokens, TOKEN_BUDGET, share=share):
        with torch.inference_mode():
            rewards[indexes] = step_rewards(model(packed), model.steps.classes).numpy()
    return rewards


def _words(draw: np.random.Generator, count: int) -> str:
    return " ".join(draw.choice(WORDS, count))


if __name__ == "__main__":
    main(run, Settings)
