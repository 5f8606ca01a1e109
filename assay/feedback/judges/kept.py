"""A judge whose answers are kept: the same question is never answered twice, killed or not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from assay.feedback.judges.records import Answer, Judge, Question
from assay.feedback.kept import Kept

VERSION = 1
"""Of what keys are made; another version finds nothing."""
WINDOW = 64
"""Questions looked up, and answers lost at most when the work is interrupted."""


class KeptJudge:
    """Another judge, and a file of what it has answered; failures are asked again.

    Args:
        path: The file; None keeps nothing.
    """

    def __init__(self, judge: Judge, path: Path | None) -> None:
        self.judge = judge
        self._kept = Kept(path, "answers")

    @property
    def name(self) -> str:
        """The judge's."""
        return self.judge.name

    @property
    def identity(self) -> Mapping[str, Any]:
        """The judge's."""
        return self.judge.identity

    def read(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """An answer to each question, in order.

        Raises:
            DataError: If the file is damaged.
        """
        waiting = iter(questions)
        identity = self.identity
        while window := list(islice(waiting, WINDOW)):
            keys = [question_key(identity, question) for question in window]
            known = {
                key: replace(_answer(value), cached=True)
                for key, value in self._kept.read(keys).items()
            }
            missing = dict(zip(keys, window, strict=True))
            missing = {key: q for key, q in missing.items() if key not in known}
            fresh = dict(zip(missing, self.judge.read(missing.values()), strict=True))
            self._kept.write({k: asdict(a) for k, a in fresh.items() if a.said == "answered"})
            known |= fresh
            yield from (known[key] for key in keys)


def question_key(identity: Mapping[str, Any], question: Question) -> str:
    """SHA-256 of all that decides an answer."""
    asked = [m.to_dict() for m in question.messages]
    parts = [VERSION, dict(identity), asked, list(question.options), question.begun]
    text = json.dumps([*parts, question.stream], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _answer(value: dict[str, Any]) -> Answer:
    probabilities = value["probabilities"]
    return Answer(**{**value, "probabilities": probabilities and tuple(probabilities)})
