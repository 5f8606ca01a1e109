"""Rollouts: responses begun by some steps and completed several times, none of them paid twice.

``complete`` asks a completer for what its journal has not, and keeps what comes batch by batch.
Knows nothing of policies, endpoints and labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from assay.errors import ConfigError
from assay.feedback.kept import Kept
from assay.formats.steps import join_steps
from assay.types import Messages

VERSION = 1
"""Of what a journal's keys are made; another version finds nothing in it."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prompt and the first steps of a response to it, to be completed."""

    prompt: Messages
    steps: tuple[str, ...]

    def begun(self, separator: str) -> str:
        """The steps as text, each followed by the separator."""
        return join_steps((*self.steps, ""), separator)


@dataclass(frozen=True, slots=True)
class Rollouts:
    """The texts that completed one prefix, and whether each came to its own end.

    ``error`` says why there are none; a failure is no rollout, and is not kept.
    """

    texts: tuple[str, ...]
    ended: tuple[bool, ...]
    prompt_tokens: int = 0
    response_tokens: int = 0
    error: str | None = None


@runtime_checkable
class Completer(Protocol):
    """Anything that completes prefixes.

    ``identity`` is all that decides what it writes besides prefix, count and seed, as JSON can
    hold it: a journal gives rollouts back only where it is equal.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """What tells this completer from others."""
        ...

    def __call__(self, prefixes: Sequence[Prefix], n: int, seed: int) -> list[Rollouts]:
        """``n`` rollouts of each prefix, in order.

        Raises:
            EndpointError: If it will not answer further requests either.
        """
        ...


class Journal:
    """Rollouts kept in an SQLite file, each under a digest of all that decides it.

    Args:
        path: The file; it is made when the first rollouts are kept. None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._kept = Kept(path, "rollouts")

    def read(self, keys: Sequence[str]) -> dict[str, Rollouts]:
        """The rollouts that are there, by their keys.

        Raises:
            DataError: If the file is no journal, or a damaged one.
        """
        try:
            return {key: _from_json(value) for key, value in self._kept.read(keys).items()}
        except (TypeError, KeyError, AttributeError) as error:
            raise self._kept.damaged(error) from error

    def write(self, rollouts: Mapping[str, Rollouts]) -> None:
        """Keep rollouts, all of them or, if the process dies, none."""
        self._kept.write({key: asdict(value) for key, value in rollouts.items()})


def _from_json(value: dict[str, Any]) -> Rollouts:
    texts, ended = tuple(value.pop("texts")), tuple(value.pop("ended"))
    return Rollouts(texts, ended, **value)


@dataclass(slots=True)
class Spent:
    """What rollouts took: those written now, those found in the journal, and what failed."""

    rollouts: int = 0
    found: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0
    failed: int = 0
    first_failure: str | None = None


def complete(
    completer: Completer,
    prefixes: Sequence[Prefix],
    *,
    n: int,
    seed: int,
    journal: Journal,
    spent: Spent,
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> list[Rollouts]:
    """``n`` rollouts of each prefix, those that are in the journal from there.

    Equal prefixes are asked once. Each batch is kept as soon as it is there, so that what stops
    the work (a kill, an endpoint that is gone) loses the batch under way and no more.

    Args:
        spent: Is added to.
        batch_size: Prefixes handed to the completer at a time.
        progress: Called with the number of prefixes just done.

    Raises:
        ConfigError: If the completer gives another number of rollouts than asked.
        EndpointError: If the completer is gone.
        DataError: If the journal is damaged.
    """
    identity = completer.identity
    keys = [rollout_key(identity, prefix, n, seed) for prefix in prefixes]
    wanted = dict(zip(keys, prefixes, strict=True))
    known = journal.read(list(wanted))
    spent.found += sum(len(r.texts) for r in known.values())
    missing = [key for key in wanted if key not in known]
    if progress and known:
        progress(len(known))
    for start in range(0, len(missing), batch_size):
        batch = missing[start : start + batch_size]
        written = completer([wanted[key] for key in batch], n, seed)
        fresh = dict(zip(batch, written, strict=True))
        _check(fresh.values(), n)
        journal.write({key: r for key, r in fresh.items() if r.error is None})
        known |= fresh
        _add(spent, written)
        if progress:
            progress(len(batch))
    return [known[key] for key in keys]


def _check(written: Iterable[Rollouts], n: int) -> None:
    for rollouts in written:
        if rollouts.error is None and not len(rollouts.texts) == len(rollouts.ended) == n:
            raise ConfigError(
                f"The completer gave {len(rollouts.texts)} rollouts of a prefix where {n} were "
                "asked; it must give as many, or say its error."
            )


def _add(spent: Spent, written: Sequence[Rollouts]) -> None:
    for rollouts in written:
        if rollouts.error is not None:
            spent.failed += 1
            spent.first_failure = spent.first_failure or rollouts.error
        spent.rollouts += len(rollouts.texts)
        spent.prompt_tokens += rollouts.prompt_tokens
        spent.response_tokens += rollouts.response_tokens


def rollout_key(identity: Mapping[str, Any], prefix: Prefix, n: int, seed: int) -> str:
    """SHA-256 of all that decides rollouts: completer, prompt, steps, count and seed."""
    prompt = [message.to_dict() for message in prefix.prompt]
    parts = [VERSION, dict(identity), prompt, list(prefix.steps), n, seed]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def prefix_number(prefix: Prefix) -> int:
    """A number for the prefix's stream that depends on what it says, not on where it stands."""
    return int(rollout_key({}, prefix, 0, 0)[:15], 16)
