"""The logs of policies trained by RL, read for their curves: one run, one ``metrics.jsonl``.

Knows nothing of curves.

Letters: T steps · W batches of the reference policy.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from assay.errors import ConfigError, DataError
from assay.evaluation.best_of_n import Floats

METRICS = "metrics.jsonl"
KL = "objective/kl"
LINES = {"gold": "objective/gold", "proxy": "objective/proxy", "audit": "objective/audit"}
WATCHED = {"disagreement": "objective/disagreement", "length": "response/length"}
PROMPTS = "n/prompts"
RAISED = "raised"
ALARMS = frozenset({"unmatched", "gold falls", "proxy falls"})
"""What the monitor calls alarms; all else that it raises is a warning, of drift alone."""
FEWEST_STEPS = 10
"""Steps of a run that a curve wants."""
NEAR = 0.05
"""Nats within which a first step counts as the reference where no baseline was logged."""
AROUND = 2
"""Steps on either side that a step's KL is averaged with: its noise would be drawn as distance."""
UNNAMED = "runs"
"""The setting of runs that are given no name."""


@dataclass(frozen=True)
class PolicyRun:
    """One run: each figure of each step, in its own units, and of the reference before them."""

    directory: Path
    setting: str
    seed: int | None
    """None where the run's configuration does not say."""
    step: Floats  # (T,)
    d: Floats  # (T,) √KL
    lines: Mapping[str, Floats]  # (T,) each; NaN where a step has none
    reference: Mapping[str, Floats]  # (W,) each
    deviations: Mapping[str, float]
    """Of the prompts' means under the reference policy; what could not be had is missing."""
    alarm: int | None
    """The step at which the monitor raised its first alarm."""
    alarms: tuple[str, ...]
    """What it raised there."""
    unreadable: int = 0
    """Lines of the log that are no JSON."""
    negative: int = 0
    """Steps whose KL, averaged, was estimated below 0 and counts as 0."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """Steps without a figure of a line that others have; a line with fewer than ten is not used."""

    @property
    def name(self) -> str:
        """Setting and directory, for messages."""
        return f"{self.setting} ({self.directory.name})"


def read_runs(specs: Sequence[str]) -> dict[str, tuple[PolicyRun, ...]]:
    """The runs of each setting, in the order in which settings are named.

    Args:
        specs: ``NAME=DIR``, or ``DIR`` for the one setting without a name.

    Raises:
        ConfigError: If a directory is not there or is named twice.
        DataError: If a log is not one of a policy, or too short, or two runs of a setting have one
            seed.
    """
    settings: dict[str, list[PolicyRun]] = {}
    seen: dict[Path, str] = {}
    for spec in specs:
        name, directory = _parse(spec)
        real = directory.resolve()
        if real in seen:
            raise ConfigError(f"--runs names {directory} twice ({seen[real]} and {spec}).")
        seen[real] = spec
        settings.setdefault(name, []).append(read_run(directory, name))
    for name, runs in settings.items():
        _check_seeds(name, runs)
    return {name: tuple(runs) for name, runs in settings.items()}


def read_run(directory: Path, setting: str = UNNAMED) -> PolicyRun:
    """One run directory.

    Raises:
        ConfigError: If there is no such directory.
        DataError: If its log is not that of a policy, or too short.
    """
    rows, unreadable = _read_rows(directory)
    return run_of_rows(rows, directory, setting, _seed(directory), unreadable)


def run_of_rows(
    rows: Sequence[Mapping[str, Any]],
    directory: Path,
    setting: str = UNNAMED,
    seed: int | None = None,
    unreadable: int = 0,
) -> PolicyRun:
    """One run from the rows of its log, each with a whole number ``step``.

    Raises:
        DataError: If they are not those of a policy, or too few.
    """
    place = directory / METRICS
    if not any(KL in row for row in rows):
        raise DataError(
            f"{place} has no {KL!r}: it is not the log of a policy's training. Name directories "
            "that 'assay rlhf' wrote."
        )
    reference, steps = _parts(rows, place)
    if len(steps) < FEWEST_STEPS:
        raise DataError(
            f"{place} has {len(steps)} {'step' if len(steps) == 1 else 'steps'} of training with "
            f"{KL!r}; a curve wants {FEWEST_STEPS} or more."
        )
    step = _column(steps, "step", place)
    if np.any(np.diff(step) <= 0):
        at = int(np.argmax(np.diff(step) <= 0)) + 1
        raise DataError(
            f"{place}: step {step[at]:g} comes after step {step[at - 1]:g}; the steps of a run "
            "rise. Were two runs written into one file?"
        )
    known = {**LINES, **WATCHED}
    lines = {name: _column(steps, key, place) for name, key in known.items()}
    before = {name: _column(reference, key, place) for name, key in known.items()}
    before = {name: v[~np.isnan(v)] for name, v in before.items()}
    # a figure without its reference cannot be a gain
    counts = {name: int((~np.isnan(v)).sum()) for name, v in lines.items()}
    there = [n for n in known if counts[n] >= FEWEST_STEPS and len(before[n])]
    kl = averaged(_column(steps, KL, place))
    alarm, alarms = _first_alarm(steps, place)
    return PolicyRun(
        directory=directory,
        setting=setting,
        seed=seed,
        step=step,
        d=np.sqrt(np.maximum(kl, 0.0)),
        lines={name: lines[name] for name in there},
        reference={name: before[name] for name in there},
        deviations=_deviations(reference, place),
        alarm=alarm,
        alarms=alarms,
        unreadable=unreadable,
        negative=int(np.sum(kl < -1e-6)),
        missing={n: len(step) - counts[n] for n in known if 0 < counts[n] < len(step)},
    )


def averaged(kl: Floats) -> Floats:
    """Each step's KL with that of the steps around it; at the ends, with fewer on both sides."""
    count = len(kl)
    sums = np.concatenate([[0.0], np.cumsum(kl)])
    at = np.arange(count)
    half = np.minimum(AROUND, np.minimum(at, count - 1 - at))
    found: Floats = (sums[at + half + 1] - sums[at - half]) / (2 * half + 1)
    return found


def _parse(spec: str) -> tuple[str, Path]:
    """The setting and the directory of ``NAME=DIR`` or ``DIR``."""
    name, sign, rest = spec.partition("=")
    if Path(spec).is_dir() or not sign:
        return UNNAMED, Path(spec)
    if not name.strip() or not rest:
        raise ConfigError(f"--runs {spec!r} must be DIR or NAME=DIR, the name that of a setting.")
    return name.strip(), Path(rest)


def _read_rows(directory: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows of a log, and how many lines are none: a killed run leaves half a line."""
    if not directory.is_dir():
        raise ConfigError(f"--runs {directory}: there is no such directory.")
    place = directory / METRICS
    if not place.is_file():
        raise DataError(
            f"{directory} has no {METRICS}, which 'assay rlhf' writes; is it a run directory?"
        )
    rows, unreadable = [], 0
    for line in place.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
        elif line.strip():
            unreadable += 1
    if not rows:
        raise DataError(f"{place} has no rows; a curve wants the steps of a run.")
    return rows, unreadable


def _parts(
    rows: Sequence[Mapping[str, Any]], place: Path
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The rows of the reference policy, and those of training that have a KL."""
    reference = [row for row in rows if row["step"] == 0]
    steps = [row for row in rows if row["step"] > 0 and row.get(KL) is not None]
    if not reference and steps:
        first = _column(steps[:1], KL, place)[0]
        if abs(first) > NEAR:
            raise DataError(
                f"{place} begins at step {steps[0]['step']}, {first:.3g} nats from the reference, "
                "without a row of step 0; gains need what the reference policy reached. Log a "
                "baseline (baseline_steps of 'assay rlhf')."
            )
        reference = steps[:1]
    return reference, steps


def _column(rows: Sequence[Mapping[str, Any]], key: str, place: Path) -> Floats:
    """One figure of every row, NaN where a row has none.

    Raises:
        DataError: If it is no finite number.
    """
    values = [row.get(key) for row in rows]
    for row, value in zip(rows, values, strict=True):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and np.isfinite(float(value))):
            raise DataError(
                f"{place} step {row['step']}: {key!r} is {value!r}; wanted a finite number."
            )
    return np.array([np.nan if v is None else float(v) for v in values])


def _deviations(reference: Sequence[Mapping[str, Any]], place: Path) -> dict[str, float]:
    """How far the means of prompts lie apart under the reference policy, by line.

    A batch's standard error over P prompts is their deviation by √P; its square is averaged over
    the batches.
    """
    found = {}
    prompts = _column(reference, PROMPTS, place)
    for name, key in LINES.items():
        squares = _column(reference, f"{key}_error", place) ** 2 * prompts
        if np.any(squares > 0):
            found[name] = float(np.nanmean(squares) ** 0.5)
    return found


def _first_alarm(
    steps: Sequence[Mapping[str, Any]], place: Path
) -> tuple[int | None, tuple[str, ...]]:
    for row in steps:
        raised = row.get(RAISED, [])
        if not isinstance(raised, list):
            raise DataError(
                f"{place} step {row['step']}: {RAISED!r} is {raised!r}; wanted a list of names."
            )
        alarms = tuple(str(name) for name in raised if name in ALARMS)
        if alarms:
            return int(row["step"]), alarms
    return None, ()


def _seed(directory: Path) -> int | None:
    """The seed that the run's configuration names."""
    path = directory / "config.toml"
    if not path.is_file():
        return None
    try:
        seed = tomllib.loads(path.read_text(encoding="utf-8")).get("seed")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no TOML ({error}); restore it, or take it away.") from error
    return seed if isinstance(seed, int) else None


def _check_seeds(name: str, runs: Sequence[PolicyRun]) -> None:
    by_seed: dict[int, PolicyRun] = {}
    for run in runs:
        if run.seed is None:
            continue
        if run.seed in by_seed:
            raise DataError(
                f"{by_seed[run.seed].directory} and {run.directory} of setting {name!r} both have "
                f"seed {run.seed}; runs of a setting differ in their seed alone. Name other "
                "settings NAME=DIR."
            )
        by_seed[run.seed] = run
