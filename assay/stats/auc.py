"""How well a number tells good responses from bad ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from assay.stats.arrays import Clusters, Floats, finite, nothing, same_length
from assay.stats.estimates import estimate_mean
from assay.types import Figure


def auc(rewards: ArrayLike, labels: ArrayLike, clusters: Clusters = None) -> Figure:
    """Share of (good, bad) pairs whose good response has the higher reward; equal ones count half.

    The area A under the ROC curve: Mann & Whitney 1947. With ``V_i`` the share of the other kind
    that response i is on the right side of, m good and n bad responses and G prompts,
    ``SE² = G/(G-1) Σ_g (Σ_good (V_i - A)/m + Σ_bad (V_j - A)/n)²``: DeLong et al. 1988, for
    clusters Obuchowski 1997. The figure's ``n`` counts responses.

    Args:
        labels: 1 good, 0 bad.
    """
    reward, label = finite("rewards", rewards), finite("labels", labels)
    same_length(rewards=reward, labels=label)
    is_good = label > 0.5
    good, bad = np.sort(reward[is_good]), np.sort(reward[~is_good])
    if not len(good) or not len(bad):
        return nothing()
    share = np.empty_like(reward)
    share[is_good] = _below(bad, reward[is_good])
    share[~is_good] = 1 - _below(good, reward[~is_good])
    area = float(share[is_good].mean())
    size = np.where(is_good, len(good), len(bad))
    return estimate_mean(area + len(reward) * (share - area) / size, clusters).figure((0.0, 1.0))


def _below(ordered: Floats, values: Floats) -> Floats:
    """Share of ordered numbers below each value, equal ones half."""
    below, up_to = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray((below + up_to) / (2 * len(ordered)))
