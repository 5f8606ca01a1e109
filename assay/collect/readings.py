"""Judgments as numbers: one pass over the rows of the store, comparison by comparison.

An item's first side is the response listed first on import or, for half of the comparisons, drawn
by their numbers, the other one: files list the better one first, and where all say "the first" no
coefficient can tell agreement from chance. It has nothing to do with the order shown. Agreement,
disputes and meetings of models are of comparisons for work; items whose answer is known count in
the time and number of judgments alone. Letters: J judgments · P those of pairs · M meetings.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby
from typing import Any
from zlib import crc32

import numpy as np

from assay.data.audit.judgments import Floats, Ints, Judgments
from assay.store.answers import verdict

ACCEPTED = {"bad": 0.0, "ok": 1.0, "good": 2.0}


@dataclass(frozen=True)
class Question:
    """Answers to one question besides which response is better. All arrays have one length."""

    name: str
    item: Ints
    annotator: Ints
    value: Floats
    cluster: Ints
    has_ties: bool


@dataclass(frozen=True)
class Rankings:
    """Comparisons ranked by two annotators or more: Kendall's W, and who agree on the best."""

    count: int
    """Rankings, also of comparisons ranked once."""
    shared: int
    """Rankings that W rests on."""
    w: Floats
    same_best: Floats
    cluster: Ints


@dataclass(frozen=True)
class Meetings:
    """Two models whose responses were compared, and what the first got. All ``(M,)``."""

    names: tuple[str, ...]
    first: Ints
    second: Ints
    won: Floats
    comparison: Ints


@dataclass(frozen=True)
class Readings:
    """What was read. All ``(J,)`` but ``pairs`` ``(P,)``; ``pair_of`` is a place there or -1."""

    people: tuple[str, ...]
    annotator: Ints
    comparison: Ints
    prompt: Ints
    submitted: Ints
    active_ms: Ints
    is_person: np.typing.NDArray[np.bool_]
    pair_of: Ints
    pairs: Judgments
    questions: tuple[Question, ...]
    rankings: Rankings
    disputes: tuple[tuple[str, int, float, float, int], ...]
    """Comparison, number, disagreement, spread and count of judgments."""
    outcomes: tuple[tuple[str, str], ...]
    """Two responses that met, by place in ``met``."""
    met: Ints
    won: Floats
    met_in: Ints
    surplus: int
    """Judgments that came after enough others, and are kept."""

    def meetings(self, models: Mapping[str, str]) -> Meetings:
        """Meetings of responses of two different models, whose ids lead to their names."""
        known = [(models.get(a), models.get(b)) for a, b in self.outcomes]
        names = sorted({name for pair in known for name in pair if name and pair[0] != pair[1]})
        number = {name: k for k, name in enumerate(names)}
        of = np.array(
            [
                (number[a], number[b]) if a and b and a != b else (-1, -1)
                for a, b in known
            ],
            dtype=np.int64,
        ).reshape(-1, 2)  # fmt: skip
        both = of[self.met] if len(of) else np.zeros((0, 2), dtype=np.int64)
        kept = both[:, 0] >= 0
        used = np.unique(both[kept])
        code = np.searchsorted(used, both[kept])
        return Meetings(
            tuple(names[k] for k in used.tolist()), code[:, 0], code[:, 1], self.won[kept],
            self.met_in[kept],
        )  # fmt: skip


def read(rows: Iterable[Any]) -> Readings:
    """The judgments of rows as :func:`assay.store.quality.judged` gives them."""
    reader = _Reader()
    for _, group in groupby(rows, key=lambda row: row.comparison_id):
        reader.add(list(group))
    return reader.done()


def first_side(row: Any) -> str:
    """The response that counts as the first of a comparison, the same for all who judged it."""
    if len(row.shown) != 2 or crc32(str(row.number).encode()) % 2 == 0:
        return str(row.lead)
    return str(next(i for i in row.shown if i != row.lead))


@dataclass
class _Column:
    """A question while it is read."""

    has_ties: bool
    item: array[int] = field(default_factory=lambda: array("q"))
    annotator: array[int] = field(default_factory=lambda: array("q"))
    value: array[float] = field(default_factory=lambda: array("d"))
    cluster: array[int] = field(default_factory=lambda: array("q"))

    def add(self, item: int, annotator: int, value: float, cluster: int) -> None:
        self.item.append(item)
        self.annotator.append(annotator)
        self.value.append(value)
        self.cluster.append(cluster)


class _Reader:
    def __init__(self) -> None:
        self.people: dict[str, int] = {}
        self.prompts: dict[str, int] = {}
        self.lines = {name: array("q") for name in (
            "annotator", "comparison", "prompt", "submitted", "active_ms", "is_person", "pair_of"
        )}  # fmt: skip
        self.pairs = {name: array("q") for name in ("item", "annotator", "value", "shown")}
        self.strength = array("d")
        self.questions: dict[str, _Column] = {}
        self.ranked = {"count": 0, "shared": 0}
        self.w, self.same_best, self.w_cluster = array("d"), array("d"), array("q")
        self.disputes: list[tuple[str, int, float, float, int]] = []
        self.outcomes: list[tuple[str, str]] = []
        self.met, self.met_in, self.won = array("q"), array("q"), array("d")
        self.surplus = 0
        self.items = 0  # numbers given to single responses and steps

    def add(self, rows: Sequence[Any]) -> None:
        """All judgments of one comparison."""
        prompt = self.prompts.setdefault(rows[0].prompt_id, len(self.prompts))
        is_work = rows[0].purpose == "work"
        self.surplus += sum(row.surplus for row in rows)
        for row in rows:
            who = self.people.setdefault(row.annotator_id, len(self.people))
            is_pair = is_work and row.answer["kind"] == "pair"
            place = len(self.strength) if is_pair else -1
            on_site = int(row.source == "person")
            values = (who, row.number, prompt, row.submitted, row.active_ms, on_site, place)
            for column, value in zip(self.lines.values(), values, strict=True):
                column.append(value)
            if is_pair:
                self._pair(row, who)
        if is_work:
            self._others(rows, prompt)
            self._meet(rows)
            if len(rows) > 1:
                self._dispute(rows)
        if is_work and rows[0].answer["kind"] == "ranking":
            self._rank(rows, prompt)

    def _pair(self, row: Any, who: int) -> None:
        first = first_side(row)
        choice = row.answer["choice"]
        values = (row.number, who, 0 if choice is None else 1 if choice == first else -1,
                  1 if row.shown[0] == first else -1)  # fmt: skip
        for column, value in zip(self.pairs.values(), values, strict=True):
            column.append(value)
        strength = row.answer.get("strength")  # an import may not say
        self.strength.append(float("nan") if strength is None else float(strength))

    def _others(self, rows: Sequence[Any], prompt: int) -> None:
        """Dimensions, acceptability and steps; a single response or step is an item."""
        items: dict[tuple[str, object], int] = {}
        for row in rows:
            who, first = self.people[row.annotator_id], first_side(row)
            for name, part, value, has_ties in _answers(row.answer, first):
                column = self.questions.setdefault(name, _Column(has_ties))
                if (name, part) not in items:
                    items[name, part] = self.items
                    self.items += 1
                column.add(items[name, part], who, value, prompt)

    def _rank(self, rows: Sequence[Any], prompt: int) -> None:
        self.ranked["count"] += len(rows)
        if len(rows) < 2:
            return
        places = [_places(row.answer) for row in rows]
        common = sorted(set.intersection(*(set(place) for place in places)))
        w = kendall_w([[place[i] for i in common] for place in places])
        if w is None:
            return
        best = [set(row.answer["groups"][0]) for row in rows]
        same = [a == b for a, b in combinations(best, 2)]
        self.ranked["shared"] += len(rows)
        self.w.append(w)
        self.same_best.append(sum(same) / len(same))
        self.w_cluster.append(prompt)

    def _meet(self, rows: Sequence[Any]) -> None:
        ids = sorted(rows[0].shown)
        for a, b in combinations(ids, 2):
            place = len(self.outcomes)
            got = [_won(row.answer, a, b) for row in rows]
            for won in got:
                if won is not None:
                    self.met.append(place)
                    self.won.append(won)
                    self.met_in.append(rows[0].number)
            if any(won is not None for won in got):
                self.outcomes.append((a, b))

    def _dispute(self, rows: Sequence[Any]) -> None:
        found = disagreement([row.answer for row in rows], first_side(rows[0]))
        if found[0] > 0:
            self.disputes.append((rows[0].comparison_id, rows[0].number, *found, len(rows)))

    def done(self) -> Readings:
        lines = {name: _ints(column) for name, column in self.lines.items()}
        none = np.zeros(len(self.strength), dtype=np.int64)
        pairs = {name: _ints(column) for name, column in self.pairs.items()}
        return Readings(
            people=tuple(self.people),
            annotator=lines["annotator"], comparison=lines["comparison"], prompt=lines["prompt"],
            submitted=lines["submitted"], active_ms=lines["active_ms"],
            is_person=lines["is_person"].astype(np.bool_), pair_of=lines["pair_of"],
            pairs=Judgments(
                pairs["item"], pairs["annotator"], pairs["value"], _floats(self.strength),
                pairs["shown"], none.astype(np.bool_), none,
            ),
            questions=tuple(
                Question(name, _ints(c.item), _ints(c.annotator), _floats(c.value),
                         _ints(c.cluster), c.has_ties)
                for name, c in sorted(self.questions.items())
            ),
            rankings=Rankings(
                self.ranked["count"], self.ranked["shared"], _floats(self.w),
                _floats(self.same_best), _ints(self.w_cluster),
            ),
            disputes=tuple(self.disputes), outcomes=tuple(self.outcomes), met=_ints(self.met),
            won=_floats(self.won), met_in=_ints(self.met_in), surplus=self.surplus,
        )  # fmt: skip


def _answers(answer: Mapping[str, Any], first: str) -> Iterator[tuple[str, object, float, bool]]:
    """Question, part of the comparison, value, and whether 0 is a tie."""
    for response, said in (answer.get("acceptability") or {}).items():
        if said in ACCEPTED:
            yield "acceptability", response, ACCEPTED[said], False
    for name, said in (answer.get("dimensions") or {}).items():
        if "ratings" in said:
            for response, rating in said["ratings"].items():
                yield f"dimension:{name}", response, float(rating), False
        elif "choice" in said:
            sign = 0 if said["choice"] is None else 1 if said["choice"] == first else -1
            yield f"dimension:{name}", None, sign * float(said.get("strength", 1.0)), True
    if answer["kind"] == "steps":
        for number, label in enumerate(answer.get("labels") or ()):
            if label is not None:
                yield "steps", number, float(label), False


def _places(answer: Mapping[str, Any]) -> dict[str, int]:
    return {i: rank for rank, group in enumerate(answer["groups"]) for i in group}


def kendall_w(places: Sequence[Sequence[int]]) -> float | None:
    """Kendall's coefficient of concordance of m rankings of n responses, corrected for ties.

    ``W = 12 S / (m² (n³ - n) - m Σ (t³ - t))`` with S the sum of squares of the rank sums about
    their mean. Kendall & Smith 1939. None where there are fewer than two responses, or all tie.
    """
    from scipy.stats import rankdata

    table = np.asarray(places, dtype=np.float64)
    if table.ndim != 2 or len(table) < 2 or table.shape[1] < 2:
        return None
    m, n = table.shape
    ranks = rankdata(table, axis=1)
    sums = ranks.sum(axis=0)
    ties = sum(
        float((count**3 - count).sum())
        for count in (np.unique(row, return_counts=True)[1] for row in ranks)
    )
    whole = m * m * (n**3 - n) - m * ties
    return 12 * float(((sums - sums.mean()) ** 2).sum()) / whole if whole else None


def _won(answer: Mapping[str, Any], first: str, second: str) -> float | None:
    """What the first of two responses got: 1, ½ or 0, however clearly."""
    if answer["kind"] == "pair":
        return 0.5 if answer["choice"] is None else float(answer["choice"] == first)
    return verdict(answer, first, second)


def disagreement(answers: Sequence[Mapping[str, Any]], first: str) -> tuple[float, float]:
    """How far judgments of a comparison are apart, and how strongly: means over every two of them.

    0 where all say the same, 1 where two say the opposite. A pair: opposite sides, a tie is half
    way; how strongly counts the strengths too. A ranking: the share of two responses each that are
    put the other way, a tie is half way. Steps: the distance of labels of steps that both judged.
    """
    apart, spread = [], []
    for a, b in combinations(answers, 2):
        distance = _distance(a, b, first)
        if distance is not None:
            apart.append(distance[0])
            spread.append(distance[1])
    if not apart:
        return 0.0, 0.0
    return sum(apart) / len(apart), sum(spread) / len(spread)


def _distance(a: Mapping[str, Any], b: Mapping[str, Any], first: str) -> tuple[float, float] | None:
    if a["kind"] == "pair":
        signs = [0 if x["choice"] is None else 1 if x["choice"] == first else -1 for x in (a, b)]
        sizes = [
            sign * (1.0 if x.get("strength") is None else float(x["strength"]))
            for sign, x in zip(signs, (a, b), strict=True)
        ]
        return abs(signs[0] - signs[1]) / 2, abs(sizes[0] - sizes[1]) / 2
    if a["kind"] == "ranking":
        places = _places(a), _places(b)
        both = sorted(set(places[0]) & set(places[1]))
        apart = [
            abs(np.sign(places[0][j] - places[0][i]) - np.sign(places[1][j] - places[1][i])) / 2
            for i, j in combinations(both, 2)
        ]
    else:
        labels = zip(a.get("labels") or (), b.get("labels") or (), strict=False)
        apart = [abs(x - y) / 2 for x, y in labels if x is not None and y is not None]
    if not apart:
        return None
    mean = float(sum(apart) / len(apart))
    return mean, mean


def _ints(column: array[int]) -> Ints:
    return np.frombuffer(column, dtype=np.int64).copy() if len(column) else np.zeros(0, np.int64)


def _floats(column: array[float]) -> Floats:
    return np.frombuffer(column, dtype=np.float64).copy() if len(column) else np.zeros(0)
