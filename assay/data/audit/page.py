"""The page of an audit: one HTML file that needs nothing else and runs no script.

It reads what ``audit.json`` holds, and nothing besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from assay.data.audit.page_labels import (
    annotators_block,
    length_block,
    mark_of,
    n_of,
    position_block,
    with_reasons,
)
from assay.data.audit.page_texts import contamination_block, diversity_block, duplicates_block
from assay.pages.html import page, shown, table
from assay.pages.svg import rows_chart

Record = Mapping[str, Any]

LEVELS = ("nominal", "ordinal", "interval")


def audit_page(record: Record) -> str:
    """The page as text."""
    blocks = (
        _head,
        _findings,
        _agreement,
        _noise,
        annotators_block,
        position_block,
        length_block,
        duplicates_block,
        contamination_block,
        diversity_block,
        _how,
    )
    names = ", ".join(record["sources"])
    return page(f"Audit of {names}", "".join(block(record) for block in blocks))


def _head(record: Record) -> str:
    data, nominal = record["data"], record["agreement"]["alpha"]["nominal"]
    if nominal["value"] is None:
        why = escape(nominal["why"])
        head = f'<p class="partial"><strong>Agreement is undefined:</strong> {why}</p>'
    else:
        head = (
            f'<p class="head">{nominal["value"]:.3f}<small>Krippendorff\'s alpha (nominal), '
            f"95 % interval {_range(nominal)} · {nominal['n']:,} items judged by two or more"
            "</small></p>"
        )
    names = ", ".join(record["sources"])
    size = (
        f"{_count(data['judgments'], 'judgment')} of {_count(data['items'], 'pair')} of responses "
        f"to {_count(data['prompts'], 'prompt')}, by "
        + (_count(data["annotators"], "annotator") if data["annotators"] else "no named annotator")
        + f"; {data['ties']:,} ties."
    )
    return f'<h1>Audit</h1><p class="soft">{escape(names)}</p>{head}<p>{escape(size)}</p>'


def _findings(record: Record) -> str:
    parts = [
        f'<div class="finding {f["level"]}"><p><strong>{escape(_sign(f["level"]))} · '
        f"{escape(f['subject'])}:</strong> {escape(f['text'])}</p>"
        + (f"<p><small>{escape(f['advice'])}</small></p>" if f["advice"] else "")
        + "</div>"
        for f in record["findings"]
    ]
    return f"<h2>What was found, and what to do</h2>{''.join(parts)}"


def _sign(level: str) -> str:
    return "OK" if level == "ok" else level.capitalize()


def _agreement(record: Record) -> str:
    block = record["agreement"]
    found = _coefficients(block)
    reasons = {figure.get("why") for _, figure in found}
    if len(reasons) == 1 and None not in reasons:
        return f"<h2>Agreement</h2><p>Undefined: {escape(str(reasons.pop()))}</p>"
    marks = [(name, [mark_of(figure)]) for name, figure in found if figure["value"] is not None]
    chart = ""
    if marks:
        ends = [m.value if m.low is None else m.low for _, (m,) in marks]
        chart = rows_chart(
            "Agreement with 95 % intervals", marks, min(0.0, *ends), 1.0, "agreement", line=0.0
        )
        chart = f'<figure><div class="box">{chart}</div></figure>'
    text = (
        f"On the {block['items_judged_by_two_or_more']:,} pairs of responses that two or more "
        "annotators judged. Raw agreement is the share of two judgments of a pair that are the "
        "same; Krippendorff's alpha and kappa take off what chance would give: 0 is chance, 1 is "
        "always. Fleiss' kappa is of the pairs with the most common number of judgments, Cohen's "
        "the mean over two annotators each."
    )
    caption = "Which response is better, or a tie. 95 % intervals over prompts."
    return (
        f"<h2>Agreement</h2><p>{escape(text)}</p>{chart}"
        + with_reasons(caption, "", _rows(found))
        + _other_scales(block)
        + _cohen(block)
    )


def _rows(figures: list[tuple[str, Record]]) -> list[list[str]]:
    return [[name, shown(f), n_of(f), f.get("why", "")] for name, f in figures]


def _other_scales(block: Record) -> str:
    """Agreement on how much better a response is, and on what was asked of single ones."""
    strength = block["strength"]
    parts = []
    if strength and "alpha" in strength:
        count = len(strength["answers"])
        caption = f"How much better it is, on a scale of {count} answers."
        parts.append(with_reasons(caption, "", _rows(_coefficients(strength))))
    elif strength:
        parts.append(f"<p>How much better it is: undefined, {escape(strength['why'])}</p>")
    for question, found in block["ratings"].items():
        rows = _rows(_coefficients(found))
        # ties are no answer here, and two answers are the same at every level
        kept = [rows[0], rows[2], *rows[5:]] if len(found["answers"]) <= 2 else [rows[0], *rows[2:]]
        parts.append(with_reasons(f"Of single responses: {question}.", "", kept))
    return "".join(parts)


def _coefficients(found: Record) -> list[tuple[str, Record]]:
    return [
        ("raw agreement", found["raw"]),
        ("raw, ties left out", found["raw_without_ties"]),
        *((f"alpha, {level}", found["alpha"][level]) for level in LEVELS),
        ("Fleiss' kappa", found["fleiss_kappa"]),
        ("Cohen's kappa, mean", found["cohen_kappa"]),
    ]


def _cohen(block: Record) -> str:
    rows = [
        [
            " and ".join(pair["annotators"]),
            shown(pair["kappa"]),
            shown(pair["weighted_kappa"]),
            f"{pair['shared_items']:,}",
        ]
        for pair in block["cohen_pairs"]
    ]
    if not rows:
        return ""
    found = table(
        "Cohen's kappa of those who share most items; weighted by the square of the distance.",
        ["annotators", "kappa", "weighted kappa", "shared"],
        rows,
    )
    return f"<details><summary>Pairs of annotators</summary>{found}</details>"


def _noise(record: Record) -> str:
    block = record["noise"]
    figures = [block[key] for key in ("flip_rate_from_agreement", "flip_rate_from_repeated_labels")]
    if all(figure["value"] is None for figure in figures):
        why = " ".join(f"{f['why'][0].upper()}{f['why'][1:]}" for f in figures)
        return f"<h2>Label noise and the ceiling of accuracy</h2><p>Undefined: {escape(why)}</p>"
    rows = [
        ("wrong labels, from agreement", block["flip_rate_from_agreement"]),
        ("wrong labels, from repeated labels", block["flip_rate_from_repeated_labels"]),
        ("ceiling of accuracy against single labels", block["accuracy_ceiling"]),
        ("the ceiling is not below", block["accuracy_ceiling_at_least"]),
    ]
    if block["judgments_of_a_majority"]:
        name = f"ceiling against majorities of {block['judgments_of_a_majority']}"
        rows.append((name, block["accuracy_ceiling_of_majority"]))
    text = (
        "If every label is wrong with the same probability ε, two labels agree in 1 − 2ε(1 − ε), "
        "which gives ε, and a model that is always right agrees with a label in 1 − ε. Where some "
        "pairs are harder than others the ceiling is lower, though not below raw agreement without "
        "ties. Repeated labels count only if they were given anew and not copied."
    )
    found = with_reasons("95 % intervals over prompts.", "", _rows(rows))
    return f"<h2>Label noise and the ceiling of accuracy</h2><p>{escape(text)}</p>{found}"


def _how(record: Record) -> str:
    data, settings = record["data"], record["settings"]
    gone = ", ".join(f"{n:,} {why}" for why, n in data["dropped"].items() if n) or "none"
    where = "; ".join(f"{e['where']} ({e['reason']})" for e in data["dropped_examples"])
    facts = {
        "data": ", ".join(record["sources"]),
        "format": ", ".join(f"{name} ({n:,} rows)" for name, n in data["formats"].items()),
        "rows": f"{data['rows']:,}, in {data['comparisons']:,} comparisons",
        "rows left out": gone,
        "the first of each": where,
        "judged, but no pair to train on": ", ".join(
            f"{n:,} {why}" for why, n in data["no_pair_to_train_on"].items()
        ),
        "settings": ", ".join(f"{name} {value}" for name, value in settings.items()),
        "measured with": ", ".join(f"{k} {v}" for k, v in record["versions"].items()),
        "on": record["created"],
    }
    rows = "".join(f"<dt>{k}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items() if v)
    return f"<h2>How it was measured</h2><dl>{rows}</dl>"


def _range(figure: Record) -> str:
    if figure["low"] is None:
        return "unknown"
    return f"{figure['low']:.3f} to {figure['high']:.3f}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
