"""Losses: values by hand, symmetries, TRL's formula, a brute-force Plackett-Luce, gradients."""

import math
from itertools import combinations, permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assay.errors import DataError
from assay.train.losses import (
    LARGEST_TIE,
    bradley_terry,
    centering,
    per_example,
    plackett_luce,
    scaled_bradley_terry,
    smooth,
)

rewards = st.floats(-30, 30)
probabilities = st.floats(0, 1)


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def all_true(shape: tuple[int, ...]) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


def test_bradley_terry_by_hand() -> None:
    # gaps 0, 1, -2: log(1 + e^-gap)
    expected = t(math.log(2), math.log(1 + math.exp(-1)), math.log(1 + math.exp(2)))
    torch.testing.assert_close(bradley_terry(t(1, 2, 0), t(1, 1, 2)), expected)


def test_soft_label_by_hand() -> None:
    # q = 3/4 at gap ln 3: p = 3/4, so the loss is the entropy of (3/4, 1/4)
    loss = bradley_terry(t(math.log(3)), t(0), probability=t(0.75))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    torch.testing.assert_close(loss, t(entropy))


def test_bradley_terry_is_trl_formula() -> None:
    # TRL 1.16, reward_trainer.py, with center_rewards_coefficient 0.01
    generator = torch.Generator().manual_seed(0)
    chosen, rejected, margin = torch.randn(3, 64, generator=generator)
    trl = -torch.nn.functional.logsigmoid(chosen - rejected - margin).mean()
    trl = trl + 0.01 * torch.mean((chosen + rejected) ** 2)
    ours = bradley_terry(chosen, rejected, margin=margin) + 0.01 * centering(chosen, rejected)
    torch.testing.assert_close(ours.mean(), trl)


def test_soft_labels_equal_binary_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(1)
    chosen, rejected, margin = torch.randn(3, 64, generator=generator)
    q = torch.rand(64, generator=generator)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(
        chosen - rejected - margin, q, reduction="none"
    )
    torch.testing.assert_close(bradley_terry(chosen, rejected, q, margin), bce)


@given(rewards, rewards, probabilities, st.floats(-3, 3))
def test_swapping_the_sides_with_their_label_changes_nothing(
    chosen: float, rejected: float, q: float, margin: float
) -> None:
    one = bradley_terry(t(chosen), t(rejected), t(q), t(margin))
    other = bradley_terry(t(rejected), t(chosen), t(1 - q), t(-margin))
    torch.testing.assert_close(one, other)


@given(rewards, rewards, probabilities, st.floats(-100, 100))
def test_a_constant_added_to_both_sides_changes_nothing(
    chosen: float, rejected: float, q: float, constant: float
) -> None:
    shifted = bradley_terry(t(chosen + constant), t(rejected + constant), t(q))
    torch.testing.assert_close(shifted, bradley_terry(t(chosen), t(rejected), t(q)))


@given(st.floats(0.02, 0.98), st.floats(-1, 1))
def test_the_soft_label_loss_is_smallest_where_its_probability_is_met(
    q: float, margin: float
) -> None:
    gap = t(math.log(q / (1 - q)) + margin).requires_grad_()
    bradley_terry(gap, t(0), t(q), t(margin)).sum().backward()
    assert gap.grad is not None
    torch.testing.assert_close(gap.grad, t(0), atol=1e-12, rtol=0)


def test_a_certain_soft_label_is_the_plain_loss() -> None:
    chosen, rejected = t(3, -1), t(1, 4)
    torch.testing.assert_close(
        bradley_terry(chosen, rejected, t(1, 1)), bradley_terry(chosen, rejected)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("gap", [-1e4, 1e4])
def test_huge_gaps_stay_finite_in_value_and_gradient(dtype: torch.dtype, gap: float) -> None:
    chosen = torch.tensor([gap, gap], dtype=dtype, requires_grad=True)
    rejected = torch.zeros(2, dtype=dtype)
    q = torch.tensor([1.0, 0.3])
    losses = torch.stack(
        [
            bradley_terry(chosen, rejected, q),
            bradley_terry(chosen, rejected),
            scaled_bradley_terry(chosen, rejected, torch.tensor([3.0, 0.0]), q),
            plackett_luce(torch.stack([chosen, rejected], 1), all_true((2, 2))),
            centering(chosen, rejected),
        ]
    )
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all()
    (gradient,) = torch.autograd.grad(losses.sum(), chosen)
    # centring alone has a slope of 2e4 there, which float16 holds
    assert torch.isfinite(gradient).all()


def test_half_precision_is_computed_in_float32() -> None:
    # both are bfloat16 numbers; the loss in bfloat16 would keep three digits
    chosen, rejected = torch.tensor([3.015625]), torch.tensor([3.0])
    exact = bradley_terry(chosen, rejected)
    half = bradley_terry(chosen.to(torch.bfloat16), rejected.to(torch.bfloat16))
    torch.testing.assert_close(half, exact)


def test_smoothing_moves_mass_to_the_other_side() -> None:
    torch.testing.assert_close(smooth(t(1, 0, 0.5, 0.8), 0.1), t(0.9, 0.1, 0.5, 0.74))
    torch.testing.assert_close(smooth(t(1, 0.3), 0.0), t(1, 0.3))


def test_smoothed_labels_ask_for_a_finite_gap() -> None:
    gap = t(math.log(0.9 / 0.1)).requires_grad_()
    bradley_terry(gap, t(0), smooth(t(1), 0.1)).sum().backward()
    assert gap.grad is not None
    torch.testing.assert_close(gap.grad, t(0), atol=1e-12, rtol=0)


def test_strength_multiplies_and_a_missing_one_weighs_one() -> None:
    plain = bradley_terry(t(1, 1, 1, 1), t(0, 0, 0, 0), t(1, 1, 0.5, 1))
    scaled = scaled_bradley_terry(t(1, 1, 1, 1), t(0, 0, 0, 0), t(3, 1, 0, 0.5), t(1, 1, 0.5, 1))
    torch.testing.assert_close(scaled, plain * t(3, 1, 1, 0.5))


def test_ties_pull_the_sides_together_under_the_scaled_loss() -> None:
    chosen = t(2.0).requires_grad_()
    scaled_bradley_terry(chosen, t(0), strength=t(0), probability=t(0.5)).sum().backward()
    assert chosen.grad is not None
    assert chosen.grad.item() > 0.3


def test_centering_by_hand() -> None:
    torch.testing.assert_close(centering(t(3, -2), t(1, 2)), t(16, 0))


def kwise(values: Tensor, example: int = 0, num_examples: int = 1) -> Tensor:
    pairs = list(combinations(range(len(values)), 2))
    losses = bradley_terry(values[[i for i, _ in pairs]], values[[j for _, j in pairs]])
    return per_example(losses, torch.full((len(pairs),), example), num_examples)


def test_per_example_by_hand() -> None:
    losses = per_example(t(1, 2, 6, 5), torch.tensor([0, 2, 0, 0]), 4)
    torch.testing.assert_close(losses, t(4, 0, 2, 0))


@given(st.lists(rewards, min_size=2, max_size=6))
def test_the_kwise_gradient_is_the_mean_of_the_pair_gradients(values: list[float]) -> None:
    shared = t(*values).requires_grad_()
    (gradient,) = torch.autograd.grad(kwise(shared).sum(), shared)
    expected = torch.zeros_like(shared)
    pairs = list(combinations(range(len(values)), 2))
    for i, j in pairs:
        alone = t(values[i], values[j]).requires_grad_()
        (pair,) = torch.autograd.grad(bradley_terry(alone[:1], alone[1:]).sum(), alone)
        expected[i] += pair[0] / len(pairs)
        expected[j] += pair[1] / len(pairs)
    torch.testing.assert_close(gradient, expected)


def test_a_prompt_weighs_the_same_whatever_its_k() -> None:
    # equal rewards: every pair costs log 2, one pair or thirty-six
    for k in (2, 4, 9):
        torch.testing.assert_close(kwise(torch.zeros(k, dtype=torch.float64)), t(math.log(2)))


def test_repeating_every_pair_of_a_prompt_changes_nothing() -> None:
    losses, example = t(1, 2, 6, 5), torch.tensor([0, 0, 0, 1])
    repeated = per_example(losses.repeat(3), example.repeat(3), 2)
    torch.testing.assert_close(repeated, per_example(losses, example, 2))


def test_examples_do_not_leak_into_each_other() -> None:
    first, second = t(1.0, 0.0), t(3.0, 2.0, -4.0)
    together = kwise(first, 0, 2) + kwise(second, 1, 2)
    torch.testing.assert_close(together, torch.cat([kwise(first), kwise(second)]))


def test_weighted_pairs_by_hand() -> None:
    losses, weight = t(1, 2, 3, 4), t(1, 0.5, 2, 1)
    example = torch.tensor([0, 0, 1, 1])
    sums = per_example(weight * losses, example, 2)
    weights = per_example(weight, example, 2)
    whole = sums.sum() / weights.sum()
    torch.testing.assert_close(whole, torch.tensor((1 + 5) / (0.75 + 1.5), dtype=torch.float64))


def brute_plackett_luce(values: list[float], groups: list[int]) -> float:
    """Mean over every order that the ties allow of the textbook negative log-likelihood."""
    order = range(len(values))
    allowed = [
        p for p in permutations(order) if [groups[i] for i in p] == sorted(groups[i] for i in order)
    ]
    losses = [
        sum(math.log(sum(math.exp(values[j]) for j in p[k:])) - values[p[k]] for k in order)
        for p in allowed
    ]
    return sum(losses) / len(losses)


@given(st.lists(rewards, min_size=2, max_size=2))
def test_plackett_luce_of_two_is_bradley_terry(values: list[float]) -> None:
    loss = plackett_luce(t(*values)[None], all_true((1, 2)))
    torch.testing.assert_close(loss, bradley_terry(t(values[0]), t(values[1])))


@given(st.lists(rewards, min_size=2, max_size=2))
def test_a_tie_of_two_is_bradley_terry_at_one_half(values: list[float]) -> None:
    loss = plackett_luce(t(*values)[None], all_true((1, 2)), torch.tensor([[0, 0]]))
    torch.testing.assert_close(loss, bradley_terry(t(values[0]), t(values[1]), t(0.5)))


def test_plackett_luce_by_hand() -> None:
    # equal rewards: 3! equally likely orders
    torch.testing.assert_close(plackett_luce(t(1, 1, 1)[None], all_true((1, 3))), t(math.log(6)))


@settings(max_examples=60)
@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=5).flatmap(
        lambda values: st.tuples(
            st.just(values),
            st.lists(st.integers(0, 2), min_size=len(values), max_size=len(values)).map(sorted),
        )
    )
)
def test_ties_are_the_mean_over_their_orders(ranking: tuple[list[float], list[int]]) -> None:
    values, groups = ranking
    loss = plackett_luce(t(*values)[None], all_true((1, len(values))), torch.tensor([groups]))
    torch.testing.assert_close(loss, t(brute_plackett_luce(values, groups)))


def test_the_order_within_a_tie_does_not_matter() -> None:
    group = torch.tensor([[0, 1, 1, 1, 2]])
    one = plackett_luce(t(3, 1, 2, -1, 0)[None], all_true((1, 5)), group)
    other = plackett_luce(t(3, -1, 1, 2, 0)[None], all_true((1, 5)), group)
    torch.testing.assert_close(one, other)


def test_padding_changes_neither_loss_nor_gradient() -> None:
    short = t(1.0, -0.5, 0.25).requires_grad_()
    padded = torch.cat([short, t(math.nan, 1e4)])[None]
    rows = torch.cat([padded, t(5, 4, 3, 2, 1)[None], t(0, 0, 0, 0, 0)[None]])
    mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 5, [False] * 5])
    loss = plackett_luce(rows, mask)
    torch.testing.assert_close(loss[0], plackett_luce(short[None], all_true((1, 3)))[0])
    assert loss[2] == 0
    (gradient,) = torch.autograd.grad(loss.sum(), short, retain_graph=True)
    (alone,) = torch.autograd.grad(plackett_luce(short[None], all_true((1, 3))).sum(), short)
    torch.testing.assert_close(gradient, alone)


def test_an_overlong_tie_is_refused_in_one_sentence() -> None:
    k = LARGEST_TIE + 1
    with pytest.raises(DataError, match=f"at most {LARGEST_TIE} responses, but a ranking ties {k}"):
        plackett_luce(torch.zeros(1, k), all_true((1, k)), torch.zeros(1, k, dtype=torch.long))


def test_gradients_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(2)
    chosen, rejected, q, margin = torch.rand(4, 5, dtype=torch.float64, generator=generator)
    chosen.requires_grad_()
    rejected.requires_grad_()
    example = torch.tensor([0, 0, 1, 1, 1])
    ranking = torch.randn(2, 5, dtype=torch.float64, generator=generator).requires_grad_()
    mask = torch.tensor([[True] * 5, [True] * 4 + [False]])
    group = torch.tensor([[0, 1, 1, 1, 2], [0, 0, 1, 2, 9]])

    assert torch.autograd.gradcheck(lambda c, r: bradley_terry(c, r, q, margin), (chosen, rejected))
    assert torch.autograd.gradcheck(
        lambda c, r: scaled_bradley_terry(c, r, 3 * margin, q), (chosen, rejected)
    )
    assert torch.autograd.gradcheck(centering, (chosen, rejected))
    assert torch.autograd.gradcheck(
        lambda c, r: per_example(bradley_terry(c, r), example, 2), (chosen, rejected)
    )
    assert torch.autograd.gradcheck(lambda x: plackett_luce(x, mask, group), (ranking,))
