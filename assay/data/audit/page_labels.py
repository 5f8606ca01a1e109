"""The part of the audit's page that is about who labelled how: annotators, position, length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from assay.pages.html import legend, shown, table
from assay.pages.svg import Mark, rows_chart

Record = Mapping[str, Any]

CHARTED = 30
"""Annotators in the chart, those with most judgments."""
LISTED = 100
"""Annotators in the table; audit.json has all."""


def annotators_block(record: Record) -> str:
    """One row an annotator, and what the models of reliability say."""
    annotators, block = record["annotators"], record["reliability"]
    if not annotators:
        return ""
    charted = [a for a in annotators[:CHARTED] if a["agreement_with_the_rest"]["value"] is not None]
    chart = ""
    if charted:
        rows = [(a["name"], [mark_of(a["agreement_with_the_rest"], _style(a))]) for a in charted]
        raw = record["agreement"]["raw"]["value"]
        chart = rows_chart(
            "Agreement of each annotator with the rest", rows, 0.0, 1.0, "agreement", line=raw
        )
        key = legend(
            [
                ("agreement with the rest, 95 % interval", _dot("model")),
                ("too few shared items to tell", _dot("text")),
                ("less than the others agree (p < 0.05, Holm)", _dot("length")),
            ]
        )
        chart = f'<figure><div class="box">{chart}</div>{key}</figure>'
    return (
        f"<h2>Annotators</h2><p>{escape(_reliability(block))} In the table, Dawid–Skene is the "
        "mean probability that an answer is the true one, MACE that it was not given at random; "
        "with self are repeated answers that are the same.</p>"
        f"{chart}{_annotator_table(annotators)}"
    )


COLUMNS = {
    "agreement_with_the_rest": ("with the rest", True),
    "shared_items": ("shared", False),
    "dawid_skene_accuracy": ("Dawid–Skene", False),
    "mace_competence": ("MACE", False),
    "preferred_first_shown": ("prefers first", True),
    "preferred_longer": ("prefers longer", True),
    "ties": ("ties", False),
    "agreement_with_self": ("with self", False),
}
"""Columns of the table: their name, and whether they show an interval."""


def _annotator_table(annotators: Sequence[Record]) -> str:
    """One line an annotator, without the columns that nobody has a value in."""

    def cell(annotator: Record, key: str) -> str:
        value = annotator[key]
        return f"{value:,}" if isinstance(value, int) else shown(value, interval=COLUMNS[key][1])

    used = [key for key in COLUMNS if any(cell(a, key) != "–" for a in annotators)]
    has_notes = any(a["notes"] for a in annotators)
    rows = [
        [
            a["name"],
            *(["; ".join(a["notes"])] if has_notes else []),
            f"{a['judgments']:,}",
            *(cell(a, key) for key in used),
        ]
        for a in annotators[:LISTED]
    ]
    columns = [COLUMNS[key][0] for key in used]
    header = ["annotator", *(["note"] if has_notes else []), "judgments", *columns]
    caption = "95 % intervals over prompts."
    if len(annotators) > LISTED:
        caption += f" The {LISTED} with most judgments; audit.json has all {len(annotators):,}."
    return table(caption, header, rows)


def _style(annotator: Record) -> str:
    if annotator["p_agrees_less_than_others"] is None:
        return "text"
    return "length" if annotator["p_agrees_less_than_others"] < 0.05 else "model"


def _dot(style: str) -> str:
    shapes = {
        "model": '<circle class="dot model" cx="6" cy="6" r="5"/>',
        "length": '<rect class="dot length" x="2" y="2" width="8" height="8"/>',
        "text": '<polygon class="dot text" points="6,1 11,10 1,10"/>',
    }
    return shapes[style]


def _reliability(block: Record) -> str:
    if block["why_not"]:
        return f"Dawid–Skene and MACE were not fitted: {block['why_not']}"
    sample = " (a sample)" if block["is_sample"] else ""
    return (
        f"Dawid–Skene and MACE were fitted to {block['fitted_on_judgments']:,} judgments of "
        f"{block['fitted_on_items']:,} pairs{sample}. Dawid–Skene's most likely label differs from "
        f"the majority's in {shown(block['dawid_skene_differs_from_majority'])}; its labels have a "
        f"mean entropy of {shown(block['mean_label_entropy_nats'])} nats. The line is the raw "
        "agreement of all."
    )


def position_block(record: Record) -> str:
    """Is what was shown first preferred."""
    block = record["position"]
    first, swap = block["preferred_first_shown"], block["effect_of_being_first"]
    if first["value"] is None:
        return f"<h2>Position bias</h2><p>Undefined: {escape(first['why'])}</p>"
    rows = [
        ["prefers the one shown first", shown(first), n_of(first), first.get("why", "")],
        [
            "what being first adds to a share",
            shown(swap, signed=True),
            n_of(swap),
            swap.get("why", ""),
        ],
    ]
    taken = (
        "The order shown is recorded."
        if block["order_is_recorded"]
        else "The order is that in which the file lists the responses."
    )
    text = (
        f"{taken} The first line is ½ without bias, if orders were drawn by chance; the second, "
        "from pairs judged in both orders, is 0 without bias whatever the orders were."
    )
    if block["ties_by_inconsistent_orders"]:
        text += (
            f" {block['ties_by_inconsistent_orders']:,} ties stand for two orders that disagreed."
        )
    found = with_reasons("95 % intervals over prompts.", "ties left out", rows)
    return f"<h2>Position bias</h2><p>{escape(text)}</p>{found}"


def length_block(record: Record) -> str:
    """Is what is longer preferred."""
    block = record["length"]
    longer = block["preferred_longer"]
    if longer["value"] is None:
        return f"<h2>Length bias</h2><p>Undefined: {escape(longer['why'])}</p>"
    marks = [("all", [mark_of(longer)])]
    marks += [(_ratio(s), [mark_of(s["preferred_longer"])]) for s in block["strata"]]
    chart = rows_chart(
        "How often the longer response is preferred", marks, 0.0, 1.0, "prefers the longer", 0.5
    )
    rows = [["all", shown(longer), f"{longer['n']:,}"]]
    rows += [
        [_ratio(s), shown(s["preferred_longer"]), f"{s['preferred_longer']['n']:,}"]
        for s in block["strata"]
    ]
    text = (
        f"Ties left out. Length alone, one weight on the difference, is right in "
        f"{shown(block['length_only_accuracy'])}. The preferred response is longer by "
        f"{_signed(block['mean_difference_characters'])} characters on average. "
        f"{block['equal_lengths']:,} judgments are of equal lengths."
    )
    return (
        f'<h2>Length bias</h2><p>{escape(text)}</p><figure><div class="box">{chart}</div></figure>'
        + table("By ratio of the lengths.", ["ratio", "prefers the longer", "n"], rows)
    )


def _ratio(stratum: Record) -> str:
    low, high = stratum["ratio_from"], stratum["ratio_to"]
    return f"{low:g}× or more" if high is None else f"{low:g}× to {high:g}×"


def with_reasons(caption: str, first: str, rows: list[list[str]]) -> str:
    """A table of name, value, n and reason, without the reasons where all are figures."""
    header = [first, "value", "n", "why there is none"]
    if any(reason for *_, reason in rows):
        return table(caption, header, rows, words=(3,))
    return table(caption, header[:3], [row[:3] for row in rows])


def mark_of(figure: Record, style: str = "model") -> Mark:
    """A figure in a chart."""
    return Mark(figure["value"], figure["low"], figure["high"], style)


def _signed(figure: Record) -> str:
    if figure["low"] is None:
        return f"{figure['value']:+,.0f}"
    return f"{figure['value']:+,.0f} [{figure['low']:+,.0f}, {figure['high']:+,.0f}]"


def n_of(figure: Record) -> str:
    """The number a figure rests on."""
    return f"{figure['n']:,}" if figure["n"] else "–"
