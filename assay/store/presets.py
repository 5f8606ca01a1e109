"""Scales on which one of two responses is called better, as data.

A point has a side (-1 the response shown first, 0 neither, 1 the one shown second) and a strength
from 0 to 1. P(chosen is better) = ½ + ½ · strength, the margin is the strength. A point may choose
a side at strength 0: "negligibly better". ``VERSION`` changes when a point's meaning does; it is
stored with every answer.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = 1


@dataclass(frozen=True, slots=True)
class Point:
    """One button of a scale."""

    id: str
    """What is stored of the click, and the name of its label in the catalogues."""
    side: int
    strength: float
    key: str = ""
    """The keyboard key that picks it, unless the annotator chose another."""
    both_bad: bool = False
    """Whether it says, besides, that neither response is acceptable."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A scale, from "the first is much better" to "the second is"."""

    name: str
    points: tuple[Point, ...]
    source: str
    slider: int = 0
    """Largest number of a slider from -slider to slider, in place of points."""

    def point(self, raw: str) -> Point | None:
        """The point of an id; None where the scale has none such."""
        if self.slider:
            try:
                value = int(raw)
            except ValueError:
                return None
            if abs(value) > self.slider or str(value) != raw:
                return None
            return Point(raw, (value > 0) - (value < 0), abs(value) / self.slider)
        return next((p for p in self.points if p.id == raw), None)


def _graded(names: tuple[tuple[str, float], ...], middle: Point | None) -> tuple[Point, ...]:
    """Grades from the strongest on both sides; keys 1, 2, … from the left, 0 the middle."""
    left = [(f"first-{name}", -1, strength) for name, strength in names]
    right = [(f"second-{name}", 1, strength) for name, strength in reversed(names)]
    sides = [Point(n, side, s, str(i)) for i, (n, side, s) in enumerate([*left, *right], start=1)]
    half = len(names)
    return (*sides[:half], *([middle] if middle else []), *sides[half:])


_TIE = Point("tie", 0, 0.0, "0")
_BAD = Point("both-bad", 0, 0.0, "b", both_bad=True)
_MUCH = (("much", 1.0), ("better", 2 / 3), ("slightly", 1 / 3))
_FOUR = (("significantly", 1.0), ("better", 2 / 3), ("slightly", 1 / 3), ("negligibly", 0.0))
_EIGHT = (("4", 1.0), ("3", 0.75), ("2", 0.5), ("1", 0.25))

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("binary", _graded((("better", 1.0),), _TIE), "Ouyang et al. 2022"),
        Preset("llama2", _graded(_FOUR, None), "Touvron et al. 2023, section 3.2.1"),
        Preset("helpsteer", _graded(_MUCH, _TIE), "Wang et al. 2024, HelpSteer2-Preference"),
        Preset("bai8", _graded(_EIGHT, None), "Bai et al. 2022"),
        Preset("arena", (*_graded((("better", 1.0),), _TIE), _BAD), "Chiang et al. 2024"),
        Preset(
            "arena6",
            (*_graded((("much", 1.0), ("better", 0.5)), _TIE), _BAD),
            "Li et al. 2024, Arena-Hard",
        ),
        Preset("slider", (), "a continuous scale", slider=100),
    )
}
