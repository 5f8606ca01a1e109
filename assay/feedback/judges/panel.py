"""Several judges as one: a quorum, weights learnt from people, and what people should settle.

Pure: knows nothing of who the judges are, nor of stores.

Letters: M members · N comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import ConfigError, DataError
from assay.feedback.judges.judge_agreement import halves
from assay.feedback.judges.judged import Number, log_odds
from assay.feedback.judges.pairs import Outcome, PairJudgment
from assay.stats.arrays import Floats, preference_losses, sigmoid
from assay.types import Messages

Pooling = Literal["probabilities", "log-odds"]
PanelOutcome = Literal["verdict", "tie", "split", "no-quorum"]
"""A ``tie`` was said to be one by every member; a ``split`` panel is even without that; a panel
with ``no-quorum`` has too few members that said anything: that is a failure, and no tie."""
AS_JUDGMENT: Mapping[PanelOutcome, Outcome] = {
    "verdict": "verdict", "tie": "tie", "split": "inconsistent", "no-quorum": "not-asked",
}  # fmt: skip
"""What a panel's outcome is among a judge's."""
LARGEST = 6.0
"""Log-odds a single member has at most in a pool of log-odds: a certain one would decide alone."""


@dataclass(frozen=True, slots=True)
class PanelMember:
    """A judge on a panel, by its name, and how much it counts."""

    name: str
    weight: Number = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ConfigError(
                f"The weight of panel member {self.name!r} is {self.weight}; wanted a number of 0 "
                "or more."
            )


@dataclass(frozen=True)
class Panel:
    """Members and how they become one.

    ``probabilities``: the weighted mean of the members' P, the default: a judge that answers in
    words says 0 or 1, whose log-odds are infinite, and whoever is wrong and certain should not
    outvote all. ``log-odds``: ``σ(s Σ w_k x_k / Σ w_k)`` with ``x = log p/(1-p)`` kept within
    ±LARGEST and s the ``sharpness``, for weights that :func:`calibrated_weights` found. Either way
    the sums are over the members that answered: those that failed are left out, and no opinion is
    made up for them. (Genest & Zidek 1986 compare the two pools.)

    Args:
        quorum: How many members must have answered.
    """

    members: tuple[PanelMember, ...]
    quorum: int
    pooling: Pooling = "probabilities"
    sharpness: Number = 1.0

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        if len(set(names)) < len(names):
            raise ConfigError(f"A panel names each member once; it has {', '.join(names)}.")
        if not 1 <= self.quorum <= len(names):
            raise ConfigError(
                f"A quorum of {self.quorum} cannot be had of {len(names)} members; wanted 1 to "
                f"{len(names)}."
            )
        if not any(member.weight > 0 for member in self.members):
            raise ConfigError("No member of the panel has a weight above 0; give one.")


@dataclass(frozen=True)
class PanelJudgment:
    """What a panel holds of two responses.

    ``disagreement`` is the weighted standard deviation of the members' probabilities, 0 to ½, and
    ``is_divided`` whether some are for one response and some for the other. ``used`` names the
    members that count, ``left_out`` the others with what their judgments came to.
    """

    pair: tuple[int, int]
    outcome: PanelOutcome
    probability: float | None
    disagreement: float | None
    is_divided: bool
    used: tuple[str, ...]
    left_out: Mapping[str, Outcome] = field(default_factory=dict)

    @property
    def choice(self) -> int | None:
        """The better response's index, of a verdict only."""
        if self.outcome != "verdict" or self.probability is None:
            return None
        return self.pair[0] if self.probability > 0.5 else self.pair[1]


def as_judgment(
    pair: tuple[int, int], outcome: PanelOutcome, probability: float | None
) -> PairJudgment:
    """What a panel holds of a pair as one judge's judgment: no order was shown to it."""
    return PairJudgment(pair, AS_JUDGMENT[outcome], probability, None, (), ())


def panel_of(judgments: Mapping[str, PairJudgment], panel: Panel) -> PanelJudgment:
    """What members' judgments of one pair come to.

    A member without a judgment counts as ``not-asked``. Members of weight 0 count for nothing, the
    quorum included.

    Raises:
        DataError: If a judgment is of no member, or they are of different pairs.
    """
    names = [member.name for member in panel.members]
    strange = [name for name in judgments if name not in names]
    pairs = {judgment.pair for judgment in judgments.values()}
    if strange or len(pairs) != 1:
        raise DataError(
            f"A panel of {', '.join(names)} got judgments of {', '.join(judgments) or 'nobody'} on "
            f"{len(pairs)} pairs; wanted its members' on one."
        )
    (pair,) = pairs
    left_out: dict[str, Outcome] = {}
    said: list[tuple[PanelMember, float]] = []
    for member in panel.members:
        judgment = judgments.get(member.name)
        if judgment is None:
            left_out[member.name] = "not-asked"
        elif judgment.probability is None:
            left_out[member.name] = judgment.outcome
        elif member.weight > 0:
            said.append((member, judgment.probability))
    used = tuple(member.name for member, _ in said)
    if len(said) < panel.quorum:
        return PanelJudgment(pair, "no-quorum", None, None, False, used, left_out)
    weights = np.array([member.weight for member, _ in said], dtype=np.float64)
    p = np.array([probability for _, probability in said])
    share = weights / weights.sum()
    mean = float(share @ p)
    pooled = round(mean if panel.pooling == "probabilities" else _of_log_odds(p, share, panel), 12)
    sides = np.sign(np.round(p - 0.5, 12))
    outcome: PanelOutcome = "verdict"
    if pooled == 0.5:
        outcome = "split" if sides.any() else "tie"
    return PanelJudgment(
        pair,
        outcome,
        pooled,
        float(np.sqrt(share @ (p - mean) ** 2)),
        bool((sides > 0).any() and (sides < 0).any()),
        used,
        left_out,
    )


def _of_log_odds(p: Floats, share: Floats, panel: Panel) -> float:
    mean = float(share @ _evidence(p)) * panel.sharpness
    return float(sigmoid(np.array([mean]))[0])


def _evidence(p: Floats) -> Floats:
    return np.clip(log_odds(p), -LARGEST, LARGEST)


@dataclass(frozen=True)
class PanelWeights:
    """Weights of members that sum to 1, and the sharpness, from people's labels of a sample.

    ``heldout_nll`` is the loss on prompts that the weights were not fitted on (two halves, each by
    the other's weights), ``equal_nll`` that of members weighed alike with a sharpness of 1, and
    ``best_member_nll`` that of the best single member by itself. ``left_out`` counts comparisons
    that not all members judged, or people did not decide on.
    """

    members: tuple[PanelMember, ...]
    sharpness: float
    heldout_nll: float
    equal_nll: float
    best_member_nll: float
    n: int
    left_out: int

    def panel(self, quorum: int) -> Panel:
        """The panel with these weights."""
        return Panel(self.members, quorum, "log-odds", self.sharpness)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "weights": {member.name: member.weight for member in self.members},
            "sharpness": self.sharpness,
            "heldout_nll": self.heldout_nll,
            "equal_nll": self.equal_nll,
            "best_member_nll": self.best_member_nll,
            "n": self.n,
            "left_out": self.left_out,
        }


def calibrated_weights(
    probabilities: Mapping[str, ArrayLike],
    human: Sequence[Number | None],
    prompt: Sequence[str],
    l2: Number = 1.0,
) -> PanelWeights:
    """Weights of a panel's members from comparisons that people labelled too.

    The logistic regression of people's preference on the members' log-odds, without an intercept
    (so that swapping the responses changes nothing) and with no weight below 0: minimise ``Σ_n NLL(
    σ(Σ_k w_k x_nk), q_n) + (l2/2) Σ_k (w_k - 1/M)²``. It is drawn towards the plain mean of the
    log-odds, which is what few labels are worth. Members that say the same share a weight; the
    usual weights by accuracy, ``log a/(1-a)`` (Nitzan & Paroush 1982), take them as independent
    and were worse on held-out labels. The sum of the weights is the sharpness.

    Args:
        probabilities: Each member's P(first is better), ``(N,)``, NaN where it failed.
        human: The share of people's votes for the first, None where nobody was asked.
        prompt: The prompt of each comparison; halves for the held-out loss are of prompts.

    Raises:
        DataError: If there are no two labelled prompts, or the columns do not fit.
    """
    names = tuple(probabilities)
    p = np.array([np.asarray(probabilities[name], dtype=np.float64) for name in names])
    q = np.array([np.nan if v is None else v for v in human], dtype=np.float64)
    if p.ndim != 2 or p.shape[1:] != q.shape or len(prompt) != len(q):
        raise DataError(
            f"Weights want one probability a member, one label and one prompt for each comparison, "
            f"got shape {p.shape}, {len(q):,} labels and {len(prompt):,} prompts."
        )
    whole = ~np.isnan(p).any(axis=0) & ~np.isnan(q)
    kept = [name for name, ok in zip(prompt, whole, strict=True) if ok]
    if len(set(kept)) < 2:
        raise DataError(
            f"{int(whole.sum()):,} comparisons of {len(set(kept)):,} prompts were judged by people "
            "and every member; weights want two prompts or more, so have more labelled."
        )
    x, labels = _evidence(p[:, whole]).T, q[whole]  # (N, M)
    weights = fitted_weights(x, labels, float(l2))
    total = float(weights.sum())
    equal = np.full(len(names), 1 / len(names))
    if not total:
        # no member tells anything: the plain mean, as flat as can be
        weights = equal
    return PanelWeights(
        tuple(
            PanelMember(name, float(w))
            for name, w in zip(names, weights / weights.sum(), strict=True)
        ),
        total,
        heldout_loss(x, labels, halves(kept), float(l2)),
        _loss(x @ equal, labels),
        min(_loss(x[:, k], labels) for k in range(len(names))),
        len(labels),
        len(q) - len(labels),
    )


def fitted_weights(x: Floats, q: Floats, l2: float) -> Floats:
    """The weights of :func:`calibrated_weights` for log-odds ``(N, M)`` and shares ``(N,)``."""
    from scipy.optimize import minimize

    start = np.full(x.shape[1], 1 / x.shape[1])

    def loss(w: Floats) -> tuple[float, Floats]:
        gap = x @ w
        value = preference_losses(gap, q).sum() + l2 / 2 * np.sum((w - start) ** 2)
        return float(value), x.T @ (sigmoid(gap) - q) + l2 * (w - start)

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start))
    return np.asarray(found.x, dtype=np.float64)


def heldout_loss(x: Floats, q: Floats, second: NDArray[np.bool_], l2: float) -> float:
    """The mean loss of each half by the weights fitted on the other."""
    gap = np.empty(len(q))
    for half in (second, ~second):
        gap[half] = x[half] @ fitted_weights(x[~half], q[~half], l2)
    return _loss(gap, q)


def _loss(gap: Floats, q: Floats) -> float:
    return float(preference_losses(gap, q).mean())


@dataclass(frozen=True, slots=True)
class PanelItem:
    """A comparison that a panel judged, with its texts in the order of the judgment's pair."""

    id: str
    prompt: Messages
    responses: tuple[Messages, Messages]
    judgment: PanelJudgment
    models: tuple[str | None, str | None] = (None, None)


@dataclass(frozen=True, slots=True)
class ForPeople:
    """A comparison that people should settle; ``priority`` is from 0 to 1, more is sooner."""

    item: PanelItem
    priority: float
    why: Literal["no-quorum", "split", "disagreement"]

    def to_row(self) -> dict[str, Any]:
        """As a line of a file of comparisons, which ``assay import`` reads."""
        return {
            "id": self.item.id,
            "prompt": [message.to_dict() for message in self.item.prompt],
            "responses": [
                {
                    "messages": [message.to_dict() for message in response],
                    **({"model": model} if model else {}),
                }
                for response, model in zip(self.item.responses, self.item.models, strict=True)
            ],
            "priority": self.priority,
            "why": self.why,
        }


def for_people(items: Iterable[PanelItem], threshold: Number = 0.2) -> list[ForPeople]:
    """What people should settle, the most urgent first; of equals the first given.

    Without a quorum nothing is known: priority 1. Else it is twice the disagreement, which is 1
    where half of the weight is sure of either response. A panel that is even without saying tie is
    taken too.

    What comes of it is no random sample: it must not be used to correct a win rate by itself.

    Args:
        threshold: The disagreement (0 to ½) above which people are asked.
    """
    found = []
    for item in items:
        judgment = item.judgment
        if judgment.disagreement is None:
            found.append(ForPeople(item, 1.0, "no-quorum"))
        elif judgment.disagreement > threshold:
            found.append(ForPeople(item, min(1.0, 2 * judgment.disagreement), "disagreement"))
        elif judgment.outcome == "split":
            found.append(ForPeople(item, min(1.0, 2 * judgment.disagreement), "split"))
    return sorted(found, key=lambda wanted: -wanted.priority)
