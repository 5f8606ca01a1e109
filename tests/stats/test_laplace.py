"""The closed-form posterior against autograd's Hessian, sampling, and what more data must do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.errors import DataError
from assay.stats import LastLayerLaplace


def made(pairs: int = 80, width: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    delta = rng.normal(size=(pairs, width))
    head = rng.normal(size=width)
    return delta, head


def test_the_variance_is_that_of_autograds_hessian() -> None:
    delta, head = made()
    weights = np.random.default_rng(1).random(80)
    tensor, w = torch.from_numpy(delta), torch.from_numpy(weights)

    def loss(h: torch.Tensor) -> torch.Tensor:
        return -(w * torch.nn.functional.logsigmoid(tensor @ h)).sum() + 0.5 * 0.7 * (h @ h)

    hessian = torch.autograd.functional.hessian(loss, torch.from_numpy(head)).numpy()
    laplace = LastLayerLaplace.fit(delta, delta @ head, 0.7, weights)
    assert laplace.factor @ laplace.factor.T == pytest.approx(hessian, rel=1e-9)
    new = np.random.default_rng(2).normal(size=(9, 6))
    wanted = np.einsum("pd,de,pe->p", new, np.linalg.inv(hessian), new)
    assert laplace.variance(new) == pytest.approx(wanted, rel=1e-9)


def test_probability_is_the_mean_over_the_posterior() -> None:
    delta, head = made(40)
    laplace = LastLayerLaplace.fit(delta, delta @ head, 1.0)
    new = np.random.default_rng(3).normal(size=(20, 6)) * 2
    covariance = np.linalg.inv(laplace.factor @ laplace.factor.T)
    draws = np.random.default_rng(4).multivariate_normal(head, covariance, 40_000)
    sampled = (1 / (1 + np.exp(-draws @ new.T))).mean(axis=0)
    found = laplace.probability(new @ head, new)
    assert found == pytest.approx(sampled, abs=0.02)
    plain = 1 / (1 + np.exp(-new @ head))
    assert (np.abs(found - 0.5) < np.abs(plain - 0.5)).all()


def test_more_pairs_leave_less_doubt_and_far_responses_more() -> None:
    few, head = made(50)
    many, _ = made(5000)
    new = np.random.default_rng(5).normal(size=(30, 6))
    doubt = [LastLayerLaplace.fit(d, d @ head, 1.0).variance(new) for d in (few, many)]
    assert (doubt[1] < 0.1 * doubt[0]).all()
    laplace = LastLayerLaplace.fit(few, few @ head, 1.0, mean=np.ones(6))
    assert laplace.std(np.ones((1, 6))) == pytest.approx([0])
    assert laplace.std(np.full((1, 6), 3.0)) == pytest.approx(2 * laplace.std(np.full((1, 6), 2.0)))


def test_a_singular_hessian_is_said() -> None:
    delta, head = made(4, 6)
    with pytest.raises(DataError, match="4 pairs in 6 features with prior precision 0 is singular"):
        LastLayerLaplace.fit(delta, delta @ head, 0.0)
    with pytest.raises(DataError, match="is singular"):
        LastLayerLaplace.fit(np.zeros((5, 3)), np.zeros(5), 0.0)
    assert LastLayerLaplace.fit(np.zeros((5, 3)), np.zeros(5), 2.0).variance(
        [[1, 0, 0]]
    ) == pytest.approx([0.5])
    with pytest.raises(DataError, match="one of each"):
        LastLayerLaplace.fit(delta, [1.0], 1.0)
