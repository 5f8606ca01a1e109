"""How policies are trained on a reward."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assay.configs.common import TOKEN_BUDGET
from assay.configs.score import Reduction
from assay.configs.train import AggregatorName, Schedule

PolicyMode = Literal["lora", "full"]
Advantage = Literal["rloo", "grpo", "grpo-unscaled"]
ValueInit = Literal["zero", "reward"]


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
