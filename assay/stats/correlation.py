"""Correlation of two columns, as a statistic that resampling takes."""

from __future__ import annotations

import numpy as np

from assay.stats.arrays import Floats


def pearson(rows: Floats) -> float:
    """Pearson's correlation of the two columns of ``(n, 2)``; ``nan`` where one does not vary."""
    x, y = (rows - rows.mean(axis=0)).T
    spread = np.sqrt((x @ x) * (y @ y))
    # rounding leaves a constant column a spread of some 1e-16 of its size
    return float(np.clip(x @ y / spread, -1, 1)) if spread > 1e-12 else float("nan")


def spearman(rows: Floats) -> float:
    """Pearson's correlation of the columns' ranks, equal values sharing theirs: Spearman 1904."""
    from scipy.stats import rankdata

    return pearson(rankdata(rows, axis=0))
