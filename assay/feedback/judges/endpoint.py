"""A model behind an OpenAI-compatible endpoint as a judge.

What the endpoint can do is asked once; from the best means down: log-probabilities of the options'
tokens, a JSON schema, plain words. Every answer says by which it came.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from assay.errors import ConfigError
from assay.feedback import loops
from assay.feedback.client import AsyncClient
from assay.feedback.estimates import Request
from assay.feedback.flow import each
from assay.feedback.http import EndpointError
from assay.feedback.judges.records import Answer, Means, Question, Said, failed
from assay.feedback.judges.texts import (
    Words,
    option_probabilities,
    read_choice,
    verdict_schema,
)
from assay.feedback.replies import Reply
from assay.types import Message

SHORT = 4
"""Tokens of an answer that is one option: some begin with a blank, and 10 may be two."""
TOP = (20, 5)
"""How many likely tokens are asked for; some endpoints give no more than five."""
_PROBE = Question((Message("user", "Which letter comes first? Answer A or B."),), ("A", "B"))


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a judge behind an endpoint is asked."""

    means: Literal["auto", "log-probabilities", "schema", "text"] = "auto"
    """auto: the best that the endpoint can do."""
    rationale: bool = False
    """Have it give its reasons first: by schema or in words, never by log-probabilities."""
    samples: int = 1
    """Answers to each question where there are no log-probabilities; their shares are the
    probabilities. One answer is a hard vote."""
    temperature: float = 0.0
    """Of several samples 0 makes copies; wanted above 0 there."""
    max_tokens: int = 512
    """Most tokens of an answer with its rationale."""
    seed: int = 0

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: If a number is out of its range, or two settings exclude each other.
        """
        if self.samples < 1 or self.temperature < 0 or self.max_tokens < 1:
            raise ConfigError(
                f"samples {self.samples}, temperature {self.temperature:g} and max_tokens "
                f"{self.max_tokens} were given; wanted 1 or more, 0 or more, and 1 or more."
            )
        if self.samples > 1 and self.temperature == 0:
            raise ConfigError(
                f"{self.samples} samples at temperature 0 are copies of one; give a temperature "
                "above 0, or one sample."
            )
        if self.rationale and self.means == "log-probabilities":
            raise ConfigError(
                "A rationale comes before the verdict, so log-probabilities of the first token "
                "tell nothing; leave one of the two out."
            )


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an endpoint can do; ``top`` is how many likely tokens it tells, 0 for none."""

    top: int
    schema: bool
    seed: bool
    limit: Literal["max_tokens", "max_completion_tokens"]

    def __str__(self) -> str:
        said = [
            f"log-probabilities of {self.top} tokens" if self.top else "no log-probabilities",
            "JSON schema" if self.schema else "no JSON schema",
            "seed" if self.seed else "no seed",
        ]
        return ", ".join(said)


class EndpointJudge:
    """Asks an endpoint, several questions at a time.

    Args:
        in_flight: Most requests at a time.

    Attributes:
        models: Names that the endpoint said it answered by, with their counts.
    """

    def __init__(self, client: AsyncClient, asking: Asking | None = None, *, in_flight: int = 8):
        self.client = client
        self.asking = asking or Asking()
        self.asking.check()
        self.in_flight = in_flight
        self.models: Counter[str] = Counter()
        self._abilities: Abilities | None = None

    @property
    def name(self) -> str:
        """The model's."""
        return self.client.endpoint.model

    @property
    def identity(self) -> Mapping[str, Any]:
        """Model, address, and how it is asked."""
        endpoint = self.client.endpoint
        place = {"judge": "endpoint", "endpoint": endpoint.base_url, "model": endpoint.model}
        return place | asdict(self.asking)

    def abilities(self) -> Abilities:
        """What the endpoint can do, asked at the first call.

        Raises:
            EndpointError: If it does not answer at all.
        """
        if self._abilities is None:
            self._abilities = loops.run(self._probe())
        return self._abilities

    def read(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """An answer to each question, in order; one that fails is an answer that says so.

        Raises:
            EndpointError: If the endpoint does not answer even the first questions about itself.
        """
        abilities = self.abilities()
        means = _means(self.asking, abilities)

        async def one(question: Question) -> Answer:
            return await self._answer(question, means, abilities)

        for _, answer in each(questions, one, self.in_flight):
            yield answer

    async def _answer(self, question: Question, means: Means, abilities: Abilities) -> Answer:
        try:
            if means == "log-probabilities":
                return await self._by_logprobs(question, abilities)
            return await self._by_words(question, means, abilities)
        except EndpointError as error:
            return failed(_said(error), str(error))

    async def _by_logprobs(self, question: Question, abilities: Abilities) -> Answer:
        reply = await self._chat(
            question, abilities, SHORT, logprobs=True, top_logprobs=abilities.top
        )
        choice = reply.choices[0]
        read = option_probabilities(choice.logprobs or (), question.options)
        if read is None or choice.refusal is not None:
            # a reply without usable log-probabilities may still say an option: a hard vote
            return self._of_words(
                [reply], [read_choice(choice, question.options)], question, "text"
            )
        probabilities, mass = read
        return self._answered([reply], "log-probabilities", probabilities, None, mass)

    async def _by_words(self, question: Question, means: Means, abilities: Abilities) -> Answer:
        room = self.asking.max_tokens if means == "schema" or self.asking.rationale else SHORT * 8
        more: dict[str, Any] = {}
        if means == "schema":
            more["response_format"] = verdict_schema(question.options)
        asked = [
            self._chat(question, abilities, room, sample=sample, **more)
            for sample in range(self.asking.samples)
        ]
        replies = await asyncio.gather(*asked, return_exceptions=True)
        whole = [r for r in replies if isinstance(r, Reply)]
        errors = [r for r in replies if isinstance(r, BaseException)]
        for error in errors:
            if not isinstance(error, EndpointError):
                raise error
        if not whole:
            raise errors[0]
        words = [read_choice(r.choices[0], question.options) for r in whole]
        words += [Words(_said(e), None, str(e)) for e in errors if isinstance(e, EndpointError)]
        return self._of_words(whole, words, question, means)

    def _of_words(
        self, replies: Sequence[Reply], words: Sequence[Words], question: Question, means: Means
    ) -> Answer:
        """The shares of the options among the samples; most of the samples must name one."""
        named = [w.option for w in words if w.option is not None]
        if 2 * len(named) <= len(words):
            lost = [w for w in words if w.option is None]
            said = Counter(w.said for w in lost).most_common(1)[0][0]
            detail = next(w.detail for w in lost if w.said == said)
            return self._answered(replies, means, None, detail, None, said)
        shares = tuple(named.count(i) / len(named) for i in range(len(question.options)))
        detail = next((w.detail for w in words if w.option is not None and w.detail), None)
        return self._answered(replies, means, shares, detail, None)

    def _answered(
        self,
        replies: Sequence[Reply],
        means: Means,
        probabilities: tuple[float, ...] | None,
        detail: str | None,
        mass: float | None,
        said: Said = "answered",
    ) -> Answer:
        prompt = sum(r.prompt_tokens or 0 for r in replies)
        response = sum(r.response_tokens or 0 for r in replies)
        paid = [r for r in replies if not r.cached]
        price = self.client.endpoint.price(
            sum(r.prompt_tokens or 0 for r in paid), sum(r.response_tokens or 0 for r in paid)
        )
        for reply in replies:
            if reply.model:
                self.models[reply.model] += 1
        return Answer(
            said,
            probabilities,
            means,
            detail,
            mass,
            len(replies),
            prompt,
            response,
            price,
            not paid,
        )

    async def _chat(
        self, question: Question, abilities: Abilities, room: int, sample: int = 0, **more: Any
    ) -> Reply:
        number = question.stream * self.asking.samples + sample
        settings: dict[str, Any] = {
            "temperature": self.asking.temperature,
            abilities.limit: room,
            **more,
        }
        if abilities.seed:
            settings["seed"] = self.asking.seed + number
        return await self.client.chat(question.messages, sample=number, **settings)

    async def _probe(self) -> Abilities:
        """A few small questions; a field that is refused is one it cannot do.

        Raises:
            EndpointError: If it does not answer at all.
        """
        limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
        if await self._can(max_tokens=SHORT) is None:
            limit = "max_completion_tokens"
            if await self._can(max_completion_tokens=SHORT) is None:
                raise EndpointError(
                    f"{self.client.endpoint.base_url} answers no chat request of the model "
                    f"{self.name!r}, not even a short one: is it the right address and name?",
                    is_gone=True,
                )
        room = {limit: SHORT}
        top = 0
        for count in TOP:
            reply = await self._can(**room, logprobs=True, top_logprobs=count)
            if reply is not None and any(t.top for t in reply.choices[0].logprobs or ()):
                top = count
                break
        shaped = await self._can(
            **{limit: self.asking.max_tokens}, response_format=verdict_schema(_PROBE.options)
        )
        is_shaped = shaped is not None and shaped.choices[0].text.strip().startswith("{")
        return Abilities(top, is_shaped, await self._can(**room, seed=1) is not None, limit)

    async def _can(self, **settings: Any) -> Reply | None:
        """The reply to a small question with these settings, None where they are refused."""
        try:
            return await self.client.chat(_PROBE.messages, temperature=0.0, **settings)
        except EndpointError as error:
            if error.is_gone:
                raise
            return None


def planned_requests(questions: Iterable[Question], asking: Asking) -> Iterator[Request]:
    """What questions take at most, before it is known what the endpoint can do.

    The longest answers are reckoned with, unless log-probabilities alone may be used.
    """
    room = SHORT if asking.means == "log-probabilities" else asking.max_tokens
    for question in questions:
        for sample in range(asking.samples):
            number = question.stream * asking.samples + sample
            settings = {"max_tokens": room, "temperature": asking.temperature, "sample": number}
            yield question.messages, settings | {"seed": asking.seed + number}


def _means(asking: Asking, abilities: Abilities) -> Means:
    """By what answers are read: as asked, or the best that can be done."""
    if asking.means != "auto":
        lacks = {"log-probabilities": not abilities.top, "schema": not abilities.schema}
        if lacks.get(asking.means):
            raise ConfigError(
                f"The endpoint was to be asked by {asking.means}, and gives none ({abilities}); "
                "choose auto and the best it can do is used, and said."
            )
        return asking.means
    if abilities.top and not asking.rationale and asking.samples == 1:
        return "log-probabilities"
    return "schema" if abilities.schema else "text"


def _said(error: EndpointError) -> Said:
    return "not-asked" if error.kind == "refused_budget" else "http-error"
