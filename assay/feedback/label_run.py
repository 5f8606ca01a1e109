"""The verb ``assay label``: solutions in, the same with step labels from rollouts out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay.configs import Label
from assay.data.solutions import Solutions
from assay.errors import ConfigError, DataError
from assay.feedback.client import Client
from assay.feedback.completers import EndpointCompleter, PolicyCompleter, Writing
from assay.feedback.costs import Budget
from assay.feedback.endpoints import endpoint_of
from assay.feedback.rollouts import Completer
from assay.feedback.step_label_report import StepLabelReport
from assay.feedback.step_labels import check_labelling, label_solutions
from assay.formats.assay_solutions import to_row
from assay.formats.files import check_writable, write_rows
from assay.formats.step_labels import LABEL_NAMES


@dataclass(frozen=True)
class LabelledFile:
    """What was labelled, what was not and why, and what it took."""

    output: str
    report: StepLabelReport

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        steps = {LABEL_NAMES[label]: count for label, count in self.report.steps.items()}
        return {"output": self.output, **asdict(self.report), "steps": steps}

    def __str__(self) -> str:
        return f"{self.report}\nwritten to {self.output}"


def run(config: Label) -> LabelledFile:
    """Label by rollouts; what is paid for is kept beside the output, and never paid twice.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    from assay.progress import progress_bars

    check_writable(config.out)
    check_labelling(config)
    completer, price, close = _completer(config)
    solutions = Solutions.load(config.files, on_bad_row=config.on_bad_row, limit=config.limit)
    try:
        with progress_bars() as progress:
            labelled = label_solutions(
                list(solutions),
                completer,
                config,
                journal=journal_of(config.out),
                price=price,
                progress=progress,
            )
    finally:
        close()
    if not labelled.report.labelled:
        raise DataError(
            f"No solution could be labelled, and nothing was written: {labelled.report}"
        )
    write_rows(config.out, [to_row(s) for s in labelled.solutions])
    return LabelledFile(str(config.out), labelled.report)


def _completer(
    config: Label,
) -> tuple[Completer, Callable[[int, int], float | None] | None, Callable[[], None]]:
    """Who writes the rollouts, what they cost, and how to be done with it."""
    writing = Writing(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        separator=config.separator,
    )
    if (config.policy is None) == (config.endpoint is None):
        raise ConfigError(
            "Rollouts are written by --policy NAME or by --endpoint URL with --endpoint-model "
            "NAME; give one of the two."
        )
    if config.policy is not None:
        import torch

        from assay.models.policy import Policy

        if config.threads:
            torch.set_num_threads(config.threads)
        return PolicyCompleter(Policy.load(config.policy), writing), None, lambda: None
    endpoint = endpoint_of(config)
    budget = None if config.max_cost is None else Budget(config.max_cost)
    client = Client(endpoint, budget=budget)
    completer = EndpointCompleter(client, writing, concurrency=config.in_flight)
    return completer, endpoint.price, client.close


def journal_of(out: Path) -> Path:
    """Where the rollouts of an output are kept."""
    return out.with_name(f"{out.name}.rollouts.sqlite")
