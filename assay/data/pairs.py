"""Preference pairs: loaded from any format, without duplicates, split by prompt.

Knows nothing of tokens and models. ``PreferencePairs`` is immutable; its methods give new ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from assay.configs import OnBadRow
from assay.errors import ConfigError, DataError, require_extra
from assay.formats.files import OnBadLine, cache_dir, numbering, read_rows
from assay.formats.progress import track
from assay.formats.rows import SHAPES, RowReader, Shape, Tally
from assay.formats.storage import Selection, digest_of, store
from assay.types import Comparison, LoadReport, Messages, PreferencePair

if TYPE_CHECKING:
    from assay.store.store import PreferenceStore

STORE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
"""How the name of a file ends that is a preference store."""
MEMORY_LIMIT = 512 * 2**20
"""Characters of text held in memory; beyond that, comparisons go to a file in the cache."""


@runtime_checkable
class Frame(Protocol):
    """What is used of a pandas DataFrame."""

    columns: Any

    def itertuples(self, index: bool, name: None) -> Iterable[tuple[Any, ...]]:
        """The rows as tuples."""
        ...


Source = str | Path | Sequence[str | Path] | Iterable[Mapping[str, Any]] | Frame


class PreferencePairs(Sequence[PreferencePair]):
    """An immutable sequence of preference pairs, held as comparisons.

    ``len()`` counts pairs (preferences); ``comparisons`` holds prompts with K ≥ 2 responses.

    Example:
        >>> pairs = PreferencePairs.load([{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}])
        >>> len(pairs), pairs[0].chosen[0].content
        (1, '4')
    """

    def __init__(self, comparisons: Sequence[Comparison], report: LoadReport, index: Index) -> None:
        self._comparisons = comparisons
        self._report = report
        self._index = index

    @classmethod
    def load(
        cls,
        source: Source,
        *,
        on_bad_row: OnBadRow = "error",
        limit: int | None = None,
        deduplicate: bool = True,
        in_memory: bool | None = None,
        singles: bool = False,
        apart: bool = False,
    ) -> PreferencePairs:
        """Load preference data; ``docs/formats.md`` lists the accepted formats.

        Args:
            source: A file, directory or hub name, several of them, a DataFrame, a Dataset, or rows.
            on_bad_row: "error" stops at the first bad row; "skip" counts it and goes on.
            limit: Keep only the first so many comparisons.
            deduplicate: Drop exact repetitions: same prompt, responses, preferences and annotator.
            in_memory: Hold the comparisons in memory, or in a file in the cache directory.
                Default: in memory up to ``MEMORY_LIMIT``.
            singles: Keep responses that were labelled or rated by themselves, as comparisons of one
                response without a preference.
            apart: Keep the judgments of a row with several as one comparison each, with its
                annotator, instead of their share as a soft label.
        """
        if limit is not None and limit < 1:
            raise ConfigError(
                f"limit must be at least 1, not {limit}; leave it out to load everything."
            )
        tally, index = Tally(), _IndexBuilder()
        found = chain.from_iterable(
            _read(s, on_bad_row, tally, singles, apart) for s in sources_of(source)
        )
        kept = index.over(found, tally if deduplicate else None)
        comparisons = _held(islice(kept, limit), in_memory)
        if not comparisons:
            gone = ", ".join(f"{count:,} {reason}" for reason, count in tally.dropped.items())
            raise DataError(
                f"none of the {tally.rows:,} rows gave a pair; dropped: {gone or 'none'}."
            )
        return cls(comparisons, index.report(tally), index.built())

    @classmethod
    def from_store(
        cls,
        store: PreferenceStore | str | Path,
        project: str | None = None,
        *,
        apart: bool = False,
        ties: Literal["keep", "drop"] = "keep",
        decisions: Literal["win", "ignore"] = "win",
        surplus: bool = False,
        names: bool = False,
        in_memory: bool | None = None,
        limit: int | None = None,
    ) -> PreferencePairs:
        """Pairs straight from a preference store: of the judgments that stand, of work only.

        P(chosen is better) is ½ + ½ · strength of a judgment, the margin its strength; of several
        judgments the mean.

        Args:
            store: An open store, a path, or a URL.
            project: Its name. Default: the only one.
            apart: Keep judgments as one comparison each, with its annotator.
            ties: Whether they are kept, with probability ½.
            decisions: Whether an adjudicated answer stands in for the judgments.
            surplus: Whether judgments beyond those wanted count.
            names: Whether annotators have their names, in place of pseudonyms.
            in_memory: As in :meth:`load`.
            limit: Keep only the first so many comparisons.

        Raises:
            StoreError: If there is no such store or project.
            DataError: If it holds no judgment to train on.
        """
        require_extra("collect", "A preference store", ("sqlalchemy", "alembic"))
        from assay.store.exporting import Choices
        from assay.store.store import PreferenceStore

        choices = Choices(
            per="judgment" if apart else "comparison", ties=ties, decisions=decisions,
            surplus=surplus, names=names,
        )  # fmt: skip
        if isinstance(store, PreferenceStore):
            return cls._from_open(store, project, choices, in_memory, limit)
        with PreferenceStore.open(store, create=False) as opened_:
            return cls._from_open(opened_, project, choices, in_memory, limit)

    @classmethod
    def _from_open(
        cls,
        store: PreferenceStore,
        project: str | None,
        choices: Any,
        in_memory: bool | None,
        limit: int | None,
    ) -> PreferencePairs:
        from assay.store.exporting import stored_comparisons

        found = store.project_named(project)
        tally, index = Tally(), _IndexBuilder()
        tally.formats["preference store"] = 1

        def stream(connection: Any) -> Iterator[tuple[str, Comparison]]:
            for where, one in stored_comparisons(connection, found.id, choices):
                tally.rows += 1
                if isinstance(one, Comparison):
                    yield where, one
                else:
                    tally.drop(where, one)

        with store.database.reading() as connection:
            kept = index.over(track(stream(connection), f"loading {found.name}"), None)
            comparisons = _held(islice(kept, limit), in_memory)
        if not comparisons:
            gone = ", ".join(f"{count:,} {reason}" for reason, count in tally.dropped.items())
            raise DataError(
                f"project {found.name!r} has no judgment to train on; left out: {gone or 'none'}."
            )
        return cls(comparisons, index.report(tally), index.built())

    @classmethod
    def from_comparisons(
        cls, comparisons: Sequence[Comparison], tally: Tally | None = None
    ) -> PreferencePairs:
        """Pairs from comparisons at hand, all of them kept.

        Args:
            tally: What became of the rows they come from. Default: each comparison is a row.
        """
        tally, index = tally or Tally(rows=len(comparisons)), _IndexBuilder()
        held = tuple(index.over((("", c) for c in comparisons), None))
        return cls(held, index.report(tally), index.built())

    @property
    def comparisons(self) -> Sequence[Comparison]:
        """The comparisons, in the order they were loaded."""
        return self._comparisons

    @property
    def report(self) -> LoadReport:
        """What became of the rows that were loaded: of all of them, also after a split."""
        return self._report

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content in order, whatever file it came from."""
        return digest_of(self._comparisons)

    def pairs(self) -> Iterator[PreferencePair]:
        """One pair a preference, comparison by comparison."""
        return chain.from_iterable(comparison.pairs() for comparison in self._comparisons)

    def prompt_keys(self) -> list[str]:
        """One key a comparison; equal prompts, but for case and white space, have equal keys."""
        return [key.decode() for key in self._index.keys.tolist()]

    def prompt_groups(self) -> NDArray[np.int64]:
        """Which prompt each pair belongs to, ``(P,)``, prompts numbered as they first appear."""
        numbers: dict[bytes, int] = {}
        groups = [numbers.setdefault(key, len(numbers)) for key in self._index.keys.tolist()]
        return np.repeat(np.array(groups, dtype=np.int64), self._index.counts)

    def split(
        self, heldout: float = 0.2, by: Literal["prompt"] = "prompt", seed: int = 0
    ) -> tuple[PreferencePairs, PreferencePairs]:
        """Training and held-out pairs, all comparisons of a prompt on one side.

        Prompts are ranked by SHA-256 of seed and prompt key, and the first
        ``round(heldout · prompts)`` are held out (at least one, and never all), so the split
        depends on neither the order of the rows nor the machine.
        """
        if by != "prompt":
            raise ConfigError(f"pairs are split by 'prompt', not by {by!r}.")
        is_heldout = heldout_prompts(self.prompt_keys(), heldout, seed)
        return self.select(np.flatnonzero(~is_heldout)), self.select(np.flatnonzero(is_heldout))

    def nested(self, size: int, seed: int = 0) -> PreferencePairs:
        """Whole prompts, in an order drawn by the seed, until there are so many pairs or just more.

        What a smaller size holds, a larger one of the same seed holds too. Prompts are ranked as
        in :meth:`split`, so the subset depends on neither the order of the rows nor the machine;
        its comparisons keep their order.
        """
        if not 1 <= size <= len(self):
            raise ConfigError(
                f"{size:,} pairs were asked for, and there are {len(self):,}; ask for 1 to all."
            )
        keys = np.array(self.prompt_keys())
        rank = {key: place for place, key in enumerate(_ranked(keys.tolist(), seed))}
        place = np.array([rank[key] for key in keys.tolist()])
        total = np.cumsum(np.bincount(place, self._index.counts))
        return self.select(np.flatnonzero(place <= np.searchsorted(total, size)))

    def select(self, indexes: Sequence[int] | NDArray[np.integer[Any]]) -> PreferencePairs:
        """The comparisons at these positions, in this order."""
        chosen = np.asarray(indexes, dtype=np.int64)
        comparisons: Sequence[Comparison] = Selection(self._comparisons, chosen)
        if isinstance(self._comparisons, tuple):
            comparisons = tuple(comparisons)
        index = Index(self._index.counts[chosen], self._index.keys[chosen])
        return PreferencePairs(comparisons, self._report, index)

    def __len__(self) -> int:
        return len(self._starts) and int(self._starts[-1])

    def __iter__(self) -> Iterator[PreferencePair]:
        return self.pairs()

    @overload
    def __getitem__(self, index: int) -> PreferencePair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PreferencePair]: ...
    def __getitem__(self, index: int | slice) -> PreferencePair | Sequence[PreferencePair]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        comparison = int(np.searchsorted(self._starts, position, side="right"))
        before = int(self._starts[comparison - 1]) if comparison else 0
        return self._comparisons[comparison].pairs()[position - before]

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.cumsum(self._index.counts)

    def __repr__(self) -> str:
        return f"PreferencePairs({len(self):,} pairs in {len(self._comparisons):,} comparisons)"


@runtime_checkable
class HasPrompts(Protocol):
    """Pairs or solutions: whatever has prompts that can be told apart."""

    def prompt_keys(self) -> list[str]:
        """One key a comparison or solution."""
        ...


def overlap(a: HasPrompts, b: HasPrompts) -> int:
    """How many prompts two sets share: 0 between a training set and its held-out set."""
    return len(set(a.prompt_keys()) & set(b.prompt_keys()))


def clusters_of(data: HasPrompts) -> list[int]:
    """The prompt number of each comparison or solution."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in data.prompt_keys()]


def heldout_prompts(keys: Sequence[str], heldout: float, seed: int) -> NDArray[np.bool_]:
    """Which of B prompt keys are held out, ``(B,)``: all or none of those that are equal.

    The different keys are ranked by SHA-256 of seed and key, and the first
    ``round(heldout · keys)`` are held out, at least one and never all.

    Raises:
        ConfigError: If the share is not between 0 and 1.
        DataError: If there are not two different keys.
    """
    if not 0 < heldout < 1:
        raise ConfigError(f"heldout must be a share between 0 and 1, not {heldout:g}.")
    ranked = _ranked(keys, seed)
    if len(ranked) < 2:
        raise DataError(
            f"a split by prompt needs two or more different prompts; there is {len(ranked)}."
        )
    count = min(max(round(heldout * len(ranked)), 1), len(ranked) - 1)
    return np.isin(keys, ranked[:count])


def _ranked(keys: Sequence[str], seed: int) -> list[str]:
    """The different prompt keys in an order drawn by the seed: by SHA-256 of seed and key."""
    return sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())


def prompt_key(prompt: Messages) -> str:
    """A key of a prompt, all its turns, that ignores case and white space (BLAKE2b, 128 bits)."""
    return fingerprint([[m.role, " ".join(m.content.casefold().split())] for m in prompt]).hex()


@dataclass(frozen=True)
class Index:
    """What is kept of every comparison in memory: its number of preferences and its prompt key."""

    counts: NDArray[np.int64]
    keys: NDArray[Any]  # of 32 bytes each


@dataclass
class _IndexBuilder:
    """Fills an ``Index`` while comparisons stream past; finds repetitions and contradictions."""

    ties: int = 0
    contradictions: int = 0
    _counts: list[int] = field(default_factory=list)
    _keys: list[bytes] = field(default_factory=list)
    _comparisons: set[bytes] = field(default_factory=set)
    _preferences: set[bytes] = field(default_factory=set)

    def over(
        self, found: Iterable[tuple[str, Comparison]], tally: Tally | None
    ) -> Iterator[Comparison]:
        """The same comparisons; with a tally, repetitions are dropped and counted there."""
        for where, comparison in found:
            prompt = fingerprint([m.to_dict() for m in comparison.prompt])
            responses = [fingerprint([m.to_dict() for m in r]) for r in comparison.responses]
            if tally is not None and self._is_repeated(comparison, prompt, responses):
                tally.drop(where, "duplicate")
                continue
            self._count(comparison, prompt, responses)
            yield comparison

    def report(self, tally: Tally) -> LoadReport:
        """The tally's counts with those of what went past."""
        return tally.report(
            comparisons=len(self._counts),
            pairs=sum(self._counts),
            ties=self.ties,
            contradictions=self.contradictions,
            singles=self._counts.count(0),
        )

    def built(self) -> Index:
        """The index of all that went past."""
        return Index(np.array(self._counts, dtype=np.int64), np.array(self._keys, dtype="S32"))

    def _is_repeated(self, comparison: Comparison, prompt: bytes, responses: list[bytes]) -> bool:
        said = sorted(
            (
                *_sides(responses[p.chosen], responses[p.rejected], p.probability),
                p.probability,
                p.margin,
                p.weight,
            )
            for p in comparison.preferences
        )
        key = fingerprint([prompt.hex(), said, comparison.annotator, comparison.tools])
        if comparison.first_shown is not None or comparison.ratings is not None:
            first = comparison.first_shown
            shown = None if first is None else responses[first].hex()
            rated = [
                [response.hex(), sorted(ratings.items())]
                for response, ratings in zip(responses, comparison.ratings or (), strict=False)
            ]
            key = fingerprint([key.hex(), shown, rated])
        is_repeated = key in self._comparisons
        self._comparisons.add(key)
        return is_repeated

    def _count(self, comparison: Comparison, prompt: bytes, responses: list[bytes]) -> None:
        self._counts.append(len(comparison.preferences))
        self._keys.append(prompt_key(comparison.prompt).encode())
        for p in comparison.preferences:
            if p.probability == 0.5:
                self.ties += 1
                continue
            chosen, rejected = responses[p.chosen], responses[p.rejected]
            self.contradictions += _opinion(prompt, rejected, chosen) in self._preferences
            self._preferences.add(_opinion(prompt, chosen, rejected))


def _sides(chosen: bytes, rejected: bytes, probability: float) -> list[str]:
    sides = [chosen.hex(), rejected.hex()]
    return sorted(sides) if probability == 0.5 else sides  # a tie has no order


def _opinion(prompt: bytes, chosen: bytes, rejected: bytes) -> bytes:
    return fingerprint([prompt.hex(), chosen.hex(), rejected.hex()])


def fingerprint(value: object) -> bytes:
    """A short name of a value that JSON can hold: equal values have equal names (BLAKE2b)."""
    # 16 bytes: a chance of 1e-21 that any two of a billion texts share one
    return hashlib.blake2b(json.dumps(value, default=str).encode("ascii"), digest_size=16).digest()


def sources_of(source: Source) -> Sequence[Any]:
    """Each of several files, directories or hub names; anything else is one source."""
    if (
        isinstance(source, list | tuple)
        and source
        and all(isinstance(s, str | Path) for s in source)
    ):
        return source
    return [source]


def opened(
    source: Any,
    on_bad_row: OnBadRow,
    tally: Tally,
    shapes: Sequence[Shape] = SHAPES,
    *,
    singles: bool = False,
    apart: bool = False,
) -> tuple[RowReader, Iterable[tuple[int, Mapping[str, Any]]]]:
    """A reader of one source's formats, and the numbered rows to give it."""
    name, unit = name_and_unit(source)
    reader = RowReader(name, unit, on_bad_row, tally, shapes, singles=singles, apart=apart)
    return reader, numbered_rows(source, reader.bad_line)


def name_and_unit(source: Any) -> tuple[str, str]:
    """What messages call a source, and what the numbers of its rows count: "line" or "row"."""
    unit = numbering(source) if isinstance(source, str | Path) else "row"
    return _name(source), unit


def numbered_rows(source: Any, on_bad_line: OnBadLine) -> Iterable[tuple[int, Mapping[str, Any]]]:
    """The rows of one source with their numbers, from 1, and progress shown."""
    rows: Iterable[tuple[int, Mapping[str, Any]]]
    if isinstance(source, str | Path):
        rows = read_rows(source, on_bad_line)
    else:
        given = _frame_rows(source) if isinstance(source, Frame) else _checked(source)
        rows = enumerate(given, start=1)
    return track(rows, f"loading {_name(source)}")


def _name(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else "the given data"


def _read(
    source: Any, on_bad_row: OnBadRow, tally: Tally, singles: bool, apart: bool
) -> Iterator[tuple[str, Comparison]]:
    if isinstance(source, str | Path) and str(source).endswith(STORE_SUFFIXES):
        return _read_store(source, tally, apart)
    reader, rows = opened(source, on_bad_row, tally, singles=singles, apart=apart)
    return reader.comparisons(rows)


def _read_store(source: str | Path, tally: Tally, apart: bool) -> Iterator[tuple[str, Comparison]]:
    """A store with one project, as any file of preferences."""
    pairs = PreferencePairs.from_store(source, apart=apart)
    tally.rows += pairs.report.rows
    tally.formats["preference store"] += 1
    for reason, count in pairs.report.dropped.items():
        tally.drop(f"{source}", reason, count)
    for place, comparison in enumerate(pairs.comparisons, start=1):
        yield f"{source} comparison {place}", comparison


def _checked(source: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    if isinstance(source, Mapping):
        names = ", ".join(repr(str(key)) for key in source)
        raise DataError(
            f"one set of rows was wanted but a mapping of {names} came; choose one of them."
        )
    for row in source:
        if not isinstance(row, Mapping):
            raise DataError(f"rows are mappings with named fields, not {type(row).__name__}.")
        yield row


def _frame_rows(frame: Frame) -> Iterator[dict[str, Any]]:
    columns = [str(column) for column in frame.columns]
    for values in frame.itertuples(index=False, name=None):
        yield {column: _plain(value) for column, value in zip(columns, values, strict=True)}


def _plain(value: Any) -> Any:
    """A DataFrame's cell as JSON would give it: lists for arrays, None for a missing value."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    is_missing = value is not None and not isinstance(value, Sequence | Mapping) and value != value
    return None if is_missing else value


def _held(comparisons: Iterable[Comparison], in_memory: bool | None) -> Sequence[Comparison]:
    if in_memory is False:
        return _stored(comparisons)
    stream = iter(comparisons)
    kept: list[Comparison] = []
    size = 0
    for comparison in stream:
        kept.append(comparison)
        size += sum(
            len(m.content) for part in (comparison.prompt, *comparison.responses) for m in part
        )
        if in_memory is None and size > MEMORY_LIMIT:
            return _stored(chain(kept, stream))
    return tuple(kept)


def _stored(comparisons: Iterable[Comparison]) -> Sequence[Comparison]:
    return store(comparisons, cache_dir() / "comparisons")
