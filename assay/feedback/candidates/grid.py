"""Sampling grids: every combination of source, temperature and top-p, and how many samples each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from assay.errors import ConfigError
from assay.feedback.candidates.records import Setting


def settings_of(
    sources: int, temperatures: Sequence[float], top_ps: Sequence[float]
) -> tuple[Setting, ...]:
    """All combinations, source by source.

    Raises:
        ConfigError: If a value is out of its range or there twice.
    """
    for value in temperatures:
        if not 0 <= value < float("inf"):
            raise ConfigError(f"temperature {value:g} was given; wanted 0 (greedy) or more.")
    for value in top_ps:
        if not 0 < value <= 1:
            raise ConfigError(f"top_p {value:g} was given; wanted more than 0 and at most 1.")
    for name, values in (("temperature", temperatures), ("top_p", top_ps)):
        if not values or len(set(values)) < len(values):
            raise ConfigError(
                f"{name} was given as {', '.join(f'{v:g}' for v in values) or 'nothing'}; wanted "
                "one value or several different ones."
            )
    return tuple(Setting(*point) for point in product(range(sources), temperatures, top_ps))


def counts_of(
    settings: Sequence[Setting], samples: int, total: int | None = None, start: int = 0
) -> tuple[int, ...]:
    """How many samples each setting gives.

    At temperature 0 a second sample would be the first again, so that one is all there is. A total
    goes round the settings, so that they differ by at most one where that can be.

    Args:
        total: Samples of all settings together, in place of ``samples`` of each.
        start: Where a total begins to go round, so that what is left over does not always fall
            to the first.

    Raises:
        ConfigError: If ``samples`` or ``total`` is below 1, or more than greedy settings can give.
    """
    if samples < 1 or (total is not None and total < 1):
        raise ConfigError(
            f"samples {samples} and total {total} were given; wanted 1 or more samples."
        )
    most = [1 if setting.temperature == 0 else None for setting in settings]
    if total is None:
        return tuple(samples if limit is None else min(samples, limit) for limit in most)
    greedy = sum(limit or 0 for limit in most)
    if None not in most and total > greedy:
        raise ConfigError(
            f"A total of {total} samples was wanted of {greedy} settings at temperature 0, which "
            "give one each; add a temperature above 0."
        )
    counts = [0] * len(settings)
    place = start
    while sum(counts) < total:
        at = place % len(settings)
        limit = most[at]
        if limit is None or counts[at] < limit:
            counts[at] += 1
        place += 1
    return tuple(counts)
