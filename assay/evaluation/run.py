"""The verb ``assay evaluate``: a suite and a scorer in; figures, scores and a report out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.atomic import write_json, write_jsonl, write_text
from assay.configs import Evaluate
from assay.errors import ConfigError, DataError
from assay.evaluation import baselines, calibration, probes
from assay.evaluation.best_of_n import curve_of_suite
from assay.evaluation.calibration import Calibration
from assay.evaluation.results import SuiteFigures, figures, grouped
from assay.evaluation.scoring import JOURNAL, ScoredSuite, score_suite
from assay.evaluation.steps import STEP_SUITES, step_figures, thresholds
from assay.evaluation.suite import Item, ScoredItem, Suite, SuiteSpec
from assay.evaluation.suites import (
    RM_BENCH,
    holds_solutions,
    load_suite,
    style_levels,
    style_matrix,
    suite_spec,
)
from assay.evaluation.uncertainty import uncertainty_figures
from assay.formats.files import shown_name
from assay.types import Conversation, PreferencePair, Scorer

if TYPE_CHECKING:
    from assay.evaluation.solutions_evaluation import SolutionsEvaluation
    from assay.progress import Report

RESULTS = "results.json"
SCORES = "scores.jsonl"
REPORT = "report.html"
SCHEMA = 1
EXAMPLES = 20
"""Most confidently wrong items shown in the report."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluated suite: figures, scored items, and the blocks of ``results.json``."""

    figures: SuiteFigures
    scored: tuple[ScoredItem, ...]
    record: Mapping[str, Any]
    calibration: Calibration | None = None

    def to_dict(self) -> dict[str, Any]:
        """``results.json`` without the example texts."""
        return {k: v for k, v in self.record.items() if k != "examples"}

    def __str__(self) -> str:
        gone = ", ".join(f"{n:,} {why}" for why, n in self.record["dropped"].items() if n)
        lines = [
            str(self.figures),
            f"dropped: {gone or 'none'}; truncated {self.record['rewards_of']}: "
            f"{self.record['truncated']:,}",
        ]
        if self.record["thresholds"]:
            found = ", ".join(f"{n} {t:.3g}" for n, t in self.record["thresholds"].items())
            lines.append(f"thresholds: {found}{_tuned(self.record['tuned_on'])}")
        if self.record.get("directory"):
            lines.append(f"report: {Path(self.record['directory']) / REPORT}")
        return "\n".join(lines)

    def save(self, directory: str | Path) -> Path:
        """Write ``scores.jsonl``, ``report.html`` and last ``results.json``, each whole or not."""
        from assay.evaluation.report import report_page

        out = Path(directory)
        out.mkdir(parents=True, exist_ok=True)
        write_jsonl(out / SCORES, [item.to_row() for item in self.scored])
        report_page(self.record, out / REPORT)
        write_json(out / RESULTS, {k: v for k, v in self.record.items() if k != "directory"})
        return out


def _tuned(tuned_on: Mapping[str, Any] | None) -> str:
    if not tuned_on:
        return ""
    return (
        f" (tuned on {tuned_on['solutions']:,} solutions of {tuned_on['source']}; "
        f"{tuned_on['left_out']:,} others are of problems evaluated)"
    )


def evaluate(
    scorer: Scorer | None,
    suite: Suite,
    *,
    scored: ScoredSuite | None = None,
    model: str = "",
    model_digest: str = "",
    train: Sequence[PreferencePair] | None = None,
    calibrate_on: Suite | None = None,
    probed: int = 200,
    reduction: str | None = None,
    tuned_on: Mapping[str, Any] | None = None,
    seed: int = 0,
    directory: Path | None = None,
    progress: Report | None = None,
) -> Evaluation:
    """Evaluate a scorer on a suite.

    Args:
        scorer: Anything with ``score``; None where ``scored`` is given.
        scored: Rewards that are there already.
        model: The name in the report.
        train: Pairs the baselines are fitted on. Default: cross-validation on the suite.
        calibrate_on: Pairs, apart from the suite, that temperature and length are fitted on.
        probed: How many responses the bias probes edit; 0 turns them off.
        reduction: How a process model's step rewards became one, for the record.
        tuned_on: What the thresholds of a step suite were found on, for the record.
        directory: Where the scoring is kept, so that a killed evaluation goes on.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    if calibrate_on is not None:
        _check_apart(calibrate_on, suite)
    if scored is None:
        if scorer is None:
            raise ConfigError("An evaluation needs a scorer or scores; got neither.")
        scored = score_suite(scorer, suite, directory, model_digest, progress)
    if not scored.scored:
        raise DataError(
            f"All {scored.dropped_items} items of {suite.source} were dropped as too long."
        )
    rows = scored.scored
    items = _kept(suite.items, rows)
    answers = _baselines(items, rows, train, seed)
    random = {
        name: baselines.chance(suite.spec.subset(name).measure, part, seed=seed)
        for name, part in grouped(rows).items()
    }
    found = figures(suite.spec, rows, answers, random)
    of_steps = suite.spec.measure.of_steps
    fitted = None
    if calibrate_on is not None and scorer is not None:
        fitted = calibration.fit_calibration(
            score_suite(scorer, calibrate_on, progress=progress).scored,
            shown_name(calibrate_on.source),
        )
    length = None if of_steps else probes.length_figures(rows, seed)
    if length is not None and fitted is not None:
        length["calibrated"] = calibration.calibrated_lengths(rows, fitted)
    dropped = {**suite.dropped, "longer than max_length": scored.dropped_items}
    curve = None if of_steps else curve_of_suite(rows, seed)
    record = {
        "schema": SCHEMA,
        "suite": suite.spec.name,
        "title": suite.spec.title,
        "model": model,
        "model_digest": model_digest or None,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": package_versions(),
        "source": shown_name(suite.source),
        "tie_rule": suite.spec.measure.ties,
        "note": suite.spec.note,
        "baselines_fitted_on": "training pairs" if train is not None else "cross-validation",
        "dropped": dropped,
        "dropped_responses": scored.dropped_responses,
        "truncated": scored.truncated,
        **found.to_dict(),
        "calibration": (None if of_steps else calibration.calibration_figures(rows, fitted, seed)),
        "uncertainty": uncertainty_figures(suite.spec, rows, seed),
        "length": length,
        "formats": probes.format_figures(items, rows) if items else None,
        "probes": _probes(scorer, items, probed, seed, progress) if scorer and items else None,
        "best_of_n": curve.to_dict() if curve else None,
        **_styles(suite.spec, rows),
        "steps": _steps(suite.spec, rows),
        "reduction": reduction,
        "thresholds": thresholds(rows) if of_steps else None,
        "tuned_on": tuned_on,
        "examples": _examples(items, rows),
        "directory": str(directory) if directory else None,
    }
    return Evaluation(found, rows, record, fitted)


def _check_apart(calibrate_on: Suite, suite: Suite) -> None:
    shared = {item.cluster for item in calibrate_on.items} & {item.cluster for item in suite.items}
    if shared:
        raise DataError(
            f"{len(shared):,} prompts of {calibrate_on.source} are in {suite.source} too; "
            "calibration must be fitted on other prompts than it is reported on."
        )


def _kept(items: Sequence[Item], rows: Sequence[ScoredItem]) -> list[Item]:
    """The items that were scored, in the order of the rows; none where only scores are known."""
    there = {(item.subset, item.id): item for item in items}
    return [there[row.subset, row.id] for row in rows] if items else []


def _baselines(
    items: Sequence[Item],
    rows: Sequence[ScoredItem],
    train: Sequence[PreferencePair] | None,
    seed: int,
) -> dict[str, Sequence[ScoredItem]]:
    answers: dict[str, Sequence[ScoredItem]] = {}
    by_length = baselines.length_only(rows, train, seed=seed)
    if by_length is not None:
        answers["length_only"] = by_length
    if items:
        answers["text_only"] = baselines.text_only(items, rows, train, seed=seed)
    return answers


def _probes(
    scorer: Scorer, items: Sequence[Item], probed: int, seed: int, progress: Report | None
) -> list[dict[str, Any]] | None:
    """Probes of right responses of so many items, drawn at random, prompts apart."""
    if probed <= 0:
        return None
    order = np.random.default_rng(seed).permutation(len(items))
    chosen: list[tuple[Conversation, str]] = []
    seen: set[str] = set()
    for i in order:
        item = items[i]
        if item.cluster not in seen and len(chosen) < probed:
            seen.add(item.cluster)
            chosen.append((item.conversations()[item.correct.index(True)], item.cluster))
    if len(chosen) < 2:
        return None

    def report(done: int, total: int) -> None:
        if progress:
            progress("probe", done, total, 0)

    found = probes.run_probes(
        scorer, [c for c, _ in chosen], [name for _, name in chosen], progress=report
    )
    return [probe.to_dict() for probe in found.probes]


def _styles(spec: SuiteSpec, rows: Sequence[ScoredItem]) -> dict[str, Any]:
    if spec.name != RM_BENCH.name:
        return {"style_matrix": None, "levels": None}
    levels = {}
    for name, level in style_levels().items():
        found = figures(level, rows)
        whole = found.total or found.accuracy
        levels[name] = whole.accuracy.to_dict() if whole else None
    matrix = [[cell.to_dict() for cell in row] for row in style_matrix(list(rows))]
    return {"style_matrix": matrix, "levels": levels}


def _steps(spec: SuiteSpec, rows: Sequence[ScoredItem]) -> dict[str, Any] | None:
    if not spec.measure.of_steps:
        return None
    found = step_figures(rows, spec)
    return {
        subset: {name: figure.to_dict() for name, figure in parts.items()}
        for subset, parts in found.items()
    }


def _examples(items: Sequence[Item], rows: Sequence[ScoredItem]) -> list[dict[str, Any]]:
    """The items whose right response lies farthest below a wrong one."""
    if not items:
        return []
    gaps = [min(row.right) - max(row.wrong) for row in rows]
    worst = [i for i in np.argsort(gaps, kind="stable")[:EXAMPLES] if gaps[i] < 0]
    return [
        {
            "id": items[i].id,
            "subset": items[i].subset,
            "prompt": "\n\n".join(f"{m.role}: {m.content}" for m in items[i].prompt),
            "responses": [c.response_text for c in items[i].conversations()],
            "correct": list(items[i].correct),
            "rewards": list(rows[i].rewards),
            "gap": gaps[i],
        }
        for i in worst
    ]


def package_versions() -> dict[str, str]:
    """Versions of what a figure depends on, where installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("assay", "torch", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def run(config: Evaluate) -> Evaluation | SolutionsEvaluation:
    """The verb ``assay evaluate``."""
    _check(config)
    from assay.progress import progress_bars

    with progress_bars() as progress:
        done = _evaluated(config, progress)
    from assay.toml import resolved_toml

    config.out.mkdir(parents=True, exist_ok=True)
    write_text(config.out / "config.toml", resolved_toml(config))
    if config.save_calibration and config.run and isinstance(done, Evaluation) and done.calibration:
        done.calibration.save(Path(config.run))
    done.save(config.out)  # last, for results.json says that the evaluation is finished
    (config.out / JOURNAL).unlink(missing_ok=True)
    return done


def _evaluated(config: Evaluate, progress: Report) -> Evaluation | SolutionsEvaluation:
    is_file = holds_solutions(config.suite)
    if is_file or config.suite in STEP_SUITES:
        from assay.evaluation import step_run

        step_run.check_step_request(config, is_file)
        if is_file:
            return step_run.evaluate_solutions_file(config, progress)
        if config.scores is None:
            return step_run.evaluate_step_suite(config, progress)
    elif config.tune:
        raise ConfigError(
            f"--tune finds the threshold of step rewards, and {config.suite} rewards responses; "
            "leave it out."
        )
    elif config.on_bad_row == "skip":
        raise ConfigError(
            f"--on-bad-row skip is for solutions, and every row of {config.suite} counts; fix the "
            "row, or leave it out of the file."
        )
    return _from_scores(config) if config.scores is not None else _from_model(config, progress)


def _check(config: Evaluate) -> None:
    if config.limit is not None and config.limit < 1:
        raise ConfigError(f"limit must be at least 1, not {config.limit}.")
    if config.probes < 0:
        raise ConfigError(f"probes must be at least 0, not {config.probes}; 0 turns them off.")
    if (config.run is None) == (config.scores is None):
        raise ConfigError("Name either a run to score with or --scores FILE, and not both.")
    if config.out.exists() and not config.out.is_dir():
        raise ConfigError(f"--out {config.out} is a file; name a directory for the evaluation.")
    if (config.out / RESULTS).exists():
        raise ConfigError(
            f"--out {config.out} holds a finished evaluation; name another directory."
        )
    if config.save_calibration and not config.calibrate_on:
        raise ConfigError("--save-calibration keeps what --calibrate-on fits; name its pairs too.")
    if config.save_calibration and config.run and not Path(config.run).is_dir():
        raise ConfigError(f"{config.run} is no directory to keep a calibration in.")
    if config.scores is not None and (config.aggregator or config.strength is not None):
        raise ConfigError("An aggregator is for an ensemble; saved scores are what they are.")
    if config.scores is not None and config.reduction is not None:
        raise ConfigError("A reduction is for a process model; saved scores are what they are.")
    if config.scores is not None and config.calibrate_on:
        raise ConfigError("--calibrate-on scores pairs with a model; saved scores have none.")


def _from_scores(config: Evaluate) -> Evaluation:
    from assay.evaluation.saved import read_scores

    assert config.scores is not None
    spec = suite_spec(config.suite)
    rows = read_scores(config.scores, spec, config.model)
    if config.limit is not None:
        rows = [row for part in grouped(rows).values() for row in part[: config.limit]]
    done = evaluate(
        None,
        Suite(spec, (), str(config.scores)),
        scored=ScoredSuite(tuple(rows), 0, 0, 0),
        model=config.model or config.scores.stem,
        train=_pairs(config.train),
        seed=config.seed,
    )
    return Evaluation(done.figures, done.scored, {**done.record, "directory": str(config.out)})


def _from_model(config: Evaluate, progress: Report) -> Evaluation:
    import torch

    from assay.score.scorer import load_scorer

    assert config.run is not None
    if config.threads:
        torch.set_num_threads(config.threads)
    suite = load_suite(config.suite, config.data, config.limit)
    scorer = load_scorer(
        config.run,
        token_budget=config.token_budget,
        truncation=config.truncation,
        aggregator=config.aggregator,
        strength=config.strength,
        reduction=config.reduction,
    )
    reduction = getattr(scorer, "reduction", None)
    calibrate_on = load_suite(config.calibrate_on) if config.calibrate_on else None
    return evaluate(
        scorer,
        suite,
        model=config.model or shown_name(config.run),
        model_digest=" ".join(filter(None, (scorer.digest, config.truncation, reduction))),
        train=_pairs(config.train),
        calibrate_on=calibrate_on,
        probed=config.probes,
        reduction=reduction,
        seed=config.seed,
        directory=config.out,
        progress=progress,
    )


def _pairs(sources: Sequence[str]) -> list[PreferencePair] | None:
    if not sources:
        return None
    from assay.data.pairs import PreferencePairs

    return list(PreferencePairs.load(list(sources)).pairs())


def read_results(directory: Path) -> dict[str, Any]:
    """``results.json`` of a finished evaluation.

    Raises:
        DataError: If there is none, or it is damaged.
    """
    path = directory / RESULTS
    if not path.is_file():
        raise DataError(
            f"{directory} is no finished evaluation: it has no {RESULTS}; "
            "make one with assay evaluate."
        )
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}.") from error
    if not isinstance(results, dict) or "suite" not in results:
        raise DataError(f"{path} is no evaluation's results; it names no suite.")
    return results
