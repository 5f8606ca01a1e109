"""Label cleaning: which labels are probably wrong by heads that never saw them, and what to do.

Works per preference: a ranking of K is its C(K, 2) pairs, each judged by itself. Nothing is changed
in place: cleaned comparisons are new ones. Letters: P preferences · M members.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from assay.configs import Cleaning, CleaningAction, EnsembleTraining
from assay.data.pairs import PreferencePairs
from assay.errors import ConfigError
from assay.formats.comparisons import to_row
from assay.formats.pairs import preferred
from assay.models.backbones import cut_layers
from assay.models.probe import choose_engine
from assay.models.reward_model import RewardModel
from assay.models.views import View, check_views, deepest_first
from assay.stats import FlipModel
from assay.train.crossfit import CrossFit, check_cross_fit, cross_fit
from assay.train.encode import EncodeReport, Example, pair_index
from assay.train.ensemble import encode_pairs, head_plan, view_scales
from assay.train.prepare import FROZEN_LAYERS, Progress, cached_features
from assay.train.reward import resolve
from assay.types import Comparison, Preference, json_number

Floats = NDArray[np.float64]

Done = Literal["keep", "flip", "smooth", "drop", "down-weight", "tie", "unread"]
"""What became of a preference: a tie has no side to be wrong, an unread one did not fit."""


@dataclass(frozen=True)
class LabelCheck:
    """What out-of-fold heads say of the preferences they could read, ``(P,)`` each.

    ``gap`` and ``std`` are the members' mean gap and its deviation over members, towards the chosen
    response, in units of the temperature: σ(gap) is the probability that chosen is better.
    ``wrong`` is the probability that the label was flipped, NaN for a tie.
    """

    comparison: NDArray[np.int64]
    place: NDArray[np.int64]
    gap: Floats
    std: Floats
    wrong: Floats
    flips: FlipModel
    examples: Sequence[Example]
    encoding: EncodeReport
    cross: CrossFit

    @property
    def sided(self) -> NDArray[np.bool_]:
        """Which preferences are no ties."""
        return ~np.isnan(self.wrong)


def check_labels(
    model: RewardModel,
    pairs: PreferencePairs,
    cleaning: Cleaning | None = None,
    *,
    progress: Progress | None = None,
) -> LabelCheck:
    """Judge every label by heads on frozen features that were trained without its prompt.

    Each is judged by ``members`` heads, one of each member's folds (``cross_fit``). Their mean gap
    becomes a probability by a temperature and a flip rate fitted on the same out-of-fold gaps: two
    numbers of all labels, which no single one moves far.

    Args:
        model: Its backbone is cut to the layers that are read; its head is not used.

    Raises:
        ConfigError: If settings cannot work.
        DataError: If there are fewer prompts than folds, nothing but ties, or nothing to learn.
    """
    cleaning = cleaning or Cleaning()
    check_cleaning(cleaning)
    total = int(model.network.config.get_text_config().num_hidden_layers)
    views = [View.parse(text) for text in cleaning.views]
    views = deepest_first(views) if views else [
        View(cleaning.layers or max(1, round(FROZEN_LAYERS * total)), cleaning.pooling)
    ]  # fmt: skip
    check_views(model, views)
    model.set_engine(choose_engine(model, cleaning.engine, gradients=False))
    cut_layers(model.network, max(view.layer for view in views))
    examples, encoding = encode_pairs(model, pairs)
    check_cross_fit(examples, cleaning.folds, cleaning.rounds)  # before the backbone reads it all
    tokens = [t for e in examples for t in e.tokens]
    features = cached_features(model, tokens, progress, views)
    scaled = (features - features.mean(0)) * view_scales(model, features, examples, views)
    training = _as_training(cleaning)

    def on_step(step: int, steps: int, _examples: int, _tokens: int) -> None:
        if progress:
            progress("train", step, steps, 0)

    cross = cross_fit(
        examples,
        scaled,
        head_plan(model, examples, views, training),
        resolve(training, examples),
        folds=cleaning.folds,
        rounds=cleaning.rounds,
        seed=cleaning.seed,
        on_step=on_step,
    )
    return label_check(examples, encoding, cross)


def label_check(examples: Sequence[Example], encoding: EncodeReport, cross: CrossFit) -> LabelCheck:
    """The record of cross-fitted gaps."""
    index, mean = pair_index(examples), cross.gaps.mean(axis=1)
    return LabelCheck(
        comparison=np.array([e.number for e in examples], dtype=np.int64)[index.example],
        place=np.concatenate([np.arange(len(e.preferences)) for e in examples]),
        gap=mean / cross.flips.temperature,
        std=cross.gaps.std(axis=1) / cross.flips.temperature,
        wrong=cross.flips.wrong(mean, index.probability),
        flips=cross.flips,
        examples=examples,
        encoding=encoding,
        cross=cross,
    )


def check_cleaning(cleaning: Cleaning) -> None:
    """Refuse settings that cannot work.

    Raises:
        ConfigError: With one sentence.
    """
    if cleaning.members < 1:
        raise ConfigError(f"members is {cleaning.members}; a label is judged by at least 1.")
    if cleaning.threshold is not None and cleaning.share is not None:
        raise ConfigError("threshold and share both say which labels are suspects; give one.")
    if cleaning.threshold is not None and not 0 <= cleaning.threshold <= 1:
        raise ConfigError(f"threshold is {cleaning.threshold}; a probability is from 0 to 1.")
    if cleaning.share is not None and not 0 < cleaning.share < 1:
        raise ConfigError(f"share is {cleaning.share}; it lies between 0 and 1.")
    if cleaning.views and (cleaning.layers is not None or cleaning.pooling != "last"):
        raise ConfigError("views say layers and poolings themselves; leave layers and pooling out.")


def _as_training(cleaning: Cleaning) -> EnsembleTraining:
    return EnsembleTraining(
        diversity="layers" if cleaning.views else "heads",
        members=cleaning.members,
        bootstrap=cleaning.bootstrap,
        l2=cleaning.l2,
        epochs=cleaning.epochs,
        lr=cleaning.lr,
        batch_size=cleaning.batch_size,
        seed=cleaning.seed,
    )


def default_threshold(action: CleaningAction) -> float:
    """½ where a label is taken or left; 0 where each changes by its own probability."""
    return 0.0 if action in ("smooth", "down-weight") else 0.5


def suspects(wrong: Floats, cleaning: Cleaning) -> NDArray[np.bool_]:
    """Which labels an action is for: over the threshold, or the share most probably wrong.

    Of equally probable ones at the limit of the share, the earlier.
    """
    found = np.where(np.isnan(wrong), -np.inf, wrong)
    if cleaning.share is not None:
        count = round(cleaning.share * int(np.isfinite(found).sum()))
        chosen = np.zeros(len(found), dtype=np.bool_)
        chosen[np.argsort(-found, kind="stable")[:count]] = True
        return chosen
    threshold = cleaning.threshold
    limit = default_threshold(cleaning.action) if threshold is None else threshold
    return np.asarray(np.isfinite(found) & (found >= limit))


def changed(label: Preference, action: CleaningAction, wrong: float) -> Preference | None:
    """A suspect's new label; None where it is dropped.

    A label that changes sides loses its margin, which was said of the other side.
    """
    if action == "drop":
        return None
    if action == "flip":
        return replace(label, chosen=label.rejected, rejected=label.chosen, margin=0.0)
    if action == "smooth":
        q = label.probability * (1 - wrong) + (1 - label.probability) * wrong
        margin = label.margin if q > 0.5 else 0.0
        return preferred(label.chosen, label.rejected, q, margin, label.weight)
    if action == "down-weight":
        return replace(label, weight=label.weight * (1 - wrong))
    return label


@dataclass(frozen=True)
class Cleaned:
    """Comparisons with what became of each of their labels."""

    pairs: PreferencePairs
    check: LabelCheck
    action: CleaningAction
    suspect: NDArray[np.bool_]  # (P,)

    @property
    def verdicts(self) -> dict[int, list[int]]:
        """For each comparison that was read, its rows of the check, one a preference."""
        found: dict[int, list[int]] = {}
        for row, number in enumerate(self.check.comparison.tolist()):
            found.setdefault(number, []).append(row)
        return found

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of the new file, in order; comparisons that lost all labels are left out."""
        verdicts = self.verdicts
        for number, comparison in enumerate(self.pairs.comparisons):
            row = self._row(comparison, verdicts.get(number))
            if row is not None:
                yield row

    def _row(self, comparison: Comparison, judged: list[int] | None) -> dict[str, Any] | None:
        labels = comparison.preferences
        if judged is None:
            done = [_entry("unread", label) for label in labels]
            return {**to_row(comparison), "cleaned": {"preferences": done}}
        done, kept = [], []
        for label, row in zip(labels, judged, strict=True):
            became = self._done(row)
            new = label
            if became not in ("keep", "tie"):
                new = changed(label, self.action, float(self.check.wrong[row]))  # type: ignore[assignment]
            if new is not None:
                kept.append(new)
            done.append(_entry(became, label, self.check, row))
        if not kept:
            return None
        record: dict[str, Any] = {"preferences": done}
        ranking = comparison.ranking
        if ranking is not None and _order(kept) != _order(labels):
            record["ranking"] = [list(group) for group in ranking]
            ranking = None
        cleaned = replace(comparison, preferences=tuple(kept), ranking=ranking)
        return {**to_row(cleaned), "cleaned": record}

    def _done(self, row: int) -> Done:
        if np.isnan(self.check.wrong[row]):
            return "tie"
        if self.action == "report" or not self.suspect[row]:
            return "keep"
        return self.action


def _entry(
    done: Done, label: Preference, check: LabelCheck | None = None, row: int = 0
) -> dict[str, Any]:
    """What a row of the new file says of one of its labels as they were."""
    nothing = {"probability_wrong": None, "gap": None, "std": None}
    judged = nothing if check is None else {
        "probability_wrong": json_number(float(check.wrong[row])),
        "gap": float(check.gap[row]),
        "std": float(check.std[row]),
    }  # fmt: skip
    return {"action": done, **judged, "was": asdict(label)}


def _order(labels: Sequence[Preference]) -> list[tuple[int, int, float]]:
    """What labels say of the order of responses, which a ranking must not contradict."""
    return [(p.chosen, p.rejected, p.probability) for p in labels]


def clean_labels(
    pairs: PreferencePairs, check: LabelCheck, cleaning: Cleaning | None = None
) -> Cleaned:
    """Comparisons cleaned as the settings say; the given ones stay as they are.

    Raises:
        ConfigError: If settings cannot work.
    """
    cleaning = cleaning or Cleaning()
    check_cleaning(cleaning)
    return Cleaned(pairs, check, cleaning.action, suspects(check.wrong, cleaning))
