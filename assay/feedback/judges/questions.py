"""Questions of every kind: the words of a pack, filled with what is judged.

What is judged is somebody else's text: each stands in a fence whose name nobody who wrote it could
know. The fence's name comes of a digest over everything inside, so the same question reads the same
every time, and can be kept.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from assay.errors import ConfigError
from assay.feedback.judges.packs import PromptPack
from assay.feedback.judges.records import Question
from assay.formats.prompts import prompt_text
from assay.types import Message, Messages

YES_NO = ("yes", "no")
RATINGS = tuple(str(i) for i in range(1, 11))


@dataclass(frozen=True)
class Questioner:
    """Puts questions in the words of a pack.

    Args:
        seed: Draws the principle of an item, and the fences' names.
        with_principle: Give each item one of the pack's principles, the same in both orders.
    """

    pack: PromptPack
    seed: int = 0
    with_principle: bool = False

    def pair(
        self,
        prompt: Messages,
        responses: Sequence[Messages],
        *,
        ties: bool = False,
        dimension: str | None = None,
        reference: str | None = None,
        stream: int = 0,
    ) -> Question:
        """Which of two responses, in the order shown, is better: A, B, and with ``ties`` C."""
        labels = ("A", "B", "C") if ties else ("A", "B")
        return self._asked(
            "pair", labels, prompt, responses, stream, dimension=dimension, reference=reference
        )

    def choice(
        self,
        prompt: Messages,
        responses: Sequence[Messages],
        *,
        dimension: str | None = None,
        reference: str | None = None,
        stream: int = 0,
    ) -> Question:
        """Which of K responses, in the order shown, is best: a letter."""
        if not 2 <= len(responses) <= len(ascii_uppercase):
            raise ConfigError(
                f"{len(responses)} responses cannot be judged at once; wanted 2 to "
                f"{len(ascii_uppercase)}, so judge them in pairs or by ratings."
            )
        labels = tuple(ascii_uppercase[: len(responses)])
        return self._asked(
            "choice", labels, prompt, responses, stream, dimension=dimension, reference=reference
        )

    def rating(
        self,
        prompt: Messages,
        response: Messages,
        *,
        dimension: str | None = None,
        reference: str | None = None,
        stream: int = 0,
    ) -> Question:
        """How good a response is, from 1 to 10."""
        return self._asked(
            "rating", RATINGS, prompt, [response], stream, dimension=dimension, reference=reference
        )

    def check(
        self,
        prompt: Messages,
        response: Messages,
        item: str,
        *,
        reference: str | None = None,
        stream: int = 0,
    ) -> Question:
        """Whether something is true of a response: yes or no."""
        return self._asked(
            "check", YES_NO, prompt, [response], stream, item=item, reference=reference
        )

    def step(
        self,
        prompt: Messages,
        steps: Sequence[str],
        *,
        reference: str | None = None,
        stream: int = 0,
    ) -> Question:
        """Whether the last of these steps is right, given those before it: yes or no."""
        return self._asked(
            "step", YES_NO, prompt, [], stream, steps=list(steps), reference=reference
        )

    def first_error(
        self,
        prompt: Messages,
        steps: Sequence[str],
        *,
        reference: str | None = None,
        stream: int = 0,
    ) -> Question:
        """The first wrong step by its number from 1, or 0 where none is."""
        labels = tuple(str(i) for i in range(len(steps) + 1))
        return self._asked(
            "first_error", labels, prompt, [], stream, steps=list(steps), reference=reference
        )

    def principle_of(self, prompt: Messages, responses: Sequence[Messages]) -> str | None:
        """The item's principle; it does not depend on the order of the responses."""
        if not self.with_principle:
            return None
        if not self.pack.principles:
            raise ConfigError(
                f"The prompt pack {self.pack.name} has no principles; add some, or leave "
                "--principles off."
            )
        texts = sorted(_text(response) for response in responses)
        draw = random.Random(_digest([self.seed, prompt_text(prompt), texts]))
        return draw.choice(self.pack.principles)

    def _asked(
        self,
        kind: str,
        labels: tuple[str, ...],
        prompt: Messages,
        responses: Sequence[Messages],
        stream: int,
        **more: Any,
    ) -> Question:
        asked = prompt_text(prompt)
        texts = [_text(response) for response in responses]
        mark = _digest([self.seed, self.pack.digest, asked, sorted(texts), more])[:12]

        def fence(title: str, text: str) -> str:
            return f"<<<{title} {mark}>>>\n{text}\n<<<END OF {title} {mark}>>>"

        nothing: Mapping[str, Any] = {
            "dimension": None, "reference": None, "item": None, "steps": [], "principle": None,
        }  # fmt: skip
        slots = {**nothing, **more, "prompt": asked, "responses": texts, "labels": labels}
        if kind in ("pair", "choice"):
            slots["principle"] = self.principle_of(prompt, responses)
        slots["fence"] = fence
        system = self.pack.render_system(slots)
        words = Message("user", self.pack.render(kind, slots))
        messages = (Message("system", system), words) if system else (words,)
        return Question(messages, labels, self.pack.begun, stream)


def _text(response: Messages) -> str:
    """A response as a judge reads it: its text, and of several turns who says which."""
    if len(response) == 1:
        return response[0].content
    return "\n\n".join(f"{m.role}: {m.content}" for m in response)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
