"""Settings and data of losses that do not go together: one sentence each."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from assay.configs import (
    LABELLED_LOSSES,
    RATED_LOSSES,
    SINGLE_LOSSES,
    LossName,
    RewardTraining,
)
from assay.errors import ConfigError
from assay.train.encode import Example
from assay.train.objectives.labels import labels_of

TIES: tuple[LossName, ...] = ("rao-kupper", "davidson")
AUGMENTED: tuple[LossName, ...] = (
    "bradley-terry",
    "margin",
    "scaled",
    "plackett-luce",
    "symmetric",
    "odin",
)
"""Losses that added pairs do not mislead: without annotators, noise, or ties that were called."""

OWN_SETTINGS: dict[str, tuple[LossName, ...]] = {
    "label_smoothing": ("bradley-terry", "margin", "scaled"),
    "noise_rate": ("noise-corrected",),
    "tie_parameter": TIES,
    "annotator_prior": ("annotator",),
    "nuisance": ("annotator",),
    "odin_length": ("odin",),
    "good_weight": LABELLED_LOSSES,
    "bad_weight": LABELLED_LOSSES,
    "attributes": RATED_LOSSES,
    "attribute_weights": ("regression",),
    "quantiles": ("quantile",),
    "quantile_tail": ("quantile",),
}
"""Settings that some losses alone have."""


def check_loss(training: RewardTraining) -> None:
    """Refuse loss settings that cannot work, alone or together.

    Raises:
        ConfigError: With one sentence.
    """
    t = training
    if not 0.0 <= t.label_smoothing < 0.5:
        raise ConfigError(f"label_smoothing is {t.label_smoothing}; it lies between 0 and 0.5.")
    defaults = {f.name: f.default for f in fields(RewardTraining)}
    for name, losses in OWN_SETTINGS.items():
        if t.loss not in losses and getattr(t, name) != defaults[name]:
            raise ConfigError(
                f"{name} has no meaning for loss {t.loss}; leave it out, or use "
                f"{' or '.join(losses)}."
            )
    if t.centering and t.loss in SINGLE_LOSSES:
        raise ConfigError(
            f"centering is for losses of pairs, and the loss is {t.loss}; leave it out."
        )
    _check_noise(t)
    if t.loss == "rao-kupper" and t.tie_parameter is not None and not t.tie_parameter > 1:
        raise ConfigError(f"tie_parameter is {t.tie_parameter:g}; rao-kupper's θ is more than 1.")
    if t.loss == "davidson" and t.tie_parameter is not None and not t.tie_parameter > 0:
        raise ConfigError(f"tie_parameter is {t.tie_parameter:g}; davidson's ν is more than 0.")
    right, wrong = t.annotator_prior
    if not 0 < wrong < right < np.inf:
        raise ConfigError(
            f"annotator_prior is {right:g} right and {wrong:g} wrong; both are more than 0, and "
            "right is the larger, or nothing tells reliable annotators from adversaries."
        )
    for name in ("odin_length", "good_weight", "bad_weight"):
        if not 0 < getattr(t, name) < np.inf:
            raise ConfigError(f"{name} is {getattr(t, name)}; it is more than 0.")
    if not 0 < t.objective_lr < 10:
        raise ConfigError(
            f"objective_lr is {t.objective_lr}; a learning rate lies between 0 and 10."
        )
    _check_ratings(t)
    _check_augmentation(t)


def _check_noise(t: RewardTraining) -> None:
    if t.loss != "noise-corrected":
        return
    if t.noise_rate is None:
        raise ConfigError(
            "loss noise-corrected needs the share of flipped labels; give --noise-rate."
        )
    if not 0 <= t.noise_rate < 0.5:
        raise ConfigError(
            f"noise_rate is {t.noise_rate:g}; it is at least 0 and below 0.5, where labels say "
            "nothing."
        )


def _check_ratings(t: RewardTraining) -> None:
    if not np.isfinite(t.attribute_weights).all():
        raise ConfigError(f"attribute_weights are {t.attribute_weights}; they are finite numbers.")
    inside = all(0 < tau < 1 for tau in t.quantiles)
    if not t.quantiles or not inside or list(t.quantiles) != sorted(set(t.quantiles)):
        raise ConfigError(
            f"quantiles are {t.quantiles}; they are different shares between 0 and 1, rising."
        )
    if not min(t.quantiles) <= t.quantile_tail <= 1:
        raise ConfigError(
            f"quantile_tail is {t.quantile_tail:g}; it lies between the lowest quantile "
            f"({min(t.quantiles):g}) and 1."
        )


def _check_augmentation(t: RewardTraining) -> None:
    if t.augment == "none":
        if t.augment_ratio != 1.0:
            raise ConfigError("augment_ratio has no meaning without augment; add --augment rrm.")
        return
    if t.loss not in AUGMENTED:
        raise ConfigError(
            f"augment {t.augment} adds pairs that loss {t.loss} would take for judgments; "
            f"use {', '.join(AUGMENTED)}."
        )
    if not 0 < t.augment_ratio <= 1:
        raise ConfigError(
            f"augment_ratio is {t.augment_ratio:g}; it is more than 0 and at most 1, or the added "
            "pairs, which are easy, outweigh the judged ones."
        )


def check_examples(
    training: RewardTraining, train: Sequence[Example], heldout: Sequence[Example]
) -> None:
    """Refuse comparisons that a loss cannot learn from, or that cannot be reported on.

    Raises:
        ConfigError: With one sentence.
    """
    if training.loss == "plackett-luce":
        _check_rankings(train)
    single = sum(not e.preferences for e in train)
    if single and training.loss not in SINGLE_LOSSES:
        raise ConfigError(
            f"loss {training.loss} learns from pairs, and {single:,} of {len(train):,} training "
            f"comparisons are single responses; use --loss {' or '.join(SINGLE_LOSSES)}."
        )
    if any(e.preferences for e in heldout):
        return
    if training.loss not in LABELLED_LOSSES:
        raise ConfigError("the held-out data holds no pair to report on; name some with --heldout.")
    labels = labels_of(heldout)
    if np.isnan(labels).any() or labels.min() == labels.max():
        raise ConfigError(
            f"the {len(labels):,} held-out responses are not labelled both good and bad; name "
            "others with --heldout, or raise --heldout-fraction."
        )


def _check_rankings(examples: Sequence[Example]) -> None:
    unranked = sum(e.ranking is None and not _is_plain_pair(e) for e in examples)
    if unranked:
        raise ConfigError(
            f"loss plackett-luce needs rankings, and {unranked:,} of {len(examples):,} comparisons "
            "have soft or partial labels; use --loss bradley-terry, which takes them."
        )


def _is_plain_pair(example: Example) -> bool:
    return len(example.preferences) == 1 and example.preferences[0].probability in (0.5, 1.0)
