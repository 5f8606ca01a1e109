"""The verb ``assay clean``: preference files in, a new file of cleaned labels and a report out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.atomic import write_json, write_text
from assay.configs import Clean
from assay.errors import ConfigError, DataError
from assay.formats.files import WRITTEN_SUFFIXES, check_writable, is_same_file, write_rows

if TYPE_CHECKING:
    from assay.train.cleaning_report import CleaningReport


@dataclass(frozen=True)
class CleanedFile:
    """The new file, the files beside it, and the report."""

    out: Path
    rows: int
    report: CleaningReport

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"out": str(self.out), "rows": self.rows, **self.report.to_dict()}

    def __str__(self) -> str:
        return (
            f"{self.report}\n{self.rows:,} comparisons written to {self.out}; look at "
            f"{beside(self.out, 'report.html')}"
        )


def run(config: Clean) -> CleanedFile:
    """Load, judge every label out of fold, and write the cleaned copy with its report.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    check_files(config)

    import torch

    from assay.data.pairs import PreferencePairs
    from assay.models.reward_model import RewardModel
    from assay.progress import progress_bars
    from assay.toml import resolved_toml
    from assay.train.cleaning import check_cleaning, check_labels, clean_labels, default_threshold
    from assay.train.cleaning_page import cleaning_page
    from assay.train.cleaning_report import cleaning_report

    check_cleaning(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    pairs = PreferencePairs.load(config.files, on_bad_row=config.on_bad_row, limit=config.limit)
    model = RewardModel.from_backbone(
        config.backbone,
        max_length=config.max_length,
        truncation=config.truncation,
        engine=config.engine,
        seed=config.seed,
    )
    with progress_bars() as progress:
        check = check_labels(model, pairs, config, progress=progress)
    cleaned = clean_labels(pairs, check, config)
    report = cleaning_report(cleaned, config)
    resolved = config
    if config.share is None and config.threshold is None:
        resolved = replace(config, threshold=default_threshold(config.action))
    if report.emptied == report.comparisons:
        raise DataError(
            f"Dropping {int(cleaned.suspect.sum()):,} suspects leaves no comparison; raise "
            "--threshold or lower --share."
        )
    rows = write_rows(config.out, cleaned.rows())
    write_json(beside(config.out, "report.json"), report.to_dict())
    write_text(beside(config.out, "report.html"), cleaning_page(report, cleaned))
    write_text(beside(config.out, "config.toml"), resolved_toml(resolved))
    return CleanedFile(config.out, rows, report)


def beside(out: Path, ending: str) -> Path:
    """A file of the run beside the new one: ``clean.jsonl`` has ``clean.report.html``."""
    suffix = next(s for s in WRITTEN_SUFFIXES if out.name.endswith(s))
    return out.with_name(f"{out.name.removesuffix(suffix)}.{ending}")


def check_files(config: Clean) -> None:
    """Refuse a new file that cannot be written, or that would change what is read.

    Raises:
        AssayError: With one sentence.
    """
    check_writable(config.out)
    if config.out.is_dir():
        raise ConfigError(f"--out {config.out} is a directory; name a file in it.")
    names = ("report.html", "report.json", "config.toml")
    written = [config.out, *(beside(config.out, name) for name in names)]
    for source in map(_place, config.files):
        if source.is_dir() and source.resolve() in config.out.resolve().parents:
            raise ConfigError(
                f"--out {config.out} lies in {source}, which is read; cleaning changes no data in "
                "place, name a file elsewhere."
            )
        for target in written:
            if is_same_file(target, source):
                raise ConfigError(
                    f"--out {config.out} would overwrite {source}, which is read; cleaning changes "
                    "no data in place, name another file."
                )


def _place(name: str) -> Path:
    """Where a source lies: ``DIRECTORY:config@split`` is in the directory."""
    path = Path(name).expanduser()
    return path if path.exists() else Path(re.split("[:@]", name)[0]).expanduser()
