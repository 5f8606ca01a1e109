"""Value: what the buttons of each scale mean."""

from __future__ import annotations

import pytest

from assay.store.presets import PRESETS


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.points])
def test_scales_are_the_same_from_both_sides(name: str) -> None:
    points = PRESETS[name].points
    sided = [(p.side, p.strength) for p in points if p.side]
    assert [(-side, strength) for side, strength in reversed(sided)] == sided
    assert len({p.id for p in points}) == len(points)
    keys = [p.key for p in points]
    assert len(set(keys)) == len(keys)
    assert all(keys)


@pytest.mark.parametrize(
    ("name", "points", "ties"),
    [("binary", 3, 1), ("llama2", 8, 0), ("helpsteer", 7, 1), ("bai8", 8, 0), ("arena", 4, 2),
     ("arena6", 6, 2)],
)  # fmt: skip
def test_scales_have_the_points_of_their_sources(name: str, points: int, ties: int) -> None:
    found = PRESETS[name].points
    assert (len(found), sum(p.side == 0 for p in found)) == (points, ties)


def test_strengths_are_those_of_the_sources() -> None:
    llama = PRESETS["llama2"]
    strengths = [llama.point(f"first-{n}") for n in ("significantly", "better", "slightly")]
    assert [p.strength for p in strengths if p] == [1.0, 2 / 3, 1 / 3]
    least = llama.point("second-negligibly")
    assert least is not None
    assert (least.side, least.strength) == (1, 0.0)
    bad = PRESETS["arena"].point("both-bad")
    assert bad is not None
    assert (bad.side, bad.both_bad) == (0, True)
    assert llama.point("tie") is None


@pytest.mark.parametrize(
    ("raw", "side", "strength"), [("-100", -1, 1.0), ("25", 1, 0.25), ("0", 0, 0.0)]
)
def test_a_slider_goes_from_side_to_side(raw: str, side: int, strength: float) -> None:
    point = PRESETS["slider"].point(raw)
    assert point is not None
    assert (point.id, point.side, point.strength) == (raw, side, strength)


@pytest.mark.parametrize("raw", ["101", "-101", "1.5", "", "+5", "05", " 5", "x"])
def test_a_slider_has_whole_numbers_alone(raw: str) -> None:
    assert PRESETS["slider"].point(raw) is None
