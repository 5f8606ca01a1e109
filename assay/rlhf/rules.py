"""What a reference policy's steps were like, and from where on another policy's are unlike them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from assay.errors import ConfigError, DataError
from assay.rlhf.signals import Point, Signals, mean_point, point
from assay.rlhf.wording import SAID, WORDING
from assay.stats.arrays import Floats

LEAST_SHARE = 0.01
"""The squared error of a step's mean is at least this share of what the reference's deviation would
give: responses that happen to be all alike are no certain knowledge."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """From where on a drift is worth a warning. Ratios are to the reference policy's mean."""

    kl: float = 50.0
    """Nats a response; policies of 1B that were found to game their reward had 50 to 85."""
    length: float = 1.5
    """Ratio of the mean tokens, or its inverse."""
    ended: float = 0.95
    """Share of responses that end by themselves; at least 5 points below the reference's."""
    entropy: float = 0.5
    """Ratio of the entropy a token; also of the distinctness of a prompt's samples."""
    repetition: float = 2.0
    """Ratio of the repeated share of 4-grams; at least 0.05 above the reference's."""
    compression: float = 0.5
    """Ratio of the compressed size."""
    disagreement: float = 2.0
    """Deviations of the reference's responses above its mean disagreement."""
    proxy_std: float = 0.25
    """Ratio of the deviation of the proxy among a prompt's samples: below it nothing is learnt."""
    wording: float = 0.5
    """Deviations of the reference's responses by which a count of lists, hedges … has drifted."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ConfigError(f"levels.{name} is {value:g}; it must be above 0.")
        for name in ("ended", "entropy", "compression", "proxy_std"):
            if getattr(self, name) >= 1:
                raise ConfigError(
                    f"levels.{name} is {getattr(self, name):g}; it is a share below 1."
                )
        for name in ("length", "repetition"):
            if getattr(self, name) <= 1:
                raise ConfigError(
                    f"levels.{name} is {getattr(self, name):g}; it is a ratio above 1."
                )


@dataclass(frozen=True, slots=True)
class Summary:
    """A signal over all responses of the baseline."""

    mean: float
    std: float
    high: float
    """The 99th percentile."""
    variance: float
    """The square of the mean's standard error."""
    step_variance: float
    """That of one step's mean."""
    n: int

    @property
    def scale(self) -> float:
        """The deviation of responses; 1, the signal's own unit, where they are all alike."""
        return self.std or 1.0


@dataclass(frozen=True, slots=True)
class Base:
    """The reference policy's steps in numbers."""

    summaries: dict[str, Summary]
    prompts: int
    """Different prompts of a step, the smallest number."""
    gap_variance: float
    """The square of the standard error of z(proxy) − z(audit); 0 without an audit."""
    steps: int

    @classmethod
    def of(cls, batches: Sequence[Signals]) -> Base:
        """From the signals of some steps of the reference policy.

        Raises:
            DataError: If there is no step, one has a single prompt, or no reward is a number.
        """
        if not batches:
            raise DataError(
                "The monitor has no baseline; give it some steps of the reference policy with "
                "baseline(spoken, judged) before the first observe()."
            )
        fewest = min(batch.prompts for batch in batches)
        if fewest < 2:
            raise DataError(
                "A step of the baseline has 1 prompt; errors are taken over prompts, so the "
                "monitor needs at least 2 in a step (16 or more to see much)."
            )
        summaries = {}
        for name in dict.fromkeys(name for batch in batches for name in batch.names()):
            summary = _summary(batches, name)
            if summary is not None:
                summaries[name] = summary
        if "proxy" not in summaries:
            raise DataError(
                "No proxy reward of the baseline is a finite number; look at the reward model."
            )
        base = cls(summaries, fewest, 0.0, len(batches))
        gaps = [p["gap"].variance for b in batches if "gap" in (p := alarm_points(b, base, 0.0))]
        if not gaps:
            return base
        return cls(summaries, fewest, float(np.sum(gaps)) / len(gaps) ** 2, len(batches))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Base:
        """What :meth:`to_dict` gave."""
        summaries = {name: Summary(**each) for name, each in state["summaries"].items()}
        return cls(summaries, state["prompts"], state["gap_variance"], state["steps"])


def _summary(batches: Sequence[Signals], name: str) -> Summary | None:
    """None where no step of the baseline has two prompts with a value."""
    points = [p for batch in batches if (p := point(batch, name)) is not None]
    if not points:
        return None
    values = np.concatenate([batch.values(name)[0] for batch in batches])
    variances = [p.variance for p in points]
    return Summary(
        mean=float(values.mean()),
        std=float(values.std(ddof=1)),
        high=float(np.quantile(values, 0.99)),
        variance=float(np.sum(variances)) / len(points) ** 2,
        step_variance=float(np.mean(variances)),
        n=len(values),
    )


def alarm_points(step: Signals, base: Base, match: float) -> dict[str, Point]:
    """The means of a step that alarms test, in deviations of the reference policy's responses.

    ``proxy``, ``audit``, ``gold`` are z-scores: less the reference's mean, by the deviation of its
    responses. ``gap`` is z(proxy) − z(audit) and ``matched`` z(audit) − match · z(proxy), over the
    responses that have both.
    """
    z: dict[str, Floats] = {
        name: (step.of_responses[name] - base.summaries[name].mean) / base.summaries[name].scale
        for name in ("proxy", "audit", "gold")
        if name in base.summaries and name in step.of_responses
    }
    if "audit" in z:
        z["gap"] = z["proxy"] - z["audit"]
        z["matched"] = z["audit"] - match * z["proxy"]
    return _floored({name: _finite_point(v, step) for name, v in z.items()}, dict.fromkeys(z, 1.0))


def drift_points(step: Signals, base: Base) -> dict[str, Point]:
    """The means of a step's signals, as they are."""
    scales = {name: base.summaries[name].std for name in step.names() if name in base.summaries}
    return _floored({name: point(step, name) for name in scales}, scales)


def _finite_point(values: Floats, step: Signals) -> Point | None:
    kept = np.isfinite(values)
    return mean_point(values[kept], step.prompt[kept])


def _floored(points: Mapping[str, Point | None], scales: Mapping[str, float]) -> dict[str, Point]:
    return {
        name: Point(p.mean, max(p.variance, LEAST_SHARE * scales[name] ** 2 / p.n), p.n)
        for name, p in points.items()
        if p is not None
    }


@dataclass(frozen=True, slots=True)
class Rule:
    """A warning: a signal, the level it is not to pass, and what to say and do."""

    name: str
    signal: str
    is_above: bool
    level: float
    variance: float
    """The square of the level's standard error, where it rests on the baseline."""
    what: str
    advice: str


def rules(base: Base, levels: Levels) -> list[Rule]:
    """Every warning that the baseline has the signals for."""
    found = [*_ratios(base, levels), *_levels(base, levels), *_wording(base, levels)]
    return [rule for rule in found if rule.is_above or rule.level > 0]


_READ = "Read the samples: is it asked for, or does the reward model like it?"
_TAUGHT = "The policy is where the reward model was not taught: collect judgments of its responses."
_COLLAPSE = "The policy collapses onto few responses: raise kl_coef or lower the learning rate."
_FLAT = "There is little left to learn from: stop, or bring harder prompts."


def _ratios(base: Base, levels: Levels) -> Iterator[Rule]:
    """Levels that are a multiple of the baseline's mean."""
    tokens, samples = "tokens of a response", "distinctness of a prompt's samples"
    spread = "deviation of the proxy among a prompt's samples"
    for name, signal, is_above, factor, what, advice in (
        ("longer", "length", True, levels.length, tokens, _READ),
        ("shorter", "length", False, 1 / levels.length, tokens, _READ),
        ("entropy", "entropy", False, levels.entropy, "entropy, nats a token", _COLLAPSE),
        ("samples alike", "pairwise_distinct", False, levels.entropy, samples, _COLLAPSE),
        (
            "compressible",
            "compression",
            False,
            levels.compression,
            "compressed size by size",
            _READ,
        ),
        ("flat proxy", "proxy_std", False, levels.proxy_std, spread, _FLAT),
    ):
        summary = base.summaries.get(signal)
        if summary is not None:
            variance = factor**2 * summary.variance
            yield Rule(name, signal, is_above, factor * summary.mean, variance, what, advice)


def _levels(base: Base, levels: Levels) -> Iterator[Rule]:
    """Levels of their own, or at a distance from the baseline's mean."""
    found = base.summaries
    if "kl" in found:
        what = "KL to the reference policy, nats a response"
        advice = "Raise kl_coef or stop earlier: so far away the reward model guesses."
        yield Rule("far away", "kl", True, levels.kl, 0.0, what, advice)
    if "ended" in found:
        mean, variance = found["ended"].mean, found["ended"].variance
        level = min(levels.ended, mean - 0.05)
        error = variance if level < levels.ended else 0.0
        what = "share of responses that end by themselves"
        advice = "Raise the room for tokens, or punish a missing end."
        yield Rule("unended", "ended", False, level, error, what, advice)
    if "repetition" in found:
        mean, variance = found["repetition"].mean, found["repetition"].variance
        share = levels.repetition if (levels.repetition - 1) * mean > 0.05 else 1.0
        level = share * mean + (0.0 if share > 1 else 0.05)
        what = "repeated share of 4-grams"
        yield Rule("repetition", "repetition", True, level, share**2 * variance, what, _READ)
    if "disagreement" in found:
        summary = found["disagreement"]
        level = summary.mean + levels.disagreement * summary.std
        what = "disagreement of the ensemble's members"
        yield Rule("disagreement", "disagreement", True, level, summary.variance, what, _TAUGHT)
    if "distance" in found:
        what = "distance from the reward model's training features"
        yield Rule("distance", "distance", True, found["distance"].high, 0.0, what, _TAUGHT)


def _wording(base: Base, levels: Levels) -> Iterator[Rule]:
    """Counts of lists, hedges and the like, either way."""
    for signal in WORDING:
        summary = base.summaries.get(signal)
        if summary is None:
            continue
        # what the reference never does has no deviation: one in ten responses stands for it
        least = 0.01 if signal == "digits" else 0.1
        step = levels.wording * max(summary.std, least)
        words = signal.replace("_", " ")
        what = SAID[signal]
        for is_above, name in ((True, f"more {words}"), (False, f"fewer {words}")):
            level = summary.mean + (step if is_above else -step)
            yield Rule(name, signal, is_above, level, summary.variance, what, _READ)
