"""The verb ``assay check``: responses in, the same with what verifiers say of them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from assay.configs import CheckResponses
from assay.errors import ConfigError, DataError
from assay.feedback.verifiers import Check, Rule, load_verifiers
from assay.formats.fields import RowError, prompt, shown
from assay.formats.files import check_writable, is_same_file, numbering, read_rows, write_rows
from assay.formats.progress import track
from assay.formats.prompts import prompt_text
from assay.stats import cluster_mean, wilson
from assay.types import Conversation, Figure, Messages, as_messages, json_number

Row = Mapping[str, Any]


@dataclass(frozen=True)
class VerifierReport:
    """How one verifier's checks came out: the share that passed of those it could check."""

    name: str
    passed: Figure
    unchecked: int

    def __str__(self) -> str:
        known = f"{self.passed}" if self.passed.n else "nothing could be checked"
        return f"{self.name}: {known}; could not be checked: {self.unchecked:,}"


@dataclass(frozen=True)
class CheckedFile:
    """What was checked, by which verifiers, and how it came out."""

    output: str
    rows: int
    responses: int
    verifiers: Sequence[VerifierReport]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        own = [
            {"name": v.name, "passed": v.passed.to_dict(), "unchecked": v.unchecked}
            for v in self.verifiers
        ]
        return {**asdict(self), "verifiers": own}

    def __str__(self) -> str:
        lines = [f"{self.responses:,} responses in {self.rows:,} rows checked; share that passes:"]
        lines += [f"  {verifier}" for verifier in self.verifiers]
        return "\n".join([*lines, f"written to {self.output}"])


@dataclass
class Tally:
    """Checks of one verifier so far: whether each passed, and whose prompt it was of."""

    passed: list[bool] = field(default_factory=list)
    prompts: list[int] = field(default_factory=list)
    unchecked: int = 0

    def add(self, check: Check, asked: int) -> None:
        """Count one; what could not be checked is counted by itself."""
        if check.passed is None:
            self.unchecked += 1
        else:
            self.passed.append(check.passed)
            self.prompts.append(asked)

    def figure(self) -> Figure:
        """The share that passed; Wilson's interval, or one over prompts that have several."""
        if len(set(self.prompts)) == len(self.prompts):
            return wilson(sum(self.passed), len(self.passed))
        return cluster_mean([float(p) for p in self.passed], self.prompts, bounds=(0.0, 1.0))


def run(config: CheckResponses) -> CheckedFile:
    """Check every response of a file with every verifier.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    verifiers = load_verifiers(config.verifiers)
    check_writable(config.out)
    if is_same_file(config.data, config.out):
        raise ConfigError(f"--data and --out are the same file {config.data}; name another output.")
    tallies = {verifier.name: Tally() for verifier in verifiers}
    counts = {"rows": 0, "responses": 0}
    write_rows(config.out, _checked_rows(config, verifiers, tallies, counts))
    reports = [VerifierReport(n, t.figure(), t.unchecked) for n, t in tallies.items()]
    return CheckedFile(str(config.out), **counts, verifiers=reports)


def _checked_rows(
    config: CheckResponses,
    verifiers: Sequence[Rule],
    tallies: Mapping[str, Tally],
    counts: dict[str, int],
) -> Iterator[dict[str, Any]]:
    prompts: dict[str, int] = {}
    unit = numbering(config.data)
    for number, row in track(read_rows(config.data), "rows checked"):
        try:
            asked = prompt(row)
            responses = responses_of(row)
            truth = truth_of(row, config.truth)
        except RowError as error:
            raise DataError(f"{config.data} {unit} {number}: {error}.") from error
        place = prompts.setdefault(prompt_text(asked), len(prompts))
        found = []
        for response in responses:
            conversation = Conversation(asked, response)
            checks = {v.name: v.check(conversation, truth) for v in verifiers}
            for name, check in checks.items():
                tallies[name].add(check, place)
            found.append({name: _to_row(check) for name, check in checks.items()})
        counts["rows"] += 1
        counts["responses"] += len(responses)
        yield {**row, "checks": found if "responses" in row else found[0]}
    if not counts["rows"]:
        raise DataError(f"{config.data} holds no rows; there is nothing to check.")


def _to_row(check: Check) -> dict[str, Any]:
    return {"passed": check.passed, "score": json_number(check.score), "detail": check.detail}


def responses_of(row: Row) -> list[Messages]:
    """The responses of a row: of ``responses``, else the one ``response``. One may be empty.

    Raises:
        RowError: If it has neither, or one is no text.
    """
    given = row.get("responses", [row["response"]] if "response" in row else None)
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        keys = ", ".join(map(repr, row))
        raise RowError(
            f"a 'response', or a list 'responses', is wanted; the row has {keys}", "no response"
        )
    return [_response(item) for item in given]


def _response(item: Any) -> Messages:
    content = item.get("text", item.get("messages")) if isinstance(item, Mapping) else item
    if isinstance(content, str):
        return as_messages(content, "assistant")
    if (
        isinstance(content, Sequence)
        and content
        and all(isinstance(m, Mapping) and isinstance(m.get("role"), str) for m in content)
    ):
        return as_messages(content, "assistant")
    raise RowError(
        f"a response must be text or a list of messages, not {shown(item)}", "wrong type"
    )


def truth_of(row: Row, key: str) -> str | None:
    """What is right, of a row; None where it does not say.

    Raises:
        RowError: If it is neither text nor a number.
    """
    value = row.get(key)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RowError(f"'{key}' must be text or a number, not {shown(value)}", "wrong type")
