"""The report of a panel as one HTML page that needs nothing else and runs no script.

It reads what ``PanelReport.to_dict`` gives. Every chart is followed by its table.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from assay.feedback.judges.judge_page import outcomes_block
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
    figures = {"panel": record["agreement"]}
    figures |= {name: member["agreement"] for name, member in record["members"].items()}
    told = (
        f"{record['learnt_from']:,} comparisons are of prompts that the weights were learnt from; "
        "the panel's figures are without them. "
        if record["learnt_from"]
        else ""
    )
    return _agreement(figures, told)


def _agreement(figures: Mapping[str, Record], told: str = "") -> str:
    marks = []
    for name, block in figures.items():
        figure = _accuracy(block)
        if figure["value"] is not None:
            mark = Mark(figure["value"], figure["low"], figure["high"], "model")
            marks.append((name, [mark]))
    chart = ""
    if marks:
        drawn = rows_chart("Agreement with people", marks, 0.0, 1.0, "share that agrees", 0.5)
        chart = f'<figure><div class="box">{drawn}</div></figure>'
    rows = []
    for name, block in figures.items():
        kappa = block.get("kappa", block)
        figure = _accuracy(block)
        why = figure.get("why", "")
        rows.append([name, shown(figure), shown(kappa), f"{figure['n']:,}", why])
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
        rows.append(
            [
                name,
                f"{record['weights'][name]:.3f}",
                shown(member["coverage"]),
                *_positions(member),
                f"{member['comparisons']:,}",
                f"{member['spent']['cost']:.4f}",
            ]
        )
    return "<h2>Its members</h2>" + table(
        "95 % intervals over prompts; what an answer cost where it is known.",
        ["", "weight", "coverage", "orders agree", "prefers the first", "comparisons", "cost"],
        rows,
    )


def judges_page(record: Record) -> str:
    """The page of judges compared by their files.

    Args:
        record: What :meth:`JudgesCompared.to_dict` gives.
    """
    judges = record["judges"]
    first = next(iter(judges))
    rows = [
        [name, shown(judge["coverage"]), *_positions(judge), f"{judge['comparisons']:,}"]
        for name, judge in judges.items()
    ]
    apart = [
        [f"{first} and {name}", shown(found.get("same_side")), shown(found.get("apart")),
         f"{found.get('shared', 0):,}"]
        for name, found in record["comparisons"].items()
    ]  # fmt: skip
    body = (
        "<h1>Which judge is better?</h1>"
        + _agreement({name: judge["agreement"] for name, judge in judges.items()})
        + "<h2>Differences</h2>"
        + _less(first, record["comparisons"])
        + table(SIDES, ["", "same side", "apart", "comparisons"], apart)
        + "<h2>The judges</h2>"
        + table(
            "95 % intervals over prompts.",
            ["", "coverage", "orders agree", "prefers the first", "comparisons"],
            rows,
        )
    )
    return page("Judges compared", body)


SIDES = "How often two take the same side, and how far their probabilities are apart."


def _less(first: str, others: Mapping[str, Record]) -> str:
    rows = [
        [f"{first} less {name}", _signed(found), _n(found), _why(found)]
        for name, found in others.items()
    ]
    return table(
        "Difference in accuracy on the comparisons that both judged, paired.",
        ["", "difference", "n", "why there is none"],
        rows,
        words=(3,),
    )


def _positions(judge: Record) -> list[str]:
    block = judge["position"]
    return [shown(block.get(name, block)) for name in ("consistent", "prefers_first")]


def _why(found: Record) -> str:
    return str(found.get("why") or found.get("difference", {}).get("why", ""))


def _differences(record: Record) -> str:
    between = [
        [" and ".join(found["judges"]), shown(found.get("same_side")), shown(found.get("apart")),
         f"{found.get('shared', 0):,}"]
        for found in record["between"]
    ]  # fmt: skip
    return (
        "<h2>Is it better than its members?</h2>"
        + _less("panel", record["against"])
        + table(SIDES, ["", "same side", "apart", "comparisons"], between)
    )


def _outcomes(record: Record) -> str:
    text = (
        f"A quorum was had in {shown(record['coverage'])}. Members were on both sides in "
        f"{shown(record['divided'])} of those, and their probabilities deviate by "
        f"{shown(record['disagreement'])}. Without a quorum there is no verdict and no tie."
    )
    return outcomes_block(record, text)


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
