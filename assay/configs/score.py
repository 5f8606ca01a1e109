"""Scoring, best-of-n, search with a process model, and which comparisons to label next."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from assay.configs.common import TOKEN_BUDGET, Truncation
from assay.configs.train import AggregatorName

SelectionMethod = Literal["disagreement", "bald", "bald-diverse", "d-optimal", "random"]
SearchMethod = Literal["best-of-n", "weighted-vote", "majority", "beam"]
Reduction = Literal["product", "log-product", "min", "mean", "last"]


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
