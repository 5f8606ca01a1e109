"""Figures of preference pairs: accuracy, likelihood, Brier score, and differences of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from assay.stats.arrays import (
    Clusters,
    as_pairs,
    codes,
    correct_share,
    preference_losses,
    same_length,
    sigmoid,
)
from assay.stats.intervals import cluster_mean, wilson
from assay.types import Figure


def accuracy(
    gaps: ArrayLike, probability: ArrayLike | None = None, clusters: Clusters = None
) -> Figure:
    """Share of pairs whose better response has the higher reward; equal rewards count half.

    A soft label above 0.5 says that chosen is better, one below that rejected is. Pairs labelled a
    tie have no better response and are left out: ``n`` counts the others. The interval is
    clustered; where all clusters agree, and the clustered one has no width, it is Wilson's over the
    clusters.
    """
    gap, q = as_pairs(gaps, probability)
    judged = q != 0.5
    correct = correct_share(gap, q)[judged]
    cluster = codes(clusters, len(gap))[judged]
    figure = cluster_mean(correct, cluster, bounds=(0.0, 1.0))
    if figure.low == figure.high:
        count = len(np.unique(cluster))
        by_cluster = wilson(figure.value * count, count)
        return Figure(figure.value, by_cluster.low, by_cluster.high, figure.n)
    return figure


def preference_nll(
    gaps: ArrayLike, probability: ArrayLike | None = None, clusters: Clusters = None
) -> Figure:
    """Mean Bradley-Terry loss ``-q log σ(Δ) - (1-q) log σ(-Δ)``; a coin has log 2."""
    gap, q = as_pairs(gaps, probability)
    return cluster_mean(preference_losses(gap, q), clusters)


def brier(
    gaps: ArrayLike, probability: ArrayLike | None = None, clusters: Clusters = None
) -> Figure:
    """Mean squared error ``(σ(Δ) - q)²`` of the prediction (Brier 1950); a coin has 0.25."""
    gap, q = as_pairs(gaps, probability)
    return cluster_mean((sigmoid(gap) - q) ** 2, clusters, bounds=(0.0, 1.0))


def accuracy_difference(
    gaps_a: ArrayLike,
    gaps_b: ArrayLike,
    probability: ArrayLike | None = None,
    clusters: Clusters = None,
) -> Figure:
    """Accuracy of A minus accuracy of B on the same pairs, with a paired, clustered interval."""
    a, q = as_pairs(gaps_a, probability, "gaps_a")
    b, _ = as_pairs(gaps_b, probability, "gaps_b")
    same_length(gaps_a=a, gaps_b=b)
    judged = q != 0.5
    difference = (correct_share(a, q) - correct_share(b, q))[judged]
    cluster = codes(clusters, len(a))[judged]
    return cluster_mean(difference, cluster, bounds=(-1.0, 1.0))
