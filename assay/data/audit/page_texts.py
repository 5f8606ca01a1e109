"""The part of the audit's page that is about texts: duplicates, contamination, diversity."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from assay.pages.html import legend, shown, table
from assay.pages.svg import columns_chart

Record = Mapping[str, Any]

RULES = {
    "exact": "the same",
    "13-gram": "a 13-gram",
    "8-grams": "half of 8-grams",
    "MinHash": "near (MinHash)",
}


def duplicates_block(record: Record) -> str:
    """What is there twice, contradicts itself, or goes in circles."""
    block = record["duplicates"]
    rows = [
        ["judgments repeated by the same hand", f"{block['repeated_judgments']:,}"],
        ["pairs labelled both ways by the same hand", f"{block['contradictions']:,}"],
        ["pairs on which annotators disagree", f"{block['disagreements_between_annotators']:,}"],
        ["pairs near another pair", f"{block['near_duplicate_pairs']:,}"],
        ["… with the opposite label", f"{block['near_duplicate_pairs_with_opposite_labels']:,}"],
    ]
    for key, label in (("cycles", "majority"), ("cycles_of_one_annotator", "one annotator")):
        cycles = block[key]
        share = cycles["share_of_prompts"]
        found = f"{cycles['prompts']:,}" + (f" of {share['n']:,}" if share["n"] else "")
        rows.append([f"prompts with a cycle of preferences, {label}", found])
    near = [
        [
            kind,
            f"{found['distinct']:,}",
            f"{found['clusters']:,}",
            f"{found['extra']:,}",
            shown(found["share_in_clusters"]),
        ]
        for kind, found in (
            ("prompts", block["near_duplicate_prompts"]),
            ("responses", block["near_duplicate_responses"]),
        )
        if found
    ]
    text = (
        "The same but for case and white space is the same; near is a Jaccard similarity of at "
        f"least {block['threshold']:g} of shingles of five characters, found by MinHash and then "
        "computed exactly. flagged.jsonl lists the rows."
    )
    header = ["", "distinct", "clusters", "beyond the first", "share in clusters"]
    return (
        f"<h2>Duplicates, contradictions, cycles</h2><p>{escape(text)}</p>"
        + table("Counts.", ["", "count"], rows)
        + (table("Near-duplicate texts.", header, near) if near else "")
        + _largest(block)
    )


def _largest(block: Record) -> str:
    rows = [
        [f"{cluster['texts']:,}", kind, cluster["example"]]
        for kind, found in (
            ("prompt", block["near_duplicate_prompts"]),
            ("response", block["near_duplicate_responses"]),
        )
        if found
        for cluster in found["largest"]
    ]
    if not rows:
        return ""
    found = table("One text of each.", ["texts", "kind", "begins"], rows, words=(1, 2))
    return f"<details><summary>The largest clusters</summary>{found}</details>"


def contamination_block(record: Record) -> str:
    """Prompts of evaluations in the data."""
    block = record["contamination"]
    if not block:
        return (
            "<h2>Contamination</h2><p>Not measured: --against names suites or files whose prompts "
            "must not be in the data.</p>"
        )
    evaluations = block["evaluations"]
    rows = [
        [
            e["evaluation"],
            f"{e['prompts']:,}",
            shown(e["contaminated"]),
            *(f"{e['found_by'].get(rule, 0):,}" for rule in RULES),
            f"{e['comparisons_to_drop']:,}",
            f"{e['shorter_than_an_8_gram']:,}",
        ]
        for e in evaluations
    ]
    examples = [
        [e["evaluation"], x["by"], f"{_last(x['source'])} {x['row']}", x["prompt"]]
        for e in evaluations
        for x in e["examples"]
    ]
    text = (
        "Prompts of the evaluation that are in the data, by rule. Prompts shorter than eight words "
        "are only compared as a whole or by their shingles."
    )
    header = ["evaluation", "prompts", "contaminated", *RULES.values(), "to drop", "short"]
    found = table("95 % intervals (Wilson).", header, rows)
    if examples:
        listed = table(
            "The first of each evaluation.",
            ["evaluation", "by", "row", "prompt of the data"],
            examples,
            words=(1, 2, 3),
        )
        found += f"<details><summary>Examples</summary>{listed}</details>"
    return f"<h2>Contamination</h2><p>{escape(text)}</p>{found}"


def _last(source: str) -> str:
    return source.rsplit("/", 1)[-1]


def diversity_block(record: Record) -> str:
    """How different the texts are, and how long."""
    blocks = record["diversity"]
    if not blocks:
        return "<h2>Diversity</h2><p>Not measured: the data hold no texts.</p>"
    rows = [
        [
            f"{kind}, {b['samples']:,} × {b['texts_per_sample']:,}",
            shown(b["vendi_share"]),
            *(shown(b[f"distinct_{n}"]) for n in (1, 2, 3)),
        ]
        for kind, b in blocks.items()
    ]
    text = (
        "Vendi: the number of texts with nothing in common that would be as diverse, by the number "
        "there are (TF-IDF cosines). Distinct-n: different n-grams by all n-grams. Both fall with "
        "the size of a sample, so all samples have the same."
    )
    header = ["samples × texts", "Vendi", "distinct-1", "distinct-2", "distinct-3"]
    return (
        f"<h2>Diversity and lengths</h2><p>{escape(text)}</p>"
        + table("Means over samples that share no text, with 95 % intervals.", header, rows)
        + _lengths(record)
    )


def _lengths(record: Record) -> str:
    kinds = record["lengths"]
    edges = max((k["histogram"]["edges"] for k in kinds.values()), key=len)
    groups, key = [], []
    for style, (kind, found) in zip(("model", "length"), kinds.items(), strict=False):
        counts = found["histogram"]["counts"]
        shares = [100 * c / found["texts"] for c in counts]
        groups.append((style, shares + [0.0] * (len(edges) - len(counts))))
        key.append((kind, f'<rect class="{style}" x="1" y="1" width="10" height="10"/>'))
    chart = columns_chart(
        "Lengths of prompts and responses",
        [_short(edge) for edge in edges],
        groups,
        "characters, from (each bin ends where the next begins); per cent of texts",
    )
    rows = [
        [kind, *(f"{value:,.0f}" for value in found["quantiles"].values()), f"{found['texts']:,}"]
        for kind, found in kinds.items()
    ]
    sizes = record["data"]["comparisons_of_a_prompt"]
    note = (
        f"Comparisons of one prompt: {sizes['median']:g} at the median, "
        f"{sizes['largest']:,} at most."
    )
    return (
        f'<figure><div class="box">{chart}</div>{legend(key)}</figure>'
        + table("Characters, every comparison counted.",
                ["", "5 %", "25 %", "median", "75 %", "95 %", "n"], rows)
        + f"<p>{escape(note)}</p>"
    )  # fmt: skip


def _short(edge: int) -> str:
    return f"{edge:g}" if edge < 1024 else f"{edge // 1024}k"
