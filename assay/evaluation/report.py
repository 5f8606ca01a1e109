"""The report of an evaluation: one HTML page that needs nothing else and runs no script.

It reads what ``results.json`` holds (and the example texts). Every chart is followed by its table,
all text is escaped, and the page forbids everything but its own style sheet.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Container, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from assay.atomic import write_text
from assay.evaluation.results import p_text
from assay.evaluation.svg import Mark, line_chart, reliability_chart, rows_chart

Results = Mapping[str, Any]

CSS = """
:root{--ink:#1c2024;--soft:#5b6470;--line:#e3e6ea;--back:#fff;--panel:#f6f7f9;--model:#0072b2;
--length:#d55e00;--text:#009e73;--grey:#8a9099;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a3abb5;--line:#33383f;--back:#15181c;
--panel:#1d2126;--model:#56b4e9;--length:#f0894a;--text:#3fc79f;--grey:#868d97}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:1000px;margin:0 auto;padding:32px 20px 80px}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 4px}
h2{font-size:1.15rem;margin:52px 0 8px}
p{margin:8px 0 16px;max-width:68ch}
.soft,figcaption,caption{color:var(--soft)}
.head{font-size:2.6rem;font-weight:650;letter-spacing:-.02em;margin:20px 0 0;line-height:1.15}
.head small{font-size:1rem;font-weight:400;color:var(--soft);letter-spacing:0;display:block}
.partial{border-left:4px solid var(--length);padding:8px 14px;background:var(--panel)}
figure{margin:16px 0}
.box{overflow-x:auto}
svg{max-width:100%;height:auto;display:block}
svg.wide{min-width:600px}svg.square{min-width:300px}
svg text{fill:var(--ink);font:12px system-ui,sans-serif}
.grid{stroke:var(--line)}.chance{stroke:var(--grey);stroke-dasharray:4 4}
.bar{stroke-width:2}.model,.gold{stroke:var(--model);fill:var(--model)}
.length,.random{stroke:var(--length);fill:var(--length)}
.text,.oracle{stroke:var(--text);fill:var(--text)}
.majority{stroke:var(--grey);fill:var(--grey)}
.dot{stroke:var(--back);stroke-width:1}
.curve{fill:none;stroke-width:2}
.curve.oracle{stroke-dasharray:7 3}.curve.random{stroke-dasharray:2 3}
.band{stroke:none;opacity:.15}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem;min-width:100%}
caption{text-align:left;padding:6px 0;font-size:.85rem}
th,td{text-align:right;padding:5px 12px 5px 0;border-bottom:1px solid var(--line);
white-space:nowrap;vertical-align:top}
th:first-child,td:first-child{text-align:left}
.words{white-space:normal;min-width:9em;text-align:left}
thead th{color:var(--soft);font-weight:500}
tr.section th,tr.section td{font-weight:600}
.key{display:flex;flex-wrap:wrap;gap:4px 20px;font-size:.85rem;color:var(--soft);margin:8px 0}
.key svg{display:inline-block;vertical-align:-2px;margin-right:6px}
details{border-top:1px solid var(--line);padding:8px 0}
summary{cursor:pointer}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--panel);padding:10px 12px;
font:13px/1.5 ui-monospace,monospace;margin:6px 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;font-size:.9rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media (max-width:560px){main{padding:20px 14px 60px}.head{font-size:2rem}dl{display:block}
dd{margin:0 0 8px}}
"""

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
    blocks = (_headline, _suite, _styles, _calibration, _length, _probes, _best_of_n, _examples)
    body = "".join(block(results) for block in (*blocks, _how))
    write_text(path, page(f"{results['title']}: {results['model']}", body))
    return Path(path)


def page(title: str, body: str) -> str:
    """A whole HTML page that allows its own style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def table(
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    bold: Sequence[int] = (),
    words: Sequence[int] = (),
) -> str:
    """A table in a box that scrolls by itself; cells are escaped.

    Args:
        bold: Numbers of the rows that stand out.
        words: Numbers of the columns that hold text, which wraps, and not figures.
    """

    def cell(number: int, text: str) -> str:
        kind = ' class="words"' if number in words else ""
        return f"<td{kind}>{escape(text)}</td>"

    head = "".join(
        f'<th scope="col"{" class=words" if i in words else ""}>{escape(name)}</th>'
        for i, name in enumerate(header)
    )
    lines = []
    for number, row in enumerate(rows):
        first, *rest = row
        cells = "".join(cell(i, text) for i, text in enumerate(rest, start=1))
        kind = ' class="section"' if number in bold else ""
        lines.append(f'<tr{kind}><th scope="row">{escape(first)}</th>{cells}</tr>')
    return (
        f'<div class="box"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr>'
        f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def shown(figure: Mapping[str, Any] | None, signed: bool = False, interval: bool = True) -> str:
    """A figure as text: value, interval."""
    if not figure or figure["value"] is None:
        return "–"
    form = "+.3f" if signed else ".3f"
    text = format(figure["value"], form)
    if not interval or figure["low"] is None or figure["high"] is None:
        return text
    return f"{text} [{figure['low']:{form}}, {figure['high']:{form}}]"


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
    text += (
        "So few items tell no two models apart."
        if detectable is None
        else f"Another model must differ by about {detectable:.3f} for a paired comparison to show "
        "it (power 80 %, models disagreeing on a fifth of the items)."
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
    return _legend([(label, shape) for style, label, shape in items if style in styles])


def _legend(items: Sequence[tuple[str, str]]) -> str:
    """Labels, each after its symbol in a square of 12."""
    entries = "".join(
        '<span><svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">'
        f"{shape}</svg>{escape(label)}</span>"
        for label, shape in items
    )
    return f'<div class="key">{entries}</div>'


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
        f'<figure><div class="box">{chart}</div>{_legend(key)}</figure>'
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
        "items": f"{results['items']:,} with {results['responses']:,} responses",
        "tie rule": f"{results['tie_rule']}; {results['ties']:,} items had tied rewards",
        "dropped": gone,
        "truncated responses": f"{results['truncated']:,}",
        "measured with": ", ".join(f"{k} {v}" for k, v in results["versions"].items()),
        "on": results["created"],
        "note": results["note"],
        "not shown": ", ".join(absent),
    }
    rows = "".join(f"<dt>{k}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items() if v)
    return f"<h2>How it was measured</h2><dl>{rows}</dl>"
