"""Sampling grids: every combination, and totals that go round them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import ConfigError
from assay.feedback.candidates.grid import counts_of, settings_of
from assay.feedback.candidates.records import Setting


def test_all_combinations_are_there_source_by_source() -> None:
    found = settings_of(2, (0.7, 1.0), (0.9,))
    assert found == (
        Setting(0, 0.7, 0.9),
        Setting(0, 1.0, 0.9),
        Setting(1, 0.7, 0.9),
        Setting(1, 1.0, 0.9),
    )


@pytest.mark.parametrize(
    ("temperatures", "top_ps", "said"),
    [
        ((-1.0,), (1.0,), "temperature -1 was given; wanted 0"),
        ((float("nan"),), (1.0,), "temperature nan"),
        ((1.0,), (0.0,), "top_p 0 was given; wanted more than 0"),
        ((1.0,), (1.5,), "top_p 1.5"),
        ((1.0, 1.0), (1.0,), "temperature was given as 1, 1"),
        ((1.0,), (), "top_p was given as nothing"),
    ],
)
def test_values_out_of_range_are_refused(
    temperatures: tuple[float, ...], top_ps: tuple[float, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        settings_of(1, temperatures, top_ps)


def test_a_greedy_setting_gives_one_sample() -> None:
    settings = settings_of(1, (0.0, 1.0), (1.0,))
    assert counts_of(settings, 4) == (1, 4)
    assert counts_of(settings, 4, total=5) == (1, 4)
    greedy = settings_of(2, (0.0,), (1.0,))
    assert counts_of(greedy, 4, total=2) == (1, 1)
    with pytest.raises(ConfigError, match="2 settings at temperature 0"):
        counts_of(greedy, 4, total=3)


@pytest.mark.parametrize(("samples", "total"), [(0, None), (4, 0)])
def test_no_sample_is_refused(samples: int, total: int | None) -> None:
    with pytest.raises(ConfigError, match="wanted 1 or more samples"):
        counts_of(settings_of(1, (1.0,), (1.0,)), samples, total)


@given(
    sources=st.integers(1, 4),
    total=st.integers(1, 30),
    start=st.integers(0, 2**60),
)
def test_a_total_goes_round_evenly_wherever_it_begins(sources: int, total: int, start: int) -> None:
    counts = counts_of(settings_of(sources, (0.5, 1.0), (1.0,)), 4, total, start)
    assert sum(counts) == total
    assert max(counts) - min(counts) <= 1
    if total % len(counts):
        assert counts[start % len(counts)] == max(counts)
