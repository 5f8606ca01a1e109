"""What a judge is asked and what it says. Knows nothing of models, endpoints or prompts.

Every question is a choice among a few named options, so that one record serves pairs, K responses,
ratings, checklists and steps: a probability for each option.

Letters: O options of a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from assay.types import Messages

Said = Literal["answered", "refused", "unparsable", "http-error", "not-asked"]
"""What became of a question. A failure is never an answer: ``refused`` by the model, ``unparsable``
words, ``http-error`` of the endpoint, ``not-asked`` for want of budget or room."""
FAILURES: tuple[Said, ...] = ("refused", "unparsable", "http-error", "not-asked")
Means = Literal["log-probabilities", "schema", "text"]
"""How an answer was read: the probabilities of the options' tokens, a JSON object that the endpoint
was held to, or free text."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a judge is asked: messages, and the options that its answer is one of.

    ``begun`` is how the answer begins where the judge can be made to go on from it. ``stream``
    tells questions apart that say the same and are to be asked again: another sample of the answer.
    """

    messages: Messages
    options: tuple[str, ...]
    begun: str = ""
    stream: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a judge said to one question.

    ``probabilities`` sum to one over the options, and are there where it ``answered``. ``mass`` is
    how much probability the options had before that, by log-probabilities: a judge that would
    rather have said something else has little. ``detail`` is its rationale, or why it failed.
    """

    said: Said
    probabilities: tuple[float, ...] | None = None  # (O,)
    means: Means | None = None
    detail: str | None = None
    mass: float | None = None
    samples: int = 1
    prompt_tokens: int = 0
    response_tokens: int = 0
    cost: float | None = None
    cached: bool = False

    @property
    def choice(self) -> int | None:
        """The most probable option, None where there is none or two are equally so."""
        if self.probabilities is None:
            return None
        best = max(self.probabilities)
        found = [i for i, p in enumerate(self.probabilities) if p == best]
        return found[0] if len(found) == 1 else None


@runtime_checkable
class Judge(Protocol):
    """Anything that answers questions: a local model, a model behind an endpoint."""

    @property
    def name(self) -> str:
        """Of the annotator, in what it judged."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides its answers besides the questions, as JSON can hold it."""
        ...

    def read(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """An answer to each question, in order; a question that fails fails alone.

        Questions are taken a window at a time, so that memory does not grow with their number.
        """
        ...


def failed(said: Said, detail: str) -> Answer:
    """An answer that is none, and why."""
    return Answer(said, detail=detail)
