"""Evaluations, their comparison, over-optimisation, and audits of preference data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from assay.configs.common import TOKEN_BUDGET, OnBadRow, Truncation
from assay.configs.score import Reduction
from assay.configs.train import AggregatorName, Neutral


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
