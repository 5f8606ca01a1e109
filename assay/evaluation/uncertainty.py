"""Whether the deviations a scorer gives warn of its errors.

Works from scored items alone; knows nothing of ensembles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from assay.evaluation.suite import ScoredItem, SuiteSpec
from assay.stats import rejection, uncertainty_error_correlation

REJECTED = 0.2
"""The share of the most doubtful items whose rejection is measured."""


def doubt(item: ScoredItem) -> float:
    """How uncertain it is which response is best: ``√(s₁² + s₂²) / (r₁ - r₂)`` of the best two.

    Looks at no label. Infinite for equal rewards, 0 where nothing deviates.
    """
    assert item.stds is not None
    first, second = np.argsort(item.rewards)[::-1][:2]
    spread = float(np.hypot(item.stds[first], item.stds[second]))
    gap = item.rewards[first] - item.rewards[second]
    return spread / gap if gap > 0 else (float("inf") if spread else 0.0)


def uncertainty_figures(
    spec: SuiteSpec, scored: Sequence[ScoredItem], seed: int = 0
) -> dict[str, Any] | None:
    """The block ``uncertainty`` of ``results.json``; None where the scorer gives no deviation.

    ``error_correlation`` is Spearman's of doubt and an item's value being low; ``gain`` what the
    mean value gains when the most doubtful items are left to somebody else.
    """
    rows = [item for item in scored if item.stds is not None]
    measures = [spec.subset(item.subset).measure.of_item for item in rows]
    used = [(i, m) for i, m in zip(rows, measures, strict=True) if m is not None]
    if not used or len(rows) < len(scored):
        return None
    value = [measure(item) for item, measure in used]
    # infinite doubt sorts last, and ranks are all that counts
    doubts = np.array([doubt(item) for item, _ in used])
    finite = doubts[np.isfinite(doubts)]
    doubts = np.where(np.isfinite(doubts), doubts, finite.max(initial=0.0) + 1.0)
    clusters = [item.cluster for item, _ in used]
    kept = rejection(doubts, value, REJECTED, clusters, resamples=500, seed=seed)
    correlation = uncertainty_error_correlation(doubts, value, clusters, resamples=500, seed=seed)
    return {
        "std": float(np.mean([s for item, _ in used for s in item.stds or ()])),
        "error_correlation": correlation.to_dict(),
        "rejected_share": kept.share,
        "kept": kept.kept.to_dict(),
        "gain": kept.gain.to_dict(),
    }
