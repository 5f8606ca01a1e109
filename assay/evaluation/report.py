"""The report of an evaluation: one HTML page that needs nothing else and runs no script.

It reads what ``results.json`` holds (and the example texts). Every chart is followed by its table,
all text is escaped, and the page forbids everything but its own style sheet.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from assay.atomic import write_text
from assay.evaluation.results import p_text
from assay.pages.html import legend, page, shown, table
from assay.pages.svg import Mark, line_chart, reliability_chart, rows_chart

Results = Mapping[str, Any]

WELL_MEASURED = 10
"""Responses behind an effect that may stretch the axis."""

NAMES = {
    "gold": "highest reward",
    "oracle": "oracle: best there is",
    "random": "random pick",
    "majority": "majority vote",
    "weighted_majority": "weighted majority",
}
"""Lines of the best-of-n chart; ``proxy`` is in other units and stays in results.json."""


def report_page(results: Results, path: str | Path) -> Path:
    """Write the report of an evaluation."""
    blocks = (
        _headline,
        _suite,
        _steps,
        _styles,
        _calibration,
        _uncertainty,
        _length,
        _probes,
        _best_of_n,
        _examples,
    )
    body = "".join(block(results) for block in (*blocks, _how))
    write_text(path, page(f"{results['title']}: {results['model']}", body))
    return Path(path)


def _headline(results: Results) -> str:
    total = results["total"]
    if total:
        head = (
            f'<p class="head">{total["value"]:.3f}<small>95 % interval {total["low"]:.3f} to '
            f"{total['high']:.3f} · {results['items']:,} items</small></p>"
        )
    else:
        gone = "; ".join(f"{n} {have} of {want}" for n, (have, want) in results["missing"].items())
        whole = sum(part["complete"] for part in results["subsets"].values())
        wanted = whole + len(results["missing"])
        head = (
            f'<p class="partial"><strong>Partial: {whole} of {wanted} subsets are whole, so there '
            f"is no total.</strong> Incomplete: {escape(gone)}.</p>"
        )
    others = results["baseline_totals"] if total else {}
    beside = [
        f"{name} {value['value']:.3f}"
        for name, value in (
            ("length only", others.get("length_only")),
            ("bag of words", others.get("text_only")),
        )
        if value
    ]
    if others.get("chance") is not None:
        beside.append(f"chance {others['chance']:.3f}")
    text = f"On the same items: {', '.join(beside)}. " if beside else ""
    detectable = results["minimum_detectable_difference"]
    if results["rewards_of"] == "responses":
        text += (
            "So few items tell no two models apart."
            if detectable is None
            else f"Another model must differ by about {detectable:.3f} for a paired comparison to "
            "show it (power 80 %, models disagreeing on a fifth of the items)."
        )
    return (
        f"<h1>{escape(results['title'])}</h1>"
        f'<p class="soft">{escape(results["model"])}</p>{head}<p>{escape(text)}</p>'
    )


def _marks(part: Mapping[str, Any]) -> list[Mark]:
    found = []
    for key, style in (
        ("accuracy", "model"),
        ("length_only_accuracy", "length"),
        ("text_only_accuracy", "text"),
    ):
        figure = part.get(key)
        if figure and figure["value"] is not None:
            ours = style == "model"
            low, high = (figure["low"], figure["high"]) if ours else (None, None)
            found.append(Mark(figure["value"], low, high, style))
    return found


def _suite(results: Results) -> str:
    sections, subsets = results["sections"], results["subsets"]
    parts = {**sections, **subsets}
    if len(parts) > len(subsets) > 0 or len(subsets) > 1:
        chart = rows_chart(
            f"Accuracy by section and subset, {results['title']}",
            [(name, _marks(part)) for name, part in parts.items()],
            0.0,
            1.0,
            "accuracy",
        )
        styles = {mark.style for part in parts.values() for mark in _marks(part)}
        chart = f'<figure><div class="box">{chart}</div>{_key(styles)}</figure>'
    else:
        chart = ""
    rows = [
        [
            name + ("" if part["complete"] else " (incomplete)"),
            shown(part["accuracy"]),
            shown(part["length_only_accuracy"], interval=False),
            shown(part["text_only_accuracy"], interval=False),
            "–" if part["chance_accuracy"] is None else f"{part['chance_accuracy']:.3f}",
            f"{part['accuracy']['n']:,}",
        ]
        for name, part in parts.items()
    ]
    caption = (
        f"Accuracy with 95 % intervals over prompts; {results['tie_rule']}. Baselines by "
        f"{results.get('baselines_fitted_on', 'cross-validation')}."
    )
    header = ["", "accuracy", "length only", "bag of words", "chance", "n"]
    found = table(caption, header, rows, bold=range(len(sections)))
    return f"<h2>By subset</h2>{chart}{found}"


def _key(styles: Container[str]) -> str:
    """What the symbols of a chart mean, of those that are in it."""
    items = (
        ("model", "model, 95 % interval", '<circle class="dot model" cx="6" cy="6" r="5"/>'),
        ("length", "length only", '<rect class="dot length" x="2" y="2" width="8" height="8"/>'),
        ("text", "bag of words", '<polygon class="dot text" points="6,1 11,10 1,10"/>'),
    )
    return legend([(label, shape) for style, label, shape in items if style in styles])


def _styles(results: Results) -> str:
    if not results.get("style_matrix"):
        return ""
    styles = ("concise", "detailed", "Markdown")
    rows = [
        [f"right: {style}", *(shown(cell) for cell in cells)]
        for style, cells in zip(styles, results["style_matrix"], strict=True)
    ]
    levels = ", ".join(f"{name} {shown(f)}" for name, f in (results["levels"] or {}).items())
    header = ["", *(f"wrong: {style}" for style in styles)]
    return (
        f"<h2>Style against substance</h2><p>{escape(levels)}. Hard pairs, above the diagonal, set "
        "a plainer right response against a fancier wrong one.</p>"
        + table("Accuracy by style of the right and the wrong response.", header, rows)
    )


def _steps(results: Results) -> str:
    parts = results.get("steps")
    if not parts:
        return ""
    names = {
        "error_accuracy": "first error named",
        "sound_accuracy": "sound solutions passed",
        "f1": "F1 of right steps",
        "negative_f1": "F1 of wrong steps",
    }
    thresholds = results["thresholds"]
    rows = [
        [subset, *(shown(figures[name]) for name in names), f"{thresholds[subset]:.3g}"]
        for subset, figures in parts.items()
    ]
    return "<h2>Steps</h2>" + table(
        "What the numbers above are made of, with 95 % intervals over problems. "
        + _tuned_on(results["tuned_on"]),
        ["", *names.values(), "threshold"],
        rows,
    )


def _tuned_on(tuned: Mapping[str, Any] | None) -> str:
    if not tuned:
        return "A step is called right from the threshold on."
    own = f", by subset for {', '.join(tuned['subsets'])}" if tuned["subsets"] else ""
    return (
        f"A step is called right from the threshold on, which was found on {tuned['solutions']:,} "
        f"solutions of {tuned['source']}{own}; {tuned['left_out']:,} others there are of problems "
        "evaluated here."
    )


def _calibration(results: Results) -> str:
    block = results.get("calibration")
    if not block or not block["bins"]:
        return ""
    bins = [(b["confidence"], b["accuracy"], b["low"], b["high"]) for b in block["bins"]]
    rows = [
        [f"{b['confidence']:.3f}", f"{b['accuracy']:.3f}", f"{b['low']:.3f}–{b['high']:.3f}",
         f"{b['n']:,}"]
        for b in block["bins"]
    ]  # fmt: skip
    figures = [["raw", shown(block["ece"]), shown(block["brier"]), shown(block["nll"])]]
    fitted = block["temperature"]
    if fitted:
        figures.append(
            [f"temperature {fitted['value']:.2f}", shown(fitted["ece"]), "–", shown(fitted["nll"])]
        )
    note = (
        f" Temperature fitted on {fitted['n']:,} pairs of {fitted['fitted_on']}."
        if fitted
        else " No temperature was fitted: --calibrate-on names pairs for it."
    )
    return (
        "<h2>Calibration</h2><p>Of all pairs of a right and a wrong response: is the model right as"
        f" often as σ(gap) says?{escape(note)}</p><figure><div class=\"box\">"
        + reliability_chart("Reliability: share right against confidence", bins)
        + "</div></figure>"
        + table("Calibration error (equal-mass bins), Brier score, negative log-likelihood.",
                ["", "ECE", "Brier", "NLL"], figures)
        + "<details><summary>The bins</summary>"
        + table("Bins of equal mass.", ["confidence", "share right", "95 % interval", "n"], rows)
        + "</details>"
    )  # fmt: skip


def _uncertainty(results: Results) -> str:
    block = results.get("uncertainty")
    if not block:
        return ""
    share = f"{block['rejected_share']:.0%}"
    rows = [
        ["correlation of doubt with error", shown(block["error_correlation"], signed=True)],
        [f"without the {share} most doubtful items", shown(block["kept"])],
        ["gain over all items", shown(block["gain"], signed=True)],
    ]
    return (
        "<h2>Uncertainty</h2><p>Does the deviation of the rewards warn of errors? Doubt is the "
        "deviation of the two best rewards over their difference.</p>"
        + table("All items; above 0 the deviation is worth something.", ["", "value"], rows)
    )


def _length(results: Results) -> str:
    block = results.get("length")
    if not block:
        return ""
    rows = [
        [label, shown(block[key]), f"{block[key]['n']:,}"]
        for label, key in (
            ("right response longer", "chosen_longer"),
            ("right response shorter", "chosen_shorter"),
            ("lengths within 10 %", "length_matched"),
        )
    ]
    for name, strata in (results.get("formats") or {}).items():
        for key, label in (("only_right_has_it", "right"), ("only_wrong_has_it", "wrong")):
            if strata[key]["n"]:
                label = (
                    f"only the {label} one has a {name}"
                    if name != "bold"
                    else (f"only the {label} one has bold")
                )
                rows.append([label, shown(strata[key]), f"{strata[key]['n']:,}"])
    text = (
        "Correlation of reward and length within items: "
        f"{shown(block['correlation'], signed=True)}."
    )
    fixed = block.get("calibrated")
    if fixed:
        text += (
            f" With the part of the reward that length explains taken off (LOWESS, fitted on "
            f"{fixed['fitted_on']}), accuracy of pairs goes from {shown(fixed['raw'])} "
            f"to {shown(fixed['calibrated'])}."
        )
    return f"<h2>Length and format</h2><p>{escape(text)}</p>" + table(
        "Accuracy of pairs, ties ½.", ["pairs in which", "accuracy", "n"], rows
    )


def _probes(results: Results) -> str:
    probes = results.get("probes")
    if not probes:
        return ""
    low, high = _probe_range(probes)
    marks = [
        (p["name"], [Mark(p["effect"]["value"], p["effect"]["low"], p["effect"]["high"], "model")])
        for p in probes
        if p["effect"]["value"] is not None
    ]
    axis = "change of the reward, in standard deviations"
    chart = rows_chart("Effect of each edit on the reward", marks, low, high, axis, line=0.0)
    rows = [
        [
            p["name"],
            p["what"],
            shown(p["effect"], signed=True),
            shown(p["share_rose"], interval=False),
            "–" if p["length_change"] is None else f"{p['length_change']:+.0f}",
            "–" if p["p_holm"] is None else p_text(p["p_holm"]),
            p["expected"],
            f"{p['effect']['n']:,}",
            f"{p['skipped']:,}",
        ]
        for p in probes
    ]
    header = ["edit", "what it does", "effect (sd)", "share that rose", "characters", "p (Holm)",
              "a sound reward", "n", "skipped"]  # fmt: skip
    few = [p["name"] for p in probes if p["effect"]["n"] < WELL_MEASURED]
    note = (
        f" Measured on fewer than {WELL_MEASURED} responses, the axis leaves out of account: "
        f"{', '.join(few)}."
        if few
        else ""
    )
    return (
        "<h2>Bias probes</h2><p>The same right response, edited: how far does the reward move, in "
        "standard deviations of the unedited rewards? To the right of the line it rises."
        f"{escape(note)}</p>"
        f'<figure><div class="box">{chart}</div></figure>'
        + table("Effects with 95 % intervals over prompts; p-values corrected over all probes. "
                "Skipped: where the edit changes nothing.",
                header, rows, words=(1, 6))
    )  # fmt: skip


def _probe_range(probes: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The axis: all intervals of effects measured on enough responses, and half a deviation."""
    measured = [p["effect"] for p in probes if p["effect"]["n"] >= WELL_MEASURED]
    ends = [v for e in measured for v in (e["low"], e["high"]) if v is not None]
    return min([-0.5, *ends]), max([0.5, *ends])


def _best_of_n(results: Results) -> str:
    block = results.get("best_of_n")
    if not block or len(block["n"]) < 2:
        return ""
    lines = {name: block["lines"][name] for name in NAMES if name in block["lines"]}
    labels = [
        (kl, str(n))
        for n, kl in zip(block["n"], block["kl"], strict=True)
        if n & (n - 1) == 0 or n == block["n"][-1]
    ]
    chart = line_chart(
        "Share right of the response picked, against n",
        block["kl"],
        {k: (v["value"], v["low"], v["high"]) for k, v in lines.items()},
        labels,
        "n, placed by KL = log n − (n − 1)/n nats",
    )
    key = [(NAMES[name], f'<polyline class="curve {name}" points="0,6 12,6"/>') for name in lines]
    rows = [
        [str(n), f"{kl:.2f}", *(f"{v['value'][i]:.3f}" for v in lines.values())]
        for i, (n, kl) in enumerate(zip(block["n"], block["kl"], strict=True))
    ]
    header = ["n", "KL", *(NAMES[name] for name in lines)]
    return (
        "<h2>Best-of-n</h2><p>How often the response with the highest reward among n is right: the "
        "unbiased estimate from all samples, with 95 % bands over prompts.</p>"
        f'<figure><div class="box">{chart}</div>{legend(key)}</figure>'
        + table("Share right.", header, rows)
    )


def _examples(results: Results) -> str:
    examples = results.get("examples")
    if not examples:
        return ""
    parts = []
    for e in examples:
        responses = "".join(
            f'<p class="soft">{"right" if ok else "wrong"}, reward {reward:.3f}</p>'
            f"<pre>{escape(text)}</pre>"
            for text, ok, reward in zip(e["responses"], e["correct"], e["rewards"], strict=True)
        )
        parts.append(
            f"<details><summary>{escape(e['subset'])} · {escape(e['id'])} · gap {e['gap']:+.3f}"
            f"</summary><pre>{escape(e['prompt'])}</pre>{responses}</details>"
        )
    return f"<h2>Most confidently wrong</h2>{''.join(parts)}"


def _reduced(reduction: str | None) -> str:
    return f"{reduction} of its step rewards" if reduction else ""


def _how(results: Results) -> str:
    gone = ", ".join(f"{n:,} {why}" for why, n in results["dropped"].items() if n) or "none"
    absent = [
        label
        for key, label in (
            ("length", "length (no lengths known)"),
            ("probes", "bias probes"),
            ("best_of_n", "best-of-n (needs three or more responses)"),
        )
        if not results.get(key)
    ]
    facts = {
        "data": results["source"],
        "items": f"{results['items']:,} with {results['responses']:,} {results['rewards_of']}",
        "tie rule": f"{results['tie_rule']}; {results['ties']:,} items had tied rewards",
        "dropped": gone,
        f"truncated {results['rewards_of']}": f"{results['truncated']:,}",
        "reward of a response": _reduced(results["reduction"]),
        "measured with": ", ".join(f"{k} {v}" for k, v in results["versions"].items()),
        "on": results["created"],
        "note": results["note"],
        "not shown": ", ".join(absent),
    }
    rows = "".join(f"<dt>{k}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items() if v)
    return f"<h2>How it was measured</h2><dl>{rows}</dl>"
