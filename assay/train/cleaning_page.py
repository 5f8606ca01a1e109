"""The page of a cleaning: what was found, what every action would change, the labels to look at."""

from __future__ import annotations

from html import escape

import numpy as np

from assay.pages.html import page, shown, table
from assay.pages.svg import bars_chart
from assay.train.cleaning import Cleaned
from assay.train.cleaning_report import BINS, Change, CleaningReport, Suspicious
from assay.types import Messages

SHOWN = 30
"""Labels whose texts are on the page."""
NOTHING = 0.001
"""A flip rate that is none."""
LONGEST = 2000
"""Characters of a text that are shown; what is cut is counted."""

_FIGURES = {
    "accuracy": "out-of-fold accuracy against the labels as they are",
    "length_only_accuracy": "the same by length alone",
    "nll": "negative log-likelihood, calibrated (a coin has 0.693)",
    "ece": "calibration error, calibrated",
    "flip_rate": "flip rate",
}
_ACTIONS = {
    "flip": "turned round",
    "smooth": "moved in part to the other side",
    "drop": "left out",
    "down-weight": "made to weigh less",
}


def cleaning_page(report: CleaningReport, cleaned: Cleaned) -> str:
    """The page as HTML; all texts of the data are escaped."""
    rate = report.figures["flip_rate"]
    low, high = (f"{x:.1%}" for x in (rate.low, rate.high))
    accuracy = report.figures["accuracy"]
    title = "Labels that are probably wrong"
    chart = bars_chart(
        title,
        np.linspace(0, 1, BINS + 1).tolist(),
        report.histogram,
        "probability that the label is wrong",
    )
    body = (
        f"<h1>{title}</h1>"
        f'<p class="soft">{escape(_how(report))}</p>'
        f'<p class="head">{rate.value:.1%}<small>of the labels flipped, estimated; 95 % interval '
        f"{low} to {high} · {rate.n:,} labels of {report.prompts:,} prompts</small></p>"
        f"<p>{escape(_meaning(report))}</p>"
        + table(
            "Out-of-fold figures with 95 % intervals over prompts.",
            ["", "value", "n"],
            [
                [label, shown(report.figures[key].to_dict()), f"{report.figures[key].n:,}"]
                for key, label in _FIGURES.items()
            ],
        )
        + f'<h2>How probably each label is wrong</h2><figure><div class="box">{chart}</div>'
        "<figcaption>Number of labels; ties are left out.</figcaption></figure>"
        + _changes(report)
        + f"<h2>The most suspicious labels</h2><p>{escape(_look(accuracy.value))}</p>"
        + "".join(_suspicious(found, cleaned) for found in report.suspicious[:SHOWN])
    )
    return page(title, body)


def _how(report: CleaningReport) -> str:
    return (
        f"{report.comparisons:,} comparisons; {report.members} members, {report.folds} folds of "
        f"the prompts, {report.rounds} rounds; {report.encoding}; data {report.loaded}"
    )


def _meaning(report: CleaningReport) -> str:
    done = ", ".join(f"{n:,} {name}" for name, n in report.counts.items() if n)
    text = (
        f"Action {report.action}: {done}. Every label was judged by models that never saw its "
        "prompt. The temperature and the flip rate that make their gaps probabilities were fitted "
        f"on these same out-of-fold gaps. About {report.expected_wrong:,.0f} labels are expected "
        "to be wrong. Where the models are sure and wrong, that counts as a flip too."
    )
    if report.figures["flip_rate"].low < NOTHING:
        text += " The interval holds 0: nothing here shows that any label was flipped."
    if report.emptied:
        text += f" {report.emptied:,} comparisons lost all labels and are not in the new file."
    if report.rankings_given_up:
        text += f" {report.rankings_given_up:,} rankings became single preferences."
    return text


def _changes(report: CleaningReport) -> str:
    return "<h2>What each action would change</h2>" + table(
        "Expected wrong labels are the sum of the labels' own probabilities.",
        ["action", "suspects", "labels", "comparisons emptied", "expected wrong after"],
        [_change(change) for change in report.changes],
    )


def _change(change: Change) -> list[str]:
    limit = (
        f"the {change.share:.1%} most suspicious"
        if change.share is not None
        else f"probability ≥ {change.threshold:g}"
    )
    after = "–"
    if change.expected_wrong is not None:
        after = f"{change.expected_wrong:,.0f} of {change.remaining:,}"
    name = f"{change.action}: {_ACTIONS[change.action]}"
    return [name, limit, f"{change.labels:,}", f"{change.emptied:,}", after]


def _look(accuracy: float) -> str:
    return (
        "Read some before you trust an action: these are the labels on which the models are "
        f"surest of the opposite, and they are right on {accuracy:.0%} of all labels."
    )


def _suspicious(found: Suspicious, cleaned: Cleaned) -> str:
    comparison = cleaned.pairs.comparisons[found.comparison - 1]
    name = f"comparison {found.comparison:,}" + (f" ({found.id})" if found.id else "")
    texts = {
        "prompt": comparison.prompt,
        f"labelled better (response {found.chosen + 1})": comparison.responses[found.chosen],
        f"labelled worse (response {found.rejected + 1})": comparison.responses[found.rejected],
    }
    blocks = "".join(
        f'<p class="soft">{escape(label)}</p><pre>{escape(_text(messages))}</pre>'
        for label, messages in texts.items()
    )
    return (
        f"<details><summary>{found.probability_wrong:.1%} wrong · {escape(name)} · gap "
        f"{found.gap:+.2f} ± {found.std:.2f}</summary>{blocks}</details>"
    )


def _text(messages: Messages) -> str:
    only = len(messages) == 1
    text = "\n\n".join(m.content if only else f"{m.role}: {m.content}" for m in messages)
    cut = len(text) - LONGEST
    return text if cut <= 0 else f"{text[:LONGEST]}… ({cut:,} more characters)"
