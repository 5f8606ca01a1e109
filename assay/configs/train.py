"""How reward models, process models and ensembles are trained, and labels cleaned."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from assay.configs.common import OnBadRow, Pooling, Truncation

Mode = Literal["frozen", "lora", "full"]
Diversity = Literal["heads", "layers", "lora", "seeds", "backbones"]
AggregatorName = Literal["mean", "median", "worst-case", "mean-std", "mean-variance", "entropic"]
CleaningAction = Literal["report", "flip", "smooth", "drop", "down-weight"]

LossName = Literal[
    "bradley-terry",
    "margin",
    "scaled",
    "plackett-luce",
    "noise-corrected",
    "symmetric",
    "rao-kupper",
    "davidson",
    "annotator",
    "odin",
    "binary",
    "kto",
    "regression",
    "quantile",
]

GAP_LOSSES: tuple[LossName, ...] = (
    "bradley-terry",
    "margin",
    "scaled",
    "noise-corrected",
    "symmetric",
)
"""Losses of the gap alone, without parameters of their own."""

LABELLED_LOSSES: tuple[LossName, ...] = ("binary", "kto")
RATED_LOSSES: tuple[LossName, ...] = ("regression", "quantile")
SINGLE_LOSSES: tuple[LossName, ...] = (*LABELLED_LOSSES, *RATED_LOSSES)
"""Losses that take responses by themselves, without pairs."""

Nuisance = Literal["position", "length"]
StepClasses = Literal["one", "two", "three"]
Neutral = Literal["good", "bad", "skip"]
"""What a neutral step counts as; skip: as no judgment of the step, and as no error."""

StepTargets = Literal["soft", "hard"]
StepRead = Literal["auto", "separator", "step"]
AfterError = Literal["unjudged", "bad"]
"""What the steps after the first wrong one are labelled."""

Augmentation = Literal["none", "rrm"]
Schedule = Literal["linear", "cosine", "constant"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How any reward model is trained: mode, optimiser, batches, engine."""

    mode: Mode = "frozen"
    """frozen: a head on cached features (minutes). lora: adapters and head. full: every weight."""
    epochs: int | None = None
    """Passes over the training data. Default: 60 frozen, 1 lora, 1 full."""
    lr: float | None = None
    """Peak learning rate. Default: 1e-3 frozen, 2e-4 lora, 2e-5 full."""
    head_lr_multiplier: float = 10.0
    """The head's learning rate over the backbone's, in lora and full."""
    weight_decay: float = 0.0
    """AdamW weight decay, of matrices alone."""
    l2: float = 0.3
    """frozen only: L2 penalty on the head, on features scaled to differences of mean square 1."""
    batch_size: int | None = None
    """Comparisons (or solutions) per optimiser step, over all processes. Default: 64 frozen, 16
    lora and full."""
    token_budget: int | None = None
    """Most tokens in one forward pass. Default: 1,536, or the longest comparison if more."""
    warmup_fraction: float = 0.05
    """Share of the steps in which the learning rate rises from 0."""
    schedule: Schedule = "cosine"
    """How the learning rate falls after the warm-up."""
    max_grad_norm: float = 1.0
    """Gradient clipping; 0 turns it off."""
    eval_every: int | None = None
    """Steps between evaluations on held-out data. Default: four times an epoch (frozen: every
    five epochs)."""
    save_every: int | None = None
    """Steps between resume points. Default: 50 (frozen: at every evaluation)."""
    seed: int = 0
    """Seeds the head, the order of the data and LoRA's initial weights."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 runs the backbone under autocast; head, loss and weights stay fp32."""
    gradient_checkpointing: bool = False
    """Less memory for about a third more time."""
    layers: int | None = None
    """frozen only: keep this many of the backbone's layers. Default: 80 % of them."""
    lora_rank: int = 16
    """Rank of the LoRA adapters."""
    lora_alpha: int = 32
    """Scale of the LoRA adapters."""
    lora_layers: int | None = None
    """lora only: adapt so many of the upper layers. Default: all."""
    engine: Literal["auto", "tree", "padded"] = "auto"
    """auto probes the prefix-shared engine against the padded forward and uses it if both agree."""
    trackers: tuple[str, ...] = ()
    """Trackers besides metrics.jsonl by accelerate's names: tensorboard, wandb, trackio, mlflow."""


@dataclass(frozen=True, kw_only=True)
class RewardTraining(Training):
    """How an outcome reward model is trained."""

    loss: LossName = "bradley-terry"
    """bradley-terry on soft labels; margin subtracts the strength; scaled multiplies by it;
    plackett-luce on rankings; noise-corrected and symmetric for flipped labels; rao-kupper and
    davidson for ties; annotator for who judged; odin against length; binary and kto on labelled
    responses; regression and quantile on ratings."""
    label_smoothing: float = 0.0
    """Probability mass moved from the preferred to the other response (0 to 0.5)."""
    centering: float = 0.0
    """Weight of the penalty on (chosen + rejected)², which keeps rewards near zero."""
    noise_rate: float | None = None
    """noise-corrected only: the share of labels that are flipped (0 to 0.5)."""
    tie_parameter: float | None = None
    """rao-kupper's θ (1 or more) or davidson's ν (0 or more). Default: learned."""
    annotator_prior: tuple[float, float] = (4.0, 1.0)
    """annotator only: right and wrong judgments every annotator is taken to have given before."""
    nuisance: tuple[Nuisance, ...] = ("position", "length")
    """annotator only: what may move an annotator besides the reward, learned for each."""
    odin_length: float = 1.0
    """odin only: weight of the discarded head's prediction of length."""
    good_weight: float = 1.0
    """binary and kto only: weight of the responses labelled good."""
    bad_weight: float = 1.0
    """binary and kto only: weight of the responses labelled bad."""
    attributes: tuple[str, ...] = ()
    """regression and quantile only: the rated attributes to learn. Default: all there are."""
    attribute_weights: tuple[float, ...] = ()
    """regression only: weight of each attribute in the reward, in order. Default: learned from
    preferences, none below 0."""
    quantiles: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    """quantile only: which quantiles of the rating to learn."""
    quantile_tail: float = 1.0
    """quantile only: the reward is the mean of the quantiles up to this one; below 1, cautious."""
    objective_lr: float = 0.05
    """Learning rate of a loss's own few parameters (ties, annotators, weights of attributes)."""
    augment: Augmentation = "none"
    """rrm adds training pairs of responses to other prompts: off-topic ones lose, two tie."""
    augment_ratio: float = 1.0
    """Added pairs for each training pair (above 0, at most 1)."""
    pooling: Pooling = "last"
    """frozen only: which states the head reads. Only 'last' gives a standard checkpoint."""
    laplace: bool = False
    """frozen only: keep the posterior of the head (last-layer Laplace), so that every reward comes
    with a standard deviation."""


@dataclass(frozen=True, kw_only=True)
class PairTraining:
    """Which data is trained on, and how it is split and cut."""

    data: tuple[str, ...]
    """Files, directories or hub names of the training data."""
    heldout: tuple[str, ...] = ()
    """Held-out data. Default: split off heldout_fraction of the prompts."""
    heldout_fraction: float = 0.2
    """Share of the prompts held out when no held-out data is given."""
    max_length: int = 1024
    """Longest conversation in tokens."""
    truncation: Truncation = "drop"
    """What happens to longer ones: drop and count, cut the prompt from the left, or stop."""
    on_bad_row: OnBadRow = "error"
    """error stops at the first bad row; skip counts it and goes on."""
    limit: int | None = None
    """Use only the first so many comparisons or solutions."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun(PairTraining):
    """Which data a training run reads, how it splits and cuts them, and where it writes."""

    out: Path
    """Run directory to write."""
    split_seed: int | None = None
    """Seeds the held-out split. Default: the seed."""
    resume: bool = False
    """Go on from the last resume point in the run directory."""


@dataclass(frozen=True, kw_only=True)
class TrainReward(RewardTraining, TrainingRun):
    """Train an outcome reward model on preference pairs or rankings."""

    backbone: str = "smollm2-135m"
    """smollm2-135m, gemma3-270m, minilm-l6, a directory, or a hub name."""
    from_run: str | None = field(default=None, metadata={"key": "from"})
    """Go on from this reward model instead of a backbone."""
    push_to_hub: str | None = None
    """Upload the finished run to this hub repository."""


@dataclass(frozen=True, kw_only=True)
class ProcessTraining(Training):
    """How a process reward model is trained."""

    classes: StepClasses = "two"
    """What the head tells apart: two (bad, good), three (bad, neutral, good), or one number through
    a sigmoid."""
    neutral: Neutral = "good"
    """What a neutral step label is with one or two classes: good, bad, or skip, not judged."""
    targets: StepTargets = "soft"
    """What a share of right rollouts becomes: soft takes it as it is, hard is 1 where any was right
    and else 0."""
    l2: float = 0.1
    """frozen only: L2 penalty on the head, on features scaled to differences of mean square 1."""


@dataclass(frozen=True, kw_only=True)
class StepFormat:
    """Where the steps of a solution end, and which token is read there."""

    separator: str = "\n"
    """What stands after each step; a special token such as <extra_0>, or text."""
    read: StepRead = "auto"
    """separator reads the last token of the separator, step the last token of the step itself;
    auto reads the separator where it is a token."""


@dataclass(frozen=True, kw_only=True)
class TrainProcess(ProcessTraining, StepFormat, TrainingRun):
    """Train a process reward model, which scores every step of a solution."""

    backbone: str = "smollm2-135m"
    """smollm2-135m, gemma3-270m, minilm-l6, a directory, or a hub name."""
    from_run: str | None = field(default=None, metadata={"key": "from"})
    """Go on from this process model instead of a backbone."""
    members: int = 1
    """frozen only: train so many heads on bootstraps of the problems, as one ensemble."""
    after_error: AfterError = "unjudged"
    """What the steps after a first error count as where only that is known: unjudged, or bad."""


@dataclass(frozen=True, kw_only=True)
class EnsembleTraining(RewardTraining):
    """How the members of an ensemble are made different, trained, and made one again."""

    members: int = 5
    """How many members."""
    diversity: Diversity = "layers"
    """What makes members differ. heads: frozen heads on bootstraps of the prompts. layers: frozen
    heads that read other layers and poolings. lora: adapters above shared lower layers. seeds:
    whole members with other seeds. backbones: one member on each backbone."""
    bootstrap: bool = True
    """heads, layers: each member draws its training prompts with replacement."""
    feature_share: float = 1.0
    """heads, layers: the share of the features each member sees, drawn at random."""
    l2_spread: float = 1.0
    """heads, layers: members' L2 penalties spread over this factor around l2, evenly on a log
    scale."""
    views: tuple[str, ...] = ()
    """layers: what the members read, LAYER or LAYER:POOLING, in turn, the deepest first. Default:
    last states after 0.8 of the layers, then depths from 0.4 to 0.8, last and mean in turn."""
    shared_layers: float = 0.67
    """lora: the share of the layers, from below, that members share and leave as they are."""
    aggregator: AggregatorName = "mean"
    """How members' rewards become one: mean, median, worst-case, mean-std, mean-variance or
    entropic. It can be changed at scoring."""
    strength: float = 1.0
    """k of mean - k std, λ of mean - λ variance, or β of entropic."""
    ddof: int = 0
    """Taken off the number of members in their variance: 0 or 1."""
    weight_average: bool = False
    """Also write RUN/average, one model with the members' mean weights (WARM)."""


@dataclass(frozen=True, kw_only=True)
class TrainEnsemble(EnsembleTraining, TrainingRun):
    """Train several reward models as one scorer, and measure how different they are."""

    backbone: tuple[str, ...] = ("smollm2-135m",)
    """smollm2-135m, gemma3-270m, minilm-l6, directories, or hub names; several with diversity
    backbones."""
    shifted: tuple[str, ...] = ()
    """Preference data unlike the training data, on which diversity is measured too. Default: the
    bundled everyday questions."""


@dataclass(frozen=True, kw_only=True)
class Scaling(PairTraining):
    """More data or a bigger model? Train at several sizes, and fit accuracy to them."""

    out: Path
    """Directory for points.jsonl, results.json and scaling.html; finished points in it are kept."""
    backbones: tuple[str, ...] = ("smollm2-135m",)
    """Backbones to train on: names, directories, or hub names."""
    layers: tuple[int, ...] = ()
    """frozen only: how many of a backbone's layers to keep, each a model size of its own. Default:
    80 % of them."""
    sizes: tuple[int, ...] = ()
    """Training pairs, rising; prompts are taken whole. Default: all of them, halved down to about
    128."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each draws its own training prompts, smaller sizes within larger ones, and its own head."""
    mode: Mode = "frozen"
    """frozen: a head on cached features (seconds a point). lora, full: one training a point."""
    training: Path | None = None
    """TOML file with more settings of the training (l2, lr, epochs, …), the same at every point."""
    split_seed: int = 0
    """Seeds the held-out split, which is the same for all points."""


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """How labels that are probably wrong are found, and what is done about them."""

    action: CleaningAction = "report"
    """report changes no label; flip turns suspects round; smooth moves the probability of being
    wrong to the other side; drop leaves suspects out; down-weight multiplies weights by the
    probability of being right."""
    threshold: float | None = None
    """Suspects are labels that are wrong with at least this probability. Default: 0.5 for report,
    flip and drop; 0, so every label, for smooth and down-weight."""
    share: float | None = None
    """Suspects are this share of the labels, the most probably wrong; in place of threshold."""
    folds: int = 5
    """Parts the prompts are divided into; a label is judged by heads that saw none of its part."""
    members: int = 5
    """Heads that judge each label, each with folds and a bootstrap of its own."""
    rounds: int = 2
    """1: heads learn the labels as they are. 2: once more, allowing for the flip rate found."""
    bootstrap: bool = True
    """Each member draws its training prompts with replacement."""
    layers: int | None = None
    """Layers of the backbone the heads read after. Default: 80 % of them."""
    pooling: Pooling = "last"
    """Which states the heads read."""
    views: tuple[str, ...] = ()
    """What members read in turn, LAYER or LAYER:POOLING, in place of layers and pooling."""
    l2: float = 0.3
    """L2 penalty on a head, on features scaled to gaps of mean square 1."""
    epochs: int | None = None
    """Passes over the comparisons in each round. Default: 60."""
    lr: float | None = None
    """Peak learning rate. Default: 1e-3."""
    batch_size: int | None = None
    """Comparisons per optimiser step. Default: 64."""
    seed: int = 0
    """Seeds folds, bootstraps, heads, the order of the data and resamples."""
    engine: Literal["auto", "tree", "padded"] = "auto"
    """auto probes the prefix-shared engine against the padded forward and uses it if both agree."""


@dataclass(frozen=True, kw_only=True)
class Clean(Cleaning):
    """Find labels that are probably wrong, out of fold, and write a cleaned copy."""

    files: tuple[str, ...] = field(metadata={"positional": True})
    """Files, directories or hub names of preference data; they stay as they are."""
    out: Path
    """The new file (.jsonl, .jsonl.gz or .parquet); NAME.report.html, NAME.report.json and
    NAME.config.toml are written beside it."""
    backbone: str = "smollm2-135m"
    """smollm2-135m, gemma3-270m, minilm-l6, a directory, or a hub name."""
    max_length: int = 1024
    """Longest conversation in tokens."""
    truncation: Truncation = "drop"
    """What happens to longer ones: drop leaves their labels unjudged and as they are, or cut the
    prompt from the left, or stop."""
    on_bad_row: OnBadRow = "error"
    """error stops at the first bad row; skip counts it and goes on."""
    limit: int | None = None
    """Use only the first so many comparisons."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the report as JSON."""
