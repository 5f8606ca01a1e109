"""Prompts sampled in windows, what is unusable replaced by further samples, up to a bound.

What a prompt gets depends on the prompt alone: not on the window it stands in, nor on how samples
are batched. Knows nothing of policies and endpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from assay.errors import ConfigError
from assay.feedback.candidates.distinct import Distinct, flaw
from assay.feedback.candidates.grid import counts_of
from assay.feedback.candidates.records import (
    Job,
    Prompt,
    Sample,
    Setting,
    Source,
    prompt_digest,
    sample_seed,
    with_system,
)

WINDOW = 256
"""Samples, about, that are wanted of a window of prompts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sampled of every prompt.

    Raises:
        ConfigError: If a number is out of its range.
    """

    settings: tuple[Setting, ...]
    samples: int = 4
    total: int | None = None
    attempts: int = 2
    near_duplicate: float | None = None
    keep_duplicates: bool = False
    drop_cut: bool = False
    system: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.attempts < 0:
            raise ConfigError(f"attempts {self.attempts} was given; wanted 0 or more rounds.")
        Distinct(self.near_duplicate)
        counts_of(self.settings, self.samples, self.total)

    @property
    def wanted(self) -> int:
        """Responses wanted of every prompt."""
        return sum(counts_of(self.settings, self.samples, self.total))


@dataclass(frozen=True, slots=True)
class Response:
    """A sample that is kept, and how it was drawn."""

    job: Job
    sample: Sample


@dataclass(frozen=True, slots=True)
class Candidates:
    """A prompt with its responses, in an order that says nothing of who wrote them.

    ``unusable`` counts samples by why they are no responses, ``failed`` by the kind of failure;
    ``detail`` is the first failure's sentence. ``drawn`` counts all samples, failures among them;
    ``texts`` those that say something, and ``repeats`` those of them that an earlier one had said.
    """

    prompt: Prompt
    responses: tuple[Response, ...]
    wanted: int
    drawn: int
    texts: int
    repeats: int
    unusable: Counter[str]
    failed: Counter[str]
    detail: str | None


class _Group:
    """A prompt whose responses are being gathered."""

    def __init__(self, prompt: Prompt, plan: Plan, sources: Sequence[Source]) -> None:
        self.prompt = prompt
        self._plan, self._sources = plan, sources
        self._messages = with_system(prompt.messages, plan.system)
        self._digest = prompt_digest(self._messages, prompt.tools)
        start = int(self._digest[:15], 16)
        self._open = list(counts_of(plan.settings, plan.samples, plan.total, start))
        self._wanted = sum(self._open)
        self._next = [0] * len(plan.settings)
        self._distinct = Distinct(plan.near_duplicate)
        self._found: list[Response] = []
        self._texts = self._repeats = 0
        self._unusable: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._detail: str | None = None

    def jobs(self, number: int) -> Iterator[tuple[int, Job]]:
        """The samples of a round, each with the place of its setting: as many as are missing."""
        for at, setting in enumerate(self._plan.settings):
            if number and setting.temperature == 0:
                continue  # it would say the same again
            for _ in range(self._open[at]):
                yield at, self._job(setting, self._next[at])
                self._next[at] += 1

    def _job(self, setting: Setting, index: int) -> Job:
        identity = self._sources[setting.source].identity
        seed = sample_seed(self._digest, identity, setting, index, self._plan.seed)
        return Job(self._messages, self.prompt.tools, self._digest, setting, index, seed)

    def take(self, at: int, job: Job, sample: Sample) -> None:
        """Keep a sample, or count why not."""
        if sample.failed is not None:
            # no other sample stands in for it: asked again, it would be this one
            self._open[at] -= 1
            self._failed[sample.failed] += 1
            self._detail = self._detail or sample.detail
            return
        why = flaw(sample, self._plan.drop_cut)
        if why is None:
            repeated = self._distinct.add(sample.text)
            self._texts += 1
            self._repeats += repeated is not None
            why = None if self._plan.keep_duplicates else repeated
        if why is not None:
            self._unusable[why] += 1
            return
        self._open[at] -= 1
        self._found.append(Response(job, sample))

    def candidates(self) -> Candidates:
        """What was found."""
        place = {setting: at for at, setting in enumerate(self._plan.settings)}
        ordered = sorted(self._found, key=lambda r: (r.job.seed, place[r.job.setting], r.job.index))
        return Candidates(
            self.prompt, tuple(ordered), self._wanted, sum(self._next), self._texts, self._repeats,
            self._unusable, self._failed, self._detail,
        )  # fmt: skip


def sampled(
    prompts: Iterable[Prompt],
    sources: Sequence[Source],
    plan: Plan,
    done: Callable[[Sample], None] | None = None,
) -> Iterator[Candidates]:
    """Every prompt with its responses, in order; memory does not grow.

    Args:
        done: Called with each sample as it is there.
    """
    waiting = iter(prompts)
    size = max(1, WINDOW // plan.wanted)
    while window := list(islice(waiting, size)):
        groups = [_Group(prompt, plan, sources) for prompt in window]
        for number in range(1 + plan.attempts):
            jobs = [(group, at, job) for group in groups for at, job in group.jobs(number)]
            if not jobs:
                break
            samples = _written([job for _, _, job in jobs], sources, done)
            for (group, at, job), sample in zip(jobs, samples, strict=True):
                group.take(at, job, sample)
        yield from (group.candidates() for group in groups)


def _written(
    jobs: Sequence[Job], sources: Sequence[Source], done: Callable[[Sample], None] | None
) -> list[Sample]:
    """A sample of each job, source by source."""
    found: dict[int, Sample] = {}
    for number, source in enumerate(sources):
        mine = [i for i, job in enumerate(jobs) if job.setting.source == number]
        if mine:
            written = source.write([jobs[i] for i in mine], done or (lambda _: None))
            found |= dict(zip(mine, written, strict=True))
    return [found[i] for i in range(len(jobs))]


def first_jobs(prompts: Iterable[Prompt], sources: Sequence[Source], plan: Plan) -> Iterator[Job]:
    """The samples that are asked for at first, before any is in place of another."""
    for prompt in prompts:
        for _, job in _Group(prompt, plan, sources).jobs(0):
            yield job
