"""``assay overoptimization --runs``: logs of RL in; curves along √KL, and a page, out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from assay.atomic import write_json, write_text
from assay.configs import Overoptimization
from assay.errors import ConfigError, DataError
from assay.evaluation.gold_fit import D_MIN, FEWEST_STEPS
from assay.evaluation.policy_answer import (
    alarm_sentence,
    difference_sentence,
    fit_sentence,
    policy_answer,
    policy_table,
)
from assay.evaluation.policy_curves import PolicyCurve, policy_curve
from assay.evaluation.policy_runs import PolicyRun, read_runs
from assay.evaluation.policy_settings import SettingDifference, setting_difference
from assay.evaluation.run import RESULTS, package_versions
from assay.evaluation.study import PAGE, SCHEMA, Study
from assay.formats.files import shown_name

OVER = {
    "runs": "intervals are over runs",
    "steps": "intervals are over the steps within runs and say nothing of other seeds; three runs "
    "of a setting or more give intervals over seeds",
}


@dataclass(frozen=True)
class PolicyStudy(Study):
    """Curves of several settings of RL, and the record of how they came about."""

    curves: tuple[PolicyCurve, ...]
    differences: tuple[SettingDifference, ...]
    record: Mapping[str, Any]
    directory: Path | None = None

    @property
    def notes(self) -> list[str]:
        """What was measured, in which units, and what was left out."""
        return list(self.record["notes"])

    @property
    def table(self) -> str:
        """A row a setting."""
        return policy_table(self.curves)

    def save(self, directory: Path) -> None:
        """Write the page and last ``results.json``, each whole or not."""
        from assay.evaluation.policy_page import policy_page

        directory.mkdir(parents=True, exist_ok=True)
        policy_page(self, directory / PAGE)
        write_json(directory / RESULTS, self.record)


def policy_study(
    settings: Mapping[str, Sequence[PolicyRun]], min_sqrt_kl: float = D_MIN
) -> PolicyStudy:
    """Curves of every setting, and the differences of the others from the first.

    Args:
        settings: Runs by the name of their setting, as :func:`read_runs` gives them.
        min_sqrt_kl: The fit leaves out steps nearer to the reference.

    Raises:
        DataError: If a run lacks the proxy, or both gold and audit, or did not leave its reference.
    """
    runs = [run for of_setting in settings.values() for run in of_setting]
    measure = _measure(runs)
    shared = {line: _scale(runs, line) for line in ("gold", "audit")}
    curves, units = [], {}
    for name, of_setting in settings.items():
        scales = {**shared, "proxy": _scale(of_setting, "proxy")}
        units[name] = {
            line: {
                "reference_mean": float(np.mean([r.reference[line].mean() for r in of_setting])),
                "deviation": scale,
            }
            for line, scale in scales.items()
            if all(line in run.lines for run in of_setting)
        }
        known = {line: scale for line, scale in scales.items() if scale is not None}
        curves.append(policy_curve(of_setting, measure, known, min_sqrt_kl))
    differences = tuple(setting_difference(curve, curves[0]) for curve in curves[1:])
    record = {
        "schema": SCHEMA,
        "method": "rl",
        "measure": measure,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": package_versions(),
        "min_sqrt_kl": min_sqrt_kl,
        "sources": {
            name: [shown_name(str(run.directory)) for run in of_setting]
            for name, of_setting in settings.items()
        },
        "units": units,
        "curves": {curve.setting: curve.to_dict() for curve in curves},
        "minus_first": {found.setting: found.to_dict() for found in differences},
        "notes": _notes(curves, runs, measure, shared[measure], min_sqrt_kl),
        "answers": _answers(curves, differences),
    }
    return PolicyStudy(tuple(curves), differences, record)


def run_policies(config: Overoptimization) -> PolicyStudy:
    """The verb ``assay overoptimization`` with ``--runs``.

    Raises:
        ConfigError: If a flag of best-of-n is given too, or the least √KL is no distance.
    """
    from assay.toml import resolved_toml

    _check(config)
    study = policy_study(read_runs(config.runs), config.min_sqrt_kl)
    config.out.mkdir(parents=True, exist_ok=True)
    write_text(config.out / "config.toml", resolved_toml(config))
    study.save(config.out)
    return PolicyStudy(study.curves, study.differences, study.record, config.out)


def _check(config: Overoptimization) -> None:
    given = ("input", "run", "gold", "aggregators", "members_scale", "max_n")
    other = [name for name in given if getattr(config, name)]
    if other:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in other)
        raise ConfigError(f"--runs reads logs of RL, and {flags} is for best-of-n; give one.")
    if not 0 <= config.min_sqrt_kl < float("inf"):
        raise ConfigError(f"--min-sqrt-kl is {config.min_sqrt_kl}; wanted a distance from 0 on.")


def _measure(runs: Sequence[PolicyRun]) -> str:
    """Gold where every run has it, else the audit."""
    for run in runs:
        if "proxy" not in run.lines:
            raise DataError(
                f"{run.directory} logged no 'objective/proxy' for ten steps and the reference; a "
                "curve of over-optimisation wants what was optimised."
            )
    for line in ("gold", "audit"):
        if all(line in run.lines for run in runs):
            return line
    without = [run for run in runs if "gold" not in run.lines and "audit" not in run.lines]
    if not without:
        raise DataError(
            f"{next(r for r in runs if 'gold' not in r.lines).directory} logged no gold and "
            f"{next(r for r in runs if 'audit' not in r.lines).directory} no audit; all runs need "
            "one of them in common."
        )
    raise DataError(
        f"{without[0].directory} logged neither gold nor audit for ten steps and the reference; "
        "train with --gold or --audit, a reward that is not optimised."
    )


def _scale(runs: Sequence[PolicyRun], line: str) -> float | None:
    """The deviation of prompts' means under the reference, pooled; None where a run has none."""
    known = [run.deviations.get(line) for run in runs]
    squares = [deviation**2 for deviation in known if deviation]
    return float(np.mean(squares)) ** 0.5 if len(squares) == len(runs) else None


def _answers(curves: Sequence[PolicyCurve], differences: Sequence[SettingDifference]) -> list[str]:
    found = []
    for curve in curves:
        found.append(policy_answer(curve))
        if (alarm := alarm_sentence(curve)) is not None:
            found.append(alarm)
        found.append(fit_sentence(curve))
    return found + [difference_sentence(d, curves[0].measure) for d in differences]


def _notes(
    curves: Sequence[PolicyCurve],
    runs: Sequence[PolicyRun],
    measure: str,
    scale: float | None,
    min_sqrt_kl: float,
) -> list[str]:
    counts = ", ".join(
        f"{curve.setting} ({len(curve.runs)} {'run' if len(curve.runs) == 1 else 'runs'})"
        for curve in curves
    )
    notes = [f"policies trained by RL, measured by {measure}: {counts}"]
    if measure == "audit":
        notes.append(
            "not every run has gold: the audit takes its place, and sees only what it can see"
        )
    unit = (
        "in deviations of the prompts' means under the reference policy"
        if scale is not None
        else "in its own units: the runs do not say how far prompts lie apart"
    )
    notes.append(f"{measure} is a gain over the reference policy, {unit}")
    for over in dict.fromkeys(curve.over for curve in curves):
        names = ", ".join(curve.setting for curve in curves if curve.over == over)
        notes.append(f"{names}: {OVER[over]}")
    return [*notes, f"left out: {_left_out(curves, runs, min_sqrt_kl)}"]


def _left_out(curves: Sequence[PolicyCurve], runs: Sequence[PolicyRun], min_sqrt_kl: float) -> str:
    counts: Counter[str] = Counter()
    counts["lines of a log that are no row"] = sum(run.unreadable for run in runs)
    counts["steps drawn in no curve, where too few runs came (fits, ends and areas have them)"] = (
        sum(curve.left_out for curve in curves)
    )
    counts[
        f"runs in no fit, with fewer than {FEWEST_STEPS} steps from √KL = {min_sqrt_kl:g} on"
    ] = sum(
        int(np.sum(run.d[gains.known] >= min_sqrt_kl)) < FEWEST_STEPS
        for curve in curves
        for run, gains in zip(curve.runs, curve.gains, strict=True)
    )
    for run in runs:
        for line, count in run.missing.items():
            counts[f"steps without {line}"] += count
    text = "; ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "none"
    negative = sum(run.negative for run in runs)
    return text + (f"; KL estimated below 0 and taken as 0: {negative:,} steps" if negative else "")
