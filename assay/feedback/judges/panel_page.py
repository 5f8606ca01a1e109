"""The report of a panel as one HTML page that needs nothing else and runs no script.

It reads what ``PanelReport.to_dict`` gives. Every chart is followed by its table.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from assay.pages.html import page, shown, table
from assay.pages.svg import Mark, rows_chart

Record = Mapping[str, Any]


def panel_page(record: Record) -> str:
    """The page of a panel's report.

    Args:
        record: What :meth:`PanelReport.to_dict` gives.
    """
    blocks = (_head, _people, _members, _differences, _outcomes, _weights)
    return page("Panel of judges", "".join(block(record) for block in blocks))


def _head(record: Record) -> str:
    accuracy = _accuracy(record["agreement"])
    if accuracy["value"] is None:
        words = f"How often the panel agrees with people is unknown: {accuracy['why']}"
        top = f'<p class="partial">{escape(words)}</p>'
    else:
        top = (
            f'<p class="head">{accuracy["value"]:.3f}<small>of people\'s majorities, ties ½ · '
            f"{escape(shown(accuracy))} · {accuracy['n']:,} comparisons</small></p>"
        )
    return (
        f'<h1>Is the panel any good?</h1><p class="soft">{len(record["members"])} members, quorum '
        f"{record['quorum']} · {record['comparisons']:,} comparisons</p>{top}"
    )


def _people(record: Record) -> str:
    figures = [("panel", record["agreement"])]
    figures += [(name, member["agreement"]) for name, member in record["members"].items()]
    marks = []
    for name, block in figures:
        figure = _accuracy(block)
        if figure["value"] is not None:
            mark = Mark(figure["value"], figure["low"], figure["high"], "model")
            marks.append((name, [mark]))
    chart = ""
    if marks:
        drawn = rows_chart("Agreement with people", marks, 0.0, 1.0, "share that agrees", 0.5)
        chart = f'<figure><div class="box">{drawn}</div></figure>'
    rows = []
    for name, block in figures:
        kappa = block.get("kappa", block)
        figure = _accuracy(block)
        why = figure.get("why", "")
        rows.append([name, shown(figure), shown(kappa), f"{figure['n']:,}", why])
    told = (
        f"{record['learnt_from']:,} comparisons are of prompts that the weights were learnt from; "
        "the panel's figures are without them. "
        if record["learnt_from"]
        else ""
    )
    return f"<h2>Agreement with people</h2><p>{told}Ties count ½.</p>{chart}" + table(
        "95 % intervals over prompts.",
        ["", "accuracy", "Cohen's kappa", "n", "why there is none"],
        rows,
        bold=(0,),
        words=(4,),
    )


def _members(record: Record) -> str:
    rows = []
    for name, member in record["members"].items():
        position = member["position"]
        bias = position.get("prefers_first", position)
        rows.append(
            [
                name,
                f"{record['weights'][name]:.3f}",
                shown(member["coverage"]),
                shown(position.get("consistent", position)),
                shown(bias),
                f"{member['comparisons']:,}",
                f"{member['spent']['cost']:.4f}",
            ]
        )
    return "<h2>Its members</h2>" + table(
        "95 % intervals over prompts; what an answer cost where it is known.",
        ["", "weight", "coverage", "orders agree", "prefers the first", "comparisons", "cost"],
        rows,
    )


def _differences(record: Record) -> str:
    against = [
        [f"panel less {name}", _signed(found), _n(found), found.get("why", "")]
        for name, found in record["against"].items()
    ]
    between = [
        [" and ".join(found["judges"]), shown(found.get("same_side")), shown(found.get("apart")),
         f"{found.get('shared', 0):,}"]
        for found in record["between"]
    ]  # fmt: skip
    return (
        "<h2>Is it better than its members?</h2>"
        + table(
            "Accuracy of the panel less that of a member on the same comparisons, paired.",
            ["", "difference", "n", "why there is none"],
            against,
            words=(3,),
        )
        + table(
            "How often two members take the same side, and how far their probabilities are apart.",
            ["", "same side", "apart", "comparisons"],
            between,
        )
    )


def _outcomes(record: Record) -> str:
    total = record["comparisons"]
    rows = [
        [name, f"{count:,}", f"{count / total:.3f}"]
        for name, count in record["outcomes"].items()
        if count
    ]
    text = (
        f"A quorum was had in {shown(record['coverage'])}. Members were on both sides in "
        f"{shown(record['divided'])} of those, and their probabilities deviate by "
        f"{shown(record['disagreement'])}. Without a quorum there is no verdict and no tie."
    )
    return f"<h2>What became of the judgments</h2><p>{escape(text)}</p>" + table(
        "Outcomes.", ["outcome", "comparisons", "share"], rows
    )


def _weights(record: Record) -> str:
    found = record["calibration"]
    if found is None:
        return "<h2>Weights</h2><p>They were given, not learnt from people.</p>"
    rows = [
        ["these weights, on prompts they were not fitted on", f"{found['heldout_nll']:.4f}"],
        ["equal weights", f"{found['equal_nll']:.4f}"],
        ["the best member", f"{found['best_member_nll']:.4f}"],
    ]
    text = (
        f"Learnt from {found['n']:,} comparisons that people judged ({found['left_out']:,} left "
        f"out); sharpness {found['sharpness']:.3f}."
    )
    return f"<h2>Weights</h2><p>{text}</p>" + table(
        "Loss on people's labels of the sample.", ["", "loss"], rows
    )


def _accuracy(block: Record) -> Record:
    """The accuracy of an agreement, or the figure that says why there is none."""
    found: Record = block.get("accuracy", block)
    return found


def _signed(found: Record) -> str:
    return shown(found.get("difference"), signed=True)


def _n(found: Record) -> str:
    return f"{found['difference']['n'] if 'difference' in found else 0:,}"
