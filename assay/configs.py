"""Every knob, in frozen keyword-only dataclasses. A TOML file is these fields written down.

Knows nothing of torch. Fields that are None by default are resolved once at the start of a run and
saved resolved. The docstring under a field is its help, its comment in TOML files and its line in
the docs. ``metadata`` says what the command line needs besides: ``positional`` for an argument
without a flag, ``key`` where the flag and TOML key cannot be the field's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Mode = Literal["frozen", "lora", "full"]
Truncation = Literal["drop", "truncate-left", "error"]
Pooling = Literal["last", "mean", "last+mean"]
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
LABELLED_LOSSES: tuple[LossName, ...] = ("binary", "kto")
RATED_LOSSES: tuple[LossName, ...] = ("regression", "quantile")
SINGLE_LOSSES: tuple[LossName, ...] = (*LABELLED_LOSSES, *RATED_LOSSES)
"""Losses that take responses by themselves, without pairs."""

Nuisance = Literal["position", "length"]
Augmentation = Literal["none", "rrm"]
OnBadRow = Literal["error", "skip"]

TOKEN_BUDGET = 1536
"""Most tokens in one forward pass, unless said otherwise: the fastest on two CPU cores, where more
no longer fit the caches. Not tuned on a GPU."""


@dataclass(frozen=True, kw_only=True)
class RewardTraining:
    """How a reward model is trained."""

    mode: Mode = "frozen"
    """frozen: a head on cached features (minutes). lora: adapters and head. full: every weight."""
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
    epochs: int | None = None
    """Passes over the training comparisons. Default: 60 frozen, 1 lora, 1 full."""
    lr: float | None = None
    """Peak learning rate. Default: 1e-3 frozen, 2e-4 lora, 2e-5 full."""
    head_lr_multiplier: float = 10.0
    """The head's learning rate over the backbone's, in lora and full."""
    weight_decay: float = 0.0
    """AdamW weight decay, of matrices alone."""
    l2: float = 0.3
    """frozen only: L2 penalty on the head, on features scaled to gaps of mean square 1."""
    batch_size: int | None = None
    """Comparisons per optimiser step, over all processes. Default: 64 frozen, 16 lora and full."""
    token_budget: int | None = None
    """Most tokens in one forward pass. Default: 1,536, or the longest comparison if more."""
    warmup_fraction: float = 0.05
    """Share of the steps in which the learning rate rises from 0."""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    max_grad_norm: float = 1.0
    """Gradient clipping; 0 turns it off."""
    eval_every: int | None = None
    """Steps between evaluations on held-out pairs. Default: four times an epoch (frozen: every
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
    pooling: Pooling = "last"
    """frozen only: which states the head reads. Only 'last' gives a standard checkpoint."""
    lora_rank: int = 16
    """Rank of the LoRA adapters."""
    lora_alpha: int = 32
    """Scale of the LoRA adapters."""
    engine: Literal["auto", "tree", "padded"] = "auto"
    """auto probes the prefix-shared engine against the padded forward and uses it if both agree."""
    trackers: tuple[str, ...] = ()
    """Trackers besides metrics.jsonl by accelerate's names: tensorboard, wandb, trackio, mlflow."""


@dataclass(frozen=True, kw_only=True)
class TrainReward(RewardTraining):
    """Train an outcome reward model on preference pairs or rankings."""

    data: tuple[str, ...]
    """Files, directories or hub names of preference data."""
    out: Path
    """Run directory to write."""
    heldout: tuple[str, ...] = ()
    """Held-out data. Default: split off heldout_fraction of the prompts."""
    heldout_fraction: float = 0.2
    """Share of the prompts held out when no held-out data is given."""
    split_seed: int | None = None
    """Seeds the held-out split. Default: the seed."""
    backbone: str = "smollm2-135m"
    """smollm2-135m, gemma3-270m, minilm-l6, a directory, or a hub name."""
    from_run: str | None = field(default=None, metadata={"key": "from"})
    """Go on from this reward model instead of a backbone."""
    max_length: int = 1024
    """Longest conversation in tokens."""
    truncation: Truncation = "drop"
    """What happens to longer ones: drop and count, cut the prompt from the left, or stop."""
    on_bad_row: OnBadRow = "error"
    """error stops at the first bad row; skip counts it and goes on."""
    limit: int | None = None
    """Use only the first so many comparisons."""
    resume: bool = False
    """Go on from the last resume point in the run directory."""
    push_to_hub: str | None = None
    """Upload the finished run to this hub repository."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Score a file of prompts with responses: rewards are added to every row."""

    run: str = field(metadata={"positional": True})
    """A run directory, a reward-model directory, or a hub name."""
    input: Path
    """JSON Lines (also .gz) or Parquet rows with prompt and responses, or chosen and rejected."""
    output: Path
    """Where the rows go, with rewards added."""
    truncation: Truncation = "error"
    """What happens to conversations over the contract's max_length; drop leaves their rewards null
    and counts them."""
    token_budget: int = TOKEN_BUDGET
    """Most tokens in one forward pass."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the summary as JSON."""


@dataclass(frozen=True, kw_only=True)
class BestOfN(Score):
    """Pick the best response of each row: best (an index) and rewards are added."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate a reward model on a suite: figures with intervals, baselines and a report."""

    run: str | None = field(default=None, metadata={"positional": True})
    """A run directory, a reward-model directory, or a hub name; not with scores."""
    suite: str
    """rewardbench, rewardbench-2, rm-bench, judgebench, llmbar, rmb, hh, ppe-correctness, or a file
    of pairs or of one right response among N."""
    data: str | None = None
    """The suite's rows: a file or directory in the published layout, or a hub name. Default: the
    suite's own place on the hub."""
    scores: Path | None = None
    """Saved scores to count instead of scoring with a model."""
    model: str | None = None
    """The model's name in the report, or which one of several in the saved scores."""
    out: Path
    """Directory for results.json, scores.jsonl and report.html."""
    train: tuple[str, ...] = ()
    """Preference data to fit the length-only and text-only baselines on. Default: cross-validation
    on the suite."""
    calibrate_on: str | None = None
    """Preference data, apart from the suite, to fit temperature and length calibration on."""
    save_calibration: bool = False
    """Keep what calibrate_on fitted in the run directory, as calibration.json."""
    probes: int = 200
    """Score edited copies of so many responses to find biases; 0 turns it off."""
    truncation: Truncation = "truncate-left"
    """What happens to conversations over the contract's max_length; all are counted."""
    token_budget: int = TOKEN_BUDGET
    """Most tokens in one forward pass."""
    limit: int | None = None
    """Use only the first so many items of each subset; the suite is then marked partial."""
    seed: int = 0
    """Seeds cross-validation, bootstraps and the choice of probed responses."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the results as JSON."""


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare evaluations of one suite: paired differences, p-values and items that flipped."""

    directories: tuple[Path, ...] = field(metadata={"positional": True})
    """Evaluation directories; each is compared with the first."""
    out: Path | None = None
    """Directory for compare.json, flips.jsonl and leaderboard.html."""
    seed: int = 0
    """Seeds the bootstrap."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Replay the golden conversations of a run; exit 1 on drift."""

    run: Path = field(metadata={"positional": True})
    """Run directory."""
    tolerance: float = 1e-4
    """Largest difference allowed, in standard deviations of the golden rewards."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Find tokenizer, template and data traps, or infer the contract of another model."""

    model: str | None = field(default=None, metadata={"positional": True})
    """A reward-model directory to inspect."""
    backbone: str | None = None
    """Backbone to check: a name, a directory, or a hub name."""
    data: tuple[str, ...] = ()
    """Preference data to check with it."""
    evaluation: tuple[str, ...] = ()
    """Evaluation data that must not overlap with the training data."""
    max_length: int = 1024
    """Longest conversation in tokens."""
    limit: int = 2000
    """Check this many comparisons at most."""
    json: bool = False
    """Print the findings as JSON."""


@dataclass(frozen=True, kw_only=True)
class Quickstart:
    """The whole path on bundled data: train, report, verify, score, and a page to look at."""

    out: Path = Path("runs/quickstart")
    """Run directory to write."""
    backbone: str = "smollm2-135m"
    """Backbone to train on."""
    seed: int = 0
    """Seed of the training."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """Print the commented TOML of all defaults of a verb."""

    verb: tuple[str, ...] = field(metadata={"positional": True})
    """The verb, such as train reward."""
