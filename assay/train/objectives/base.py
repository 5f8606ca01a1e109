"""What a loss may train beside the reward, and how both are trained as one module.

Most losses are functions of rewards alone. Some have parameters of their own (how reliable each
annotator is, how often there are ties) or read other heads on the same features (attributes,
quantiles, length). Such an ``Objective`` is trained by the same optimiser in the same loop. What
is left of it at the end is a record and one reward head.

Letters: R responses · D hidden width · E other outputs of a response · B comparisons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from assay.train.batch import pair_batch
from assay.train.encode import Example
from assay.train.losses import centering
from assay.train.resume import EvaluationRow


@dataclass(frozen=True)
class Readings:
    """Comparisons with what the model says of each of their responses."""

    examples: Sequence[Example]
    rewards: NDArray[np.float64]  # (R,)
    outputs: NDArray[np.float64]  # (R, E)


class Objective(nn.Module):
    """A loss with parameters of its own.

    Attributes:
        scalars: Its few parameters, trained at ``objective_lr``.
        heads: Its other outputs, trained as the reward head is; None where it has none.
    """

    needs_training_rewards = False
    """Whether ``finish`` and ``record`` want the rewards of the training responses."""

    keeps_head = False
    """Whether a combination of its outputs is added to the reward head, or stands in its place."""

    def __init__(self, scalars: Mapping[str, Tensor], heads: nn.Linear | None = None):
        super().__init__()
        self.scalars = nn.ParameterDict(
            {name: nn.Parameter(value.float()) for name, value in scalars.items()}
        )
        self.heads = heads

    def takes(self, example: Example) -> bool:
        """Whether a comparison says what this loss learns from."""
        return bool(example.preferences)

    def outputs(self, features: Float[Tensor, "R D"]) -> Float[Tensor, "R E"]:
        """What its heads say of responses."""
        if self.heads is None:
            return features.new_zeros(len(features), 0)
        outputs: Tensor = self.heads(features)
        return outputs

    def combination(self) -> Float[Tensor, "E"] | None:
        """Weights of its outputs in the reward; None where the reward head is all of it."""
        return None

    def losses(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R E"],
        examples: Sequence[Example],
    ) -> Float[Tensor, "B"]:
        """How badly what was judged is predicted, in training as on held-out data."""
        raise NotImplementedError

    def penalty(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R E"],
        examples: Sequence[Example],
    ) -> Tensor:
        """What training adds: one value a comparison, or one for all of them."""
        return rewards.new_zeros(())

    def finish(self, train: Readings) -> None:
        """Set what is computed over all training comparisons at the end, not trained."""

    def shift_rewards(self, shift: float) -> None:
        """Follow rewards that have all been moved by a constant."""

    def heldout(self, readings: Readings) -> EvaluationRow:
        """Held-out figures of its own; ``heldout/loss`` if any comparison says what it learns."""
        taken = torch.tensor([self.takes(example) for example in readings.examples])
        if not taken.any():
            return {}
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        with torch.no_grad():
            losses = self.losses(
                torch.from_numpy(readings.rewards).to(device),
                torch.from_numpy(readings.outputs).to(device),
                readings.examples,
            )
        return {"heldout/loss": float(losses[taken.to(device)].mean())}

    def record(self, train: Readings | None, heldout: Readings) -> dict[str, Any]:
        """What was learnt, for ``objective.json`` and the model card."""
        return {}


class Scorer(Protocol):
    """Features of some inputs, and the reward that a head reads from them."""

    def features(self, inputs: Any) -> Float[Tensor, "R D"]:
        """The states the head reads, one row a response."""
        ...

    def reward_of(self, features: Float[Tensor, "R D"]) -> Float[Tensor, "R"]:
        """The head's output."""
        ...


class CachedScorer(nn.Module):
    """A head on features that are there already."""

    def __init__(self, head: nn.Linear):
        super().__init__()
        self.head = head

    def features(self, inputs: Float[Tensor, "R D"]) -> Float[Tensor, "R D"]:
        """The inputs."""
        return inputs

    def reward_of(self, features: Float[Tensor, "R D"]) -> Float[Tensor, "R"]:
        """The head's output."""
        rewards: Tensor = self.head(features).squeeze(-1)
        return rewards


class Learner(nn.Module):
    """A scorer and an objective as one module, so that several processes synchronise both."""

    def __init__(self, scorer: nn.Module, head: nn.Module, objective: Objective, centre: float):
        super().__init__()
        self.scorer = scorer
        self.objective = objective
        self.centre = centre
        self.reduced = False
        object.__setattr__(self, "head", head)  # a part of the scorer, registered there
        if objective.combination() is not None and not objective.keeps_head:
            head.requires_grad_(False)  # the reward is made of other heads until the end

    head: nn.Module

    def forward(self, inputs: Any, examples: Sequence[Example]) -> Float[Tensor, "B"]:
        """One loss a comparison."""
        rewards, outputs = self.read(inputs)
        losses = self.objective.losses(rewards, outputs, examples)
        losses = losses + self.objective.penalty(rewards, outputs, examples)
        if self.centre:
            pairs = pair_batch(rewards, examples)
            losses = losses + self.centre * pairs.mean(centering(pairs.chosen, pairs.rejected))
        # processes wait for a gradient of every parameter, also where no comparison needed it
        return losses + 0.0 * sum(p.sum() for p in self.objective.parameters())

    def read(self, inputs: Any) -> tuple[Float[Tensor, "R"], Float[Tensor, "R E"]]:
        """Rewards and other outputs of responses, in float32."""
        scorer: Any = self.scorer
        features = scorer.features(inputs)
        with torch.autocast(features.device.type, enabled=False):
            outputs = self.objective.outputs(features.float())
            combination = None if self.reduced else self.objective.combination()
            if combination is None:
                return scorer.reward_of(features), outputs
            # preferences teach the combination; outputs learn only what they are to predict
            rewards = outputs.detach() @ combination
            if self.objective.keeps_head:
                rewards = rewards + scorer.reward_of(features)
            return rewards, outputs

    def numbers(self, inputs: Any) -> NDArray[np.float64]:
        """Rewards and other outputs as columns, ``(R, 1 + E)``, without gradients."""
        with torch.no_grad():
            rewards, outputs = self.read(inputs)
            return torch.cat([rewards[:, None], outputs], 1).double().cpu().numpy()

    def reduce(self) -> None:
        """Write the combination of the other heads into the reward head, once, at the end."""
        combination = self.objective.combination()
        if combination is None:
            return
        heads, head = self.objective.heads, self.head
        assert heads is not None
        old: Any = head
        with torch.no_grad():
            kept = float(self.objective.keeps_head)
            old.weight.copy_(kept * old.weight + combination[None] @ heads.weight)
            if old.bias is not None and heads.bias is not None:
                old.bias.copy_(kept * old.bias + combination @ heads.bias)
        head.requires_grad_(True)
        self.reduced = True
