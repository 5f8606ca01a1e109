"""The verb ``assay audit``, and ``assay.audit`` in Python: preference data in, a report out.

Everything is counted in ``assay.data.audit``; this resolves the names of evaluation suites and
writes the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.atomic import write_text
from assay.configs import Audit, OnBadRow
from assay.errors import ConfigError, require_extra

if TYPE_CHECKING:
    from assay.data.audit.report import AuditReport
    from assay.data.pairs import Source
    from assay.progress import Report

PACKAGES = ("krippendorff", "crowdkit")


def audit(
    data: Source,
    *,
    against: Sequence[str | Path] = (),
    near_duplicate: float = 0.8,
    resamples: int = 2000,
    on_bad_row: OnBadRow = "skip",
    limit: int | None = None,
    seed: int = 0,
    progress: Report | None = None,
) -> AuditReport:
    """Audit preference data or votes: every figure with its interval, or why there is none.

    Args:
        data: What ``PreferencePairs.load`` takes, and files of votes.
        against: Suites by name, or files, whose prompts must not be in the data.
        near_duplicate: Jaccard similarity from which two texts are near duplicates.
        resamples: Bootstrap resamples of every coefficient of agreement.
        on_bad_row: "skip" counts rows that cannot be read; "error" stops at the first.
        limit: Use only the first so many comparisons.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    require_extra("audit", "assay audit", PACKAGES)
    if not 0 < near_duplicate <= 1:
        raise ConfigError(f"near_duplicate must lie over 0 and up to 1, not {near_duplicate:g}.")
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1, not {resamples}.")
    from assay.data.audit.reading import load_evidence
    from assay.data.audit.report import make_report

    prompts = {str(name): _prompts(name) for name in against}  # a wrong name is said at once
    return make_report(
        load_evidence(data, on_bad_row, limit),
        prompts,
        threshold=near_duplicate,
        resamples=resamples,
        seed=seed,
        progress=progress,
    )


def _prompts(name: str | Path) -> Iterable[str | None]:
    """The prompts of a suite by name, or of a file."""
    from assay.formats.prompts import prompt_text, read_prompts

    if Path(name).expanduser().exists():
        return read_prompts(name)
    from assay.evaluation.suites import SUITES, load_suite, suite_spec

    if str(name) in SUITES:
        return [prompt_text(item.prompt) for item in load_suite(str(name)).items]
    if "/" in str(name):  # a hub name; reading it says if there is none
        return read_prompts(name)
    suite_spec(str(name))
    raise AssertionError(name)


@dataclass(frozen=True)
class Written:
    """An audit and where it was written."""

    report: AuditReport
    directory: Path

    def to_dict(self) -> Mapping[str, Any]:
        """What ``audit.json`` holds."""
        return self.report.to_dict()

    def __str__(self) -> str:
        return f"{self.report}\nreport: {self.directory / 'audit.html'}"


def run(config: Audit) -> Written:
    """The verb ``assay audit``."""
    if config.out.exists() and not config.out.is_dir():
        raise ConfigError(f"--out {config.out} is a file; name a directory for the audit.")
    if (config.out / "audit.json").exists():
        raise ConfigError(f"--out {config.out} holds a finished audit; name another directory.")
    from assay.progress import progress_bars
    from assay.toml import resolved_toml

    with progress_bars() as progress:
        report = audit(
            list(config.data),
            against=config.against,
            near_duplicate=config.near_duplicate,
            resamples=config.resamples,
            on_bad_row=config.on_bad_row,
            limit=config.limit,
            seed=config.seed,
            progress=progress,
        )
    config.out.mkdir(parents=True, exist_ok=True)
    write_text(config.out / "config.toml", resolved_toml(config))
    report.save(config.out)
    return Written(report, config.out)
