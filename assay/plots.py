"""Pictures of a run: training curves, gap histogram, reliability diagram, and all on a page.

PNG files at a given path, the same bytes for the same numbers. Knows nothing of models or run
directories. Colours are Okabe and Ito's, which colour-blind readers tell apart; nothing is said by
colour alone. matplotlib is imported when the first picture is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.stats import ece, reliability_bins, wilson
from assay.types import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Metrics = Sequence[Mapping[str, Any]]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6B6B6B"

LINES: Sequence[Mapping[str, Any]] = (
    {"color": BLUE, "ls": "-", "marker": "o"},
    {"color": ORANGE, "ls": "--", "marker": "s"},
    {"color": GREEN, "ls": "-.", "marker": "^"},
    {"color": "#CC79A7", "ls": (0, (8, 2)), "marker": "D"},
    {"color": "#E69F00", "ls": (0, (4, 1, 1, 1, 1, 1)), "marker": "v"},
    {"color": "#56B4E9", "ls": (0, (2, 1)), "marker": "P"},
)
"""How curves of several methods are told apart, in turn; after the last it begins again."""

LIMITS: Mapping[str, tuple[str, Any]] = {
    "pass": ("an oracle picks (pass@n)", "--"),
    "random": ("a random pick", ":"),
}
"""Methods that nothing real can pass or should fall below: grey, without markers."""

STYLE: Any = {  # Any: matplotlib types its 300 settings one by one
    "axes.axisbelow": True,
    "axes.edgecolor": "#9A9A9A",
    "axes.grid": True,
    "axes.labelcolor": "#333333",
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlesize": 11,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.dpi": 130,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": "#E6E6E6",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}


def training_curves(metrics: Metrics, path: str | Path, length_only: Figure | None = None) -> Path:
    """Loss, accuracy and learning rate over the steps of a run.

    Args:
        metrics: Rows of ``metrics.jsonl``. Every row has ``step``; training rows have
            ``train/loss``, ``train/accuracy`` and ``train/lr``, evaluation rows ``heldout/loss``
            and ``heldout/accuracy``. Panels whose keys are missing stay empty and say so.
        length_only: Accuracy of the length-only baseline, drawn as a line.
    """
    with _canvas(path, (13.5, 4.3), 1, 3) as (_, axes):
        _draw_loss(axes[0], metrics)
        _draw_accuracy(axes[1], metrics, length_only)
        _draw_learning_rate(axes[2], metrics)
    return Path(path)


def gap_histogram(
    gaps: ArrayLike, path: str | Path, accuracy: Figure | None = None, unit: str = "pairs"
) -> Path:
    """How far apart the rewards of chosen and rejected are; left of zero the model is wrong.

    Args:
        gaps: Rewards of chosen minus rejected on held-out pairs, label 0.5 left out.
        accuracy: Shown in the title, with its interval and n.
        unit: "pairs", or "responses" labelled by themselves: how far each is on the right side.
    """
    with _canvas(path, (7.6, 4.6)) as (_, axes):
        _draw_gaps(axes[0], gaps, accuracy, unit)
    return Path(path)


def reliability_diagram(
    gaps: ArrayLike,
    path: str | Path,
    probability: ArrayLike | None = None,
    calibration_error: Figure | None = None,
) -> Path:
    """How often the model is right against how sure it is, in bins of equal mass.

    Args:
        probability: Soft labels, as in ``assay.stats``.
        calibration_error: Shown in the title. Default: ``ece`` of these pairs, each its own
            cluster.
    """
    with _canvas(path, (5.6, 5.4)) as (_, axes):
        _draw_reliability(axes[0], gaps, probability, calibration_error)
    return Path(path)


def selection_curves(
    n: Sequence[int],
    curves: Mapping[str, Sequence[Figure]],
    path: str | Path,
    title: str = "Accuracy of the solution picked",
) -> Path:
    """Accuracy against the number of samples that a method picks from, with 95 % bands.

    Args:
        curves: A figure for each n by method; ``pass`` and ``random`` are drawn as limits.
    """
    with _canvas(path, (7.8, 5.4)) as (_, axes):
        _draw_selection(axes[0], n, curves, title)
    return Path(path)


def report_page(
    metrics: Metrics,
    gaps: ArrayLike,
    path: str | Path,
    accuracy: Figure,
    length_only: Figure | None = None,
    probability: ArrayLike | None = None,
    calibration_error: Figure | None = None,
    title: str = "Reward model",
    unit: str = "pairs",
) -> Path:
    """One page about a run: loss, accuracy beside the length-only baseline, gaps, reliability."""
    with _canvas(path, (12.0, 9.6), 2, 2) as (canvas, axes):
        canvas.suptitle(title, fontsize=14, fontweight="bold", x=0.012, ha="left")
        _draw_loss(axes[0], metrics)
        _draw_accuracy(axes[1], metrics, length_only, accuracy)
        _draw_gaps(axes[2], gaps, accuracy, unit)
        _draw_reliability(axes[3], gaps, probability, calibration_error)
    return Path(path)


def _draw_loss(ax: Axes, metrics: Metrics) -> None:
    _draw_curves(ax, metrics, "loss", "Loss", "negative log-likelihood")
    step, loss = _series(metrics, "heldout/loss")
    if len(step):
        best = int(np.argmin(loss))
        ax.set_title(f"Loss · best held-out {loss[best]:.3f} at step {step[best]:,.0f}")
        ring: Any = {"ms": 11, "mfc": "none", "mec": ORANGE, "mew": 1.6, "label": "best held-out"}
        ax.plot(step[best], loss[best], "o", **ring)
    _coin(ax, float(np.log(2)))
    _legend(ax)


def _draw_accuracy(
    ax: Axes, metrics: Metrics, length_only: Figure | None, final: Figure | None = None
) -> None:
    _draw_curves(ax, metrics, "accuracy", "Accuracy", "share of pairs ranked right")
    if length_only is not None:
        label = f"length only {length_only.value:.2f}"
        ax.axhline(length_only.value, color=GREEN, ls=(0, (5, 2)), lw=1.6, label=label)
    if final is not None and final.n:
        label = "held-out 95 % interval"
        ax.axhspan(final.low, final.high, color=ORANGE, alpha=0.13, lw=0, label=label)
        ax.set_title(f"Accuracy · held-out {final}")
    _coin(ax, 0.5)
    _legend(ax)


def _draw_learning_rate(ax: Axes, metrics: Metrics) -> None:
    step, lr = _series(metrics, "train/lr")
    ax.set(title="Learning rate", xlabel="step")
    if not len(step):
        return _say_empty(ax)
    ax.plot(step, lr, color=BLUE, lw=1.8)
    ax.set_ylim(bottom=0)
    ax.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    return None


def _draw_curves(ax: Axes, metrics: Metrics, key: str, title: str, ylabel: str) -> None:
    """Training values, faint with their running mean, and held-out values with markers."""
    ax.set(title=title, xlabel="step", ylabel=ylabel)
    step, value = _series(metrics, f"train/{key}")
    heldout_step, heldout = _series(metrics, f"heldout/{key}")
    if len(step):
        width = max(1, len(value) // 20)
        label = "training" if width == 1 else "training, running mean"
        marker = "o" if len(step) <= 30 else ""
        ax.plot(step, value, color=BLUE, lw=0.8, alpha=0.3)
        ax.plot(step, _running_mean(value, width), BLUE, lw=1.8, marker=marker, ms=4, label=label)
    if len(heldout_step):
        ax.plot(heldout_step, heldout, ORANGE, lw=1.8, ls="--", marker="s", ms=4, label="held-out")
    if len(step):
        # a few wild training steps would flatten the rest
        seen = np.concatenate([np.quantile(value, [0.01, 0.99]), heldout])
        pad = 0.06 * np.ptp(seen) or 0.05
        ax.set_ylim(seen.min() - pad, seen.max() + pad)
    if not len(step) and not len(heldout_step):
        _say_empty(ax)


_GAP_WORDS = {
    "pairs": (
        "gap: reward of chosen - reward of rejected",
        "chosen at least as high",
        "rejected higher",
    ),
    "responses": (
        "how far the reward is on the right side of the threshold",
        "right side",
        "wrong side",
    ),
}


def _draw_gaps(ax: Axes, gaps: ArrayLike, accuracy: Figure | None, unit: str) -> None:
    gap = np.asarray(gaps, dtype=np.float64)
    xlabel, right, other = _GAP_WORDS[unit]
    ax.set(xlabel=xlabel, ylabel=unit)
    ax.set_title("Held-out gaps" + (f" · accuracy {accuracy}" if accuracy else f", n={len(gap)}"))
    if not len(gap):
        return _say_empty(ax)
    edges = _edges(gap)
    wrong = int(np.sum(gap < 0))
    for side, colour, hatch, label in (
        (gap[gap >= 0], BLUE, "", f"{right}: {len(gap) - wrong:,}"),
        (gap[gap < 0], ORANGE, "////", f"{other}: {wrong:,}"),
    ):
        inside = np.clip(side, edges[0], edges[-1])
        ax.hist(
            inside,
            edges.tolist(),
            color=colour,
            hatch=hatch,
            edgecolor="white",
            lw=0.6,
            label=label,
        )
    beyond = int(np.sum((gap < edges[0]) | (gap > edges[-1])))
    if beyond:
        ax.set_xlabel(f"{ax.get_xlabel()} (end bins: {beyond:,} from beyond)")
    ax.axvline(0, color="#333333", lw=1)
    ax.axvline(gap.mean(), color="#333333", lw=1.4, ls=":", label=f"mean gap {gap.mean():.2f}")
    _legend(ax)
    return None


def _draw_reliability(
    ax: Axes, gaps: ArrayLike, probability: ArrayLike | None, calibration_error: Figure | None
) -> None:
    error = calibration_error or ece(gaps, probability)
    ax.set_title(f"Reliability · ECE {error}")
    ax.set(xlabel="confidence: predicted probability of the preferred side", ylabel="share right")
    bins = reliability_bins(gaps, probability)
    if not bins:
        return _say_empty(ax)
    confidence = np.array([b.confidence for b in bins])
    share = np.array([b.accuracy for b in bins])
    spread = [wilson(b.accuracy * b.n, b.n) for b in bins]
    low, high = np.array([[f.low, f.high] for f in spread]).T
    ax.plot([0.5, 1], [0.5, 1], color=GREY, ls=":", lw=1.4, label="perfectly calibrated")
    ax.errorbar(
        confidence,
        share,
        [np.maximum(share - low, 0), np.maximum(high - share, 0)],
        color=BLUE,
        lw=1.6,
        marker="o",
        ms=5,
        elinewidth=1.2,
        capsize=2.5,
        label=f"{len(bins)} bins of {_sizes(b.n for b in bins)} pairs, 95 % intervals",
    )
    ax.set_xlim(0.49, 1.01)
    ax.set_ylim(max(0.0, min(0.45, float(low.min()) - 0.03)), 1.02)
    _legend(ax)
    return None


def _draw_selection(
    ax: Axes, n: Sequence[int], curves: Mapping[str, Sequence[Figure]], title: str
) -> None:
    ax.set(title=title, xlabel="n, samples of a problem (log scale)", ylabel="share right")
    if not len(n) or not curves:
        return _say_empty(ax)
    drawn = 0
    for method, figures in curves.items():
        value, low, high = np.array([[f.value, f.low, f.high] for f in figures]).T
        if method in LIMITS:
            label, style = LIMITS[method]
            ax.plot(n, value, color=GREY, ls=style, lw=1.4, label=label)
            continue
        look = LINES[drawn % len(LINES)]
        drawn += 1
        ax.fill_between(n, low, high, color=look["color"], alpha=0.1, lw=0)
        ax.plot(n, value, lw=1.8, ms=5, label=method, **look)
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(n), [f"{count:,}" for count in n])
    ax.minorticks_off()
    problems = max(figure.n for figures in curves.values() for figure in figures)
    ax.set_title(f"{title} · {problems:,} problems, 95 % bands")
    _legend(ax)
    return None


def _sizes(counts: Iterator[int]) -> str:
    found = sorted(set(counts))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]}-{found[-1]}"


def _edges(gap: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bin edges with one at zero; the farthest half per cent on each side go into the end bins."""
    low, high = np.quantile(gap, [0.005, 0.995])
    low, high = min(low, 0.0), max(high, 0.0)
    width = (high - low) / np.clip(len(gap) ** 0.5, 8, 40) or 1.0
    return width * np.arange(np.floor(low / width), max(np.ceil(high / width), 1) + 1)


def _series(metrics: Metrics, key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values of the rows that have both."""
    rows = [(row.get("step"), row.get(key)) for row in metrics]
    table = np.array([r for r in rows if None not in r], dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of up to ``width`` values to the left, itself included."""
    total = np.cumsum(values)
    total[width:] -= total[:-width].copy()
    return total / np.minimum(np.arange(1, len(values) + 1), width)


def _coin(ax: Axes, value: float) -> None:
    low, high = ax.get_ylim()
    if ax.lines:
        ax.set_ylim(min(low, value - 0.02), max(high, value + 0.02))
        ax.axhline(value, color=GREY, ls=":", lw=1.4, label="a coin")


def _legend(ax: Axes) -> None:
    """Under the axes, where it hides nothing."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.13), ncols=2, columnspacing=1.4)


def _say_empty(ax: Axes) -> None:
    ax.grid(visible=False)
    ax.set(xticks=[], yticks=[])
    ax.text(0.5, 0.5, "not recorded", transform=ax.transAxes, ha="center", va="center", color=GREY)


@contextmanager
def _canvas(
    path: str | Path, size: tuple[float, float], rows: int = 1, columns: int = 1
) -> Iterator[tuple[Canvas, list[Axes]]]:
    """A figure of rows × columns axes, saved as PNG at the end."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    # no pyplot: it keeps global state and looks for a display
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=size, layout="constrained")
        FigureCanvasAgg(canvas)
        axes = canvas.subplots(rows, columns, squeeze=False)
        yield canvas, list(axes.flat)
        # no version in the file: the same numbers give the same bytes
        canvas.savefig(path, format="png", metadata={"Software": None})
