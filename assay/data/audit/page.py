"""The page of an audit: one HTML file that needs nothing else and runs no script.

It reads what ``audit.json`` holds, and nothing besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from assay.pages.html import legend, page, shown, table
from assay.pages.svg import Mark, columns_chart, rows_chart

Record = Mapping[str, Any]

CHARTED = 30
"""Annotators in the chart, those with most judgments."""
LISTED = 100
"""Annotators in the table; audit.json has all."""

LEVELS = {
    "nominal": "Krippendorff's alpha, nominal",
    "ordinal": "Krippendorff's alpha, ordinal",
    "interval": "Krippendorff's alpha, interval",
}
RULES = {
    "exact": "the same prompt",
    "13-gram": "a shared 13-gram",
    "8-grams": "half of the 8-grams",
    "near": "near (MinHash)",
}


def audit_page(record: Record) -> str:
    """The page as text."""
    blocks = (
        _head,
        _findings,
        _agreement,
        _noise,
        _annotators,
        _position,
        _length,
        _duplicates,
        _contamination,
        _diversity,
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
    scales = [("", block)]
    if block["strength"] and "alpha" in block["strength"]:
        scales.append((", with strength", block["strength"]))
    scales += [(f", {name}", found) for name, found in block["ratings"].items()]
    chart_rows, rows = [], []
    for suffix, found in scales:
        for label, figure in _coefficients(found):
            name = label + suffix
            if figure["value"] is not None:
                style = "length" if suffix else "model"
                chart_rows.append((name, [_mark(figure, style)]))
            rows.append([name, shown(figure), _n(figure), figure.get("why", "")])
    chart = ""
    if chart_rows:
        low = min(0.0, *(m.low if m.low is not None else m.value for _, (m,) in chart_rows))
        chart = rows_chart(
            "Agreement with 95 % intervals", chart_rows, low, 1.0, "agreement", line=0.0
        )
        chart = f'<figure><div class="box">{chart}</div></figure>'
    why_none = block["strength"] and block["strength"].get("why")
    note = f" Strength is left out: {why_none}" if why_none else ""
    text = (
        f"On the {block['items_judged_by_two_or_more']:,} pairs of responses that two or more "
        "annotators judged. Raw agreement is the share of two judgments of a pair that are the "
        "same; alpha and kappa take off what chance would give: 0 is chance, 1 is always. Fleiss' "
        "kappa is of the pairs with the most common number of judgments, Cohen's the mean of two "
        f"annotators each.{note}"
    )
    caption = "95 % intervals over prompts (bootstrap; raw agreement: Wilson's)."
    found = table(caption, ["", "value", "n", "why there is none"], rows, words=(3,))
    return f"<h2>Agreement</h2><p>{escape(text)}</p>{chart}{found}{_cohen(block)}"


def _coefficients(found: Record) -> list[tuple[str, Record]]:
    return [
        ("raw agreement", found["raw"]),
        ("raw, ties left out", found["raw_without_ties"]),
        *((label, found["alpha"][level]) for level, label in LEVELS.items()),
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
    rows = [
        ["wrong labels, from agreement", block["flip_rate_from_agreement"]],
        ["wrong labels, from repeated labels", block["flip_rate_from_repeated_labels"]],
        ["ceiling of accuracy against single labels", block["accuracy_ceiling"]],
        ["the ceiling is not below", block["accuracy_ceiling_at_least"]],
    ]
    if block["judgments_of_a_majority"]:
        name = f"ceiling against majorities of {block['judgments_of_a_majority']}"
        rows.append([name, block["accuracy_ceiling_of_majority"]])
    text = (
        "If every label is wrong with the same probability ε, two labels agree in 1 − 2ε(1 − ε), "
        "which gives ε, and a model that is always right agrees with a label in 1 − ε. Where some "
        "pairs are harder than others the ceiling is lower, though not below raw agreement without "
        "ties. Repeated labels count only if they were given anew and not copied."
    )
    lines = [[name, shown(f), _n(f), f.get("why", "")] for name, f in rows]
    found = table("Label noise.", ["", "value", "n", "why there is none"], lines, words=(3,))
    return f"<h2>Label noise and the ceiling of accuracy</h2><p>{escape(text)}</p>{found}"


def _annotators(record: Record) -> str:
    annotators, block = record["annotators"], record["reliability"]
    if not annotators:
        return ""
    charted = [a for a in annotators[:CHARTED] if a["agreement_with_the_rest"]["value"] is not None]
    chart = ""
    if charted:
        rows = [(a["name"], [_mark(a["agreement_with_the_rest"], _style(a))]) for a in charted]
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
    lines = [
        [
            a["name"],
            f"{a['judgments']:,}",
            shown(a["agreement_with_the_rest"]),
            f"{a['shared_items']:,}",
            shown(a["dawid_skene_accuracy"], interval=False),
            shown(a["mace_competence"], interval=False),
            shown(a["preferred_first_shown"]),
            shown(a["preferred_longer"]),
            shown(a["ties"], interval=False),
            shown(a["agreement_with_self"], interval=False),
            "; ".join(a["notes"]),
        ]
        for a in annotators[:LISTED]
    ]
    header = [
        *("annotator", "judgments", "with the rest", "shared", "Dawid–Skene", "MACE"),
        *("prefers first shown", "prefers longer", "ties", "with self", "notes"),
    ]
    caption = (
        "Dawid–Skene: mean probability that an answer is the true one; MACE: that it was not given "
        "at random. With self: repeated answers that are the same. 95 % intervals over prompts."
    )
    if len(annotators) > LISTED:
        caption += f" The {LISTED} with most judgments; audit.json has all {len(annotators):,}."
    return f"<h2>Annotators</h2><p>{escape(_reliability(block))}</p>{chart}" + table(
        caption, header, lines, words=(10,)
    )


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


def _position(record: Record) -> str:
    block = record["position"]
    first, swap = block["preferred_first_shown"], block["effect_of_being_first"]
    rows = [
        ["prefers the one shown first", shown(first), _n(first), first.get("why", "")],
        [
            "what being first adds to a share",
            shown(swap, signed=True),
            _n(swap),
            swap.get("why", ""),
        ],
    ]
    taken = (
        "The order shown is recorded."
        if block["order_is_recorded"]
        else "The order is that in which the file lists the responses."
    )
    if first["value"] is None:
        taken = ""
    text = (
        f"{taken} The first line is ½ without bias, if orders were drawn by chance; the second, "
        "from pairs judged in both orders, is 0 without bias whatever the orders were."
    )
    if block["ties_by_inconsistent_orders"]:
        text += (
            f" {block['ties_by_inconsistent_orders']:,} ties stand for two orders that disagreed."
        )
    header = ["ties left out", "value", "n", "why there is none"]
    found = table("95 % intervals over prompts.", header, rows, words=(3,))
    return f"<h2>Position bias</h2><p>{escape(text)}</p>{found}"


def _length(record: Record) -> str:
    block = record["length"]
    longer = block["preferred_longer"]
    if longer["value"] is None:
        return f"<h2>Length bias</h2><p>Undefined: {escape(longer['why'])}</p>"
    marks = [("all", [_mark(longer)])]
    marks += [(_ratio(s), [_mark(s["preferred_longer"])]) for s in block["strata"]]
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


def _duplicates(record: Record) -> str:
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


def _contamination(record: Record) -> str:
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


def _diversity(record: Record) -> str:
    blocks = record["diversity"]
    if not blocks:
        return "<h2>Diversity</h2><p>Not measured: the data hold no texts.</p>"
    rows = [
        [
            f"{kind}, samples of {b['texts_per_sample']:,}",
            shown(b["vendi_share"]),
            *(shown(b[f"distinct_{n}"]) for n in (1, 2, 3)),
            f"{b['samples']:,}",
            f"{b['distinct_texts']:,}",
        ]
        for kind, b in blocks.items()
    ]
    text = (
        "Vendi: the number of texts with nothing in common that would be as diverse, by the number "
        "there are (TF-IDF cosines). Distinct-n: different n-grams by all n-grams. Both fall with "
        "the size of a sample, so all samples have the same."
    )
    header = ["", "Vendi", "distinct-1", "distinct-2", "distinct-3", "samples", "distinct texts"]
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
        f"A prompt has {sizes['median']:g} comparisons at the median and {sizes['largest']:,} at "
        "most."
    )
    return (
        f'<figure><div class="box">{chart}</div>{legend(key)}</figure>'
        + table("Characters, every comparison counted.",
                ["", "5 %", "25 %", "median", "75 %", "95 %", "n"], rows)
        + f"<p>{escape(note)}</p>"
    )  # fmt: skip


def _short(edge: int) -> str:
    return f"{edge:g}" if edge < 1024 else f"{edge // 1024}k"


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


def _mark(figure: Record, style: str = "model") -> Mark:
    return Mark(figure["value"], figure["low"], figure["high"], style)


def _range(figure: Record) -> str:
    if figure["low"] is None:
        return "unknown"
    return f"{figure['low']:.3f} to {figure['high']:.3f}"


def _signed(figure: Record) -> str:
    if figure["low"] is None:
        return f"{figure['value']:+,.0f}"
    return f"{figure['value']:+,.0f} [{figure['low']:+,.0f}, {figure['high']:+,.0f}]"


def _n(figure: Record) -> str:
    return f"{figure['n']:,}" if figure["n"] else "–"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
