"""How good the judgments are: agreement, annotators, drift, disputes and the models' leaderboard.

Everything is made of one pass over the standing judgments of people. Coefficients and their
intervals are those of the audit and of :mod:`assay.stats`; clusters are prompts. Letters: J
judgments · D days.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from assay.collect.readings import Readings, read
from assay.data.audit.agreement import Agreement, agreement
from assay.data.audit.annotators import Annotator, annotator_table
from assay.data.audit.answers import Answers, choices, shared_items, strengths
from assay.data.audit.coefficients import item_agreement
from assay.data.audit.figures import Outcome, Undefined
from assay.data.audit.judgments import Evidence, Floats, Ints, Items
from assay.data.audit.reliability import fit_reliability
from assay.data.audit.texts import TextStore
from assay.errors import MissingExtraError, require_extra
from assay.stats import bootstrap_sums, cluster_mean
from assay.stats.bradley_terry import fit_bradley_terry
from assay.store import quality as counted
from assay.store.database import now_ms
from assay.store.people import DAY_MS
from assay.types import Figure, LoadReport

MANY = 2_000
"""Shared items from which a bootstrap has fewer resamples."""
MOST_ITEMS = 10_000
"""Shared items that coefficients and the model of reliability are computed from at most."""
MOST_DAYS = 70
"""Days that are shown one by one; more are put together by week."""
WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS
"""The first Monday of 1970."""


@dataclass(frozen=True)
class Asked:
    """How far annotators agree on one question.

    ``name`` is chosen, strength, acceptability, steps, rankings or ``dimension:NAME``; ``level``
    the scale of the coefficient, or ``kendall`` for the mean of Kendall's W.
    """

    name: str
    level: str
    coefficient: Outcome
    raw: Outcome
    items: int
    judgments: int
    detail: Agreement | None = None
    ac1: Outcome | None = None
    part_of: int | None = None
    """All items judged by two or more, where the figures are of a random part of them."""


@dataclass(frozen=True)
class Person:
    """One annotator's figures. ``audit`` is None where they judged no pair."""

    id: str
    judgments: int
    active_ms: int
    median_ms: float
    audit: Annotator | None
    checks: counted.Checks


@dataclass(frozen=True)
class Period:
    """A day, or a week, of judgments of pairs."""

    start: int
    judgments: int
    annotators: int
    active_ms: int
    agreement: Outcome
    first_shown: Outcome
    ties: Outcome


@dataclass(frozen=True, slots=True)
class Dispute:
    """A comparison whose judgments disagree, between 0 and 1; ``spread`` adds how strongly."""

    comparison_id: str
    number: int
    disagreement: float
    spread: float
    judgments: int


@dataclass(frozen=True)
class Standing:
    """A model among the others: its strength in log-odds against the mean of its group."""

    model: str
    strength: Figure
    share: Figure
    group: int
    is_helped: bool


@dataclass(frozen=True)
class Quality:
    """All figures of a project at a time."""

    at: int
    seconds: float
    stand: tuple[int, int]
    judgments: int
    comparisons: int
    surplus: int
    questions: tuple[Asked, ...]
    people: tuple[Person, ...]
    is_reliability_sample: bool
    periods: tuple[Period, ...]
    by_week: bool
    disputes: tuple[Dispute, ...]
    leaderboard: tuple[Standing, ...]
    leaks: int
    leaked: tuple[counted.Leak, ...]

    def person(self, annotator_id: str) -> Person | None:
        """The figures of an annotator."""
        return next((p for p in self.people if p.id == annotator_id), None)


@dataclass(frozen=True)
class Gathered:
    """What figures are made of, read at one time."""

    at: int
    seconds: float
    stand: tuple[int, int]
    said: Readings
    checks: Mapping[str, counted.Checks]
    leaks: int
    leaked: tuple[counted.Leak, ...]
    models: Mapping[str, str]


def quality(connection: Connection, project_id: str, seed: int = 0) -> Quality:
    """All figures of a project, from all its standing judgments."""
    return computed(gathered(connection, project_id), seed)


def gathered(connection: Connection, project_id: str) -> Gathered:
    """All that figures need of the store, so that no connection is held while they are made."""
    begun, at = time.perf_counter(), now_ms()
    stand = counted.stand(connection, project_id)
    said = read(counted.judged(connection, project_id))
    checks = counted.checks(connection, project_id)
    leaks, leaked = counted.leaks(connection, project_id)
    models = counted.models(connection, project_id)
    seconds = time.perf_counter() - begun
    return Gathered(at, seconds, stand, said, checks, leaks, tuple(leaked), models)


def computed(found: Gathered, seed: int = 0) -> Quality:
    """The figures of what was read."""
    begun, said = time.perf_counter(), found.said
    people, is_sample = _people(said, found.checks, seed)
    periods, by_week = _periods(said)
    return Quality(
        at=found.at,
        stand=found.stand,
        judgments=len(said.annotator),
        comparisons=len(np.unique(said.comparison)),
        surplus=said.surplus,
        questions=questions(said, seed),
        people=people,
        is_reliability_sample=is_sample,
        periods=periods,
        by_week=by_week,
        disputes=tuple(
            Dispute(*d) for d in sorted(said.disputes, key=lambda d: (-d[2], -d[3], d[1]))
        ),
        leaderboard=leaderboard(said, found.models),
        leaks=found.leaks,
        leaked=found.leaked,
        seconds=found.seconds + time.perf_counter() - begun,
    )


# --- agreement ------------------------------------------------------------------------------------


def questions(said: Readings, seed: int = 0) -> tuple[Asked, ...]:
    """Agreement on everything that was asked and answered by anybody."""
    found = []
    if len(said.pairs.item):
        table, cluster = said.pairs, _clusters(said)
        found.append(_asked("chosen", "nominal", choices(table, cluster), said.people, seed))
        graded = strengths(table, cluster)
        if graded is not None:
            found.append(_asked("strength", "ordinal", graded, said.people, seed))
    for question in said.questions:
        answers = Answers(question.item, question.annotator, question.value, question.cluster)
        found.append(
            _asked(question.name, "ordinal", answers, said.people, seed, question.has_ties)
        )
    if said.rankings.count:
        found.append(_kendall(said))
    return tuple(found)


def _clusters(said: Readings) -> Ints:
    """The prompt of each item, where items are numbered by comparison."""
    cluster = np.zeros(int(said.comparison.max(initial=0)) + 1, dtype=np.int64)
    cluster[said.comparison] = said.prompt
    return cluster


def _asked(
    name: str,
    level: str,
    answers: Answers | Undefined,
    people: Sequence[str],
    seed: int,
    has_ties: bool = True,
) -> Asked:
    if isinstance(answers, Undefined):
        return Asked(name, level, answers, answers, 0, 0)
    why = missing()
    if why is not None:
        return Asked(name, level, Undefined(why), Undefined(why), 0, len(answers))
    items = len(shared_items(answers))
    resamples = 2000 if items <= MANY else 500
    part = some(answers, seed)
    found = agreement(part, people, resamples, seed, has_ties)
    return Asked(
        name, level, found.alpha[level], found.raw, found.items, found.judgments, found,  # type: ignore[index]
        ac1(part, resamples, seed) if level == "nominal" else None,
        items if items > MOST_ITEMS else None,
    )  # fmt: skip


def some(answers: Answers, seed: int = 0) -> Answers:
    """All answers, or of more than ``MOST_ITEMS`` shared items those to a random part of them.

    The tables that kappas of two annotators each are resampled from grow with the items; at so many
    the interval is narrow and the part as good as the whole.
    """
    shared = shared_items(answers)
    if len(shared) <= MOST_ITEMS:
        return answers
    drawn = np.random.default_rng(seed).choice(shared, MOST_ITEMS, replace=False)
    return answers.where(np.isin(answers.item, drawn))


def missing() -> str | None:
    """What must be installed before coefficients can be computed, as a sentence; None if all is."""
    try:
        require_extra("audit", "Agreement", ["krippendorff", "crowdkit", "pandas"])
    except MissingExtraError as error:
        return str(error)
    return None


def ac1(answers: Answers, resamples: int = 2000, seed: int = 0) -> Outcome:
    """Gwet's AC1 of a nominal scale, which stays high where nearly all say the same.

    Chance is ``Σ π (1-π) / (V-1)``, π the mean over items of the shares. Gwet 2008; the interval is
    a bootstrap over clusters.
    """
    shared = answers.where(np.isin(answers.item, shared_items(answers)))
    domain, code = np.unique(shared.value, return_inverse=True)
    if len(domain) < 2:
        return Undefined("no two answers differ.")
    item, place = np.unique(shared.item, return_inverse=True)
    counts = np.bincount(place * len(domain) + code, minlength=len(item) * len(domain))
    counts = counts.reshape(len(item), -1)
    cluster = np.empty(len(item), dtype=np.int64)
    cluster[place] = shared.cluster
    cluster = np.unique(cluster, return_inverse=True)[1]
    parts = np.column_stack(
        [item_agreement(counts), counts / counts.sum(axis=1, keepdims=True), np.ones(len(item))]
    )
    sums = np.stack([np.bincount(cluster, column) for column in parts.T], axis=1)

    def statistic(total: Floats) -> Floats:
        mean = total[:, :-1] / total[:, -1:]
        chance = (mean[:, 1:] * (1 - mean[:, 1:])).sum(axis=1) / (len(domain) - 1)
        return np.asarray(((mean[:, 0] - chance) / (1 - chance))[:, None], dtype=np.float64)

    (interval,) = bootstrap_sums(sums, statistic, resamples, seed)
    value = float(statistic(sums.sum(axis=0)[None])[0, 0])
    return Figure(value, *interval, len(item))


def _kendall(said: Readings) -> Asked:
    found = said.rankings
    if not len(found.w):
        none = Undefined("no two annotators ranked the same responses.")
        return Asked("rankings", "kendall", none, none, 0, found.count)
    w = cluster_mean(found.w, found.cluster, bounds=(0.0, 1.0))
    same = cluster_mean(found.same_best, found.cluster, bounds=(0.0, 1.0))
    return Asked("rankings", "kendall", w, same, len(found.w), found.shared)


# --- annotators -----------------------------------------------------------------------------------


def _evidence(said: Readings) -> Evidence:
    """Pairs as the audit has them, without texts."""
    cluster = _clusters(said)
    none = np.full(len(cluster), -1, dtype=np.int64)
    return Evidence(
        texts=TextStore(), items=Items(cluster, none, none, none, none, cluster),
        judgments=said.pairs, ratings=(), annotators=said.people, sources=(), source=none,
        row=none, prompts=none, prompt_keys=none, responses=none[:0], unusable={}, identical=0,
        is_order_recorded=True, report=LoadReport(0, 0, 0, 0, {}),
    )  # fmt: skip


def _people(
    said: Readings, checks: Mapping[str, counted.Checks], seed: int
) -> tuple[tuple[Person, ...], bool]:
    """Every annotator's figures, those with most judgments first."""
    audited: dict[str, Annotator] = {}
    is_sample = False
    if len(said.pairs):
        answers = choices(said.pairs, _clusters(said))
        fit = missing() or fit_reliability(some(answers, seed), seed, with_mace=False)
        is_sample = len(shared_items(answers)) > MOST_ITEMS
        none = np.zeros(len(said.pairs), dtype=np.int64)
        rows = annotator_table(_evidence(said), answers, fit, none)
        audited = {row.name: row for row in rows}
    people = []
    order = np.argsort(said.annotator, kind="stable")
    bounds = np.searchsorted(said.annotator[order], np.arange(len(said.people) + 1))
    for number, who in enumerate(said.people):
        mine = order[bounds[number] : bounds[number + 1]]
        on_site = mine[said.is_person[mine]]
        active = said.active_ms[on_site]
        people.append(
            Person(
                who, len(mine), int(active.sum()),
                float(np.median(active)) if len(active) else float("nan"),
                audited.get(who), checks.get(who, counted.Checks({})),
            )
        )  # fmt: skip
    for who in sorted(set(checks) - set(said.people)):  # met nothing but checks so far
        people.append(Person(who, 0, 0, float("nan"), None, checks[who]))
    return tuple(sorted(people, key=lambda p: (-p.judgments, p.id))), is_sample


# --- drift ----------------------------------------------------------------------------------------


def _periods(said: Readings) -> tuple[tuple[Period, ...], bool]:
    """Each day of judgments made on the site, or each week where there are very many days."""
    mine = np.flatnonzero(said.is_person)
    if not len(mine):
        return (), False
    day = said.submitted // DAY_MS * DAY_MS
    by_week = len(np.unique(day[mine])) > MOST_DAYS
    start = (said.submitted - MONDAY_MS) // WEEK_MS * WEEK_MS + MONDAY_MS if by_week else day
    share = _alike(choices(said.pairs, _clusters(said)), said)
    found = []
    for at in np.unique(start[mine]):
        here = mine[start[mine] == at]
        pairs = here[said.pair_of[here] >= 0]
        table = said.pairs.where(said.pair_of[pairs])
        cluster = said.prompt[pairs]
        met = np.isfinite(share[pairs])
        told = table.value != 0
        found.append(
            Period(
                int(at),
                len(here),
                len(np.unique(said.annotator[here])),
                int(said.active_ms[here].sum()),
                _mean(share[pairs][met], cluster[met], "nothing was judged by two."),
                _mean((table.value == table.shown)[told], cluster[told], "no pair was decided."),
                _mean(~told, cluster, "no pair was judged."),
            )
        )
    return tuple(found), by_week


def _alike(answers: Answers, said: Readings) -> Floats:
    """Of each judgment the share of the others of its pair that choose the same; NaN without."""
    share = np.full(len(said.annotator), np.nan)
    if not len(answers):
        return share
    item = np.unique(answers.item, return_inverse=True)[1]
    code = item * 3 + (answers.value + 1).astype(np.int64)
    others = np.bincount(item)[item] - 1
    with np.errstate(invalid="ignore"):
        share[said.pair_of >= 0] = (np.bincount(code)[code] - 1) / np.where(others, others, np.nan)
    return share


def _mean(values: NDArray[Any], cluster: Ints, why: str) -> Outcome:
    if not len(values):
        return Undefined(why)
    return cluster_mean(values.astype(np.float64), cluster, bounds=(0.0, 1.0))


# --- models ---------------------------------------------------------------------------------------


def leaderboard(said: Readings, models: Mapping[str, str]) -> tuple[Standing, ...]:
    """The responses' models by Bradley-Terry, the strongest of each group first.

    Ties are half a win of both; of a ranking every two responses count. Clusters are comparisons.
    """
    met = said.meetings(models)
    if not len(met.won):
        return ()
    fit = fit_bradley_terry(met.first, met.second, met.won, len(met.names), met.comparison)
    size = np.bincount(fit.group)
    rank = {int(g): place for place, g in enumerate(np.argsort(-size, kind="stable"))}
    found = []
    for k, name in enumerate(met.names):
        ours, theirs = met.first == k, met.second == k
        got = np.concatenate([met.won[ours], 1 - met.won[theirs]])
        cluster = np.concatenate([met.comparison[ours], met.comparison[theirs]])
        share = cluster_mean(got, cluster, bounds=(0.0, 1.0))
        strength = Figure(
            float(fit.strength[k]), float(fit.low[k]), float(fit.high[k]), len(np.unique(cluster))
        )
        found.append(
            Standing(name, strength, share, rank[int(fit.group[k])], bool(fit.is_helped[k]))
        )
    return tuple(sorted(found, key=lambda s: (s.group, -s.strength.value, s.model)))
