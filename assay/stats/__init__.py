"""Figures with their intervals: accuracy, likelihood, calibration, baselines, comparisons.

NumPy in, ``Figure`` out; knows nothing of models or files. Letters: n values (pairs or responses).

``gaps`` are rewards of chosen minus rejected. ``probability`` is the soft label P(chosen is
better), 1 where it is left out; 0.5 is a tie. ``clusters`` names the prompt of each value (any
hashable that sorts); values of one prompt are not independent, so intervals are over prompts. Left
out, each value is its own cluster. With nothing to measure a figure is ``nan`` with ``n`` 0, and
with a single cluster its interval is ``nan``, or the whole range where the range is known.
"""

from assay.stats.arrays import CONFIDENCE
from assay.stats.auc import auc
from assay.stats.calibration import ReliabilityBin, ece, fit_temperature, reliability_bins
from assay.stats.comparison import (
    holm,
    mcnemar,
    mcnemar_mid_p,
    minimum_detectable_difference,
    paired_bootstrap_p,
    permutation_p,
    t_test,
)
from assay.stats.estimates import Estimate, combine, design_effect, estimate_mean, jackknife
from assay.stats.intervals import cluster_bootstrap, cluster_mean, wilson
from assay.stats.length import LengthBaseline, reward_length_correlation
from assay.stats.pairs import accuracy, accuracy_difference, brier, preference_nll

__all__ = [
    "CONFIDENCE",
    "Estimate",
    "LengthBaseline",
    "ReliabilityBin",
    "accuracy",
    "accuracy_difference",
    "auc",
    "brier",
    "cluster_bootstrap",
    "cluster_mean",
    "combine",
    "design_effect",
    "ece",
    "estimate_mean",
    "fit_temperature",
    "holm",
    "jackknife",
    "mcnemar",
    "mcnemar_mid_p",
    "minimum_detectable_difference",
    "paired_bootstrap_p",
    "permutation_p",
    "preference_nll",
    "reliability_bins",
    "reward_length_correlation",
    "t_test",
    "wilson",
]
