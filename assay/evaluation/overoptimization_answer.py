"""What a best-of-n curve says in words: where gold peaks, and what is lost after it."""

from __future__ import annotations

from collections.abc import Sequence

from assay.evaluation.gold_fit import GoldFit, n_of_kl
from assay.evaluation.overoptimization import GoldCurve
from assay.pages.html import plain, signed

FAR = 1e6
"""Beyond this n a fitted peak is named by its nats alone."""


def answer(curve: GoldCurve) -> str:
    """One sentence for one selector.

    Gold is said to fall only where the loss after the peak is above 0 with its whole interval.
    """
    last = f"n = {curve.n[-1]:,}"
    end = f"{signed(curve.at(-1))} at {last}"
    peak = curve.peak
    if curve.falls and peak == 0:
        return (
            f"{curve.selector}: the proxy rises while gold falls from the first selection on, "
            f"{end}."
        )
    if curve.falls:
        return (
            f"{curve.selector}: the proxy keeps rising while gold falls after n ≈ "
            f"{curve.n[peak]:,}: from {signed(curve.at(peak))} there to {end}, {plain(curve.loss)} "
            f"is lost, {kept(curve)}."
        )
    if peak == len(curve.n) - 1:
        return f"{curve.selector}: gold rises with the proxy all the way, {end}."
    return (
        f"{curve.selector}: no fall of gold is shown up to {last}; it is highest at n = "
        f"{curve.n[peak]:,}, {signed(curve.at(peak))}, and {end}."
    )


def kept(curve: GoldCurve) -> str:
    """How much of the peak is left."""
    share = curve.retention.value
    return "more than selection had gained" if share < 0 else f"{share:.0%} of the gain kept"


def peak_of_fit(fit: GoldFit, curve: GoldCurve) -> str:
    """Where the fit turns, or that it does not, or that nothing measured shows it."""
    if fit.peak_kl is None or fit.peak_gold is None:
        return "no turn"
    n = n_of_kl(fit.peak_kl.value)
    near = f"n ≈ {round(n):,}" if n < FAR else "n beyond a million"
    text = f"turns at {plain(fit.peak_kl)} nats ({near}) and {signed(fit.peak_gold)}"
    return text if curve.falls else f"{text}, which the measured curve does not show"


def table_text(curves: Sequence[GoldCurve]) -> str:
    """All selectors for the terminal; gold in deviations of a prompt's candidates."""
    last = f"gold at n={curves[0].n[-1]:,}"
    width = max(12, *(len(c.selector) for c in curves)) + 2
    lines = [
        "gold over a random pick, in standard deviations of a prompt's candidates",
        f"{'':{width}}{'peak n':>8}  {'gold there':<26}{last:<26}lost after the peak",
    ]
    lines += [
        f"{c.selector:{width}}{c.n[c.peak]:>8,}  {signed(c.at(c.peak)):<26}{signed(c.at(-1)):<26}"
        f"{plain(c.loss)}"
        for c in curves
    ]
    return "\n".join(lines)
