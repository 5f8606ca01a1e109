"""What fits are tested on: settings of a small one, all decided, and comparisons without text."""

from __future__ import annotations

from collections.abc import Sequence

from assay.data.trees import Tree
from assay.train.encode import Example
from assay.train.plan import FitSettings
from assay.types import Preference

NO_TREE = Tree((), (), (), ())
SMALL = FitSettings(
    epochs=2,
    batch_size=8,
    token_budget=1000,
    lr=0.05,
    head_lr_multiplier=1.0,
    weight_decay=0.0,
    warmup_fraction=0.25,
    schedule="cosine",
    max_grad_norm=1.0,
    eval_every=3,
    save_every=2,
    log_every=1,
    seed=0,
    precision="fp32",
)


def textless(
    *preferences: Preference,
    count: int = 2,
    ranking: tuple[tuple[int, ...], ...] | None = None,
    lengths: Sequence[int] | None = None,
    cluster: int = 0,
    number: int = 0,
) -> Example:
    """A comparison without text, of which the first response is better where nothing is said."""
    return Example(
        tree=NO_TREE,
        tokens=(),
        preferences=preferences or (Preference(0, 1),),
        ranking=ranking,
        lengths=tuple(lengths or (1,) * count),
        cluster=cluster,
        number=number,
    )
