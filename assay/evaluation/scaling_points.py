"""The points of a scaling study: one training a model, size and seed, each kept when it is done.

Letters: M models · S sizes · R seeds · P held-out pairs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.configs import RewardTraining, Scaling
from assay.errors import ConfigError, DataError, TrainingError
from assay.evaluation.scaling_curves import Measured
from assay.formats.files import shown_name
from assay.formats.journal import Journal

if TYPE_CHECKING:
    from assay.data.contract import Renderer
    from assay.data.pairs import PreferencePairs
    from assay.models.reward_model import RewardModel
    from assay.progress import Report
    from assay.train.reward import RewardResult

DIGITS = 6
"""Significant digits of the gaps that are kept."""
FIGURES = ("accuracy", "nll", "length_only_accuracy")


@dataclass(frozen=True)
class ModelSize:
    """A backbone, and in frozen mode how many of its layers are kept."""

    backbone: str
    layers: int | None
    name: str


@dataclass(frozen=True)
class Point:
    """One finished training: what it was, and what it did on every held-out pair.

    ``gaps`` are chosen − rejected of the held-out pairs, in their order, to six digits;
    ``length_only`` is the sign of the length-only baseline's gap. ``weights`` is the digest of the
    whole backbone's, ``parameters`` counts what is left of it, the head included.
    """

    backbone: str
    layers: int | None
    size: int
    seed: int
    pairs: int
    prompts: int
    parameters: int
    weights: str
    figures: Mapping[str, Any]
    seconds: float
    gaps: Sequence[float]
    length_only: Sequence[int]

    @property
    def key(self) -> Key:
        """What tells a study's points apart."""
        return self.backbone, self.layers, self.size, self.seed


Key = tuple[str, int | None, int, int]


def models_of(config: Scaling) -> tuple[list[ModelSize], dict[str, Renderer]]:
    """The models of the study, and how each backbone renders, by its name; no weights are read.

    Raises:
        AssayError: If a backbone is missing, too shallow, or cannot read so much.
    """
    from assay.data.contract import Renderer, make_contract
    from assay.models.backbones import (
        check_context,
        load_config,
        load_tokenizer,
        resolve_backbone,
    )
    from assay.train.prepare import kept_layers

    names = [shown_name(backbone) for backbone in config.backbones]
    if len(set(names)) < len(names):  # two directories of one name
        names = list(config.backbones)
    models: list[ModelSize] = []
    renderers = {}
    for backbone, name in zip(config.backbones, names, strict=True):
        location = resolve_backbone(backbone)
        tokenizer = load_tokenizer(location)
        contract = make_contract(
            tokenizer, max_length=config.max_length, truncation=config.truncation
        )
        renderers[name] = Renderer(contract, tokenizer)
        settings = load_config(location)
        check_context(settings, config.max_length, backbone)
        if config.mode != "frozen":
            models.append(ModelSize(backbone, None, name))
            continue
        total = int(settings.get_text_config().num_hidden_layers)
        # deepest first: a frozen backbone is cut in place
        for layers in sorted(config.layers or (kept_layers(total),), reverse=True):
            if not 1 <= layers <= total:
                raise ConfigError(
                    f"--layers {layers} was asked of {backbone}, which has {total}; "
                    f"give 1 to {total}."
                )
            models.append(ModelSize(backbone, layers, f"{name}, {layers} of {total} layers"))
    return models, renderers


def readable(
    pairs: PreferencePairs, renderers: Mapping[str, Renderer]
) -> tuple[PreferencePairs, dict[str, str]]:
    """The comparisons that every backbone can read, and what each backbone could not.

    All models are then trained and measured on the same pairs.

    Raises:
        DataError: If nothing is left.
    """
    from assay.train.encode import encode

    numbers = np.arange(len(pairs.comparisons))
    kept = np.ones(len(numbers), dtype=bool)
    said = {}
    for name, renderer in renderers.items():
        examples, report = encode(renderer, pairs.comparisons, numbers.tolist(), share=False)
        kept &= np.isin(numbers, [example.number for example in examples])
        said[name] = str(report)
    if not kept.any():
        raise DataError(
            f"no comparison can be read by all of {', '.join(renderers)}; raise --max-length."
        )
    return pairs.select(np.flatnonzero(kept)), said


def train_points(
    config: Scaling,
    training: RewardTraining,
    models: Sequence[ModelSize],
    train: PreferencePairs,
    heldout: PreferencePairs,
    journal: Journal,
    progress: Report,
) -> list[Point]:
    """All points of the study: those the journal has, and the others trained now.

    Raises:
        ConfigError: If the journal's points are of other weights.
        TrainingError: If it is interrupted; what is finished is kept.
    """
    there = {point.key: point for point in (Point(**part) for part in journal.parts())}
    wanted = list(grid(config, models))
    sources: dict[str, _Source] = {}
    done = sum(_key(*point) in there for point in wanted)
    try:
        for model, size, seed in wanted:
            if _key(model, size, seed) in there:
                continue
            if model.backbone not in sources:
                sources.clear()  # one backbone in memory at a time
                sources[model.backbone] = _Source(config, training, model.backbone)
            source = sources[model.backbone]
            fresh = source.fresh(seed)
            _check_weights(config, source, there.values())
            subset = train.nested(size, seed)
            settings = replace(training, layers=model.layers, seed=seed)
            result, seconds = _train_point(fresh, settings, subset, heldout, progress)
            point = Point(
                backbone=model.backbone,
                layers=model.layers,
                size=size,
                seed=seed,
                pairs=result.encoding.pairs,
                prompts=len(set(subset.prompt_keys())),
                parameters=sum(p.numel() for p in result.model.network.parameters()),
                weights=source.weights,
                figures={name: result.heldout.figures[name].to_dict() for name in FIGURES},
                seconds=seconds,
                gaps=[float(f"{gap:.{DIGITS}g}") for gap in result.heldout.gaps],
                length_only=[int(sign) for sign in np.sign(result.heldout.length_only_gaps)],
            )
            journal.append(asdict(point))
            there[point.key] = point
            done += 1
            progress("points", done, len(wanted), 0)
    except KeyboardInterrupt:
        raise TrainingError(
            f"Interrupted; {done} of {len(wanted)} points are finished in {config.out}. "
            "Go on with the same command."
        ) from None
    return [there[_key(*point)] for point in wanted]


def grid(config: Scaling, models: Sequence[ModelSize]) -> Iterator[tuple[ModelSize, int, int]]:
    """Every model, seed and size; the largest size first, for its features hold all the others'."""
    for model in models:
        for seed in config.seeds:
            for size in reversed(config.sizes):
                yield model, size, seed


def _key(model: ModelSize, size: int, seed: int) -> Key:
    return model.backbone, model.layers, size, seed


class _Source:
    """Reward models as from their backbone, one for every point.

    A frozen backbone does not change, so it is read from disk once; each training makes its own
    head. Otherwise it is read for every point.
    """

    def __init__(self, config: Scaling, training: RewardTraining, backbone: str):
        self.config, self.training, self.backbone = config, training, backbone
        self.weights = ""
        self._frozen: RewardModel | None = None

    def fresh(self, seed: int) -> RewardModel:
        """A model that was trained on nothing; the one given before is no longer of use."""
        from assay.models.backbones import weights_digest
        from assay.models.reward_model import RewardModel

        if self._frozen is not None:
            self._frozen.provenance = {"backbone": self.backbone}  # so its head begins anew
            return self._frozen
        model = RewardModel.from_backbone(
            self.backbone,
            max_length=self.config.max_length,
            truncation=self.config.truncation,
            engine=self.training.engine,
            seed=seed,
        )
        self.weights = self.weights or weights_digest(model.network.base_model)
        if self.config.mode == "frozen":
            self._frozen = model
        return model


def _check_weights(config: Scaling, source: _Source, points: Iterable[Point]) -> None:
    known = {p.weights for p in points if p.backbone == source.backbone}
    if known - {source.weights}:
        raise ConfigError(
            f"{config.out} holds points of {source.backbone} with other weights; "
            "name another directory, or delete it."
        )


def _train_point(
    fresh: RewardModel,
    training: RewardTraining,
    subset: PreferencePairs,
    heldout: PreferencePairs,
    progress: Report,
) -> tuple[RewardResult, float]:
    """The result of one training, and its seconds."""
    from assay.train.reward import train_reward

    def report(stage: str, done: int, total: int, tokens: int) -> None:
        # the steps of a head are too quick to be told
        if training.mode != "frozen" or stage == "features":
            progress(stage, done, total, tokens)

    started = time.monotonic()
    result = train_reward(fresh, subset, heldout, training, progress=report)
    return result, round(time.monotonic() - started, 2)


def measured(
    config: Scaling, models: Sequence[ModelSize], points: Sequence[Point], heldout: PreferencePairs
) -> Measured:
    """The points as arrays over models, sizes and seeds."""
    there = {point.key: point for point in points}
    table = [
        [[there[_key(m, size, seed)] for seed in config.seeds] for size in config.sizes]
        for m in models
    ]

    def array(of: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([[[getattr(p, of) for p in row] for row in rows] for rows in table], float)

    return Measured(
        models=tuple(m.name for m in models),
        parameters=tuple(rows[0][0].parameters for rows in table),
        sizes=config.sizes,
        gaps=array("gaps"),
        length_only_gaps=array("length_only"),
        pairs=array("pairs"),
        seconds=array("seconds"),
        probability=np.array([pair.probability for pair in heldout.pairs()]),
        clusters=heldout.prompt_groups(),
    )
