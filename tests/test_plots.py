"""Pictures: they are drawn from any metrics, say their figures, and repeat byte for byte."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from matplotlib.image import imread

from assay.plots import (
    LINES,
    gap_histogram,
    reliability_diagram,
    report_page,
    selection_curves,
    training_curves,
)
from assay.stats import accuracy
from assay.types import Figure

GAPS = np.random.default_rng(0).normal(0.6, 1.2, 300)
LENGTH_ONLY = Figure(0.55, 0.5, 0.6, 300)


def metrics(steps: int = 60) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        row = {"step": step, "epoch": step / steps, "train/loss": 0.7 - 0.002 * step}
        rows.append({**row, "train/lr": 1e-3, "train/accuracy": 0.5 + 0.002 * step})
        if step % 20 == 0:
            loss = 0.6 + abs(step - 40) / 1000
            rows.append({"step": step, "heldout/loss": loss, "heldout/accuracy": 0.6})
    return rows


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    """The figures that are saved, in order."""
    figures: list[matplotlib.figure.Figure] = []
    save = matplotlib.figure.Figure.savefig

    def keep(self: matplotlib.figure.Figure, *args: Any, **kwargs: Any) -> None:
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return figures


def titles(figure: matplotlib.figure.Figure) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes]


def line(figure: matplotlib.figure.Figure, panel: int, label: str) -> np.ndarray:
    (found,) = [x for x in figure.axes[panel].lines if x.get_label() == label]
    return np.asarray(found.get_xydata())


N = (1, 2, 4, 8)
SELECTED = {
    name: [Figure(start + rise * i, start + rise * i - 0.05, start + rise * i + 0.05, 60)
           for i in range(4)]
    for name, start, rise in (("pass", 0.4, 0.12), ("random", 0.4, 0), ("PRM", 0.4, 0.08),
                              ("majority", 0.4, 0.04))
}  # fmt: skip


PICTURES: dict[str, Callable[[Path], Path]] = {
    "curves": lambda path: training_curves(metrics(), path, LENGTH_ONLY),
    "gaps": lambda path: gap_histogram(GAPS, path, accuracy(GAPS)),
    "reliability": lambda path: reliability_diagram(GAPS, path),
    "page": lambda path: report_page(metrics(), GAPS, path, accuracy(GAPS), LENGTH_ONLY),
    "selection": lambda path: selection_curves(N, SELECTED, path),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_pngs_that_repeat_byte_for_byte(name: str, tmp_path: Path) -> None:
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    assert PICTURES[name](one) == one
    PICTURES[name](other)
    assert one.read_bytes() == other.read_bytes()
    pixels = imread(one)
    assert min(pixels.shape[:2]) > 400
    assert pixels[..., :3].std() > 0.05  # something is on it
    assert b"Software" not in one.read_bytes()


def test_pictures_leave_the_users_style_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    gap_histogram(GAPS, tmp_path / "gaps.png")
    assert dict(matplotlib.rcParams) == before


def test_curves_show_what_was_recorded(
    tmp_path: Path, drawn: list[matplotlib.figure.Figure]
) -> None:
    training_curves(metrics(), tmp_path / "curves.png", LENGTH_ONLY)
    (figure,) = drawn
    assert titles(figure) == ["Loss · best held-out 0.600 at step 40", "Accuracy", "Learning rate"]
    assert line(figure, 0, "held-out").tolist() == [[20, 0.62], [40, 0.6], [60, 0.62]]
    assert line(figure, 0, "best held-out").tolist() == [[40, 0.6]]
    smooth = line(figure, 0, "training, running mean")
    assert smooth[10].tolist() == pytest.approx([11, 0.7 - 0.002 * 10])  # mean of steps 9, 10, 11
    assert line(figure, 0, "a coin")[0, 1] == pytest.approx(math.log(2))
    assert line(figure, 1, "length only 0.55")[0, 1] == 0.55
    assert line(figure, 1, "a coin")[0, 1] == 0.5
    assert {label.get_text() for label in figure.axes[0].get_legend().get_texts()} >= {"held-out"}


def test_a_held_out_loss_that_runs_away_stays_in_the_picture(
    tmp_path: Path, drawn: list[matplotlib.figure.Figure]
) -> None:
    rows = [*metrics(300), {"step": 300, "heldout/loss": 3.0}, {"step": 2, "train/loss": 90.0}]
    training_curves(rows, tmp_path / "curves.png")
    low, high = drawn[0].axes[0].get_ylim()
    assert low < 0.58
    assert 3.0 < high < 20


def test_missing_keys_leave_a_panel_that_says_so(
    tmp_path: Path, drawn: list[matplotlib.figure.Figure]
) -> None:
    training_curves([{"step": 1, "train/loss": 0.7}], tmp_path / "few.png")
    training_curves([{"step": 5, "heldout/accuracy": None}, {}], tmp_path / "none.png")
    texts = [[t.get_text() for ax in f.axes for t in ax.texts] for f in drawn]
    assert texts == [["not recorded"] * 2, ["not recorded"] * 3]
    assert line(drawn[0], 0, "training").tolist() == [[1, 0.7]]


def test_histogram_counts_both_sides_and_names_accuracy(
    tmp_path: Path, drawn: list[matplotlib.figure.Figure]
) -> None:
    figure = accuracy(GAPS)
    gap_histogram(np.r_[GAPS, 900.0, -900.0, 0.0], tmp_path / "gaps.png", figure)
    (ax,) = drawn[0].axes
    assert ax.get_title(loc="left") == f"Held-out gaps · accuracy {figure}"
    labels = ax.get_legend_handles_labels()[1]
    wrong = int((GAPS < 0).sum()) + 1
    assert f"rejected higher: {wrong}" in labels
    assert f"chosen at least as high: {303 - wrong}" in labels
    assert sum(bar.get_height() for bar in ax.patches) == 303  # outliers are in the end bins
    assert all(
        bar.get_x() >= -1e-9
        for bar in ax.patches
        if bar.get_facecolor()[2] > 0.5 and bar.get_height()
    )
    assert max(bar.get_x() for bar in ax.patches) < 10
    assert "from beyond" in ax.get_xlabel()


@pytest.mark.parametrize("gaps", [[0.0], [0.0, 0.0], [-2.0], [1e-9, 2e-9], [1e4, -1e4]])
def test_odd_gaps_are_drawn_too(
    gaps: list[float], tmp_path: Path, drawn: list[matplotlib.figure.Figure]
) -> None:
    gap_histogram(gaps, tmp_path / "gaps.png")
    reliability_diagram(gaps, tmp_path / "reliability.png")
    assert sum(bar.get_height() for bar in drawn[0].axes[0].patches) == len(gaps)
    assert titles(drawn[0]) == [f"Held-out gaps, n={len(gaps)}"]


def test_reliability_shows_the_bins_and_the_given_figure(
    tmp_path: Path, drawn: list[matplotlib.figure.Figure]
) -> None:
    error = Figure(0.04, 0.01, 0.07, 300)
    soft = 1 / (1 + np.exp(-GAPS))
    reliability_diagram(GAPS, tmp_path / "reliability.png", soft, error)
    (ax,) = drawn[0].axes
    assert ax.get_title(loc="left") == f"Reliability · ECE {error}"
    (points,) = [c for c in ax.containers if "10 bins of 30 pairs" in str(c.get_label())]
    x, y = np.asarray(points.lines[0].get_xydata()).T
    assert x == pytest.approx(y)  # labels equal to the predictions lie on the diagonal


def test_selection_shows_every_method_with_its_band_and_limits_without(
    tmp_path: Path, drawn: list[matplotlib.figure.Figure]
) -> None:
    selection_curves(N, SELECTED, tmp_path / "selection.png")
    (ax,) = drawn[0].axes
    assert ax.get_title(loc="left") == ("Accuracy of the solution picked · 60 problems, 95 % bands")
    assert line(drawn[0], 0, "PRM").tolist() == [
        [n, f.value] for n, f in zip(N, SELECTED["PRM"], strict=True)
    ]
    assert line(drawn[0], 0, "an oracle picks (pass@n)")[-1].tolist() == [8, pytest.approx(0.76)]
    bands = [np.asarray(c.get_paths()[0].vertices) for c in ax.collections]
    assert len(bands) == 2
    assert (bands[0][:, 1].min(), bands[0][:, 1].max()) == pytest.approx((0.35, 0.69))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "4", "8"]


def test_methods_are_told_apart_by_more_than_colour(
    tmp_path: Path, drawn: list[matplotlib.figure.Figure]
) -> None:
    many = {str(i): SELECTED["PRM"] for i in range(len(LINES))}
    selection_curves(N, many, tmp_path / "selection.png")
    lines = drawn[0].axes[0].lines
    assert len({x.get_marker() for x in lines}) == len(LINES)
    assert len({x.get_color() for x in lines}) == len(LINES)
    selection_curves([], {}, tmp_path / "selection.png")
    assert [t.get_text() for t in drawn[1].axes[0].texts] == ["not recorded"]


def test_a_page_without_pairs_or_metrics_is_still_drawn(
    tmp_path: Path, drawn: list[matplotlib.figure.Figure]
) -> None:
    report_page([], [], tmp_path / "page.png", accuracy([]), title="Nothing yet")
    assert [t.get_text() for ax in drawn[0].axes for t in ax.texts] == ["not recorded"] * 4
    assert drawn[0].get_suptitle() == "Nothing yet"


def test_matplotlib_and_scipy_wait_until_they_are_needed() -> None:
    code = (
        "import sys, assay.plots, assay.stats; "
        "print({'matplotlib', 'scipy', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
