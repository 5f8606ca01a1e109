"""What the curves of policies say in words: where gold peaks, what is lost, what settings do."""

from __future__ import annotations

from collections.abc import Sequence

from assay.evaluation.gold_fit import PolicyGoldFit
from assay.evaluation.policy_curves import PolicyCurve
from assay.evaluation.policy_settings import SettingDifference
from assay.pages.html import plain, signed

CLOSE = 0.9
"""R² below this is said to be bad."""


def policy_answer(curve: PolicyCurve) -> str:
    """One sentence for one setting.

    Gold is said to fall only where the loss after the peak is above 0 with its whole interval.
    """
    end = f"{signed(curve.end)} at the end (√KL ≈ {curve.end_d:.2f})"
    peak, name = curve.d[curve.peak], curve.measure
    at_peak = curve.at(curve.peak)
    if curve.falls and not at_peak.low > 0:
        return f"{curve.setting}: {name} falls without having risen, to {end}, and {_proxy(curve)}."
    if curve.falls:
        return (
            f"{curve.setting}: {name} falls after √KL ≈ {peak:.2f} ({peak**2:.1f} nats) while "
            f"{_proxy(curve)}: from {signed(at_peak)} there to {end}, {plain(curve.loss)} is lost, "
            f"{_kept(curve)}."
        )
    if curve.peak == len(curve.d) - 1 and curve.end.low > 0:
        return f"{curve.setting}: {name} rises all the way, {end}, and {_proxy(curve, end=True)}."
    return (
        f"{curve.setting}: no fall of {name} is shown; it is highest at √KL ≈ {peak:.2f}, "
        f"{signed(at_peak)}, and {end}."
    )


def _proxy(curve: PolicyCurve, end: bool = False) -> str:
    """What the proxy does from the peak to the end, or, for a curve that rises, altogether."""
    change = curve.at(-1, "proxy") if end else curve.proxy_after
    if change.low > 0:
        return "the proxy rises" if end else "the proxy keeps rising"
    return "the proxy falls too" if change.high < 0 else "the proxy is not shown to move"


def _kept(curve: PolicyCurve) -> str:
    share = curve.retention.value
    if share != share:  # the peak's own interval reaches 0
        return "and how much of the peak is kept is not known"
    return "more than had been gained" if share < 0 else f"{share:.0%} of the peak kept"


def fit_sentence(curve: PolicyCurve) -> str:
    """What the fit to one setting says, and how well it follows the curve."""
    fit = curve.fit
    if fit is None:
        return f"{curve.setting}: no fit: {fit_in_words(None, curve)}."
    badly = ", follows the curve badly" if not fit.r_squared >= CLOSE else ""
    return (
        f"{curve.setting}: the fit d(α − β log d), R² {fit.r_squared:.3f}{badly}: "
        f"{fit_in_words(fit, curve)}."
    )


def fit_in_words(fit: PolicyGoldFit | None, curve: PolicyCurve) -> str:
    """Where the fit turns, or why it says nothing."""
    if fit is None:
        return "too few steps beyond the least √KL"
    if fit.peak_d is None or fit.peak_gold is None:
        return f"no peak: β is not shown to lie above 0 up to √KL = {fit.d_max:.2f}"
    turn = f"√KL = {plain(fit.peak_d)} ({fit.peak_d.value**2:.1f} nats)"
    if not fit.peak_in_range:
        side = "beyond" if fit.peak_d.value > fit.d_max else "below"
        end = fit.d_max if side == "beyond" else fit.d_min
        return f"no peak within range: the fit turns at {turn}, {side} √KL = {end:.2f}"
    text = f"turns at {turn} and {signed(fit.peak_gold)}"
    return text if curve.falls else f"{text}, which the measured curve does not show"


def alarm_sentence(curve: PolicyCurve) -> str | None:
    """When the monitor raised its alarm, and what gold was then; None without alarms."""
    alarms = curve.alarms
    if alarms is None:
        return None
    steps = [f"{step:,}" for step in alarms.steps if step is not None]
    listed = steps[0] if len(steps) == 1 else f"{', '.join(steps[:-1])} and {steps[-1]}"
    of = f"in {alarms.count} of {len(alarms.steps)} runs" if len(alarms.steps) > 1 else "once"
    share = alarms.kept.value
    kept = "" if share != share else f", {share:.0%} of the peak"
    return (
        f"{curve.setting}: the monitor raised an alarm {of} (step {listed}; "
        f"{', '.join(alarms.names)}), at √KL ≈ {alarms.d:.2f}; {curve.measure} was then "
        f"{signed(alarms.gold)}{kept}."
    )


def difference_sentence(found: SettingDifference, measure: str) -> str:
    """What one setting has more than another, at the end and at equal distance."""
    how = (
        f"paired over {found.pairs} {'seed' if found.pairs == 1 else 'seeds'}"
        if found.pairs
        else "runs as independent"
    )
    how += f", {found.unpaired} without a partner left out" if found.unpaired else ""
    same = found.equal.low <= 0 <= found.equal.high
    verdict = "no difference is shown there" if same else "they lie on different curves"
    return (
        f"{found.setting} less {found.other} ({how}): {measure} at the end {signed(found.end)}; at "
        f"equal √KL, on average up to {found.reach:.2f}, {signed(found.equal)}: {verdict}."
    )


def policy_table(curves: Sequence[PolicyCurve]) -> str:
    """All settings for the terminal."""
    width = max(12, *(len(c.setting) for c in curves)) + 2
    name = curves[0].measure
    lines = [
        f"{'':{width}}{'peak √KL':>9}  {f'{name} there':<26}{f'{name} at the end':<26}"
        "lost after the peak"
    ]
    lines += [
        f"{c.setting:{width}}{c.d[c.peak]:>9.2f}  {signed(c.at(c.peak)):<26}{signed(c.end):<26}"
        f"{plain(c.loss)}"
        for c in curves
    ]
    return "\n".join(lines)
