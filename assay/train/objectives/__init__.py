"""Losses that train something of their own beside the reward: which, for which setting."""

from collections.abc import Sequence

from assay.configs import RewardTraining
from assay.train.encode import Example
from assay.train.objectives.annotators import Annotators
from assay.train.objectives.base import CachedScorer, Learner, Objective, Readings
from assay.train.objectives.labels import Labels
from assay.train.objectives.odin import Odin
from assay.train.objectives.ratings import Attributes, Quantiles
from assay.train.objectives.ties import Ties

__all__ = ["CachedScorer", "Learner", "Objective", "Readings", "make_objective"]


def make_objective(
    training: RewardTraining, examples: Sequence[Example], width: int
) -> Objective | None:
    """The objective of a loss for these training comparisons; None for a function of rewards alone.

    Args:
        width: Of the features.

    Raises:
        ConfigError: If the comparisons do not say what the loss learns from.
    """
    t = training
    match t.loss:
        case "rao-kupper" | "davidson":
            return Ties.of(t.loss, t.tie_parameter, examples)
        case "annotator":
            return Annotators.of(examples, t.nuisance, t.annotator_prior)
        case "odin":
            return Odin.of(width, examples, t.odin_length)
        case "binary" | "kto":
            return Labels.of(t.loss, examples, t.good_weight, t.bad_weight)
        case "regression":
            return Attributes.of(width, examples, t.attributes, t.attribute_weights)
        case "quantile":
            return Quantiles.of(width, examples, t.attributes, t.quantiles, t.quantile_tail)
        case _:
            return None
