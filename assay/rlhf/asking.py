"""Asking a scorer during reinforcement learning: in time, one call at a time, failures told apart.

A scorer that fails on one response of a batch is asked again for halves of it, so that the others
keep their rewards. Knows nothing of weights and sums.

Letters: B conversations.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from assay.errors import AssayError, DataError, TrainingError
from assay.feedback.http import EndpointError
from assay.types import Conversation, Scorer, Scores

OnFailure = Literal["error", "skip"]
Reason = Literal["not a number", "infinite", "error", "timeout", "wrong count"]


class TookTooLong(Exception):
    """A scorer that did not answer within its time."""


class WrongCount(Exception):
    """A scorer that answered more or fewer rewards than responses: which is whose is unknown."""


@dataclass(slots=True)
class Failures:
    """How many rewards could not be had so far, by reason, and the first sentence of each."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def take(
        self, on_failure: OnFailure, reason: Reason, name: str, number: int, total: int, why: str
    ) -> None:
        """Stop because of a failure, or count it.

        Args:
            name: The reward's.
            number: Of the response among ``total``, from 0.

        Raises:
            TrainingError: If ``on_failure`` is ``error``.
        """
        sentence = (
            f"The reward {name!r} gave none for response {number + 1} of {total}: "
            f"{why.strip().rstrip('.')}; "
        )
        if on_failure == "error":
            raise TrainingError(
                f"{sentence}repair that, or leave such responses out of the update with "
                "on_failure 'skip'."
            )
        with self._lock:
            self.counts[reason] += 1
            self.first.setdefault(reason, f"{sentence}left out.")

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        if not self.counts:
            return "no reward failed"
        each = ", ".join(f"{n:,} {reason}" for reason, n in sorted(self.counts.items()))
        firsts = " ".join(self.first[reason] for reason in sorted(self.first))
        return f"{self.total:,} rewards failed ({each}). The first: {firsts}"


def ask(
    scorer: Scorer,
    conversations: Sequence[Conversation],
    *,
    name: str,
    lock: threading.Lock,
    failures: Failures,
    on_failure: OnFailure = "error",
    timeout_seconds: float | None = None,
) -> Scores:
    """A scorer's rewards ``(B,)``, NaN where there is none and failures are skipped and counted.

    Args:
        name: What messages call the scorer.
        lock: Held while the scorer works, so that threads take turns.
        timeout_seconds: Longest time for a call, which then runs in a thread. A call that takes
            longer goes on in the background, and the next one waits for it, within its own time.

    Raises:
        TrainingError: If a reward cannot be had and ``on_failure`` is ``error``.
    """
    total = len(conversations)

    def run(some: Sequence[Conversation]) -> Scores:
        return _in_time(lambda: _checked(scorer, some), lock, timeout_seconds)

    def fail(number: int, reason: Reason, why: str) -> None:
        failures.take(on_failure, reason, name, number, total, why)

    reward = np.full(total, np.nan)
    std = np.full(total, np.nan)
    has_std, truncated = False, 0
    waiting = [(0, total)] if total else []
    while waiting:
        start, end = waiting.pop()
        try:
            scores = run(conversations[start:end])
        except Exception as error:  # a user's own function may raise anything
            reason = _reason(error)
            is_gone = isinstance(error, EndpointError) and error.is_gone
            if end - start > 1 and reason == "error" and not is_gone:
                middle = (start + end) // 2
                waiting += [(middle, end), (start, middle)]  # the earlier half is asked first
                continue
            for number in range(start, end):
                fail(number, reason, _sentence(error))
            continue
        reward[start:end] = scores.reward
        truncated += scores.truncated
        if scores.std is not None:
            std[start:end], has_std = scores.std, True
        for number in range(start, end):
            if not np.isfinite(reward[number]):
                is_nan = bool(np.isnan(reward[number]))
                why = "it is not a number (too long, or not applicable)" if is_nan else "infinite"
                fail(number, "not a number" if is_nan else "infinite", why)
                reward[number] = np.nan
    return Scores(reward, std if has_std else None, truncated)


def _checked(scorer: Scorer, conversations: Sequence[Conversation]) -> Scores:
    scores = scorer.score(conversations)
    for kind, values in (("rewards", scores.reward), ("standard deviations", scores.std)):
        if values is not None and np.shape(values) != (len(conversations),):
            count = np.size(values) if np.ndim(values) == 1 else f"an array {np.shape(values)} of"
            raise WrongCount(f"it answered {count} {kind} to {len(conversations)} responses")
    return scores


def _in_time(
    call: Callable[[], Scores], lock: threading.Lock, timeout_seconds: float | None
) -> Scores:
    if timeout_seconds is None:
        with lock:
            return call()
    if not lock.acquire(timeout=timeout_seconds):
        raise TookTooLong(f"an earlier call still ran after {timeout_seconds:g} s")
    answers: list[Scores] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            lock.release()

    # a daemon: a call that never returns does not keep the process from ending
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    if answers:
        return answers[0]
    if errors:
        raise errors[0]
    raise TookTooLong(f"it took longer than {timeout_seconds:g} s")


def _reason(error: Exception) -> Reason:
    if isinstance(error, TookTooLong):
        return "timeout"
    return "wrong count" if isinstance(error, WrongCount) else "error"


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    said = lines[0] if lines else ""
    known = isinstance(error, (TookTooLong, WrongCount, AssayError))
    return said if known and said else f"{type(error).__name__} {said}".strip()


def as_floats(values: Any) -> NDArray[np.float64]:
    """Numbers as an array, NaN for None.

    Raises:
        DataError: If one of them is no number.
    """
    try:
        return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"it answered something that is no list of numbers ({error})") from error
