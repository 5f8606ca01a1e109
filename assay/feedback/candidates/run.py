"""The verb ``assay generate``: prompts in, candidate responses out, each with where it is from."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from assay.configs import Generate
from assay.errors import ConfigError, DataError
from assay.feedback.cache import ReplyCache
from assay.feedback.candidates.distinct import UNUSABLE
from assay.feedback.candidates.endpoint import EndpointSource, planned_requests
from assay.feedback.candidates.grid import settings_of
from assay.feedback.candidates.local import PolicySource
from assay.feedback.candidates.records import Job, Prompt, Sample, Source, Writing, prompt_digest
from assay.feedback.candidates.report import Counts, GeneratedFile
from assay.feedback.candidates.rows import candidates_row, failed_row, read_prompts
from assay.feedback.candidates.sampled import Candidates, Plan, first_jobs, sampled
from assay.feedback.client import AsyncClient
from assay.feedback.costs import Budget
from assay.feedback.endpoints import endpoint_of, usage_of
from assay.feedback.estimates import estimate
from assay.formats.files import (
    check_not_read,
    check_writable,
    failed_beside,
    read_rows,
    shown_name,
    write_rows,
)
from assay.formats.tally import Tally


@dataclass(frozen=True)
class PlannedGeneration:
    """What a run would take, found out without asking or loading anybody.

    ``estimates`` are of the endpoint's models, without samples in place of repeated ones.
    """

    prompts: int
    samples: int
    estimates: dict[str, dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.samples:,} samples of {self.prompts:,} prompts would be drawn; none was"]
        for name, e in self.estimates.items():
            cost = e["cost_at_most"]
            spent = "no prices were given" if cost is None else f"a cost of {cost:.4f} at most"
            lines.append(
                f"{name}: {e['requests']:,} requests, {e['prompt_tokens']:,} prompt tokens and at "
                f"most {e['response_tokens_at_most']:,} of responses: {spent}; {e['cached']:,} "
                "answered before; samples in place of repeated ones come on top"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class _Prompts:
    """What the files hold: prompts, and how many of them repeat another."""

    count: int
    repeated: int


def run(config: Generate) -> GeneratedFile | PlannedGeneration:
    """Write candidate responses; what came is kept beside the output, and never asked for twice.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    models = _check(config)
    plan = plan_of(config, len(config.policy) + len(models))
    prompts = _looked_through(config)
    if config.dry_run:
        return _planned(config, plan, models, prompts)
    if config.db is not None:
        from assay.feedback.candidates.into_store import check_store

        check_store(config, plan.wanted)
    with ExitStack() as stack:
        sources = _sources(config, models, stack)
        return _run(config, plan, sources, prompts)


def plan_of(config: Generate, sources: int) -> Plan:
    """What is sampled of every prompt.

    Raises:
        ConfigError: If a setting cannot work.
    """
    return Plan(
        settings=settings_of(sources, config.temperature, config.top_p),
        samples=config.samples,
        total=config.total,
        attempts=config.attempts,
        near_duplicate=config.near_duplicate,
        keep_duplicates=config.duplicates == "keep",
        drop_cut=config.cut == "drop",
        system=config.system,
        seed=config.seed,
    )


def responses_of(out: Path) -> Path:
    """Where the samples of local policies are kept."""
    return out.with_name(f"{out.name}.responses.sqlite")


def replies_of(out: Path) -> Path:
    """Where the replies of endpoints are kept."""
    return out.with_name(f"{out.name}.replies.sqlite")


def _check(config: Generate) -> tuple[str, ...]:
    """Refuse what cannot work; the models of the endpoint."""
    if config.out is None and config.db is None:
        raise ConfigError(
            "Responses go to --out FILE, into the store --db NAME, or both; give one."
        )
    if config.out is not None:
        check_writable(config.out)
        check_not_read(config.out, config.files)
    elif "://" in (config.db or ""):
        raise ConfigError(
            f"{config.db} is no file beside which the responses could be kept until all are there; "
            "give --out FILE too."
        )
    models = config.models or ((config.endpoint_model,) if config.endpoint_model else ())
    if config.models and config.endpoint_model:
        raise ConfigError("The endpoint's models were given by --models and --endpoint-model; "
                          "give one of the two.")  # fmt: skip
    if bool(models) != (config.endpoint is not None) or not (config.policy or models):
        raise ConfigError(
            "Responses are written by --policy NAME, or by --endpoint URL with --endpoint-model "
            "NAME or --models NAMES, or by both."
        )
    for name, values in (("policy", config.policy), ("models", models)):
        if len(set(values)) < len(values):
            raise ConfigError(f"{name} names one of {', '.join(values)} twice; give each once.")
    if not 0 <= config.min_coverage <= 1 or config.max_new_tokens < 1 or not all(config.stop):
        raise ConfigError(
            f"min_coverage {config.min_coverage:g}, max_new_tokens {config.max_new_tokens} and "
            f"stop {list(config.stop)} were given; wanted a share from 0 to 1, 1 or more tokens, "
            "and strings that are not empty."
        )
    return models


def _looked_through(config: Generate) -> _Prompts:
    """All rows read once, so that a bad one is found before anything is paid for."""
    seen: set[bytes] = set()
    count = 0
    for prompt in _prompts(config, Tally()):
        count += 1
        seen.add(bytes.fromhex(prompt_digest(prompt.messages, prompt.tools))[:16])
    if not count:
        names = ", ".join(map(shown_name, config.files))
        raise DataError(f"There is no prompt in {names}; nothing was written.")
    return _Prompts(count, count - len(seen))


def _prompts(config: Generate, tally: Tally) -> Iterator[Prompt]:
    return read_prompts(config.files, tally, on_bad_row=config.on_bad_row, limit=config.limit)


def _writing(config: Generate) -> Writing:
    return Writing(config.max_new_tokens, config.stop)


def _base(config: Generate) -> Path:
    """The file beside which what came is kept."""
    return config.out if config.out is not None else Path(str(config.db))


def _sources(config: Generate, models: Sequence[str], stack: ExitStack) -> list[Source]:
    """Who writes: policies, then the endpoint's models; closed with the stack."""
    endpoints = _endpoints(config, models, stack)  # first: what is wrong there is found sooner
    return [*_policies(config), *endpoints]


def _policies(config: Generate) -> list[PolicySource]:
    if not config.policy:
        return []
    import torch

    from assay.models.policy import Policy

    if config.threads:
        torch.set_num_threads(config.threads)
    shown = Counter(map(shown_name, config.policy))
    return [
        PolicySource(
            Policy.load(name), _writing(config), responses_of(_base(config)),
            name=shown_name(name) if shown[shown_name(name)] == 1 else name,
            batch_size=config.batch_size,
        )
        for name in config.policy
    ]  # fmt: skip


def _endpoints(config: Generate, models: Sequence[str], stack: ExitStack) -> list[EndpointSource]:
    """The models of the endpoint, with one cap on what they cost together."""
    if not models:
        return []
    asked = [endpoint_of(replace(config, endpoint_model=model, models=())) for model in models]
    cache = ReplyCache(replies_of(_base(config)))
    stack.callback(cache.close)
    budget = None if config.max_cost is None else Budget(config.max_cost)
    found = []
    for endpoint in asked:
        client = AsyncClient(endpoint, cache=cache, budget=budget)
        stack.callback(client.close)
        found.append(EndpointSource(client, _writing(config), in_flight=config.in_flight))
    return found


def _run(
    config: Generate, plan: Plan, sources: Sequence[Source], prompts: _Prompts
) -> GeneratedFile:
    from assay.progress import progress_bars

    began = time.monotonic()
    tally = Tally()
    counts = Counts(plan.wanted * prompts.count, config.min_coverage)
    names = [source.name for source in sources]
    lost: list[dict[str, Any]] = []
    with progress_bars() as report:
        done = 0

        def count(sample: Sample) -> None:
            nonlocal done
            done += 1
            counts.sample(sample)
            tokens = 0 if sample.cached else sample.response_tokens
            report("generating", done, max(done, counts.wanted), tokens)

        def rows() -> Iterator[dict[str, Any]]:
            for found in sampled(_prompts(config, tally), sources, plan, count):
                counts.add(found)
                reason = _reason(found, config)
                if reason is not None:
                    lost.append(failed_row(found, reason))
                    continue
                counts.row(found, names)
                yield candidates_row(found, sources, _writing(config), config.system)
            counts.check()

        written, store = _written(config, rows())
    spare = None
    if lost and config.out is not None:
        spare = failed_beside(config.out)
        write_rows(spare, lost)
    seconds = time.monotonic() - began
    clients = [source.client for source in sources if isinstance(source, EndpointSource)]
    return GeneratedFile(
        output=None if config.out is None else str(config.out),
        failed=None if spare is None else str(spare),
        store=store,
        prompts=prompts.count,
        repeated_prompts=prompts.repeated,
        rows=written,
        short=counts.short,
        single=counts.single,
        unanswered=counts.unanswered,
        wanted=counts.wanted,
        drawn=counts.drawn,
        responses=counts.responses,
        by_model=dict(counts.by_model),
        distinct=counts.distinct(),
        unusable={why: counts.unusable[why] for why in UNUSABLE},
        failures=dict(counts.failures),
        first_failure=counts.first_failure,
        coverage=counts.coverage,
        finish=dict(counts.finish),
        characters=counts.characters(),
        tokens=counts.tokens(),
        kept=counts.kept,
        prompt_tokens=counts.prompt_tokens,
        response_tokens=counts.response_tokens,
        seconds=seconds,
        tokens_per_second=counts.response_tokens / seconds if counts.response_tokens else None,
        usage=usage_of(clients) if clients else None,
        left_out=dict(tally.dropped) | dict(Counter(row["reason"] for row in lost)),
    )


def _reason(found: Candidates, config: Generate) -> str | None:
    """Why a prompt is left out; None where it is not."""
    if not found.responses:
        return "no response"
    if config.fewer == "drop" and len(found.responses) < found.wanted:
        return "fewer responses than wanted"
    return None


def _written(config: Generate, rows: Iterator[dict[str, Any]]) -> tuple[int, str | None]:
    """Rows to the file, the store, or both: how many, and what the store says."""
    if config.out is not None:
        count = write_rows(config.out, rows)
        if config.db is None:
            return count, None
        return count, _stored(config, (row for _, row in read_rows(config.out)))[1]
    return _stored(config, rows)


def _stored(config: Generate, rows: Iterator[dict[str, Any]]) -> tuple[int, str]:
    from assay.feedback.candidates.into_store import into_store

    single = count = 0

    def compared() -> Iterator[dict[str, Any]]:
        nonlocal single, count
        for row in rows:
            if len(row["responses"]) < 2:
                single += 1  # there is nothing to compare
                continue
            count += 1
            yield row

    said = into_store(config, compared(), ", ".join(map(shown_name, config.files)))
    alone = f"; {single:,} prompts with a single response were not taken in" if single else ""
    return count, f"{said}{alone}"


class _Named:
    """A source by its name, of which nothing is asked."""

    def __init__(self, name: str) -> None:
        self.name = self.identity = name
        self.place: dict[str, Any] = {}

    def write(self, jobs: Sequence[Job], done: Any) -> list[Sample]:
        raise AssertionError("a plan writes nothing")


def _planned(
    config: Generate, plan: Plan, models: Sequence[str], prompts: _Prompts
) -> PlannedGeneration:
    """Samples counted, and what the endpoint's would cost at most."""
    named: list[Source] = [_Named(name) for name in (*config.policy, *models)]
    kept = replies_of(_base(config))
    cache = ReplyCache(kept) if kept.exists() else None
    found = {}
    for number, model in enumerate(models, start=len(config.policy)):
        jobs = (
            job
            for job in first_jobs(_prompts(config, Tally()), named, plan)
            if job.setting.source == number
        )
        endpoint = endpoint_of(replace(config, endpoint_model=model, models=()))
        found[model] = asdict(estimate(endpoint, planned_requests(jobs, _writing(config)), cache))
    if cache is not None:
        cache.close()
    return PlannedGeneration(prompts.count, plan.wanted * prompts.count, found)
