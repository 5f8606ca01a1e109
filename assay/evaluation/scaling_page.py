"""The page of a scaling study: the answer, the curves, and every figure in a table below them."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from assay.atomic import write_text
from assay.evaluation.power_law import CHANCE
from assay.evaluation.scaling_answer import ceiling, place, rough, verdict, ways
from assay.evaluation.scaling_curves import ModelCurve
from assay.pages.html import legend, page, plain, shown, signed, table
from assay.pages.svg import Dot, Series, log_chart, symbol

if TYPE_CHECKING:
    from assay.evaluation.scaling_study import ScalingStudy

TITLE = "More data or a bigger model?"
STYLES = ("s0", "s1", "s2", "s3", "s4", "s5")


def scaling_page(study: ScalingStudy, path: str | Path) -> Path:
    """Write the page of a study."""
    body = "".join(block(study) for block in (_head, _chart, _sizes, _fits, _ways, _points, _how))
    write_text(path, page(TITLE, body))
    return Path(path)


def _head(study: ScalingStudy) -> str:
    record = study.record
    answers = "".join(
        f"<p><strong>{escape(place(curve))}: {verdict(curve)}.</strong><br>"
        f"{escape(text[:1].upper() + text[1:])}.</p>"
        for curve in study.curves
        for text in [ways(curve)]
    )
    heldout = record["data"]["heldout"]
    return (
        f"<h1>{TITLE}</h1>"
        f'<p class="soft">{record["training"]["mode"]} training, {len(record["points"])} points: '
        f"{len(study.curves)} models × {len(record['sizes'])} sizes × {len(record['seeds'])} seeds "
        f"of nested training prompts, on {heldout['pairs']:,} held-out pairs of "
        f"{heldout['prompts']:,} prompts</p>{answers}"
    )


def _chart(study: ScalingStudy) -> str:
    series: list[Series] = []
    key: list[tuple[str, str]] = []
    for curve, style in zip(study.curves, STYLES, strict=False):
        drawn, named = _series(curve, style)
        series.append(drawn)
        key += named
    level = [(s.pairs, s.length_only_accuracy.value) for s in study.curves[-1].sizes]
    series.append(Series("length", (), [(n, v, v, v) for n, v in level]))
    key.append(("length only", '<polyline class="curve length" points="0,6 12,6"/>'))
    key.append(("chance", '<line class="chance" x1="0" y1="6" x2="12" y2="6"/>'))
    sizes = [s.pairs for s in study.curves[0].sizes]
    labels = [(n, f"{n:,.0f}") for n in sizes]
    if any(not curve.fit.undetermined for curve in study.curves):
        labels.append((2 * sizes[-1], f"{2 * sizes[-1]:,.0f}"))
    chart = log_chart(
        "Held-out accuracy against training pairs",
        series,
        labels,
        "training pairs (logarithmic)",
        line=CHANCE,
        beyond=sizes[-1],
    )
    return (
        "<h2>Accuracy against data</h2><p>Held-out accuracy, means over the seeds with 95 % "
        "intervals over held-out prompts and seeds. A curve is a − b·N^(−c) through all sizes with "
        "its band; on the shaded ground nothing was measured. The open mark is the largest size "
        "predicted by a fit to the smaller ones, beside what was measured.</p>"
        f'<figure><div class="box">{chart}</div>{legend(key)}</figure>'
    )


def _series(curve: ModelCurve, style: str) -> tuple[Series, list[tuple[str, str]]]:
    """One model's points and curve, and what its marks mean."""
    dots = [Dot(s.pairs, s.accuracy.value, s.accuracy.low, s.accuracy.high) for s in curve.sizes]
    key = [(curve.model, symbol(style))]
    if curve.fit.undetermined:
        key = [(f"{curve.model} (fit undetermined: no curve)", symbol(style))]
    else:
        key.append(("its fit", f'<polyline class="curve {style}" points="0,6 12,6"/>'))
    if curve.holdout:
        p = curve.holdout.predicted
        dots.append(Dot(curve.holdout.pairs, p.value, p.low, p.high, is_open=True))
        key.append(("predicted from its smaller sizes", symbol(style, is_open=True)))
    return Series(style, dots, () if curve.fit.undetermined else curve.fit.curve), key


def _sizes(study: ScalingStudy) -> str:
    rows = [
        [
            curve.model,
            f"{size.pairs:,.0f}",
            plain(size.accuracy),
            plain(size.nll),
            plain(size.length_only_accuracy),
            f"{CHANCE:.3f}",
            f"{size.seconds:,.1f}",
        ]
        for curve in study.curves
        for size in curve.sizes
    ]
    header = ["model", "pairs", "accuracy", "NLL", "length only", "chance", "seconds"]
    n = study.curves[0].sizes[0].accuracy.n
    caption = (
        f"Means over the seeds, on {n:,} held-out pairs with a better side; seconds of one point, "
        "features included where they were not there yet."
    )
    return table(caption, header, rows)


def _fits(study: ScalingStudy) -> str:
    rows = []
    for curve in study.curves:
        fit = curve.fit
        numbers = ["–"] * 4
        if fit.parameters and not fit.undetermined:
            _, b, c = fit.parameters
            numbers = [ceiling(curve), rough(b), plain(c), f"{fit.r_squared:.3f}"]
        found = "no ceiling in sight" if fit.no_ceiling else "determined"
        rows.append([curve.model, *numbers, "; ".join(fit.undetermined) or found])
    tests = [
        [
            curve.model,
            str(test.sizes),
            plain(test.predicted),
            plain(test.measured),
            signed(test.error),
            "more than noise" if test.missed else "within noise",
        ]
        for curve in study.curves
        if (test := curve.holdout)
    ]
    fits = "<h2>Fits</h2>" + table(
        "a − b·N^(−c) by weighted least squares, a between 0.5 and 1, c up to 2.",
        ["model", "a (ceiling)", "b", "c", "R²", "fit"],
        rows,
        words=(5,),
    )
    if not tests:
        return fits
    return fits + table(
        "Hold-out test: the largest size predicted by a fit to the others; error is predicted − "
        "measured.",
        ["model", "sizes fitted", "predicted", "measured", "error", "the error is"],
        tests,
    )


def _ways(study: ScalingStudy) -> str:
    rows = [
        [
            curve.model,
            f"{curve.parameters / 1e6:,.1f} M",
            signed(curve.last_step),
            signed(curve.doubling) if curve.doubling else "undetermined",
            signed(curve.bigger.gain) if curve.bigger else "–",
            signed(curve.bigger.doubling_minus)
            if curve.bigger and curve.bigger.doubling_minus
            else "–",
        ]
        for curve in study.curves
    ]
    header = ["model", "parameters", "last step", "doubling, predicted", "next model",
              "difference"]  # fmt: skip
    return "<h2>Two ways up</h2>" + table(
        "Gains in accuracy at the largest size, paired by held-out prompt and seed. All are "
        "measured but that of doubling; the last column is it minus the next model's.",
        header,
        rows,
    )


def _points(study: ScalingStudy) -> str:
    rows = [
        [
            point["model"],
            f"{point['pairs']:,}",
            f"{point['prompts']:,}",
            str(point["seed"]),
            shown(point["accuracy"]),
            shown(point["nll"]),
            shown(point["length_only_accuracy"]),
            f"{point['seconds']:,.1f}",
        ]
        for point in study.record["points"]
    ]
    header = ["model", "pairs", "prompts", "seed", "accuracy", "NLL", "length only", "seconds"]
    return (
        f"<details><summary>All {len(rows)} points</summary>"
        + table("Intervals are over held-out prompts.", header, rows)
        + "</details>"
    )


def _how(study: ScalingStudy) -> str:
    record = study.record
    facts = {
        "held-out pairs": "The same at every point. The saved state of a training is the one with "
        "the lowest loss on them, which flatters all figures a little.",
        "notes": " ".join(f"{note}." for note in study.notes),
        "measured with": ", ".join(f"{k} {v}" for k, v in record["versions"].items()),
        "on": record["created"],
    }
    rows = "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f"<h2>How it was measured</h2><dl>{rows}</dl>"
