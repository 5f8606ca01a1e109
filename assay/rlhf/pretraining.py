"""Other texts that a policy goes on learning: PPO-ptx (Ouyang et al. 2022, arXiv 2203.02155, §3.4).

Letters: N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from assay.data.contract import Ids, Tokens
from assay.data.trees import Tree, build_tree, pack
from assay.errors import DataError
from assay.models.policy import Policy
from assay.rlhf.update import StepTask


@dataclass(frozen=True)
class Texts:
    """Texts as the policy reads them, cut to what one forward pass has room for."""

    ids: tuple[Ids, ...]
    cut: int

    @classmethod
    def of(cls, policy: Policy, texts: Sequence[str], longest: int) -> Texts:
        """Tokens of every text; ``cut`` counts those that lost their end.

        Raises:
            DataError: If a text has fewer than two tokens: nothing in it can be predicted.
        """
        limit = min(longest, policy.context or longest)
        found, cut = [], 0
        for number, text in enumerate(texts, start=1):
            ids = policy.tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(ids) < 2:
                raise DataError(
                    f"Text {number} of the language-model loss has {len(ids)} tokens; wanted two "
                    "or more, for each is predicted from those before it."
                )
            found.append(np.asarray(ids[:limit], dtype=np.int32))
            cut += len(ids) > limit
        return cls(tuple(found), cut)

    def drawn(self, count: int, seed: Sequence[int]) -> list[Tree]:
        """Trees of some of the texts, drawn without replacement as far as there are so many."""
        draw = np.random.default_rng(list(seed))
        chosen = draw.choice(len(self.ids), size=count, replace=count > len(self.ids))
        return [build_tree([Tokens(self.ids[i], 1)]) for i in chosen]


@dataclass
class MixedTask:
    """A step's prompts, and after them texts whose mean loss a token counts ``coefficient`` times.

    Their weights are such that the whole is ``loss + coefficient · NLL`` when it is divided by the
    weight of the prompts in the update.
    """

    step: StepTask
    texts: Sequence[Tree]
    coefficient: float
    weight: float
    nll: list[float] = field(default_factory=list)

    @property
    def costs(self) -> list[int]:
        """Tokens of each tree."""
        return [*self.step.costs, *(tree.num_tokens for tree in self.texts)]

    @property
    def weights(self) -> list[float]:
        """Of the prompts their own; of a text its share of the tokens."""
        counts = [tree.num_tokens - 1 for tree in self.texts]
        share = self.coefficient * self.weight / max(sum(counts), 1)
        return [*self.step.weights, *(share * count for count in counts)]

    def losses(self, module: nn.Module, indexes: Sequence[int]) -> Tensor:
        """The losses of prompts, and the mean NLL of a text's tokens."""
        prompts = len(self.step.costs)
        own = [i for i in indexes if i < prompts]
        others = [i for i in indexes if i >= prompts]
        found: dict[int, Tensor] = {}
        if own:
            found |= dict(zip(own, self.step.losses(module, own), strict=True))
        if others:
            trees = [self.texts[i - prompts] for i in others]
            logprobs, _ = module(pack(trees), 1.0)
            sizes = [tree.num_tokens - 1 for tree in trees]
            means = [-part.mean() for part in logprobs.split(sizes)]
            self.nll += [float(m.detach()) for m in means]
            found |= dict(zip(others, means, strict=True))
        return torch.stack([found[i] for i in indexes])
