"""What does scoring with an ensemble cost, against one model of the same backbone?

Weights are drawn, not trained: time does not depend on them. All systems score the same
conversations through the same function, in one process, in turns.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from common import Recorded, cores, main, shown, spread, table, write_record
from numpy.typing import NDArray

from assay.bundled import HELDOUT
from assay.configs import TOKEN_BUDGET
from assay.data.pairs import PreferencePairs
from assay.models.backbones import cut_layers, layer_list
from assay.models.ensemble import HeadEnsemble, TrunkEnsemble, upper_state
from assay.models.reward_model import RewardModel
from assay.models.scoring import Rewarding, score_conversations
from assay.models.views import View, default_views, view_width

WANTED = {"5 heads": 1.1, "5 heads on 5 views": 1.1, "5 LoRA members, 2/3 shared": 2.4}


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Time of ensembles over that of one model."""

    backbone: str = "smollm2-135m"
    """A backbone name or directory."""
    conversations: int = 160
    """How many of the bundled held-out conversations are scored."""
    members: int = 5
    """Members of each ensemble."""
    repeats: int = 5
    """Timed runs of each system."""
    threads: int = cores()
    """CPU threads. Default: all cores."""


def run(settings: Settings) -> None:
    """Time all systems in turns, print the table and write the record."""
    torch.set_num_threads(settings.threads)
    comparisons = PreferencePairs.load(HELDOUT).comparisons
    flat = [c for x in comparisons for c in x.conversations()][: settings.conversations]

    def timed(model: Rewarding) -> Callable[[], NDArray[np.float64]]:
        return lambda: score_conversations(model, flat, token_budget=TOKEN_BUDGET).rewards

    frozen = RewardModel.from_backbone(settings.backbone, max_length=1024)
    total = len(layer_list(frozen.network.base_model))
    whole = copy.deepcopy(frozen)
    views = default_views(total, settings.members)
    cut_layers(frozen.network, views[0].layer)
    systems: dict[str, tuple[Callable[[], NDArray[np.float64]], str]] = {
        "one frozen model": (timed(frozen), "one frozen model"),
        "5 heads": (timed(heads(frozen, views[:1], settings.members)), "one frozen model"),
        "5 heads on 5 views": (timed(heads(frozen, views, settings.members)), "one frozen model"),
        "one whole model": (timed(whole), "one whole model"),
        "5 LoRA members, 2/3 shared": (timed(trunk(whole, settings.members)), "one whole model"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for repeat in range(settings.repeats + 1):
        for name, (score, _) in systems.items():
            started = time.perf_counter()
            score()
            if repeat:  # the first is a warm-up
                seconds[name].append(time.perf_counter() - started)
    ratios = {
        name: [a / b for a, b in zip(seconds[name], seconds[base], strict=True)]
        for name, (_, base) in systems.items()
    }
    rows = [
        (
            name,
            shown([len(flat) / s for s in seconds[name]], 1),
            shown(ratios[name], 2, "×"),
            f"≤ {WANTED[name]}×" if name in WANTED else "",
        )
        for name in systems
    ]
    print(table(("system", "conversations/s", "time over one model's", "wanted"), rows))
    record = {
        "seconds": seconds,
        "ratios": {n: {"repeats": r, **spread(r)} for n, r in ratios.items()},
        "shared_layers": round(2 / 3 * total),
        "layers": total,
    }
    write_record("ensemble_cost", settings, record)


def heads(model: RewardModel, views: list[View], members: int) -> HeadEnsemble:
    """Random heads on views."""
    width = sum(view_width(model, view) for view in views)
    return HeadEnsemble(model, views, torch.randn(members, width))


def trunk(model: RewardModel, members: int) -> TrunkEnsemble:
    """Members above two thirds of the layers, each the model itself, moved a little."""
    shared = round(2 / 3 * len(layer_list(model.network.base_model)))
    states = [
        {name: tensor + 1e-3 for name, tensor in upper_state(model, shared).items()}
        for _ in range(members - 1)
    ]
    return TrunkEnsemble(model, shared, states)


if __name__ == "__main__":
    main(run, Settings)
