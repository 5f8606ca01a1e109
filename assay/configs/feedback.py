"""Candidate responses, judges, panels, verifiers, and labels of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from assay.configs.common import TOKEN_BUDGET, EndpointSettings, OnBadRow

LabelMethod = Literal["every-step", "first-error"]
LabelEstimation = Literal["hard", "soft"]


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
