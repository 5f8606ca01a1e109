"""The page of policies' curves: the answer, the charts, and every figure in a table below them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from assay.atomic import write_text
from assay.evaluation.overoptimization_page import STYLES, TITLE, figure
from assay.evaluation.policy_answer import fit_in_words
from assay.evaluation.policy_curves import PolicyCurve
from assay.pages.html import page, plain, signed, table
from assay.pages.svg import line_chart, round_ticks

if TYPE_CHECKING:
    from assay.evaluation.policy_study import PolicyStudy

AXIS = "√KL from the reference policy; below it the KL in nats"
WATCHED = {
    "disagreement": ("Disagreement", "the members' standard deviation on a response"),
    "length": ("Length", "tokens of a response"),
}

Band = tuple[Sequence[float], Sequence[float], Sequence[float]]


def policy_page(study: PolicyStudy, path: str | Path) -> Path:
    """Write the page of a study."""
    blocks = (_head, _peaks, _settings, _each, _fits, _alarms, _watched, _how)
    write_text(path, page(TITLE, "".join(block(study) for block in blocks)))
    return Path(path)


def _head(study: PolicyStudy) -> str:
    answers = "".join(f"<li>{escape(text)}</li>" for text in study.answers)
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in study.notes)
    return f"<h1>{TITLE}</h1>{notes}<ul>{answers}</ul>"


def _peaks(study: PolicyStudy) -> str:
    name = study.curves[0].measure
    rows = [
        [
            curve.setting,
            f"{curve.d[curve.peak]:.2f}",
            signed(curve.at(curve.peak)),
            f"{curve.end_d:.2f}",
            signed(curve.end),
            plain(curve.loss),
        ]
        for curve in study.curves
    ]
    header = ["", "peak √KL", f"{name} there", "last √KL", f"{name} there", "lost"]
    more = [
        [curve.setting, plain(curve.retention), signed(curve.proxy_after), signed(curve.area),
         f"{curve.reach:.2f}"]
        for curve in study.curves
    ]  # fmt: skip
    peaks = table(
        f"The end is the last tenth of each run. The loss is measured at a peak that other "
        f"{'runs' if all(c.over == 'runs' for c in study.curves) else 'runs or steps'} chose; "
        f"{name} falls where its whole interval is above 0.",
        header,
        rows,
    )
    rest = table(
        "Kept is the end over the peak; the area is under the curve, over √KL from 0 to where "
        "every run of the setting came.",
        ["", "kept", "proxy from peak to end", "area", "up to √KL"],
        more,
    )
    return f"<h2>Peak and end</h2>{peaks}{rest}"


def _settings(study: PolicyStudy) -> str:
    if len(study.curves) == 1:
        return ""
    name = study.curves[0].measure
    few = "" if len(study.curves) <= len(STYLES) else f"<p>The first {len(STYLES)} are drawn.</p>"
    rows = [
        [
            d.setting,
            signed(d.end),
            signed(d.equal),
            f"{d.reach:.2f}",
            f"{d.pairs} seeds" if d.pairs else "independent",
        ]
        for d in study.differences
    ]
    return (
        f"<h2>{name.capitalize()} by setting</h2>{few}"
        + figure(_chart(f"{name.capitalize()} by setting", study.curves, name))
        + table(
            f"{name.capitalize()} less that of {study.curves[0].setting}: at the end, and on "
            "average at equal √KL, where a difference means another curve and not only another "
            "place on it.",
            ["", "at the end", "at equal √KL", "up to", "paired"],
            rows,
        )
    )


def _chart(title: str, curves: Sequence[PolicyCurve], line: str) -> str:
    """One line of up to six settings over √KL, as SVG."""
    drawn = dict(zip(STYLES, curves, strict=False))
    return line_chart(
        title,
        {style: curve.d for style, curve in drawn.items()},
        {style: _band(curve, line) for style, curve in drawn.items()},
        *_ticks([d for curve in drawn.values() for d in curve.d]),
        names={style: curve.setting for style, curve in drawn.items()},
    )


def _each(study: PolicyStudy) -> str:
    return "".join(_one(curve) for curve in study.curves)


def _one(curve: PolicyCurve) -> str:
    drawn = {"gold": "gold", "random": "proxy", "text": "audit"}
    names = {style: line for style, line in drawn.items() if line in curve.lines}
    xs = dict.fromkeys(names, curve.d)
    lines = {style: _band(curve, line) for style, line in names.items()}
    fit = curve.fit
    fitted = [] if fit is None else [d for d in curve.d if fit.d_min <= d <= fit.d_max]
    if fit is not None and len(fitted) > 1:
        value = [fit(d) for d in fitted]
        xs["majority"], lines["majority"] = tuple(fitted), (value, value, value)
        names["majority"] = f"fit to {curve.measure}"
    chart = line_chart(
        f"What {curve.setting} gains along √KL", xs, lines, *_ticks(curve.d), names=names
    )
    shown = [line for line in drawn.values() if line in curve.lines]
    rows = [
        [f"{d:.2f}", f"{d**2:.2f}", str(count), *(signed(curve.at(i, line)) for line in shown)]
        for i, (d, count) in enumerate(zip(curve.d, curve.runs_in, strict=True))
    ]
    return (
        f"<h2>What {escape(curve.setting)} gains along √KL</h2>{figure(chart)}<details><summary>"
        f"Table of {escape(curve.setting)}</summary>"
        + table(
            "Means over runs in equal parts of the range of √KL, with 95 % intervals.",
            ["√KL", "KL", "runs", *shown],
            rows,
        )
        + "</details>"
    )


def _fits(study: PolicyStudy) -> str:
    rows = [
        [curve.setting, plain(fit.alpha), plain(fit.beta), f"{fit.r_squared:.3f}",
         f"{fit.steps:,}", fit_in_words(fit, curve)]
        if (fit := curve.fit) is not None
        else [curve.setting, "–", "–", "–", "0", fit_in_words(None, curve)]
        for curve in study.curves
    ]  # fmt: skip
    least = study.record["min_sqrt_kl"]
    return "<h2>Fit</h2>" + table(
        f"d(α − β log d) with d = √KL, by least squares over the steps from d = {least:g} on; at 0 "
        "its slope is infinite. R² is of the means in twelve equal parts of that range.",
        ["", "α", "β", "R²", "steps", "where it turns"],
        rows,
        words=(5,),
    )


def _alarms(study: PolicyStudy) -> str:
    rows = [
        [
            curve.setting,
            ", ".join("–" if step is None else f"{step:,}" for step in alarms.steps),
            f"{alarms.d:.2f}",
            signed(alarms.gold),
            plain(alarms.kept),
            ", ".join(alarms.names),
        ]
        for curve in study.curves
        if (alarms := curve.alarms) is not None
    ]
    if not rows:
        return "<h2>Alarms</h2><p>The monitor raised no alarm in any run.</p>"
    name = study.curves[0].measure
    return "<h2>Alarms</h2>" + table(
        f"The step of each run's first alarm; {name} over the ten steps up to it, and as a share "
        "of the same runs' peak.",
        ["", "steps", "√KL", f"{name} then", "share of the peak", "alarm"],
        rows,
        words=(5,),
    )


def _watched(study: PolicyStudy) -> str:
    parts = []
    for key, (name, what) in WATCHED.items():
        curves = [curve for curve in study.curves if key in curve.lines]
        if curves:
            rows = [[c.setting, *(plain(c.at(i, key)) for i in (0, c.peak, -1))] for c in curves]
            parts.append(
                f"<h2>{name}</h2>"
                + figure(_chart(name, curves, key))
                + table(
                    f"{name}: {what}.",
                    ["", "nearest the reference", "at the peak", "farthest"],
                    rows,
                )
            )
    return "".join(parts)


def _how(study: PolicyStudy) -> str:
    r = study.record
    facts = {
        "√KL": "of the mean over a step's responses of log π − log π_ref, averaged with the two "
        "steps on either side",
        "runs": "; ".join(f"{name}: {', '.join(where)}" for name, where in r["sources"].items()),
        "units": "; ".join(
            f"{name} {line}: reference mean {unit['reference_mean']:.4g}, "
            + (f"unit {unit['deviation']:.4g}" if unit["deviation"] else "in its own units")
            for name, lines in r["units"].items()
            for line, unit in lines.items()
        ),
        "measured with": ", ".join(f"{k} {v}" for k, v in r["versions"].items()),
        "on": r["created"],
    }
    rows = "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f"<h2>How it was measured</h2><dl>{rows}</dl>"


def _band(curve: PolicyCurve, line: str) -> Band:
    found = curve.lines[line]
    return found.value, found.low, found.high


def _ticks(
    places: Sequence[float],
) -> tuple[list[tuple[float, str]], str, list[tuple[float, str]]]:
    """Round numbers of √KL, the axis by name, and the nats of each below."""
    low, high = min(places), max(places)
    ticks = round_ticks(low, high, 9) if high > low else [low]
    return [(d, f"{d:.3g}") for d in ticks], AXIS, [(d, f"{d**2:.3g}") for d in ticks]
