"""Losses of reward modelling: pure functions of rewards, one value per example.

They know nothing of models or data. Each computes in float32 or wider, whatever comes in, and is
finite in value and gradient for gaps of ±1e4. ``docs/theory.md`` has the formulas and sources.

Letters: P preferences (pairs) · B examples (comparisons) · K responses of one example · S stages ·
R responses · A attributes · Q quantiles.
"""

from assay.train.losses.pairwise import (
    annotator_bradley_terry,
    bradley_terry,
    centering,
    noise_corrected,
    per_example,
    scaled_bradley_terry,
    smooth,
    symmetric,
)
from assay.train.losses.ranking import LARGEST_TIE, plackett_luce
from assay.train.losses.single import binary, kto, pinball, regression
from assay.train.losses.ties import davidson, rao_kupper

__all__ = [
    "LARGEST_TIE",
    "annotator_bradley_terry",
    "binary",
    "bradley_terry",
    "centering",
    "davidson",
    "kto",
    "noise_corrected",
    "per_example",
    "pinball",
    "plackett_luce",
    "rao_kupper",
    "regression",
    "scaled_bradley_terry",
    "smooth",
    "symmetric",
]
