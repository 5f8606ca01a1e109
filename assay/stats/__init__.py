"""Figures with their intervals: accuracy, likelihood, calibration, baselines, comparisons.

NumPy in, ``Figure`` out; knows nothing of models or files. Letters: n values (pairs or responses).

``gaps`` are rewards of chosen minus rejected. ``probability`` is the soft label P(chosen is
better), 1 where it is left out; 0.5 is a tie. ``clusters`` names the prompt of each value (any
hashable that sorts); values of one prompt are not independent, so intervals are over prompts. Left
out, each value is its own cluster. With nothing to measure a figure is ``nan`` with ``n`` 0, and
with a single cluster its interval is ``nan``, or the whole range where the range is known.
"""

from assay.stats.aggregation import Aggregator, Standards
from assay.stats.arrays import CONFIDENCE
from assay.stats.auc import auc
from assay.stats.best_of import expected_best, pass_at_n
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
from assay.stats.crossed import CrossedMeans, crossed_bootstrap
from assay.stats.diversity import (
    Rejection,
    disagreement,
    error_correlation,
    mean_correlation,
    rejection,
    uncertainty_error_correlation,
)
from assay.stats.estimates import (
    Estimate,
    combine,
    design_effect,
    estimate_mean,
    jackknife,
    jackknife_of_sums,
)
from assay.stats.flips import FlipModel, flip_rate
from assay.stats.intervals import bootstrap_sums, cluster_bootstrap, cluster_mean, wilson
from assay.stats.laplace import LastLayerLaplace
from assay.stats.length import LengthBaseline, reward_length_correlation
from assay.stats.pairs import accuracy, accuracy_difference, brier, preference_nll
from assay.stats.prediction_powered import (
    PredictionPowered,
    WinRate,
    prediction_powered_mean,
    win_rate,
)
from assay.stats.reduce import (
    LowestIsLast,
    length_bias,
    length_biases,
    lowest_is_last,
    reduce_steps,
    reward_by_step,
)
from assay.stats.sampled import SampledSolutions, SelectionCurves, selection_curves
from assay.stats.selection import (
    Picks,
    bald,
    d_optimal,
    gaussian_members,
    highest,
    prediction_std,
    spread_out,
)
from assay.stats.steps import JudgedSteps, StepReport, step_report
from assay.stats.thresholds import best_threshold
from assay.stats.voting import expected_vote

__all__ = [
    "CONFIDENCE",
    "Aggregator",
    "CrossedMeans",
    "Estimate",
    "FlipModel",
    "JudgedSteps",
    "LastLayerLaplace",
    "LengthBaseline",
    "LowestIsLast",
    "Picks",
    "PredictionPowered",
    "Rejection",
    "ReliabilityBin",
    "SampledSolutions",
    "SelectionCurves",
    "Standards",
    "StepReport",
    "WinRate",
    "accuracy",
    "accuracy_difference",
    "auc",
    "bald",
    "best_threshold",
    "bootstrap_sums",
    "brier",
    "cluster_bootstrap",
    "cluster_mean",
    "combine",
    "crossed_bootstrap",
    "d_optimal",
    "design_effect",
    "disagreement",
    "ece",
    "error_correlation",
    "estimate_mean",
    "expected_best",
    "expected_vote",
    "fit_temperature",
    "flip_rate",
    "gaussian_members",
    "highest",
    "holm",
    "jackknife",
    "jackknife_of_sums",
    "length_bias",
    "length_biases",
    "lowest_is_last",
    "mcnemar",
    "mcnemar_mid_p",
    "mean_correlation",
    "minimum_detectable_difference",
    "paired_bootstrap_p",
    "pass_at_n",
    "permutation_p",
    "prediction_powered_mean",
    "prediction_std",
    "preference_nll",
    "reduce_steps",
    "rejection",
    "reliability_bins",
    "reward_by_step",
    "reward_length_correlation",
    "selection_curves",
    "spread_out",
    "step_report",
    "t_test",
    "uncertainty_error_correlation",
    "wilson",
    "win_rate",
]
