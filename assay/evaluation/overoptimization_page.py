"""The page of best-of-n curves: the answer, the charts, and every figure in a table below them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.atomic import write_text
from assay.evaluation.overoptimization import GoldCurve
from assay.evaluation.overoptimization_answer import peak_of_fit
from assay.pages.html import page, plain, signed, table
from assay.pages.svg import line_chart, round_ticks

if TYPE_CHECKING:
    from assay.evaluation.overoptimization_run import OveroptimizationStudy

TITLE = "Does gold fall while the proxy rises?"
STYLES = ("s0", "s1", "s2", "s3", "s4", "s5")
UNITS = (
    "Gold and proxy are gains over a random pick, each in its own standard deviations among the "
    "candidates of a prompt; bands are 95 % intervals over prompts."
)
AXIS = "n, placed by KL; below it the KL of best-of-n in nats, log n − (n − 1)/n"
WATCHED = {
    "disagreement": ("Disagreement", "the members' standard deviation on the candidate picked"),
    "length": ("Length", "characters of the candidate picked"),
}

Lines = Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]]


def overoptimization_page(study: OveroptimizationStudy, path: str | Path) -> Path:
    """Write the page of a study."""
    body = "".join(block(study) for block in (_head, _gold, _peaks, _each, _fits, _watched, _how))
    write_text(path, page(TITLE, body))
    return Path(path)


def gold_chart(curves: Sequence[GoldCurve], title: str = "Gold by what selects") -> str:
    """Gold of up to six selectors over the KL of best-of-n, as SVG."""
    return _chart(title, curves, partial(_line, name="gold"))


def _head(study: OveroptimizationStudy) -> str:
    answers = "".join(f"<li>{escape(text)}</li>" for text in study.answers)
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in study.notes)
    return f"<h1>{TITLE}</h1>{notes}<ul>{answers}</ul>"


def _gold(study: OveroptimizationStudy) -> str:
    curves = study.curves
    if len(curves) == 1:
        return ""
    few = "" if len(curves) <= len(STYLES) else f" The first {len(STYLES)} are drawn."
    rows = [
        [f"{n:,}", f"{kl:.2f}", *(signed(curve.at(i)) for curve in curves)]
        for i, (n, kl) in enumerate(zip(curves[0].n, curves[0].kl, strict=True))
    ]
    ends = [[curve.selector, signed(curve.minus(curves[0]))] for curve in curves[1:]]
    last = curves[0].n[-1]
    return (
        f"<h2>Gold by what selects</h2><p>{UNITS}{few}</p>"
        + figure(gold_chart(curves))
        + table("Gold with 95 % intervals.", ["n", "KL", *(c.selector for c in curves)], rows)
        + table(
            f"Gold at n = {last:,}, less that of {curves[0].selector}, prompt by prompt.",
            ["", "difference"],
            ends,
        )
    )


def _each(study: OveroptimizationStudy) -> str:
    return "".join(_one(curve) for curve in study.curves)


def _one(curve: GoldCurve) -> str:
    lines = {"gold": _line(curve, "gold"), "random": _line(curve, "proxy")}
    names = {"gold": "gold", "random": "proxy"}
    if curve.fit is not None:
        fit = [curve.fit(kl) for kl in curve.kl]
        lines["oracle"], names["oracle"] = (fit, fit, fit), "fit to gold"
    chart = line_chart(
        f"Gold and proxy, {curve.selector}", curve.kl, lines, *_ticks(curve), names=names
    )
    rows = [
        [f"{n:,}", f"{kl:.2f}", signed(curve.at(i)), signed(curve.at(i, "proxy"))]
        for i, (n, kl) in enumerate(zip(curve.n, curve.kl, strict=True))
    ]
    return (
        f"<h2>Gold and proxy: {escape(curve.selector)}</h2>{figure(chart)}<details><summary>"
        f"Table of {escape(curve.selector)}</summary>"
        + table(UNITS, ["n", "KL", "gold", "proxy"], rows)
        + "</details>"
    )


def _peaks(study: OveroptimizationStudy) -> str:
    rows = [
        [
            curve.selector,
            f"{curve.n[curve.peak]:,}",
            signed(curve.at(curve.peak)),
            signed(curve.at(-1)),
            plain(curve.loss),
            "–" if curve.peak == 0 else plain(curve.retention),
        ]
        for curve in study.curves
    ]
    last = f"gold at n = {study.curves[0].n[-1]:,}"
    return "<h2>Peak</h2>" + table(
        "The loss is measured on prompts that did not choose the peak; gold falls where its whole "
        "interval is above 0. Kept is the last gold over that at the peak.",
        ["", "peak n", "gold there", last, "lost after the peak", "kept"],
        rows,
    )


def _fits(study: OveroptimizationStudy) -> str:
    fits = [(curve, curve.fit) for curve in study.curves if curve.fit is not None]
    if not fits:
        return ""
    rows = [
        [curve.selector, plain(fit.alpha), plain(fit.beta), f"{fit.r_squared:.3f}",
         peak_of_fit(fit, curve)]
        for curve, fit in fits
    ]  # fmt: skip
    return "<h2>Fit</h2>" + table(
        "d(α − βd) with d = √KL, by least squares over the values of n.",
        ["", "α", "β", "R²", "where it turns"],
        rows,
        words=(4,),
    )


def _watched(study: OveroptimizationStudy) -> str:
    parts = []
    for key, (name, what) in WATCHED.items():
        curves = [curve for curve in study.curves if key in curve.lines]
        if curves:
            chart = _chart(name, curves, partial(_line, name=key))
            rows = [
                [curve.selector, plain(curve.at(0, key)), plain(curve.at(curve.peak, key)),
                 plain(curve.at(-1, key))]
                for curve in curves
            ]  # fmt: skip
            last = f"n = {curves[0].n[-1]:,}"
            parts.append(
                f"<h2>{name}</h2><p>{what.capitalize()}.</p>{figure(chart)}"
                + table("With 95 % intervals.", ["", "n = 1", "at the peak of gold", last], rows)
            )
    return "".join(parts)


def _how(study: OveroptimizationStudy) -> str:
    record = study.record
    scale = {
        None: "",
        "saved": "members are aggregated on the scale they were saved on",
        "candidates": "members are brought to one deviation on these candidates",
    }[record["members_scale"]]
    facts = {
        "estimate": "each n from all candidates of a prompt, unbiased; beyond n = "
        f"{record['steady_up_to']:,} (a tenth of them) it rests on few different candidates, and "
        "the band on the prompts",
        "gold": f"mean {record['gold_mean']:.4g}, deviation among the candidates of a prompt "
        f"{record['gold_std']:.4g}",
        "members": scale,
        "measured with": ", ".join(f"{k} {v}" for k, v in record["versions"].items()),
        "on": record["created"],
    }
    rows = "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in facts.items() if v)
    return f"<h2>How it was measured</h2><dl>{rows}</dl>"


def _chart(title: str, curves: Sequence[GoldCurve], line: Callable[[GoldCurve], Any]) -> str:
    drawn = dict(zip(STYLES, curves, strict=False))
    return line_chart(
        title,
        curves[0].kl,
        {style: line(curve) for style, curve in drawn.items()},
        *_ticks(curves[0]),
        names={style: curve.selector for style, curve in drawn.items()},
    )


def _line(curve: GoldCurve, name: str) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
    line = curve.lines[name]
    return line.value, line.low, line.high


def _ticks(
    curve: GoldCurve,
) -> tuple[list[tuple[float, str]], str, list[tuple[float, str]]]:
    """The powers of two by name, the axis by name, and round numbers of nats below."""
    of_n = [
        (kl, f"{n:,}")
        for n, kl in zip(curve.n, curve.kl, strict=True)
        if n & (n - 1) == 0 or (n == curve.n[-1] and n > 1.4 * 2 ** (n.bit_length() - 1))
    ]
    nats = [(kl, f"{kl:g}") for kl in round_ticks(0.0, curve.kl[-1], 9)]
    return of_n, AXIS, nats


def figure(chart: str) -> str:
    """A chart in a box that scrolls by itself."""
    return f'<figure><div class="box">{chart}</div></figure>'
