"""Annotator-aware Bradley-Terry: how reliable each annotator is, and what else moves them.

Letters: A annotators · P judgments (preferences) · F nuisance terms.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from assay.configs import Nuisance
from assay.errors import ConfigError
from assay.train.batch import PairBatch, pair_batch
from assay.train.encode import Example, PairIndex, pair_index
from assay.train.losses import annotator_bradley_terry
from assay.train.objectives.base import Objective, Readings
from assay.train.objectives.intervals import Floats, figure, standard_errors

NUISANCE_PRECISION = 1.0
"""Of the Gaussian prior on nuisance coefficients: an annotator's is seldom beyond ±2."""


class Annotators(Objective):
    """CrowdBT on rewards: ``η_k = σ(a_k)`` and nuisance coefficients ``γ_k`` for each annotator.

    The prior of ``a_k`` is that of a Beta(α, β)-distributed η_k: highest at ``η = α/(α + β)``, as
    strong as α + β judgments, so an annotator with few judgments stays near it.
    """

    needs_training_rewards = True

    def __init__(
        self,
        counts: dict[str, int],
        nuisance: Sequence[Nuisance],
        length_scale: float,
        prior: tuple[float, float],
        total_weight: float,
    ):
        prior_logit = float(np.log(prior[0] / prior[1]))
        scalars = {"reliability": torch.full((len(counts),), prior_logit)}
        if nuisance:
            scalars["nuisance"] = torch.zeros(len(counts), len(nuisance))
        super().__init__(scalars)
        self.counts = counts
        self.numbers = {name: number for number, name in enumerate(counts)}
        self.terms = tuple(nuisance)
        self.length_scale = length_scale
        self.prior = prior
        self.prior_logit = prior_logit
        self.total_weight = total_weight

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        nuisance: Sequence[Nuisance],
        prior: tuple[float, float],
    ) -> "Annotators":
        """For the annotators of training comparisons; nuisance terms that never vary are left out.

        Raises:
            ConfigError: If it is not known who judged, if all was judged by one annotator or as a
                tie, or if no annotator judged twice.
        """
        nameless = sum(e.annotator is None for e in examples)
        if nameless:
            raise ConfigError(
                f"loss annotator needs to know who judged, and {nameless:,} of {len(examples):,} "
                "training comparisons name no annotator; name them, or use --loss bradley-terry."
            )
        counts = Counter(str(e.annotator) for e in examples for _ in e.preferences)
        index = pair_index(examples)
        if len(counts) < 2:
            raise ConfigError(
                f"loss annotator tells annotators apart, and all {len(index.chosen):,} training "
                f"judgments are by '{next(iter(counts), '')}'; use --loss bradley-terry."
            )
        if max(counts.values()) == 1:
            raise ConfigError(
                f"loss annotator needs annotators who judged more than once, and each of "
                f"{len(counts):,} judged one pair; use --loss bradley-terry."
            )
        if (index.probability == 0.5).all():
            raise ConfigError(
                f"loss annotator needs pairs with a better side, and all {len(index.chosen):,} "
                "training judgments are ties; look at the labels."
            )
        scale = float(np.sqrt(np.mean(index.length_difference**2)))
        varying = {"position": bool(positions(examples).any()), "length": scale > 0}
        return cls(
            dict(sorted(counts.items())),
            [term for term in nuisance if varying[term]],
            scale,
            prior,
            float(sum(e.weight for e in examples)),
        )

    def takes(self, example: Example) -> bool:
        """Whether it is known who judged."""
        return bool(example.preferences) and example.annotator is not None

    def losses(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R E"],
        examples: Sequence[Example],
    ) -> Float[Tensor, "B"]:
        """Negative log-likelihood of each judgment; an unknown annotator is the prior's."""
        pairs = pair_batch(rewards, examples)
        who = self._who(examples, pairs)
        reliability = self.scalars["reliability"]
        logits = torch.cat([reliability, reliability.new_tensor([self.prior_logit])])
        nuisance = None
        if self.terms:
            coefficients = self.scalars["nuisance"]
            known = torch.cat([coefficients, coefficients.new_zeros(1, len(self.terms))])
            nuisance = (known[who] * self._features(examples, pairs.index).to(who.device)).sum(1)
        return pairs.mean(
            annotator_bradley_terry(
                pairs.chosen, pairs.rejected, logits[who], nuisance, pairs.probability
            )
        )

    def penalty(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R E"],
        examples: Sequence[Example],
    ) -> Tensor:
        """Minus the log-prior of all annotators, spread over the training judgments."""
        a, (right, wrong) = self.scalars["reliability"], self.prior
        penalty = -(right * logsigmoid(a) + wrong * logsigmoid(-a)).sum()
        if self.terms:
            penalty = penalty + NUISANCE_PRECISION / 2 * self.scalars["nuisance"].square().sum()
        return penalty / self.total_weight

    def record(self, train: Readings | None, heldout: Readings) -> dict[str, Any]:
        """Each annotator's judgments, reliability and nuisance terms, with 95 % intervals."""
        assert train is not None
        parameters, slopes, who = self._slopes(train)
        right, wrong = self.prior
        rows = []
        for number, (name, count) in enumerate(self.counts.items()):
            values = parameters[number]
            reliability = 1 / (1 + np.exp(-values[0]))
            precision = [(right + wrong) * reliability * (1 - reliability)]
            precision += [NUISANCE_PRECISION] * len(self.terms)
            errors = standard_errors(slopes[who == number], np.array(precision))
            terms: dict[str, Any] = {
                term: figure(float(values[1 + at]), float(errors[1 + at]), count).to_dict()
                for at, term in enumerate(self.terms)
            }
            eta = figure(float(values[0]), float(errors[0]), count, _sigmoid)
            rows.append({"annotator": name, "reliability": eta.to_dict(), **terms})
        return {
            "prior": list(self.prior),
            "length_unit_tokens": self.length_scale if "length" in self.terms else None,
            "annotators": rows,
        }

    def _slopes(self, train: Readings) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Parameters ``(A, 1 + F)``, and each judgment's slopes ``(P, 1 + F)`` and annotator."""
        device = self.scalars["reliability"].device
        pairs = pair_batch(torch.from_numpy(train.rewards).to(device), train.examples)
        who = self._who(train.examples, pairs)
        parts = [self.scalars["reliability"].detach()[:, None]]
        parts += [self.scalars["nuisance"].detach()] if self.terms else []
        parameters = torch.cat(parts, 1).double()
        # one copy of the parameters a judgment, so that each judgment's slopes come out alone
        each = parameters[who].requires_grad_()
        nuisance = (each[:, 1:] * self._features(train.examples, pairs.index).to(device)).sum(1)
        losses = annotator_bradley_terry(
            pairs.chosen, pairs.rejected, each[:, 0], nuisance, pairs.probability
        )
        (slopes,) = torch.autograd.grad((losses * pairs.weight).sum(), each)
        return parameters.cpu().numpy(), slopes.cpu().numpy(), who.cpu().numpy()

    def _who(self, examples: Sequence[Example], pairs: PairBatch) -> Int[Tensor, "P"]:
        unknown = len(self.numbers)
        numbers = [self.numbers.get(str(e.annotator), unknown) for e in examples]
        return torch.tensor(numbers, device=pairs.example.device)[pairs.example]

    def _features(self, examples: Sequence[Example], index: PairIndex) -> Float[Tensor, "P F"]:
        table = np.zeros((len(index.chosen), len(self.terms)), dtype=np.float32)
        for at, term in enumerate(self.terms):
            lengths = index.length_difference
            table[:, at] = (
                positions(examples) if term == "position" else lengths / self.length_scale
            )
        return torch.from_numpy(table)


def positions(examples: Sequence[Example]) -> Floats:
    """Of each preference: 1 where chosen was shown first, −1 where rejected was, 0 unknown."""
    return np.array(
        [
            float(p.chosen == e.first_shown) - float(p.rejected == e.first_shown)
            for e in examples
            for p in e.preferences
        ]
    )


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))
