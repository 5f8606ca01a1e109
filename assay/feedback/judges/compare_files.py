"""Judges compared by the files that they wrote: each with the first, on what both judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.atomic import write_json, write_text
from assay.data.audit.figures import Undefined
from assay.errors import ConfigError
from assay.feedback.judges.judge_compare import Compared, compare_judges
from assay.feedback.judges.judge_report import JudgeReport, judge_report
from assay.feedback.judges.judged import JudgedComparison
from assay.feedback.judges.judged_files import read_judged
from assay.feedback.judges.panel_page import judges_page
from assay.feedback.judges.panel_report import told_of
from assay.formats.files import failed_beside

SCHEMA = 1


@dataclass(frozen=True)
class JudgesCompared:
    """Judges by their files: each one's report, and each further one with the first."""

    reports: Mapping[str, JudgeReport]
    pairs: Mapping[str, Compared | Undefined]

    def to_dict(self) -> dict[str, Any]:
        """For ``compare.json``."""
        return {
            "schema": SCHEMA,
            "judges": {name: report.to_dict() for name, report in self.reports.items()},
            "comparisons": {name: found.to_dict() for name, found in self.pairs.items()},
        }

    def __str__(self) -> str:
        first = next(iter(self.reports))
        lines = [f"{name}: {told_of(report)}" for name, report in self.reports.items()]
        lines += [
            f"{first} and {name}: {found}" if isinstance(found, Undefined) else str(found)
            for name, found in self.pairs.items()
        ]
        return "\n".join(lines)


def compare_files(
    files: Sequence[str | Path], out: str | Path | None = None, seed: int = 0
) -> JudgesCompared:
    """Compare what ``assay judge`` or ``assay panel`` wrote, each file with the first.

    What failed is read with it, from ``NAME.failed.jsonl`` beside ``NAME.jsonl``.

    Args:
        out: Directory for ``compare.json`` and ``judges.html``.

    Raises:
        ConfigError: If a file is named twice.
        DataError: If a row is none of a judge's, or a file has none.
    """
    names = [str(path) for path in files]
    if len(set(names)) < len(names):
        raise ConfigError(f"Files of judges are compared once each; got {', '.join(names)}.")
    read = {name: _read(Path(name)) for name in names}
    first = names[0]
    found = JudgesCompared(
        {name: judge_report(records, name, seed=seed) for name, records in read.items()},
        {name: compare_judges(read[first], read[name], (first, name)) for name in names[1:]},
    )
    if out is not None:
        record = found.to_dict()
        write_json(Path(out) / "compare.json", record)
        write_text(Path(out) / "judges.html", judges_page(record))
    return found


def _read(path: Path) -> list[JudgedComparison]:
    spare = failed_beside(path)
    return read_judged([path, spare] if spare.is_file() and spare != path else [path])
