"""The verb ``assay evaluate`` where steps are rewarded: of a step suite, or a file of solutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assay.configs import Evaluate
from assay.errors import ConfigError, DataError
from assay.evaluation.run import Evaluation, evaluate
from assay.evaluation.solutions import of_other_problems
from assay.evaluation.solutions_evaluation import (
    JudgedFile,
    SolutionsEvaluation,
    evaluate_solutions,
    first_indexes,
    load_judged,
)
from assay.evaluation.step_scoring import (
    ScoredSteps,
    read_step_rewards,
    score_solutions,
)
from assay.evaluation.step_suites import load_step_suite
from assay.evaluation.suite import Suite
from assay.evaluation.tuning import tune_thresholds
from assay.formats.files import shown_name
from assay.formats.prompts import prompt_text
from assay.types import Solution

if TYPE_CHECKING:
    from assay.progress import Report


def check_step_request(config: Evaluate, is_file: bool) -> None:
    """Refuse flags that mean nothing where steps are rewarded.

    Raises:
        ConfigError: With what to do.
    """
    if config.calibrate_on:
        raise ConfigError(
            "--calibrate-on fits the gaps of pairs; step rewards are probabilities as they are, "
            "and --tune finds their threshold."
        )
    if config.reduction is not None:
        raise ConfigError(
            f"--reduction makes one reward of a response, and in {config.suite} every step counts; "
            "leave it out."
        )
    if config.aggregator or config.strength is not None:
        raise ConfigError("An aggregator is for an ensemble of outcome models; leave it out.")
    if is_file and config.data is not None:
        raise ConfigError(f"--data is for suites by name, and {config.suite} is a file itself.")
    if not is_file and config.train:
        raise ConfigError(
            f"{config.suite} by name stands beside chance alone; evaluate its file with --suite "
            "FILE to have the baselines that --train fits."
        )
    if not is_file and config.scores is not None and config.tune:
        raise ConfigError(
            "--tune rewards the solutions it tunes on with the model, and saved scores have none; "
            "evaluate the suite's file with --suite FILE, and --tune FILE with step_rewards."
        )
    if config.run is not None and not _may_reward_steps(config.run):
        raise ConfigError(
            f"{config.run} rewards whole responses, and in {config.suite} steps are judged; name a "
            "process model, which assay train process makes, or for this run a file of pairs."
        )


def _may_reward_steps(run: str) -> bool:
    """Whether a run is a process model, or somebody else's model, which loading will tell."""
    from assay.models.checkpoint import ASSAY_FILE
    from assay.models.process_checkpoint import is_process

    return is_process(run) or not (Path(run) / ASSAY_FILE).is_file()


def evaluate_step_suite(config: Evaluate, progress: Report) -> Evaluation:
    """ProcessBench or PRMBench with a process model."""
    suite = load_step_suite(config.suite, config.data, config.limit, config.on_bad_row)
    tune = _load_apart(config.tune, suite.problems, config)
    scored, others, digest = _score(config, suite.solutions, tune, progress)
    tuning = None
    if tune:
        left_out = len(tune.all.solutions) - len(tune.others)
        tuning = tune_thresholds(suite.spec, tune.others, others, tune.all.source, left_out)
    return evaluate(
        None,
        Suite(suite.spec, (), suite.source, suite.dropped),
        scored=suite.scored(scored, tuning.thresholds if tuning else None),
        model=config.model or shown_name(str(config.run)),
        model_digest=digest,
        tuned_on=tuning.to_dict() if tuning else None,
        seed=config.seed,
        directory=config.out,
    )


def evaluate_solutions_file(config: Evaluate, progress: Report) -> SolutionsEvaluation:
    """A file of solutions with a process model, or with step rewards that are there already."""
    whole = load_judged([config.suite], config.on_bad_row)
    kept = first_indexes(whole.solutions, config.limit)
    judged = whole.select(kept)
    problems = [prompt_text(s.prompt) for s in judged.solutions]
    tune = _load_apart(config.tune, problems, config)
    train = _load_apart(config.train, problems, config)
    digest = ""
    if config.scores is not None:
        scored = read_step_rewards([config.scores], whole.solutions).part(kept)
        tuned = tune.all.solutions if tune else ()
        others = read_step_rewards(config.tune, tuned)
        name = config.scores.stem
    else:
        scored, others, digest = _score(config, judged.solutions, tune, progress)
        tuned = tune.others if tune else ()
        name = shown_name(str(config.run))
    return evaluate_solutions(
        judged,
        scored,
        neutral=config.neutral,
        train=train.all if train else None,
        tune=tune.all if tune else None,
        tune_steps=(tuned, others),
        model=config.model or name,
        model_digest=digest,
        seed=config.seed,
        directory=config.out,
    )


@dataclass(frozen=True)
class _Apart:
    """Solutions to tune or fit on, and those of them that are of problems not evaluated."""

    all: JudgedFile
    others: tuple[Solution, ...]


def _load_apart(sources: Sequence[str], problems: Sequence[str], config: Evaluate) -> _Apart | None:
    if not sources:
        return None
    loaded = load_judged(sources, config.on_bad_row)
    others, shared = of_other_problems(loaded.solutions, problems)
    if not others:
        raise DataError(
            f"All {shared:,} solutions of {loaded.source} are of problems that are evaluated; "
            "thresholds are tuned, and baselines fitted, on other problems."
        )
    return _Apart(loaded, tuple(others))


def _score(
    config: Evaluate, solutions: Sequence[Solution], tune: _Apart | None, progress: Report
) -> tuple[ScoredSteps, ScoredSteps, str]:
    """Step rewards of the solutions and of those to tune on, in one journal; the model's digest."""
    import torch

    from assay.score.process import load_step_scorer

    assert config.run is not None
    if config.threads:
        torch.set_num_threads(config.threads)
    scorer = load_step_scorer(
        config.run, token_budget=config.token_budget, truncation=config.truncation
    )
    digest = f"{scorer.digest} {config.truncation}"
    every = [*solutions, *(tune.others if tune else ())]
    scored = score_solutions(scorer, every, config.out, digest, progress)
    count = len(solutions)
    return scored.part(range(count)), scored.part(range(count, len(every))), digest
