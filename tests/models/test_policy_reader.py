"""A policy's log-probabilities in packed trees are a plain forward's, in value and gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import tiny_policy

from assay.data.contract import Ids
from assay.data.trees import PackedTrees, build_tree, pack
from assay.models.generate import generate
from assay.models.policy import Policy
from assay.models.policy_reader import PolicyReader, response_tokens

NAMES = ("llama", "gemma3_text", "gemma2", "gpt2", "qwen2", "qwen3", "gpt_neox", "opt", "mistral")


@pytest.fixture(scope="module", params=NAMES)
def reader(request: pytest.FixtureRequest, tiny_backbone: Path) -> PolicyReader:
    return PolicyReader(tiny_policy(request.param, tiny_backbone), temperature=0.7)


def drawn(lengths: list[tuple[int, list[int]]], seed: int = 0) -> list[list[tuple[Ids, Ids]]]:
    """Prompts of such lengths with responses of such lengths."""
    generator = np.random.default_rng(seed)

    def ids(count: int) -> Ids:
        return generator.integers(3, 250, count).astype(np.int32)

    groups = []
    for prompt, responses in lengths:
        begun = ids(prompt)
        groups.append([(begun, ids(r)) for r in responses])
    return groups


GROUPS = drawn([(5, [4, 9, 1]), (1, [3]), (14, [12, 2])])


def packed(groups: list[list[tuple[Ids, Ids]]]) -> PackedTrees:
    return pack([build_tree([response_tokens(p, r) for p, r in group]) for group in groups])


def plainly(policy: Policy, prompt: Ids, response: Ids, temperature: float) -> torch.Tensor:
    """By one forward of one response, nothing shared and nothing padded."""
    whole = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
    network: Any = policy.network
    logits = network(whole, use_cache=False).logits[0, len(prompt) - 1 : -1]
    said = torch.log_softmax(logits / temperature, -1)
    return said.gather(1, whole[0, len(prompt) :, None])[:, 0]


def test_both_forwards_are_a_plain_one(reader: PolicyReader) -> None:
    wanted = torch.cat(
        [plainly(reader.policy, p, r, 0.7) for group in GROUPS for p, r in group]
    ).detach()
    for engine in ("tree", "padded"):
        reader.engine = engine
        found = reader(packed(GROUPS))
        torch.testing.assert_close(found.logprobs.detach(), wanted, atol=2e-5, rtol=0)
    reader.engine = "tree"


def test_gradients_are_those_of_the_plain_forward(reader: PolicyReader) -> None:
    trained = list(reader.trained().values())
    with torch.no_grad():  # adapters begin at zero, where half of their gradients vanish
        for parameter in trained:
            parameter.normal_(0.0, 0.05, generator=torch.Generator().manual_seed(1))
    weights = torch.randn(31, generator=torch.Generator().manual_seed(0))
    gradients = []
    for engine in ("tree", "padded"):
        reader.engine = engine
        reading = reader(packed(GROUPS))
        loss = (reading.logprobs * weights).sum() + reading.states.square().mean()
        gradients.append(torch.autograd.grad(loss, trained))
    reader.engine = "tree"
    for tree, plain in zip(*gradients, strict=True):
        assert float((tree - plain).norm()) <= 1e-3 * max(float(plain.norm()), 1e-3)


def test_the_reference_is_the_policy_before_training(tiny_backbone: Path) -> None:
    for rank in (4, None):
        policy = tiny_policy("llama", tiny_backbone)
        reader = PolicyReader(policy, lora_rank=rank)
        row = packed(GROUPS)
        before = reader(row).logprobs.detach()
        torch.testing.assert_close(reader.reference(row), before, atol=1e-6, rtol=0)
        with torch.no_grad():
            for parameter in reader.trained().values():
                parameter.add_(0.02)
        assert float((reader(row).logprobs - before).abs().max()) > 0.01
        torch.testing.assert_close(reader.reference(row), before, atol=1e-6, rtol=0)


def test_the_sampler_and_the_reader_agree(reader: PolicyReader) -> None:
    prompts = [group[0][0] for group in GROUPS]
    groups = generate(reader.policy, prompts, samples=3, max_new_tokens=12, temperature=0.7)
    row = pack(
        [
            build_tree([response_tokens(p, g.ids) for g in group])
            for p, group in zip(prompts, groups, strict=True)
        ]
    )
    said = np.concatenate([g.logprobs for group in groups for g in group])
    np.testing.assert_allclose(reader(row).logprobs.detach().numpy(), said, atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.lists(st.integers(1, 6), min_size=1, max_size=3)),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 99),
)
def test_what_a_response_is_packed_with_changes_nothing(
    tiny_backbone: Path, lengths: list[tuple[int, list[int]]], seed: int
) -> None:
    reader = _llama(tiny_backbone)
    groups = drawn(lengths, seed)
    together = reader(packed(groups)).logprobs.detach()
    alone = torch.cat([reader(packed([[one]])).logprobs for group in groups for one in group])
    torch.testing.assert_close(together, alone.detach(), atol=1e-5, rtol=0)


_READERS: dict[Path, PolicyReader] = {}


def _llama(at: Path) -> PolicyReader:
    if at not in _READERS:
        _READERS[at] = PolicyReader(tiny_policy("llama", at))
    return _READERS[at]


def test_merged_it_says_the_same(tiny_backbone: Path) -> None:
    reader = PolicyReader(tiny_policy("llama", tiny_backbone), lora_rank=4)
    with torch.no_grad():
        for parameter in reader.trained().values():
            parameter.add_(0.02)
    merged = PolicyReader(reader.merged(), lora_rank=4)
    row = packed(GROUPS)
    torch.testing.assert_close(
        merged(row).logprobs.detach(), reader(row).logprobs.detach(), atol=2e-5, rtol=0
    )


def test_saved_it_is_a_plain_policy_that_says_the_same(tiny_backbone: Path, tmp_path: Path) -> None:
    reader = PolicyReader(tiny_policy("llama", tiny_backbone), lora_rank=4)
    with torch.no_grad():
        for parameter in reader.trained().values():
            parameter.add_(0.02)
    loaded = Policy.load(str(reader.merged().save(tmp_path / "policy")))
    prompts = [group[0][0] for group in GROUPS]
    for one, other in zip(
        generate(loaded, prompts, max_new_tokens=9),
        generate(reader.policy, prompts, max_new_tokens=9),
        strict=True,
    ):
        assert one[0].ids.tolist() == other[0].ids.tolist()
    assert loaded.end_ids == reader.policy.end_ids


def test_where_the_tree_is_wrong_the_plain_forward_is_used(
    tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = PolicyReader(tiny_policy("llama", tiny_backbone))
    reader.check_engine(packed(GROUPS))
    assert (reader.engine, reader.why) == ("tree", "")
    tree = PolicyReader._tree

    def wrong(self: PolicyReader, network: Any, row: PackedTrees) -> Any:
        logits, states = tree(self, network, row)
        return logits * 1.1, states

    monkeypatch.setattr(PolicyReader, "_tree", wrong)
    reader.check_engine(packed(GROUPS))
    assert reader.engine == "padded"
    assert "log-probabilities differ by" in reader.why


def test_a_reader_that_nobody_checks_finds_a_wrong_tree_by_itself(
    tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = packed(GROUPS)
    wanted = PolicyReader(tiny_policy("llama", tiny_backbone), train=False).reference(row)
    tree = PolicyReader._tree

    def wrong(self: PolicyReader, network: Any, row: PackedTrees) -> Any:
        logits, states = tree(self, network, row)
        return logits * 1.1, states

    monkeypatch.setattr(PolicyReader, "_tree", wrong)
    reader = PolicyReader(tiny_policy("llama", tiny_backbone), train=False)
    torch.testing.assert_close(reader.reference(row), wanted, atol=2e-5, rtol=0)
    assert reader.engine == "padded"
