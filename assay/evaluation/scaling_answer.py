"""What a scaling study says in words: more data, or a bigger model?

A gain counts as shown where its whole interval lies above 0; two gains differ where the interval of
their difference leaves 0 out.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.evaluation.power_law import CHANCE
from assay.evaluation.scaling_curves import ModelCurve, SizeFigures
from assay.pages.html import plain, signed
from assay.types import Figure


def answer(curve: ModelCurve) -> str:
    """One sentence for one model at its largest size."""
    return f"{place(curve)}: {ways(curve)}; {verdict(curve)}."


def place(curve: ModelCurve) -> str:
    """Where on the curve the question is put."""
    return f"{curve.model} at {curve.sizes[-1].pairs:,.0f} pairs"


def ways(curve: ModelCurve) -> str:
    """What either way to a better model gives."""
    return f"{_more_data(curve)}; {_bigger(curve)}"


def _more_data(curve: ModelCurve) -> str:
    before, largest = curve.sizes[-2:]
    step = (
        f"the last step, from {before.pairs:,.0f} to {largest.pairs:,.0f}, measured "
        f"{signed(curve.last_step)}"
    )
    if curve.doubling is None:
        why = "; ".join(curve.fit.undetermined)
        return f"more data: what doubling gives is undetermined ({why}), {step}"
    text = (
        f"more data: doubling to {2 * largest.pairs:,.0f} is predicted to give "
        f"{signed(curve.doubling)}"
    )
    if curve.holdout and curve.holdout.missed:
        text += (
            f" (in doubt: predicted from the smaller sizes, the largest was missed by "
            f"{signed(curve.holdout.error)})"
        )
    return f"{text}, {step}"


def _bigger(curve: ModelCurve) -> str:
    if curve.bigger is None:
        return "bigger model: none in this study"
    return f"bigger model: {curve.bigger.model} measured {signed(curve.bigger.gain)}"


def verdict(curve: ModelCurve) -> str:
    """Which of the two gives more, as far as the intervals tell."""
    data = curve.doubling is not None and curve.doubling.low > 0
    if curve.bigger is None:
        if curve.doubling is None:
            return "what more data gives is not known"
        return "more data is predicted to help" if data else "more data is not shown to help"
    model = curve.bigger.gain.low > 0
    if curve.bigger.doubling_minus is None:
        helps = "the bigger model helps" if model else "the bigger model is not shown to help"
        return f"{helps}, and what more data gives is not known"
    if not data and not model:
        return "neither is shown to help"
    difference = curve.bigger.doubling_minus
    if data and difference.low > 0:
        return "more data gives more"
    if model and difference.high < 0:
        return "the bigger model gives more"
    if data and model:
        return "both help, and which gives more cannot be told"
    only = "more data" if data else "the bigger model"
    return f"only {only} is shown to help, but which gives more cannot be told"


def table_text(curves: Sequence[ModelCurve]) -> str:
    """All sizes of all models, the fits and the answers, for the terminal."""
    blocks = []
    for curve in curves:
        lines = [
            curve.model,
            f"{'pairs':>10}  {'accuracy':<22}{'nll':<22}{'length-only':<13}{'chance':<8}seconds",
            *map(_size_line, curve.sizes),
            *fit_lines(curve),
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, *map(answer, curves)])


def _size_line(size: SizeFigures) -> str:
    return (
        f"{size.pairs:>10,.0f}  {plain(size.accuracy):<22}{plain(size.nll):<22}"
        f"{size.length_only_accuracy.value:<13.3f}{CHANCE:<8.3f}{size.seconds:>7,.1f}"
    )


def fit_lines(curve: ModelCurve) -> list[str]:
    """The fitted curve, or why it is undetermined, and the hold-out test."""
    lines = []
    if curve.fit.undetermined:
        lines.append(f"fit undetermined: {'; '.join(curve.fit.undetermined)}")
    elif curve.fit.parameters:
        _, b, c = curve.fit.parameters
        lines.append(
            f"accuracy(N) = a - b N^(-c): a {ceiling(curve)}, b {rough(b)}, c {plain(c)}, "
            f"R² {curve.fit.r_squared:.3f}{'; no ceiling in sight' if curve.fit.no_ceiling else ''}"
        )
    test = curve.holdout
    if test:
        lines.append(
            f"hold-out: {test.sizes} sizes predict {plain(test.predicted)} at {test.pairs:,.0f} "
            f"pairs; measured {plain(test.measured)}; error {signed(test.error)}"
            + (", more than noise" if test.missed else "")
        )
    else:
        lines.append("hold-out: not tested; it needs four sizes or more")
    return lines


def ceiling(curve: ModelCurve) -> str:
    """The fitted a, unless it is its bound that would be read as a finding."""
    if curve.fit.no_ceiling:
        return "1 (its bound)"
    return plain(curve.fit.parameters[0]) if curve.fit.parameters else "–"


def rough(figure: Figure) -> str:
    """Value and interval to three significant digits, for what may be large."""
    return f"{figure.value:.3g} [{figure.low:.3g}, {figure.high:.3g}]"
