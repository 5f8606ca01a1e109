"""Train an ensemble: members made different on purpose, put on one scale, and held against another.

Letters: M members · B responses · P pairs.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from assay.configs import GAP_LOSSES, SINGLE_LOSSES, TOKEN_BUDGET, EnsembleTraining, RewardTraining
from assay.data.contract import Tokens
from assay.data.pairs import PreferencePairs, clusters_of
from assay.errors import ConfigError, DataError
from assay.models.backbones import cut_layers
from assay.models.ensemble import HeadEnsemble, TrunkEnsemble, upper_state
from assay.models.ensemble_checkpoint import Part
from assay.models.features import FeatureCache
from assay.models.probe import choose_engine
from assay.models.reward_model import RewardModel
from assay.models.scoring import Rewarding, forward_groups
from assay.models.views import View, check_views, deepest_first, default_views, view_width
from assay.stats import Aggregator, Standards
from assay.train.encode import EncodeReport, Example, encode
from assay.train.ensemble_report import EnsembleReport, RewardedSet, ensemble_report
from assay.train.fit import FitResult, fit
from assay.train.heads import HeadPlan, Heads, HeadsTask, bootstrap_weights
from assay.train.prepare import FROZEN_LAYERS, Progress, cached_features
from assay.train.reward import gap_scale, resolve, train_reward
from assay.train.tasks import LossSettings

REFERENCE = 1000
"""Most training comparisons whose responses put members on one scale."""


@dataclass(frozen=True)
class EnsembleResult:
    """The parts with all members, what puts them on one scale, and the report."""

    parts: tuple[Part, ...]
    standards: Standards
    aggregator: Aggregator
    report: EnsembleReport
    training: EnsembleTraining
    encoding: EncodeReport
    fits: tuple[FitResult, ...]

    @property
    def members(self) -> int:
        """M."""
        return len(self.standards.mean)

    def __str__(self) -> str:
        return str(self.report)


def train_ensemble(
    models: Sequence[RewardModel],
    train: PreferencePairs,
    heldout: PreferencePairs,
    training: EnsembleTraining | None = None,
    *,
    shifted: PreferencePairs | None = None,
    directory: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> EnsembleResult:
    """Train an ensemble of reward models on preference pairs or rankings.

    Args:
        models: One model, from which all members start; with diversity ``backbones`` one for each.
        shifted: Pairs unlike the training data, on which diversity is measured as well.
        directory: Where metrics and resume points go; None keeps none.
        resume: Go on from the resume points in ``directory``.

    Raises:
        ConfigError: If settings do not fit each other.
        DataError: If no pair is left after the truncation policy, or a member learned nothing.
        TrainingError: If a loss becomes NaN or infinite.
    """
    training = training or EnsembleTraining()
    check_ensemble(training, len(models))
    aggregator = Aggregator(training.aggregator, training.strength, training.ddof)
    job = _Job(train, heldout, training, directory, resume, progress)
    parts, fits = _PARTS[training.diversity](job, models)
    data = _Data(parts, train, heldout, shifted, training.mode == "frozen", progress)
    standards = Standards.fit(data.reference)
    report = ensemble_report(data.sets(standards), standards, aggregator)
    return EnsembleResult(
        parts=tuple(parts),
        standards=standards,
        aggregator=aggregator,
        report=report,
        training=training,
        encoding=data.train.encoding,
        fits=tuple(fits),
    )


def check_ensemble(training: EnsembleTraining, models: int) -> None:
    """Refuse settings that cannot work.

    Raises:
        ConfigError: With one sentence.
    """
    kind, mode = training.diversity, training.mode
    if training.members < 2 and kind != "backbones":
        raise ConfigError(f"members is {training.members}; an ensemble has at least 2.")
    if kind == "backbones" and models < 2:
        raise ConfigError("diversity backbones wants a backbone for each member; name 2 or more.")
    if kind != "backbones" and models != 1:
        raise ConfigError(
            f"diversity {kind} starts all members from one backbone, and {models} were named; "
            "use --diversity backbones."
        )
    if kind in ("heads", "layers") and mode != "frozen":
        raise ConfigError(f"diversity {kind} trains frozen heads, and the mode is {mode}.")
    if kind == "seeds" and mode == "frozen":
        raise ConfigError(
            "diversity seeds trains whole members; use --mode lora or full, or --diversity heads."
        )
    if kind == "lora" and mode == "full":
        raise ConfigError("diversity lora trains adapters, and the mode is full; leave it out.")
    if kind in ("heads", "layers") and training.loss not in GAP_LOSSES:
        raise ConfigError(
            f"several heads are trained on gaps, which {training.loss} is not; use one of "
            f"{', '.join(GAP_LOSSES)}."
        )
    if training.loss in SINGLE_LOSSES:
        raise ConfigError(
            f"an ensemble is measured on pairs, and loss {training.loss} takes single responses; "
            "use a loss of pairs."
        )
    if training.augment != "none" and kind in ("heads", "layers"):
        raise ConfigError(
            f"augment {training.augment} is for single models and whole members; leave it out."
        )
    if kind in ("heads", "layers") and training.centering:
        raise ConfigError(
            "several heads are trained on gaps, which centering cannot move; leave it out: members "
            "are centred on reference responses anyway."
        )
    if not 0 < training.feature_share <= 1:
        raise ConfigError(
            f"feature_share is {training.feature_share}; it is a share above 0, at most 1."
        )
    if training.l2_spread < 1:
        raise ConfigError(f"l2_spread is {training.l2_spread}; it is a factor of 1 or more.")
    if not 0 < training.shared_layers < 1:
        raise ConfigError(
            f"shared_layers is {training.shared_layers}; it is a share between 0 and 1."
        )
    if training.views and kind != "layers":
        raise ConfigError(f"views are for diversity layers, and it is {kind}; leave them out.")
    if training.weight_average and kind in ("layers", "backbones"):
        raise ConfigError(
            f"members of diversity {kind} have weights that mean different things; their average "
            "is no model. Use heads, lora or seeds."
        )


@dataclass(frozen=True)
class _Job:
    """What every way of making members takes."""

    train: PreferencePairs
    heldout: PreferencePairs
    training: EnsembleTraining
    directory: Path | None
    resume: bool
    progress: Progress | None

    def place(self, name: str) -> Path | None:
        """Where a member keeps its own metrics and resume points."""
        return self.directory / "members" / name if self.directory else None

    def reward_training(self, **changes: Any) -> RewardTraining:
        """The settings of one member."""
        own = {f.name: getattr(self.training, f.name) for f in fields(RewardTraining)}
        return RewardTraining(**{**own, **changes})


def _heads(job: _Job, models: Sequence[RewardModel]) -> tuple[list[Part], list[FitResult]]:
    """Many heads on one frozen backbone, on the states of one view or of several."""
    (model,) = models
    training = job.training
    total = int(model.network.config.get_text_config().num_hidden_layers)
    if training.diversity == "layers":
        views = [View.parse(text) for text in training.views]
        views = deepest_first(views) if views else default_views(total, training.members)
    else:
        pooling: Any = training.pooling
        views = [View(training.layers or max(1, round(FROZEN_LAYERS * total)), pooling)]
    check_views(model, views)
    model.set_engine(choose_engine(model, training.engine, gradients=False))
    cut_layers(model.network, max(view.layer for view in views))
    model.provenance = {**model.provenance, "mode": "frozen"}
    examples, _ = encode_pairs(model, job.train)
    held, _ = encode_pairs(model, job.heldout)
    tokens = [t for e in (*examples, *held) for t in e.tokens]
    features = cached_features(model, tokens, job.progress, views)
    split = sum(len(e.lengths) for e in examples)
    scale = view_scales(model, features[:split], examples, views)
    scaled = (features - features[:split].mean(0)) * scale
    plan = head_plan(model, examples, views, training)
    settings = resolve(job.reward_training(mode="frozen"), examples)
    # the loop clips the norm over all heads together
    settings = replace(settings, max_grad_norm=settings.max_grad_norm * training.members**0.5)
    heads = Heads(plan.mask, plan.seeds)
    rate = training.noise_rate or 0.0
    loss = LossSettings(training.loss, training.label_smoothing, noise_rate=rate)
    task = HeadsTask(heads, plan, examples, scaled[:split], held, scaled[split:], loss)

    def on_step(step: int, steps: int, _examples: int, _tokens: int) -> None:
        if job.progress:
            job.progress("train", step, steps, 0)

    result = fit(
        task,
        heads,
        settings,
        directory=job.directory,
        resume=job.resume,
        fingerprint={
            **{f.name: getattr(training, f.name) for f in fields(EnsembleTraining)},
            "backbone": model.backbone_name,
            "data": job.train.digest,
            "heldout": job.heldout.digest,
            "contract": model.contract.digest,
            "views": [str(v) for v in views],
        },
        on_step=on_step,
    )
    weights = (heads.weight * heads.mask).detach().cpu() * torch.from_numpy(scale)
    _make_first(model, views[0], weights[0])
    return [HeadEnsemble(model, views, weights)], [result]


def _make_first(model: RewardModel, view: View, weight: torch.Tensor) -> None:
    """Make the trunk by itself the first member, which reads the states of its last layer."""
    if view.pooling != model.contract.pooling:
        model.set_pooling(view.pooling)
    width = model.head.in_features
    with torch.no_grad():
        model.head.weight.copy_(weight[None, :width].to(model.head.weight.device))
        if model.head.bias is not None:
            model.head.bias.zero_()


def _lora(job: _Job, models: Sequence[RewardModel]) -> tuple[list[Part], list[FitResult]]:
    """Adapters above lower layers that stay as they are, one set a member."""
    (model,) = models
    total = int(model.network.config.get_text_config().num_hidden_layers)
    shared = min(max(1, round(job.training.shared_layers * total)), total - 1)
    states, fits = [], []
    first: RewardModel | None = None
    for number, member, result in _members(job, model, mode="lora", lora_layers=total - shared):
        fits.append(result)
        if number == 0:
            first = member
        else:
            states.append(upper_state(member, shared))
    assert first is not None
    return [TrunkEnsemble(first, shared, states)], fits


def _seeds(job: _Job, models: Sequence[RewardModel]) -> tuple[list[Part], list[FitResult]]:
    """Whole members that differ in their seed: head, adapters, order of the data."""
    done = list(_members(job, models[0]))
    return [member for _, member, _ in done], [result for _, _, result in done]


def _members(job: _Job, model: RewardModel, **changes: Any) -> Any:
    """(number, trained member, fit), each from a copy of the model with a seed of its own."""
    for number in range(job.training.members):
        member = copy.deepcopy(model) if number < job.training.members - 1 else model
        seed = job.training.seed + number
        yield number, *_trained(job, member, f"{number}", seed=seed, **changes)


def _backbones(job: _Job, models: Sequence[RewardModel]) -> tuple[list[Part], list[FitResult]]:
    """One member on each backbone."""
    parts: list[Part] = []
    fits = []
    for number, model in enumerate(models):
        member, result = _trained(job, model, f"{number}")
        parts.append(member)
        fits.append(result)
    return parts, fits


def _trained(
    job: _Job, model: RewardModel, name: str, **changes: Any
) -> tuple[RewardModel, FitResult]:
    result = train_reward(
        model,
        job.train,
        job.heldout,
        job.reward_training(**changes),
        directory=job.place(name),
        resume=job.resume,
        progress=job.progress,
    )
    return result.model, result.fit


_PARTS: dict[str, Callable[[_Job, Sequence[RewardModel]], tuple[list[Part], list[FitResult]]]] = {
    "heads": _heads,
    "layers": _heads,
    "lora": _lora,
    "seeds": _seeds,
    "backbones": _backbones,
}


def head_plan(
    model: RewardModel,
    examples: Sequence[Example],
    views: Sequence[View],
    training: EnsembleTraining,
) -> HeadPlan:
    """What each head sees and how it weighs the data.

    Views in turn, a share of their features, a bootstrap, and an L2 penalty of its own.
    """
    members = training.members
    spans, start = [], 0
    for view in views:
        spans.append((start, start + view_width(model, view)))
        start = spans[-1][1]
    mask = np.zeros((members, start), dtype=np.bool_)
    for m in range(members):
        low, high = spans[m % len(spans)]
        seen = np.arange(low, high)
        if training.feature_share < 1:
            rng = np.random.default_rng([training.seed, m])
            count = max(1, round(training.feature_share * len(seen)))
            seen = rng.choice(seen, count, replace=False)
        mask[m, seen] = True
    clusters = [e.cluster for e in examples]
    weights = np.ones((len(examples), members), dtype=np.float32)
    if training.bootstrap:
        for m in range(members):
            weights[:, m] = bootstrap_weights(clusters, seed=training.seed * 1000 + m)
    half = np.sqrt(training.l2_spread)
    spread = np.geomspace(1 / half, half, members) if half > 1 else np.ones(members)
    return HeadPlan(
        mask=mask,
        weights=weights,
        l2=(training.l2 * spread).astype(np.float32),
        seeds=tuple(training.seed + m for m in range(members)),
    )


def view_scales(
    model: RewardModel,
    features: NDArray[np.float32],
    examples: Sequence[Example],
    views: Sequence[View],
) -> NDArray[np.float32]:
    """One scale for the features of each view, as ``gap_scale`` has it, ``(D,)``."""
    parts, start = [], 0
    for view in views:
        width = view_width(model, view)
        scale = gap_scale(features[:, start : start + width], examples)
        parts.append(np.full(width, scale, dtype=np.float32))
        start += width
    return np.concatenate(parts)


def encode_pairs(model: Rewarding, pairs: PreferencePairs) -> tuple[list[Example], EncodeReport]:
    """Comparisons as token trees by the model's contract."""
    return encode(model.renderer, pairs.comparisons, clusters_of(pairs), share=not model.encoder)


def part_rewards(
    part: Part,
    tokens: Sequence[Tokens],
    frozen: bool,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Raw rewards by every member of a part, ``(B, M)``; of frozen ones from cached features."""
    if isinstance(part, HeadEnsemble):
        cache = FeatureCache.of(part.trunk, part.views)
        states = cache.get(part.trunk, tokens, token_budget=TOKEN_BUDGET)
        if progress:
            progress(len(tokens))
        rewards: NDArray[np.float64] = states @ part.weights.double().cpu().numpy().T
        return rewards
    if frozen and isinstance(part, RewardModel):
        states = FeatureCache.of(part).get(part, tokens, token_budget=TOKEN_BUDGET)
        if progress:
            progress(len(tokens))
        with torch.no_grad():
            return part.reward_of(torch.from_numpy(states)).double().cpu().numpy()[:, None]
    rewards = np.empty((len(tokens), *(part.reward_shape or (1,))))
    for indexes, values in forward_groups(part, tokens, TOKEN_BUDGET):
        rewards[indexes] = values.reshape(len(indexes), -1)
        if progress:
            progress(len(indexes))
    return rewards


class _Data:
    """Members' rewards of reference, held-out and shifted responses."""

    def __init__(
        self,
        parts: Sequence[Part],
        train: PreferencePairs,
        heldout: PreferencePairs,
        shifted: PreferencePairs | None,
        frozen: bool,
        progress: Progress | None,
    ):
        self.parts = parts
        self.frozen = frozen
        self.progress = progress
        self.train = self._rewarded(train, REFERENCE)
        self.heldout = self._rewarded(heldout)
        self.shifted = self._rewarded(shifted) if shifted is not None else None

    @property
    def reference(self) -> NDArray[np.float64]:
        return self.train.rewards

    def sets(self, standards: Standards) -> dict[str, RewardedSet]:
        """The sets the report is made from, rewards on one scale."""
        found = {"train": self.train, "heldout": self.heldout}
        if self.shifted is not None:
            found["shifted"] = self.shifted
        return {k: replace(s, rewards=standards.apply(s.rewards)) for k, s in found.items()}

    def _rewarded(self, pairs: PreferencePairs, limit: int | None = None) -> RewardedSet:
        """The comparisons all parts can read; ``examples`` are the first part's."""
        by_part, encodings = [], []
        for part in self.parts:
            examples, encoding = encode_pairs(part, pairs)
            by_part.append({e.number: e for e in examples})
            encodings.append(encoding)
        everywhere = set.intersection(*map(set, by_part))
        kept = [n for n in by_part[0] if n in everywhere]
        if not kept:
            raise DataError(
                "No comparison fits the longest conversation of every member; raise --max-length."
            )
        left_out = len(by_part[0]) - len(kept)
        used = kept[:limit]
        columns = []
        for part, found in zip(self.parts, by_part, strict=True):
            tokens = [t for n in used for t in found[n].tokens]
            columns.append(part_rewards(part, tokens, self.frozen, self._reporter(len(tokens))))
        # the length-only baseline is fitted on all examples, whatever was rewarded
        examples = [by_part[0][n] for n in (kept if limit else used)]
        return RewardedSet(examples, np.concatenate(columns, axis=1), encodings[0], left_out)

    def _reporter(self, total: int) -> Callable[[int], None] | None:
        if self.progress is None:
            return None
        done, progress = 0, self.progress

        def report(count: int) -> None:
            nonlocal done
            done += count
            progress("reward", done, total, 0)

        return report
