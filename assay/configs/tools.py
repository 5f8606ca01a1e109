"""The whole path on bundled data, looks at a backbone or a run, and settings written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Replay the golden conversations of a run; exit 1 on drift."""

    run: Path = field(metadata={"positional": True})
    """Run directory."""
    tolerance: float = 1e-4
    """Largest difference allowed, in standard deviations of the golden rewards."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Find tokenizer, template and data traps, or infer the contract of another model."""

    model: str | None = field(default=None, metadata={"positional": True})
    """A reward-model directory to inspect."""
    backbone: str | None = None
    """Backbone to check: a name, a directory, or a hub name."""
    data: tuple[str, ...] = ()
    """Preference data to check with it."""
    evaluation: tuple[str, ...] = ()
    """Evaluation data that must not overlap with the training data."""
    max_length: int = 1024
    """Longest conversation in tokens."""
    limit: int = 2000
    """Check this many comparisons at most."""
    json: bool = False
    """Print the findings as JSON."""


@dataclass(frozen=True, kw_only=True)
class Quickstart:
    """The whole path on bundled data: train, report, verify, score, and a page."""

    out: Path = Path("runs/quickstart")
    """Run directory to write."""
    backbone: str = "smollm2-135m"
    """Backbone to train on."""
    seed: int = 0
    """Seed of the training."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """Print the commented TOML of all defaults of a verb."""

    verb: tuple[str, ...] = field(metadata={"positional": True})
    """The verb, such as train reward."""
