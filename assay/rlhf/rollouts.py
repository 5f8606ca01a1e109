"""One step's responses: which prompts, what the policy says to them, and how a reference would.

Letters: P prompts of a step · K samples of a prompt · B = P·K responses · T tokens of a response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from assay.configs import PolicyTraining
from assay.data.contract import Ids, Tokens
from assay.data.trees import Tree, build_tree, fill, pack
from assay.errors import DataError
from assay.models.generate import generate
from assay.models.policy import Policy
from assay.models.policy_reader import PolicyReader, response_tokens
from assay.rlhf.records import Spoken
from assay.rlhf.values import ActorCritic
from assay.stats.arrays import Floats
from assay.types import Messages


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the policy reads it."""

    messages: Messages
    ids: Ids


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts there is room to answer, and how many there was none for."""

    kept: tuple[Prompt, ...]
    too_long: int

    @classmethod
    def of(cls, policy: Policy, prompts: Sequence[Messages]) -> Prompts:
        """As the policy's template writes them.

        Raises:
            DataError: If there is no prompt, or room for an answer to none of them.
        """
        if not prompts:
            raise DataError("There are no prompts; a policy is trained on answers to some.")
        every = [Prompt(p, policy.prompt_ids(p)) for p in prompts]
        limit = policy.context
        kept = tuple(p for p in every if limit is None or len(p.ids) < limit)
        if not kept:
            raise DataError(
                f"All {len(every):,} prompts fill the {limit:,} tokens that {policy.name} can "
                "read, so there is no room for an answer; shorten them."
            )
        return cls(kept, len(every) - len(kept))

    def of_step(self, step: int, count: int, seed: int) -> list[int]:
        """The numbers of a step's prompts: seeded permutations of all, one after another."""
        total = len(self.kept)
        places = range(step * count, (step + 1) * count)
        epochs = {e: _permutation(seed, e, total) for e in {p // total for p in places}}
        return [int(epochs[p // total][p % total]) for p in places]


def _permutation(seed: int, epoch: int, total: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(total)


@dataclass(frozen=True, slots=True)
class Read:
    """A step's responses token by token, before an update: ``(T,)`` of each of B.

    ``trees`` are the prompts with their samples, in order; ``values`` what was expected before
    each token, None without a value model.
    """

    trees: tuple[Tree, ...]
    old: tuple[Floats, ...]
    reference: tuple[Floats, ...]
    values: tuple[Floats, ...] | None


def sample(
    policy: Policy, prompts: Sequence[Prompt], settings: PolicyTraining, seed: int
) -> tuple[Spoken, list[list[Tokens]]]:
    """K responses to each prompt; the reference's log-probabilities are still missing.

    Args:
        seed: Of this step's samples.
    """
    groups = generate(
        policy,
        [p.ids for p in prompts],
        samples=settings.samples,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        stop=settings.stop,
        seed=seed,
        batch_size=settings.batch_size,
    )
    flat = [g for group in groups for g in group]
    said = tuple(g.logprobs.astype(np.float64) for g in flat)
    spoken = Spoken(
        prompts=tuple(p.messages for p in prompts for _ in range(settings.samples)),
        texts=tuple(g.text for g in flat),
        ids=tuple(g.ids for g in flat),
        logprobs=said,
        reference=said,
        ended=np.array([g.ended for g in flat]),
    )
    tokens = [
        [response_tokens(p.ids, g.ids) for g in group]
        for p, group in zip(prompts, groups, strict=True)
    ]
    return spoken, tokens


def read(
    module: ActorCritic, spoken: Spoken, tokens: Sequence[Sequence[Tokens]], budget: int
) -> Read:
    """Log-probabilities by the policy and its reference, and values, of the responses sampled.

    Where nothing is valued the policy's are the sampler's own: a forward is saved.
    """
    reader: PolicyReader = module.reader
    trees = [build_tree(group) for group in tokens]
    counts = [[t - s for t, s in zip(tree.lengths, tree.starts, strict=True)] for tree in trees]
    old: list[list[Floats]] = [[] for _ in trees]
    reference: list[list[Floats]] = [[] for _ in trees]
    values: list[list[Floats]] = [[] for _ in trees]
    for row in fill([tree.num_tokens for tree in trees], budget):
        packed = pack([trees[t] for t in row])
        _deal(reference, row, counts, reader.reference(packed))
        if module.values is None:
            continue
        with torch.no_grad():
            said, valued = module(packed)
        _deal(old, row, counts, said)
        _deal(values, row, counts, valued)
    known = module.values is not None
    return Read(
        tuple(trees),
        tuple(v for group in old for v in group) if known else spoken.logprobs,
        tuple(v for group in reference for v in group),
        tuple(v for group in values for v in group) if known else None,
    )


def _deal(
    into: list[list[Floats]],
    row: Sequence[int],
    counts: Sequence[Sequence[int]],
    flat: torch.Tensor,
) -> None:
    """The numbers of a packed row to the responses they are of."""
    numbers = flat.detach().double().cpu().numpy()
    start = 0
    for tree in row:
        for count in counts[tree]:
            into[tree].append(numbers[start : start + count])
            start += count
