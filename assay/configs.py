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
Diversity = Literal["heads", "layers", "lora", "seeds", "backbones"]
AggregatorName = Literal["mean", "median", "worst-case", "mean-std", "mean-variance", "entropic"]
CleaningAction = Literal["report", "flip", "smooth", "drop", "down-weight"]
SelectionMethod = Literal["disagreement", "bald", "bald-diverse", "d-optimal", "random"]
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
SearchMethod = Literal["best-of-n", "weighted-vote", "majority", "beam"]
LabelMethod = Literal["every-step", "first-error"]
LabelEstimation = Literal["hard", "soft"]
Reduction = Literal["product", "log-product", "min", "mean", "last"]
Augmentation = Literal["none", "rrm"]
Schedule = Literal["linear", "cosine", "constant"]
PolicyMode = Literal["lora", "full"]
Advantage = Literal["rloo", "grpo", "grpo-unscaled"]
ValueInit = Literal["zero", "reward"]
Reach = Literal["public", "loopback", "private"]
"""How near an address may be: only public ones, this machine too, or any network of ours too."""
OnBadRow = Literal["error", "skip"]

TOKEN_BUDGET = 1536
"""Most tokens in one forward pass, unless said otherwise: the fastest on two CPU cores, where more
no longer fit the caches. Not tuned on a GPU."""


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


@dataclass(frozen=True, kw_only=True)
class Score:
    """Score a file of prompts with responses: rewards are added to every row."""

    run: str = field(metadata={"positional": True})
    """A run directory, a reward-model directory, a hub name, or a .json file of verifiers."""
    input: Path
    """JSON Lines (also .gz) or Parquet rows with prompt and responses, or chosen and rejected; for
    a process model also solutions in steps."""
    output: Path
    """Where the rows go, with rewards added."""
    truncation: Truncation = "error"
    """What happens to conversations over the contract's max_length; drop leaves their rewards null
    and counts them."""
    token_budget: int = TOKEN_BUDGET
    """Most tokens in one forward pass."""
    aggregator: AggregatorName | None = None
    """How the members of an ensemble become one reward. Default: as it was saved."""
    strength: float | None = None
    """Of the aggregator: k of mean-std, λ of mean-variance, β of entropic. Default: as saved."""
    reduction: Reduction | None = None
    """How a process model's step rewards become one reward. Default: their product."""
    preset: str | None = None
    """The family of somebody else's process model, such as qwen2.5-math-prm (docs/process.md)."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the summary as JSON."""


@dataclass(frozen=True, kw_only=True)
class BestOfN(Score):
    """Pick the best response of each row: best (an index) and rewards are added."""


@dataclass(frozen=True, kw_only=True)
class Solving:
    """How a policy is searched for the solution that a process model thinks best of."""

    method: SearchMethod = "best-of-n"
    """best-of-n: the best of whole solutions. weighted-vote: the answer with most reward among
    them. majority: with most solutions. beam: the best steps are kept as they are written."""
    samples: int = 8
    """Whole solutions; with beam, next steps written of each beam."""
    width: int = 4
    """beam only: beginnings kept after each step."""
    max_steps: int = 20
    """beam only: most steps of a solution."""
    max_new_tokens: int = 512
    """Most tokens of a solution; with beam, of a step."""
    temperature: float = 0.7
    """Of the policy's samples."""
    top_p: float = 1.0
    """Nucleus sampling; 1 turns it off."""
    separator: str = "\n"
    """What ends a step in the policy's writing."""
    reduction: Reduction = "product"
    """How step rewards become one."""
    seed: int = 0
    """Seeds the samples."""
    batch_size: int = 16
    """Most responses in the making at a time."""


@dataclass(frozen=True, kw_only=True)
class Solve(Solving):
    """Solve problems by a policy and a process model: best-of-n, votes or step beams."""

    run: str = field(metadata={"positional": True})
    """The run directory of a process model; an outcome model can do all but beam."""
    policy: str = "smollm2-135m"
    """The policy: smollm2-135m, a directory, or a hub name of a causal language model."""
    input: Path
    """JSON Lines (also .gz) or Parquet rows with prompt (or question), and answer where known."""
    output: Path
    """Where the rows go, with steps, rewards and the answer found."""
    limit: int | None = None
    """Use only the first so many rows."""
    token_budget: int = TOKEN_BUDGET
    """Most tokens in one forward pass of the process model."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the summary as JSON."""


@dataclass(frozen=True, kw_only=True)
class StepLabelling:
    """How steps are labelled by rollouts."""

    method: LabelMethod = "every-step"
    """every-step: rollouts after each step. first-error: bisect for the first wrong step, with
    about log2 of the steps in probes; steps after it are not judged."""
    estimation: LabelEstimation = "hard"
    """hard: a step is good if any rollout after it is right. soft: by the share that is right."""
    rollouts: int = 8
    """Rollouts after each prefix."""
    good_from: float = 0.5
    """soft only: share of right rollouts from which a step is good."""
    bad_below: float = 0.5
    """soft only: share of right rollouts below which a step is bad; between the two it is
    neutral."""
    min_rollouts: int = 1
    """Fewest judged rollouts that make a label: those that failed, ran out of tokens or could not
    be compared are not judged."""
    check_prompt: bool = True
    """Label no solution of a prompt that no rollout from its beginning solves: there nothing can
    be told about steps."""
    batch_size: int = 32
    """Prefixes completed at a time, and lost at most when the work is interrupted."""
    seed: int = 0
    """Seeds the rollouts."""


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """A model behind an OpenAI-compatible endpoint, and what asking it may cost."""

    endpoint: str | None = None
    """Ask a model behind this OpenAI-compatible address, such as http://localhost:8000/v1."""
    endpoint_model: str | None = None
    """Its name there."""
    key_variable: str | None = None
    """Environment variable that holds the endpoint's key. Default: none is sent."""
    endpoint_reach: Reach = "loopback"
    """How near the endpoint may be. loopback: on this machine, or public. private: in a private
    network too. public: neither. Link-local and metadata addresses are always refused."""
    prompt_price: float | None = None
    """Price of a million prompt tokens."""
    cached_price: float | None = None
    """Price of a million prompt tokens that the endpoint had read before. Default: the same."""
    response_price: float | None = None
    """Price of a million response tokens."""
    max_cost: float | None = None
    """Ask no more than this may pay for; needs the prices."""
    in_flight: int = 8
    """Most requests at a time."""
    requests_per_minute: float | None = None
    """Most requests a minute. Default: as many as it takes."""
    tokens_per_minute: float | None = None
    """Most tokens a minute. Default: as many as it takes."""
    timeout_seconds: float = 120.0
    """Longest wait for a connection, or for the next bytes of a reply."""
    deadline_seconds: float = 600.0
    """Longest time for one request, retries and waits included."""
    retries: int = 5
    """Further tries after errors that may pass."""


@dataclass(frozen=True, kw_only=True)
class Label(StepLabelling, EndpointSettings):
    """Label steps by rollouts: from which of them does a solver still get there?"""

    files: tuple[str, ...] = field(metadata={"positional": True})
    """Files of solutions with their problems' answers."""
    out: Path
    """Where the labelled solutions go."""
    policy: str | None = None
    """Write the rollouts with this local policy: smollm2-135m, a directory, or a hub name."""
    estimation: LabelEstimation = "soft"
    """hard: a step is good if any rollout after it is right. soft: by the share that is right."""
    max_new_tokens: int = 512
    """Most tokens of a rollout."""
    temperature: float = 0.7
    """Of the rollouts."""
    separator: str = "\n"
    """What follows a step in the solver's writing."""
    batch_size: int = 16
    """Beginnings completed at a time, and lost at most when the work is interrupted."""
    on_bad_row: OnBadRow = "error"
    """error stops at the first bad row; skip counts it and goes on."""
    limit: int | None = None
    """Use only the first so many solutions."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the report as JSON."""


FewerResponses = Literal["keep", "drop"]
CutResponses = Literal["keep", "drop"]
RepeatedResponses = Literal["drop", "keep"]


@dataclass(frozen=True, kw_only=True)
class Generate(EndpointSettings):
    """Write candidate responses to prompts, by local policies or an endpoint's models."""

    files: tuple[str, ...] = field(metadata={"positional": True})
    """Rows with prompts: a field prompt, instruction, question or problem, or preferences."""
    out: Path | None = None
    """Where rows with prompt and responses go. Prompts that got none go beside it, to
    NAME.failed.jsonl."""
    db: str | None = None
    """Take the comparisons into this preference store: a path (SQLite), or postgresql://user@host/name
    together with --out."""
    project: str | None = None
    """The store's project. Default: the only one."""
    create: bool = False
    """Make the store and the project where they are not there."""
    policy: tuple[str, ...] = ()
    """Write with these local policies: smollm2-135m, directories, or hub names; all are loaded."""
    models: tuple[str, ...] = ()
    """Several models of the endpoint, in place of endpoint_model; the prices are of each."""
    samples: int = 4
    """Responses of every setting: of each policy or model at each temperature and top_p. At
    temperature 0 there is one."""
    total: int | None = None
    """Responses of all settings together, in place of samples; they go round the settings."""
    temperature: tuple[float, ...] = (1.0,)
    """One or several; 0 takes the likeliest token each time."""
    top_p: tuple[float, ...] = (1.0,)
    """One or several: draw from the likeliest tokens that have this probability together."""
    max_new_tokens: int = 512
    """Most tokens of a response."""
    stop: tuple[str, ...] = ()
    """A response ends before the first of these."""
    system: str | None = None
    """A system prompt, for prompts that have none of their own. It is in the provenance, not in the
    prompt that is written."""
    duplicates: RepeatedResponses = "drop"
    """drop: responses that are the same but for white space are replaced by further samples. keep:
    responses are the samples as they were drawn."""
    near_duplicate: float | None = None
    """Take responses for the same from this Jaccard similarity of their shingles of five characters
    on, such as 0.9. Default: only the same ones."""
    attempts: int = 2
    """Rounds of further samples in place of those that are repeated, empty or cut."""
    cut: CutResponses = "keep"
    """What becomes of responses that end for want of room: kept (finish is length), or replaced."""
    fewer: FewerResponses = "keep"
    """What becomes of prompts with fewer responses than wanted; those with none are never kept."""
    min_coverage: float = 0.95
    """Write nothing if a smaller share of the samples came: the others failed."""
    dry_run: bool = False
    """Say what it would take, and write nothing."""
    limit: int | None = None
    """Use only the first so many prompts."""
    on_bad_row: OnBadRow = "error"
    """error stops at the first row without a prompt; skip counts it and goes on."""
    seed: int = 0
    """With a prompt's text, decides its samples."""
    batch_size: int = 16
    """A policy's: samples in the making at a time, and lost at most when it is interrupted."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the report as JSON."""


JudgeTask = Literal["pair", "choice", "rating", "checklist", "step", "first-error"]
PanelTask = Literal["pair", "choice", "rating", "checklist"]
JudgeOrders = Literal["both", "random", "fixed"]
JudgeMeans = Literal["auto", "log-probabilities", "schema", "text"]
InconsistentPairs = Literal["keep", "drop"]


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What judges are asked of the responses, and what becomes of their answers."""

    orders: JudgeOrders = "both"
    """pair and choice: both orders, one drawn by the texts (random), or the rows' own (fixed)."""
    ties: bool = False
    """pair: let the judge say that both are equally good."""
    dimensions: tuple[str, ...] = ()
    """pair and rating: ask once for each of these (helpfulness, factual accuracy, …); the label is
    their mean."""
    checklist: Path | None = None
    """checklist: a text file with a line for each item."""
    principles: bool = False
    """pair and choice: give each item one of the prompt pack's principles, drawn by its texts."""
    references: Path | None = None
    """Rows with id and reference: a right response to compare with."""
    pack: str = "plain"
    """Prompt pack: a name, or a TOML file of one's own."""
    inconsistent: InconsistentPairs = "keep"
    """What becomes of pairs whose orders disagree: their mean is kept as a soft label, or not."""
    min_coverage: float = 0.95
    """Write nothing if a smaller share of the pairs could be judged."""
    dry_run: bool = False
    """Say what it would take, and ask nothing."""
    page: Path | None = None
    """Where the report goes as an HTML page. Default: nowhere."""
    limit: int | None = None
    """Judge only the first so many comparisons."""
    on_bad_row: OnBadRow = "error"
    """error stops at the first bad row; skip counts it and goes on."""
    seed: int = 0
    """Draws orders, principles and fences, and seeds an endpoint's samples."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the report as JSON."""


@dataclass(frozen=True, kw_only=True)
class Judge(Judging, EndpointSettings):
    """Judge responses by a language model, in both orders; and see how good the judge is."""

    files: tuple[str, ...] = field(metadata={"positional": True})
    """Rows with prompt and responses, as assay generate writes them, or preferences of any format,
    whose labels then judge the judge; solutions in steps for the tasks step and first-error."""
    out: Path
    """Where the judged rows go. Rows without any judgment go beside it, to NAME.failed.jsonl."""
    judge: str | None = None
    """Judge with this local model: smollm2-135m, a directory, or a hub name."""
    task: JudgeTask = "pair"
    """pair: every two responses. choice: the best of all. rating: 1 to 10 each. checklist: yes or
    no to every line of a list. step: is each step right? first-error: which is the first wrong?"""
    means: JudgeMeans = "auto"
    """An endpoint's answers: auto takes the best it can do, and says which."""
    rationale: bool = False
    """An endpoint gives its reasons before the verdict."""
    samples: int = 1
    """An endpoint without log-probabilities: answers to a question, whose shares are the label."""
    temperature: float = 0.0
    """An endpoint's, above 0 for several samples."""
    max_tokens: int = 512
    """Most tokens of an endpoint's answer with its reasons."""
    repeats: int = 1
    """pair: times each question is asked, to see whether the judge repeats itself."""
    token_budget: int = TOKEN_BUDGET
    """A local judge's: most tokens in one forward pass."""


@dataclass(frozen=True, kw_only=True)
class Panel(Judging):
    """Judge responses by several models as one; people get what they cannot settle."""

    files: tuple[str, ...] = field(metadata={"positional": True})
    """Rows with prompt and responses, as assay generate writes them, or preferences of any format,
    whose labels then judge the panel and its members."""
    members: tuple[str, ...]
    """Two or more: local models (smollm2-135m, a directory, a hub name), or TOML files with the
    flags of assay judge that are a member's own: judge, or endpoint and what belongs to it."""
    out: Path
    """Where the judged rows go. Rows without any label go beside it, to NAME.failed.jsonl."""
    task: PanelTask = "pair"
    """pair: every two responses. choice: the best of all. rating: 1 to 10 each. checklist: yes or
    no to every line of a list."""
    quorum: int | None = None
    """Fewest members that must have judged a pair. Default: more than half."""
    weights: tuple[float, ...] = ()
    """How much each member counts, in their order. Default: alike."""
    calibrate: tuple[str, ...] = ()
    """Preferences by people, which every member judges first: weights are learnt from them."""
    people: Path | None = None
    """Where pairs go that the panel cannot settle, most urgent first; assay import reads them."""
    db: str | None = None
    """Put them into this preference store too, ahead of what waits there: a path (SQLite), or
    postgresql://user@host/name."""
    project: str | None = None
    """The store's project. Default: the only one."""
    disagreement: float = 0.2
    """Weighted deviation of the members' probabilities, 0 to 0.5, above which people are asked."""
    max_cost: float | None = None
    """Ask no more than this may pay for, all members together; needs the prices of each endpoint,
    in one currency."""


@dataclass(frozen=True, kw_only=True)
class CheckResponses:
    """Say of every response whether it is right, by verifiers."""

    verifiers: Path
    """JSON file with a list of verifiers, such as [{"kind": "word_count", "at_least": 50}]."""
    data: Path
    """Rows with a prompt and a response, or a list of responses."""
    out: Path
    """Where the rows go, with what every verifier says of every response."""
    truth: str = "answer"
    """Key of a row's right answer, or of its tests, for verifiers that have none of their own."""
    json: bool = False
    """Print the report as JSON."""


@dataclass(frozen=True, kw_only=True)
class Select:
    """Choose which comparisons to label next, from rows without labels."""

    run: str = field(metadata={"positional": True})
    """A run directory, a reward-model directory, or a hub name; random does not read it."""
    input: Path
    """JSON Lines (also .gz) or Parquet rows with prompt and two or more responses, unlabelled."""
    output: Path
    """Where the chosen rows go, most worth labelling first, with selection added."""
    method: SelectionMethod
    """disagreement: the deviation of the members' probabilities. bald: what an answer would tell
    about the members. bald-diverse: bald, away from what is already chosen. d-optimal: what pairs
    tell together about a linear head. random: the baseline."""
    count: int
    """How many rows to choose, one pair of responses of each."""
    diversity: float = 1.0
    """bald-diverse: weight of the log distance to the nearest chosen pair; 0 is bald."""
    seed: int = 0
    """random: seeds the order and the pairs."""
    truncation: Truncation = "error"
    """What happens to conversations over the contract's max_length; drop leaves their pairs out
    and counts them."""
    token_budget: int = TOKEN_BUDGET
    """Most tokens in one forward pass."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the summary as JSON."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate a reward model on a suite: figures with intervals, baselines, a report."""

    run: str | None = field(default=None, metadata={"positional": True})
    """A run directory, a reward-model directory, a hub name, or a .json file of verifiers; not with
    scores."""
    suite: str
    """rewardbench, rewardbench-2, rm-bench, judgebench, llmbar, rmb, hh, ppe-correctness; with a
    process model or scores processbench and prmbench; or a file of pairs, of one right response
    among N, or of solutions whose steps are judged."""
    data: str | None = None
    """The suite's rows: a file or directory in the published layout, or a hub name. Default: the
    suite's own place on the hub."""
    scores: Path | None = None
    """Saved scores to count instead of scoring with a model; of a file of solutions, rows with
    step_rewards."""
    model: str | None = None
    """The model's name in the report, or which one of several in the saved scores."""
    out: Path
    """Directory for results.json, scores.jsonl and report.html."""
    train: tuple[str, ...] = ()
    """Preference data (for a file of solutions: other solutions) to fit the length-only and
    text-only baselines on. Default: cross-validation on the suite."""
    calibrate_on: str | None = None
    """Preference data, apart from the suite, to fit temperature and length calibration on."""
    save_calibration: bool = False
    """Keep what calibrate_on fitted in the run directory, as calibration.json."""
    probes: int = 200
    """Score edited copies of so many responses to find biases; 0 turns it off."""
    tune: tuple[str, ...] = ()
    """Judged solutions to find the threshold on, from which a step is called right; those of
    problems that are evaluated are left out. Default: 0.5."""
    neutral: Neutral = "good"
    """What neutral steps of a file of solutions count as: good, bad, or skip, not judged."""
    on_bad_row: OnBadRow = "error"
    """Of solutions: error stops at the first bad row; skip counts it and goes on."""
    truncation: Truncation = "truncate-left"
    """What happens to conversations over the contract's max_length; all are counted."""
    token_budget: int = TOKEN_BUDGET
    """Most tokens in one forward pass."""
    aggregator: AggregatorName | None = None
    """How the members of an ensemble become one reward. Default: as it was saved."""
    strength: float | None = None
    """Of the aggregator: k of mean-std, λ of mean-variance, β of entropic. Default: as saved."""
    reduction: Reduction | None = None
    """How a process model's step rewards become a response's. Default: their product."""
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
    """Compare evaluations of one suite, or judges: paired differences, items that flipped."""

    directories: tuple[Path, ...] = field(metadata={"positional": True})
    """Evaluation directories, or files that assay judge or assay panel wrote; each is compared with
    the first."""
    out: Path | None = None
    """Directory for compare.json, flips.jsonl and leaderboard.html; of judges for compare.json and
    judges.html."""
    seed: int = 0
    """Seeds the bootstrap."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Audit preference data: agreement, annotators, biases, duplicates, noise."""

    data: tuple[str, ...] = field(metadata={"positional": True})
    """Files of preferences or votes, directories, or hub names, all audited as one."""
    out: Path
    """Directory for audit.json, audit.html and flagged.jsonl."""
    against: tuple[str, ...] = ()
    """Suites by name, or files, whose prompts must not be in the data."""
    near_duplicate: float = 0.8
    """Similarity from which two texts are near duplicates: Jaccard of shingles, over 0 to 1."""
    resamples: int = 2000
    """Bootstrap resamples of every coefficient of agreement."""
    on_bad_row: OnBadRow = "skip"
    """skip counts rows that cannot be read and goes on; error stops at the first."""
    limit: int | None = None
    """Use only the first so many comparisons."""
    seed: int = 0
    """Seeds bootstraps, samples and MACE."""
    json: bool = False
    """Print the audit as JSON."""


@dataclass(frozen=True, kw_only=True)
class Overoptimization:
    """Does gold fall while the proxy rises? In best-of-n, or in policies trained by RL."""

    input: Path | None = None
    """best-of-n: rows with prompt and responses, all of one policy and as many for every prompt;
    with gold and with rewards or member_rewards, lists of one entry a response, for what no run is
    named. Give it or runs."""
    runs: tuple[str, ...] = ()
    """RL: directories of assay rlhf, DIR or NAME=DIR; those of one NAME are the seeds of one
    setting."""
    min_sqrt_kl: float = 0.3
    """RL: the fit leaves out steps nearer to the reference policy than this √KL, where the slope of
    its form is infinite."""
    run: str | None = None
    """What selects: a run directory (a model or an ensemble), a reward-model directory, or a hub
    name. Default: the rewards in the rows, or member_rewards, a list of the members' a response."""
    gold: str | None = None
    """What measures: another reward model, as for run, or a .json file of verifiers. Default: the
    gold in the rows."""
    out: Path
    """Directory for results.json, overoptimization.html and, of best-of-n, scores.jsonl."""
    aggregators: tuple[str, ...] = ()
    """What to select by, NAME or NAME:STRENGTH: single (every member by itself, averaged), mean,
    median, worst-case, mean-std:K, mean-variance:LAMBDA, entropic:BETA. Default: of an ensemble
    single, mean, worst-case and mean-variance; of one model single."""
    members_scale: Literal["saved", "candidates"] | None = None
    """The scale members are aggregated on: saved, that of the run, or of the rows as they are;
    candidates, all members' deviations equal on these candidates. Default: saved with run, else
    candidates."""
    max_n: int | None = None
    """Largest n. Default: all candidates of a prompt."""
    truncation: Truncation = "truncate-left"
    """What happens to conversations over the contract's max_length; all are counted."""
    token_budget: int = TOKEN_BUDGET
    """Most tokens in one forward pass."""
    seed: int = 0
    """Seeds the bootstrap over prompts."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the results as JSON."""


@dataclass(frozen=True, kw_only=True)
class PolicyTraining:
    """How a policy is trained on a reward, whatever the method."""

    steps: int = 100
    """Steps: each samples, scores and updates once."""
    prompts_per_step: int = 16
    """Prompts of a step."""
    samples: int = 4
    """Responses to each of them."""
    max_new_tokens: int = 64
    """Most tokens of a response."""
    temperature: float = 1.0
    """Of the samples, and of every log-probability that is compared with theirs."""
    stop: tuple[str, ...] = ()
    """A response ends before the first of these strings."""
    missing_end: float | None = None
    """The score of a response that did not come to its end. Default: the reward's own."""
    kl_coef: float = 0.05
    """β: the penalty for each nat of divergence from the reference policy."""
    kl_target: float | None = None
    """Nats a response that an adaptive β is led to. Default: β stays as it is."""
    kl_horizon: float | None = None
    """adaptive only: episodes in which β can grow or shrink by a fifth. Default: a tenth of the
    run's; the published 10,000 hardly moves it in a short run."""
    epochs: int = 1
    """Inner epochs over the responses of a step."""
    minibatches: int = 1
    """Updates of an inner epoch; at most one for each prompt."""
    clip: float = 0.2
    """How far the ratio of new to old probability counts."""
    mode: PolicyMode = "lora"
    """lora trains adapters, and the reference is the policy without them; full trains every weight
    beside a frozen copy."""
    lora_rank: int = 16
    """Rank of the adapters."""
    lora_alpha: int = 32
    """Their scale is alpha/rank."""
    lr: float | None = None
    """Learning rate. Default: 1e-4 for lora, 3e-6 for full."""
    schedule: Schedule = "linear"
    """Learning rate over the steps: linear or cosine to 0, or constant."""
    adam_eps: float = 1e-5
    """AdamW's epsilon; a smaller one makes the first updates of PyTorch's large."""
    max_grad_norm: float = 1.0
    """The gradient's norm is cut to it; 0 leaves it."""
    ptx_coef: float = 0.0
    """Weight of the language-model loss on other texts (PPO-ptx); 0 has none."""
    batch_size: int = 64
    """Responses sampled at a time."""
    token_budget: int = TOKEN_BUDGET
    """Most tokens in one forward pass of the update."""
    save_every: int = 10
    """Steps between resume points."""
    seed: int = 0
    """Seeds the order of prompts, the samples and the adapters."""


@dataclass(frozen=True, kw_only=True)
class RLOO(PolicyTraining):
    """REINFORCE, leave-one-out: each response against the others of its prompt."""

    advantage: Advantage = "rloo"
    """rloo: the reward less the others' mean. grpo: over their standard deviation, and a loss a
    token; grpo-unscaled: the same without it (Dr. GRPO)."""


@dataclass(frozen=True, kw_only=True)
class PPO(PolicyTraining):
    """Proximal policy optimisation with a value model."""

    samples: int = 1
    """Responses to each of them."""
    gamma: float = 1.0
    """Discount."""
    lam: float = 0.95
    """λ of the generalised advantage estimates."""
    value: ValueInit = "zero"
    """zero: a value head of zeros on the policy's own states. reward: a copy of the reward model,
    which must read the policy's tokens."""
    value_coef: float = 0.1
    """Weight of the value loss."""
    value_clip: float = 0.2
    """How far a value may move from the one before the update."""
    whiten_rewards: bool = False
    """Give the rewards of all tokens variance 1."""


@dataclass(frozen=True, kw_only=True)
class PolicyRun:
    """What a policy is trained from and on, how it is watched, and where the run is written."""

    policy: str = "smollm2-135m"
    """The policy: smollm2-135m, a directory, or a hub name of a causal language model."""
    prompts: str
    """A file, directory or hub dataset of rows with prompts, or of preferences."""
    out: Path
    """Run directory to write."""
    audit: str | None = None
    """A reward model that is watched and not optimised: of other data, or another backbone."""
    gold: str | None = None
    """The truth, where there is one; watched and not optimised."""
    trained_on: tuple[str, ...] = ()
    """Data that the reward model was trained on: how far responses lie from it is watched then."""
    aggregator: AggregatorName | None = None
    """How the members of a reward's ensemble become one reward. Default: as it was saved."""
    strength: float | None = None
    """Of the aggregator: k of mean-std, λ of mean-variance, β of entropic. Default: as saved."""
    reduction: Reduction | None = None
    """How a process model's step rewards become one reward. Default: their product."""
    normalize: bool = False
    """Bring every part of the reward to mean 0 and deviation 1 on the reference's responses."""
    on_failure: Literal["error", "skip"] = "error"
    """skip leaves responses whose reward cannot be had out of the update, and counts them."""
    timeout: float | None = None
    """Longest time of one call of the reward, in seconds. Default: no limit."""
    texts: tuple[str, ...] = ()
    """Files of prompts whose text the language-model loss of ptx_coef reads."""
    heldout_prompts: int = 32
    """Prompts kept out of training, answered before and after it; 0 keeps none."""
    heldout_samples: int = 4
    """Responses to each of them."""
    limit: int | None = None
    """Use only the first so many prompts."""
    baseline_steps: int = 8
    """Steps of the reference policy that the monitor's baseline is made of."""
    false_alarms: float = 0.05
    """Probability of a false alarm of the monitor in the whole run."""
    stop_on_alarm: bool = True
    """End the run at an alarm, or where the audit's lower bound has long not improved."""
    resume: bool = False
    """Go on from the last resume point in the run directory."""
    threads: int | None = None
    """CPU threads. Default: all cores."""
    json: bool = False
    """Print the results as JSON."""


@dataclass(frozen=True, kw_only=True)
class RewardedRun(PolicyRun):
    """A policy run on a reward that is there."""

    reward: str
    """What is optimised: a run, a reward server's address, a .json file of verifiers,
    FILE.py:FUNCTION, or a weighted sum such as 0.7*runs/a+0.3*runs/b."""


@dataclass(frozen=True, kw_only=True)
class RlhfRLOO(RLOO, RewardedRun):
    """Train a policy on a reward by RLOO or GRPO: samples against each other."""


@dataclass(frozen=True, kw_only=True)
class RlhfPPO(PPO, RewardedRun):
    """Train a policy on a reward by PPO with a value model and a KL penalty."""


@dataclass(frozen=True, kw_only=True)
class RlhfIterate(RLOO, PolicyRun):
    """Rounds of a reward model, a policy on it, and comparisons of what that policy says."""

    data: tuple[str, ...]
    """Preference pairs that the first reward model is trained on, and all later ones too."""
    labeler: str | None = None
    """What decides between fresh responses: a run, a server or FILE.py:FUNCTION, as a reward is
    named. Default: people; the command stops with a file to be labelled, and goes on with it."""
    rounds: int = 3
    """Policies trained, each from the beginning on a reward model of its own."""
    fresh_pairs: int = 256
    """Pairs of the trained policy's responses that each round adds."""
    backbone: str = "smollm2-135m"
    """Backbone of the reward models."""
    reward_mode: Literal["frozen", "lora", "full"] = "frozen"
    """How they are trained."""


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
    """The whole path on bundled data: train, report, verify, score, and a page."""

    out: Path = Path("runs/quickstart")
    """Run directory to write."""
    backbone: str = "smollm2-135m"
    """Backbone to train on."""
    seed: int = 0
    """Seed of the training."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class Collect:
    """Serve the annotation site over a preference store; a link is printed."""

    db: str = "prefs.db"
    """The store: a path (SQLite) or postgresql://user@host/name. It is made when missing."""
    import_: str | None = field(default=None, metadata={"key": "import"})
    """Comparisons to import into a project made for them: a file, a directory, or a hub name. A
    project that was imported into before is left as it is."""
    project: str | None = None
    """The name of that project. Default: the file's."""
    format: str | None = None
    """The format of the file. Default: found out."""
    overlap: int = 1
    """Judgments wanted of each comparison, of different annotators."""
    preset: str = "helpsteer"
    """The scale on which one of two responses is called better: binary, llama2, helpsteer, bai8,
    arena, arena6 or slider."""
    host: str = "127.0.0.1"
    """The address to serve at. Any but this machine's own needs an admin with a password."""
    port: int = 8420
    """The port to serve at; 0: any that is free."""
    https: bool = False
    """Whether people reach it by https, through a proxy: cookies are then for https alone."""
    behind_proxy: bool = False
    """Believe what a proxy on this machine says of who asks (X-Forwarded-For, -Proto)."""
    session_hours: float = 12.0
    """How long one stays signed in."""
    open_registration: bool = False
    """Whether whoever the OpenID provider vouches for gets an account, without a role anywhere."""
    oidc_issuer: str | None = None
    """The address of an OpenID provider to sign in by. Default: $ASSAY_OIDC_ISSUER, or none."""
    oidc_client: str | None = None
    """This site's client id there. Default: $ASSAY_OIDC_CLIENT."""
    oidc_secret_file: Path | None = None
    """A file with its secret. Default: $ASSAY_OIDC_SECRET_FILE, or the secret itself in
    $ASSAY_OIDC_SECRET."""
    oidc_name: str = "OpenID"
    """What the button calls the provider."""
    webhook_hosts: tuple[str, ...] = ()
    """Hosts of your own network that webhooks may name; all others must be public."""


@dataclass(frozen=True, kw_only=True)
class Import:
    """Take comparisons from a file into a project of the preference store, all or none."""

    file: str = field(metadata={"positional": True})
    """A file (.jsonl, .json, .csv, .tsv, also with .gz; .parquet; .zip of one of them), a
    directory, or a hub name."""
    db: str = "prefs.db"
    """The store: a path (SQLite) or postgresql://user@host/name."""
    project: str | None = None
    """The project's name. Default: the only one."""
    create: bool = False
    """Make the store and the project where they are not there."""
    kind: Literal["auto", "pair", "ranking", "steps"] = "auto"
    """auto takes two responses as a pair, more as a ranking, steps as a solution; ranking also
    ranks two."""
    format: str = "auto"
    """The format of the rows, where their keys say another; docs/formats.md names them."""
    overlap: int | None = None
    """Judgments wanted of each comparison. Default: the row's, or the project's."""
    purpose: Literal["work", "screening", "training", "gold", "attention"] = "work"
    """Of items with a known answer: from the field expected, or the row's own preference."""
    language: str | None = None
    """Of comparisons whose row says none, such as en."""
    without_judgments: bool = False
    """Leave preferences in the rows out, so that all is judged anew."""
    shuffle_seed: int | None = None
    """Draws the order that responses are numbered in. Default: as in the file; what is shown first
    is drawn in any case."""
    on_bad_row: OnBadRow = "error"
    """error stops at the first bad row, and nothing is kept; skip counts it and goes on."""
    limit: int | None = None
    """Take only the first so many comparisons."""
    json: bool = False
    """Print what came of it as JSON."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the judgments of a project of the preference store to a file."""

    output: Path
    """The new file: .jsonl, .jsonl.gz, .json (one array), .parquet, .csv or .tsv."""
    db: str = "prefs.db"
    """The store: a path (SQLite) or postgresql://user@host/name."""
    project: str | None = None
    """The project's name. Default: the only one."""
    format: str = "assay"
    """assay (everything), pairs, trl-implicit, openrlhf, hh, kto, ultrafeedback, helpsteer, arena,
    trl-stepwise, prm800k, argilla, label-studio or csv; docs/formats.md says what each holds."""
    per: Literal["comparison", "judgment"] = "comparison"
    """A row for the mean of a comparison's judgments, or for each judgment, where a format lets
    choose."""
    ties: Literal["keep", "drop"] = "keep"
    """keep writes ties with probability 0.5 where a format has one; drop counts them."""
    decisions: Literal["win", "ignore"] = "win"
    """Whether an adjudicated answer stands in for the judgments of its comparison."""
    surplus: bool = False
    """Count judgments beyond those wanted, too."""
    items: Literal["work", "all"] = "work"
    """all: gold, attention, screening and training items too."""
    unjudged: bool | None = None
    """Whether comparisons without a judgment are written. Default: in the form assay only."""
    names: bool = False
    """Give annotators' names. Default: pseudonyms, which stay the same within a project."""
    formulas: Literal["guard", "keep"] = "guard"
    """guard: a cell of a table that a spreadsheet would run as a formula gets an apostrophe."""
    json: bool = False
    """Print what was written, and what was not, as JSON."""


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """Print the commented TOML of all defaults of a verb."""

    verb: tuple[str, ...] = field(metadata={"positional": True})
    """The verb, such as train reward."""
