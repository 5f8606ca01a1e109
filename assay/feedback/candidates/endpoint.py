"""Samples of a model behind an endpoint: a request for each, several at a time, kept as they come.

A request for every sample, so that each has its own seed, fails alone and is paid once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from assay.feedback.candidates.records import Job, Sample, Writing, failure
from assay.feedback.client import AsyncClient
from assay.feedback.estimates import Request
from assay.feedback.flow import each
from assay.feedback.http import EndpointError
from assay.feedback.replies import Reply
from assay.types import Message

_PROBE = (Message("user", "Say yes."),)
PROBE_TOKENS = 16
"""Room of the question by which is found out what an endpoint takes; some want at least so much."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What an endpoint calls the most tokens of a response, and whether it takes a seed."""

    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed: bool = True


_TRIED = (
    Fields(),
    Fields(seed=False),
    Fields("max_completion_tokens"),
    Fields("max_completion_tokens", seed=False),
)


class EndpointSource:
    """Writes by asking an endpoint, which is first asked a small question about what it takes.

    Args:
        client: Its cache keeps the replies, so that no request is paid twice.
        in_flight: Most requests at a time.
    """

    def __init__(self, client: AsyncClient, writing: Writing, *, in_flight: int = 8) -> None:
        self.client = client
        self.writing = writing
        self.in_flight = in_flight
        self._fields: Fields | None = None

    @property
    def name(self) -> str:
        """The model's name there."""
        return self.client.endpoint.model

    @property
    def identity(self) -> str:
        """The model's name there."""
        return self.client.endpoint.model

    @property
    def place(self) -> Mapping[str, Any]:
        """The address."""
        return {"endpoint": self.client.endpoint.base_url}

    def fields(self) -> Fields:
        """What the endpoint takes, found out at the first call.

        Raises:
            EndpointError: If it answers no question.
        """
        if self._fields is None:
            (_, self._fields), *_ = list(each([None], lambda _: self._probe(), 1))
        return self._fields

    def write(self, jobs: Sequence[Job], done: Callable[[Sample], None]) -> list[Sample]:
        """A sample of each job, in order; a request that fails is one that says so.

        Raises:
            EndpointError: If the endpoint answers no question at all.
        """
        fields = self.fields()

        async def one(job: Job) -> Sample:
            settings = request_settings(job, self.writing, fields)
            try:
                reply = await self.client.chat(job.messages, sample=job.index, **settings)
            except EndpointError as error:
                return failure(error.kind, str(error))
            return _sample(reply, job.seed if fields.seed else None)

        found = []
        # closed at once where ``done`` raises: nothing more is asked then
        with closing(each(jobs, one, self.in_flight)) as samples:
            for _, sample in samples:
                found.append(sample)
                done(sample)
        return found

    async def _probe(self) -> Fields:
        for fields in _TRIED:
            settings: dict[str, Any] = {fields.limit: PROBE_TOKENS}
            if fields.seed:
                settings["seed"] = 1
            try:
                await self.client.chat(_PROBE, **settings)
            except EndpointError as error:
                # another spelling helps where this one was refused, and nowhere else
                if error.status not in (400, 422):
                    raise
            else:
                return fields
        raise EndpointError(
            f"{self.client.endpoint.base_url} answers no chat request of the model "
            f"{self.name!r}, not even a short one: is it the right address and name?",
            is_gone=True,
        )


def request_settings(job: Job, writing: Writing, fields: Fields) -> dict[str, Any]:
    """The settings of a job's request, as the endpoint takes them."""
    settings: dict[str, Any] = {
        "temperature": job.setting.temperature,
        fields.limit: writing.max_new_tokens,
    }
    if job.setting.top_p < 1:
        settings["top_p"] = job.setting.top_p
    if writing.stop:
        settings["stop"] = list(writing.stop)
    if fields.seed:
        settings["seed"] = job.seed
    if job.tools:
        settings["tools"] = [dict(tool) for tool in job.tools]
    return settings


def planned_requests(
    jobs: Iterable[Job], writing: Writing, fields: Fields | None = None
) -> Iterator[Request]:
    """What jobs ask, before it is known what the endpoint takes."""
    taken = fields or Fields()
    for job in jobs:
        yield job.messages, request_settings(job, writing, taken) | {"sample": job.index}


def _sample(reply: Reply, seed: int | None) -> Sample:
    choice = reply.choices[0]
    return Sample(
        choice.text,
        choice.finish,
        reply.prompt_tokens or 0,
        reply.response_tokens or 0,
        seed=seed,
        answered_as=reply.model,
        is_refusal=choice.refusal is not None,
        cached=reply.cached,
    )
