"""Samples of a policy in this process, batch by batch, each kept as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.errors import ConfigError, ContractError
from assay.feedback.candidates.records import (
    Job,
    Sample,
    Tools,
    Writing,
    digest_of,
    failure,
)
from assay.feedback.kept import Kept
from assay.types import Messages

if TYPE_CHECKING:
    from assay.data.contract import Ids
    from assay.models.policy import Policy

VERSION = 1
"""Of what keys are made; another version finds nothing."""


class PolicySource:
    """Writes with a policy; what it writes does not depend on the batch.

    Args:
        kept: Where samples are kept; None keeps nothing.
        name: What records call it. Default: the policy's name.
        batch_size: Samples in the making at a time, and lost at most when the work is interrupted.
    """

    def __init__(
        self,
        policy: Policy,
        writing: Writing,
        kept: Path | None = None,
        *,
        name: str | None = None,
        batch_size: int = 16,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size {batch_size} was given; wanted 1 or more samples.")
        self.policy = policy
        self.writing = writing
        self.batch_size = batch_size
        self._name = name or policy.name
        self._kept = Kept(kept, "samples")

    @property
    def name(self) -> str:
        """What records call it."""
        return self._name

    @property
    def identity(self) -> str:
        """The digest of weights, template and tokenizer."""
        return self.policy.digest

    @property
    def place(self) -> Mapping[str, Any]:
        """The digest."""
        return {"digest": self.policy.digest}

    def write(self, jobs: Sequence[Job], done: Callable[[Sample], None]) -> list[Sample]:
        """A sample of each job, in order; equal jobs are done once.

        A prompt that leaves no room (``too_long``), or that the chat template refuses
        (``template``), fails alone.

        Raises:
            DataError: If the file of what is kept is damaged.
        """
        keys = [self._key(job) for job in jobs]
        found: dict[str, Sample] = {}
        try:
            for key, value in self._kept.read(list(dict.fromkeys(keys))).items():
                found[key] = replace(Sample(**value), cached=True)
        except TypeError as error:
            raise self._kept.damaged(error) from error
        for key in keys:
            if key in found:
                done(found[key])
        missing = {k: job for k, job in zip(keys, jobs, strict=True) if k not in found}
        for key, sample in self._fresh(missing):
            found[key] = sample
            done(sample)
            for _ in range(keys.count(key) - 1):
                done(replace(sample, cached=True))
        return [found[key] for key in keys]

    def _key(self, job: Job) -> str:
        how = [job.setting.temperature, job.setting.top_p, asdict(self.writing), job.seed]
        return digest_of(VERSION, self.policy.digest, job.digest, *how)

    def _fresh(self, jobs: Mapping[str, Job]) -> Iterator[tuple[str, Sample]]:
        """Samples that are not kept yet: written in batches of prompts of like lengths."""
        ids: dict[str, Ids] = {}
        read: dict[str, Ids | Sample] = {}
        for key, job in jobs.items():
            if job.digest not in read:
                read[job.digest] = self._read(job.messages, job.tools)
            asked = read[job.digest]
            if isinstance(asked, Sample):
                yield key, asked
            else:
                ids[key] = asked
        by_setting: dict[tuple[float, float], list[str]] = {}
        for key in sorted(ids, key=lambda k: len(ids[k])):  # stable: a prompt's stay together
            setting = jobs[key].setting
            by_setting.setdefault((setting.temperature, setting.top_p), []).append(key)
        for keys in by_setting.values():
            for start in range(0, len(keys), self.batch_size):
                batch = keys[start : start + self.batch_size]
                written = self._batch([jobs[k] for k in batch], [ids[k] for k in batch])
                kept = dict(zip(batch, written, strict=True))
                self._kept.write({key: asdict(sample) for key, sample in kept.items()})
                yield from kept.items()

    def _read(self, messages: Messages, tools: Tools | None) -> Ids | Sample:
        try:
            ids = self.policy.prompt_ids(messages, "", tools or ())
        except ContractError as error:
            return failure("template", str(error))
        limit = self.policy.context
        if limit is not None and len(ids) >= limit:
            return failure(
                "too_long",
                f"a prompt has {len(ids):,} tokens, and {self.name} reads {limit:,} in all",
            )
        return ids if len(ids) else failure("template", "the chat template made no token of it")

    def _batch(self, jobs: Sequence[Job], ids: Sequence[Ids]) -> list[Sample]:
        from assay.models.generate import generate

        setting = jobs[0].setting
        groups = generate(
            self.policy,
            list(ids),  # equal prompts of a batch are read once
            max_new_tokens=self.writing.max_new_tokens,
            temperature=setting.temperature,
            top_p=setting.top_p,
            stop=self.writing.stop,
            streams=[job.seed for job in jobs],
            batch_size=self.batch_size,
        )
        samples, seen = [], set[bytes]()
        for job, prompt, (generation,) in zip(jobs, ids, groups, strict=True):
            is_first = prompt.tobytes() not in seen
            seen.add(prompt.tobytes())
            samples.append(
                Sample(
                    generation.text,
                    generation.finish,
                    len(prompt) if is_first else 0,
                    len(generation.ids),
                    seed=job.seed,
                )
            )
        return samples
