"""The report of a judge as one HTML page that needs nothing else and runs no script.

It reads what ``JudgeReport.to_dict`` gives. Every chart is followed by its table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from assay.atomic import write_text
from assay.pages.html import legend, page, shown, table
from assay.pages.svg import Mark, reliability_chart, rows_chart, scatter_chart, symbol

Record = Mapping[str, Any]


def judge_page(record: Record, path: str | Path) -> Path:
    """Write the page of a judge's report.

    Args:
        record: What :meth:`JudgeReport.to_dict` gives, or ``judge.json`` holds.
    """
    blocks = (_head, _outcomes, _people, _calibration, _position, _length, _own, _spent)
    body = "".join(block(record) for block in blocks)
    write_text(path, page(f"Judge: {record['judge']}", body))
    return Path(path)


def _head(record: Record) -> str:
    accuracy = record["agreement"].get("accuracy") or record["agreement"]
    if accuracy["value"] is None:
        words = f"How often it agrees with people is unknown: {accuracy['why']}"
        top = f'<p class="partial">{escape(words)}</p>'
    else:
        interval = (
            f"95 % interval {accuracy['low']:.3f} to {accuracy['high']:.3f} · "
            if accuracy["low"] is not None
            else ""
        )
        top = (
            f'<p class="head">{accuracy["value"]:.3f}<small>of people\'s majorities, ties ½ · '
            f"{interval}{accuracy['n']:,} comparisons</small></p>"
        )
    return (
        f'<h1>Is the judge any good?</h1><p class="soft">{escape(record["judge"])} · '
        f"{record['comparisons']:,} comparisons of {record['prompts']:,} prompts</p>{top}"
    )


def _outcomes(record: Record) -> str:
    text = (
        f"A probability came of {shown(record['coverage'])} of the comparisons. Failures are left "
        "out of every figure below, and are never ties."
    )
    return outcomes_block(record, text)


def outcomes_block(record: Record, text: str) -> str:
    """What became of the judgments: a text, which is escaped, and how many came to each outcome."""
    total = record["comparisons"]
    rows = [
        [name, f"{count:,}", f"{count / total:.3f}"]
        for name, count in record["outcomes"].items()
        if count
    ]
    return f"<h2>What became of the judgments</h2><p>{escape(text)}</p>" + table(
        "Outcomes.", ["outcome", "comparisons", "share"], rows
    )


def _people(record: Record) -> str:
    block = record["agreement"]
    if "accuracy" not in block:
        return _undefined("Agreement with people", block)
    people = block["among_people"]
    rows = [
        ["both orders", block["accuracy"]],
        ["first order alone", block["first_order"]],
        ["second order alone", block["second_order"]],
        ["consistent verdicts alone", block["consistent"]],
        ["share of consistent verdicts", block["consistent_share"]],
        ["Cohen's kappa", block["kappa"]],
        ["Krippendorff's alpha", block["alpha"]],
        ["judge with a person", people.get("judge_with_a_person", people)],
        ["a person with another", people.get("a_person_with_another", people)],
        ["difference of these two", people.get("difference", people)],
    ]
    bars = [*rows[:4], *(row for row in rows[7:9])]
    chart = _bars("Agreement with people", bars, "share that agrees")
    return (
        f"<h2>Agreement with people</h2><p>{escape(block['averaging'])} One order alone is what "
        "its own answers say; where a file lists the better response first, a bias of position "
        "makes one of them look good.</p>"
        + chart
        + _table("Accuracy first; 95 % intervals over prompts; ties count ½.", rows)
    )


def _calibration(record: Record) -> str:
    block = record["agreement"].get("calibration")
    if not block or "ece" not in block:
        return ""
    after, heat = block["after_temperature"], block["temperatures"]
    told = (
        f"Temperatures {heat[0]:.2f} and {heat[1]:.2f}, each fitted on one half of the prompts and "
        "applied to the other."
        if heat
        else "No temperature was fitted: it takes two prompts."
    )
    rows = [
        ["as it says", *(shown(block[name]) for name in ("ece", "brier", "nll"))],
        ["after a temperature", *(shown(after[name]) for name in ("ece", "brier", "nll"))],
    ]
    bins = table(
        "Bins of equal mass, as it says; Wilson's intervals.",
        ["confidence", "share right", "95 % interval", "n"],
        [
            [f"{b['confidence']:.3f}", f"{b['share']:.3f}", f"{b['low']:.3f}–{b['high']:.3f}",
             f"{b['n']:,}"]
            for b in block["bins"]
        ],
    )  # fmt: skip
    charts = _reliability("Reliability, as the judge says", block["bins"])
    if after["bins"]:
        charts += _reliability("Reliability, after the temperature", after["bins"])
    figures = table("Calibration error, Brier score, loss.", ["", "ECE", "Brier", "NLL"], rows)
    return (
        f"<h2>Calibration</h2><p>Is it right as often as it says? {told}</p><figure>{charts}"
        f"</figure>{figures}"
        f"<details><summary>The bins</summary>{bins}</details>"
    )


def _reliability(title: str, bins: Sequence[Record]) -> str:
    points = [(b["confidence"], b["share"], b["low"], b["high"]) for b in bins]
    words = f'<p class="soft">{escape(title)}</p>'
    return f'{words}<div class="box">{reliability_chart(title, points)}</div>'


def _position(record: Record) -> str:
    block = record["position"]
    again = _asked_again(record["stability"])
    if "bias" not in block:
        return _undefined("Position", block) + again
    rows = [
        ["orders that say the same", block["consistent"]],
        ["prefers the first shown", block["prefers_first"]],
        ["the same, first order asked", block["in_first_order"]],
        ["the same, second order asked", block["in_second_order"]],
    ]
    points = [(float(a), float(b)) for a, b in record["points"]]
    chart = scatter_chart(
        "P(i is better) by either order",
        points,
        "P(i is better), i shown first",
        "P(i is better), i shown second",
    )
    text = (
        "On the dashed line it does not matter which is shown first; below it the response shown "
        "first is favoured, above it the one shown second. In the shaded quarters the two orders "
        "take different sides."
    )
    bias = f"Mean P(first shown is better) less ½: {shown(block['bias'], signed=True)}."
    return (
        f'<h2>Position</h2><p>{text} {bias}</p><figure><div class="box">{chart}</div></figure>'
        + _table("95 % intervals over prompts.", rows)
        + again
    )


def _asked_again(block: Record) -> str:
    if "same_choice" not in block:
        return f"<p>Stability is unknown: {escape(block['why'])}</p>"
    return (
        f"<p>Asked again ({block['repeats']:,} times) it makes the same choice in "
        f"{shown(block['same_choice'])}, and its probability moves by {shown(block['moved'])}.</p>"
    )


def _length(record: Record) -> str:
    block = record["verbosity"]
    if "judge" not in block:
        return _undefined("Length", block)
    marks = []
    for third in block["thirds"]:
        label = f"{third['shortest_ratio']:.2f}× to {third['longest_ratio']:.2f}×"
        marks.append((label, [("model", third["accuracy"]), ("length", third["prefers_longer"])]))
    chart = rows_chart(
        "Accuracy and preference for the longer, by how far lengths differ",
        [(label, _marks(found)) for label, found in marks],
        0.0,
        1.0,
        "share",
        0.5,
    )
    key = legend(
        [("accuracy against people", symbol("model")), ("prefers the longer", symbol("length"))]
    )
    rows = [
        ["judge prefers the longer", block["judge"]],
        ["people prefer the longer", block["people"]],
        ["accuracy with length balanced", block["balanced_accuracy"]],
    ]
    signed = [
        ["judge more than people", block["excess"]],
        ["weight of the judge's log-odds (a)", block["judgment"]],
        ["weight of the log ratio of lengths (b)", block["length"]],
    ]
    thirds = table(
        "Thirds of the comparisons by how many times as long the longer response is.",
        ["longer by", "accuracy", "prefers the longer", "n"],
        [
            [label, shown(found[0][1]), shown(found[1][1]), f"{found[1][1]['n']:,}"]
            for label, found in marks
        ],
    )
    text = (
        "Balanced accuracy is the mean of that where people prefer the longer and where they "
        "prefer the shorter. In P(people prefer i) = σ(a logit p + b ln(length of i / length of "
        "j)), b below 0 says that the judge overrates length."
    )
    return (
        f'<h2>Length</h2><p>{escape(text)}</p><figure><div class="box">{chart}</div>{key}</figure>'
        + thirds
        + _table("95 % intervals over prompts.", rows)
        + _table("The same, signed.", signed, signed=True)
    )


def _own(record: Record) -> str:
    block = record["self_preference"]
    if "judge" not in block:
        return _undefined("Its own responses", block)
    rows = [
        ["win rate of its own, by the judge", block["judge"]],
        [f"win rate of its own, by {block['against']}", block["reference"]],
    ]
    return (
        "<h2>Its own responses</h2>"
        + _table("95 % intervals over prompts.", rows)
        + _table("", [["judge less the reference", block["excess"]]], signed=True)
    )


def _spent(record: Record) -> str:
    block = record["spent"]
    cached, mass, price = block["cached_share"], block["mass"], block["per_label"]
    rows = [
        ["answers", f"{block['answers']:,}"],
        *([f"read by {name}", f"{count:,}"] for name, count in block["means"].items()),
        ["prompt tokens", f"{block['prompt_tokens']:,}"],
        ["response tokens", f"{block['response_tokens']:,}"],
        ["from the cache", "–" if cached is None else f"{cached:.1%}"],
        ["probability on the options", "–" if mass is None else f"{mass:.3f}"],
        ["cost", f"{block['cost']:.4f}"],
        ["answers of unknown price", f"{block['unpriced']:,}"],
        ["cost of a label", "unknown" if price is None else f"{price:.6f}"],
    ]
    return "<h2>What it took</h2>" + table("All answers, repeats too.", ["", ""], rows)


def _undefined(title: str, block: Record) -> str:
    return f"<h2>{title}</h2><p>Unknown: {escape(block['why'])}</p>"


def _marks(found: Sequence[tuple[str, Record]]) -> list[Mark]:
    return [
        Mark(figure["value"], figure["low"], figure["high"], style)
        for style, figure in found
        if figure["value"] is not None
    ]


def _bars(title: str, rows: Sequence[Sequence[Any]], xlabel: str) -> str:
    marks = [(label, _marks([("model", figure)])) for label, figure in rows]
    chart = rows_chart(title, [row for row in marks if row[1]], 0.0, 1.0, xlabel, 0.5)
    return f'<figure><div class="box">{chart}</div></figure>'


def _table(caption: str, rows: Sequence[Sequence[Any]], signed: bool = False) -> str:
    """Figures with their intervals and counts, and why one lacks where it does."""
    lines = [
        [label, shown(figure, signed), f"{figure['n']:,}", figure.get("why", "")]
        for label, figure in rows
    ]
    header = ["", "value", "n", "why there is none"]
    if any(why for *_, why in lines):
        return table(caption, header, lines, words=(3,))
    return table(caption, header[:3], [line[:3] for line in lines])
