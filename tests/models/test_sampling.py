"""The next token: its law, its log-probability and its stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from assay.models.sampling import BLOCK, choose, uniforms

LOGITS = torch.log(torch.tensor([[0.5, 0.25, 0.0625, 0.1875]]))


def drawn(temperature: float, top_p: float = 1.0, n: int = 4000) -> np.ndarray:
    points = torch.from_numpy(np.random.default_rng(0).random(n))
    tokens, _ = choose(LOGITS.expand(n, -1), points, temperature, top_p)
    return np.bincount(tokens.numpy(), minlength=4)


def test_tokens_fall_where_the_uniform_number_lies() -> None:
    points = torch.tensor([0.0, 0.49, 0.51, 0.74, 0.76, 0.82, 0.99], dtype=torch.float64)
    tokens, logprobs = choose(LOGITS.expand(7, -1), points, 1.0)
    assert tokens.tolist() == [0, 0, 1, 1, 2, 3, 3]
    assert logprobs.exp().tolist() == pytest.approx([0.5, 0.5, 0.25, 0.25, 0.0625, 0.1875, 0.1875])


def test_temperature_0_takes_the_likeliest_whatever_the_number() -> None:
    tokens, logprobs = choose(LOGITS, torch.tensor([0.999]), 0.0)
    assert tokens.tolist() == [0]
    assert logprobs.exp().item() == pytest.approx(0.5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_those_of_the_tempered_softmax(temperature: float) -> None:
    expected = torch.softmax(LOGITS[0].double() / temperature, 0).numpy()
    assert chisquare(drawn(temperature), 4000 * expected / expected.sum()).pvalue > 1e-3


def test_top_p_keeps_the_fewest_tokens_that_have_it() -> None:
    counts = drawn(1.0, top_p=0.74)  # 0.5 + 0.25
    assert counts[2:].tolist() == [0, 0]
    assert chisquare(counts[:2], [4000 * 2 / 3, 4000 / 3]).pvalue > 1e-3
    assert drawn(1.0, top_p=0.01).tolist() == [4000, 0, 0, 0]
    assert (drawn(1.0, top_p=0.76) > 0).tolist() == [True, True, False, True]


def test_log_probabilities_are_those_before_top_p() -> None:
    _, logprobs = choose(LOGITS / 0.7, torch.tensor([0.1]), 0.7, 0.3)
    expected = torch.log_softmax(LOGITS / 0.7 / 0.7, -1)[0, 0]
    assert logprobs.item() == pytest.approx(expected.item())


def test_a_token_without_probability_is_never_drawn_at_either_end() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]])
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert choose(logits.expand(2, -1), ends, 1.0)[0].tolist() == [1, 1]


@pytest.mark.parametrize("vocabulary", [3, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 1000])
@pytest.mark.parametrize("top_p", [1.0, 0.6])
def test_in_a_large_vocabulary_it_is_the_token_where_the_number_lies(
    vocabulary: int, top_p: float
) -> None:
    """Against the cumulated probabilities of the whole row, some of them 0."""
    generator = np.random.default_rng(vocabulary)
    logits = generator.normal(0.0, 2.0, (1, vocabulary))
    logits[0, generator.random(vocabulary) < 0.3] = -np.inf
    logits[0, vocabulary // 2] = 1.0
    points = np.concatenate([[0.0, 1 - 2**-53], generator.random(400)])
    rows = torch.from_numpy(logits).expand(len(points), -1)
    tokens, _ = choose(rows.float(), torch.from_numpy(points), 1.0, top_p)
    weights = torch.softmax(rows[0].float(), -1).double().numpy()
    if top_p < 1:
        order = np.argsort(-weights, kind="stable")
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= top_p]] = 0.0
    ends = np.cumsum(weights)
    wanted = np.searchsorted(ends, points * ends[-1], side="right")
    assert (weights[tokens.numpy()] > 0).all()
    # a number within rounding of an end may fall on either side of it
    near = np.abs(points[:, None] * ends[-1] - ends[None, :]).min(1) < 1e-6
    assert (tokens.numpy() == wanted)[~near].all()
    assert near.sum() < 20


def test_rounding_between_sums_never_draws_a_token_without_probability() -> None:
    """The sum of a block and its cumulated weights may differ in the last digit."""
    logits = 3 * torch.randn(4000, 1000, generator=torch.Generator().manual_seed(0))
    logits[:, -40:] = -torch.inf
    ends = torch.full((len(logits),), 1 - 2**-53, dtype=torch.float64)
    tokens, logprobs = choose(logits, ends, 1.0)
    assert int(tokens.max()) < 960
    assert torch.isfinite(logprobs).all()


def test_streams_begin_alike_whatever_their_length_and_differ_in_every_part() -> None:
    first = uniforms(1, 2, 3, 5)
    assert uniforms(1, 2, 3, 9)[:5].tolist() == first.tolist()
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0), (2, 1, 3)):
        assert not np.isclose(uniforms(*other, 5), first).any()
    assert uniforms(0, 2**63, 0, 1) != uniforms(0, 2**63 + 1, 0, 1)
