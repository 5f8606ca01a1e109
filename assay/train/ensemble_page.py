"""The page and the card of an ensemble: its figures beside its members', and their diversity."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.atomic import write_text
from assay.configs import EnsembleTraining
from assay.pages.html import page, shown, table
from assay.pages.svg import Mark, rows_chart
from assay.train.ensemble_report import Diversity, EnsembleReport, protection
from assay.types import Figure

if TYPE_CHECKING:
    from assay.configs import TrainEnsemble

_FIGURES = {
    "accuracy": "accuracy",
    "nll": "NLL",
    "ece": "ECE",
    "gap": "gap",
    "reward_length_correlation": "reward–length",
}
_DIVERSITY = {
    "disagreement": "two members order the pair differently",
    "error_correlation": "correlation of two members' errors",
    "gap_correlation": "correlation of two members' gaps",
    "spread": "members' standard deviation, in those of the gap",
}


def ensemble_page(
    report: EnsembleReport, config: EnsembleTraining, shifted: str, path: Path
) -> Path:
    """Write ``report.html`` of an ensemble's run directory."""
    accuracy = report.heldout.accuracy
    rows = [("ensemble", [_mark(accuracy)])] + [
        (f"member {i}", [_mark(m.accuracy)]) for i, m in enumerate(report.members, start=1)
    ]
    rows.append(("length only", [_mark(report.heldout.length_only_accuracy, "length")]))
    figures = [m.value for _, marks in rows for m in marks]
    low = min(0.45, *figures) - 0.05
    chart = rows_chart("Held-out accuracy", rows, max(0.0, low), 1.0, "accuracy", line=0.5)
    head = (
        f"<h1>Ensemble of {len(report.members)} reward models</h1>"
        f'<p class="soft">{escape(_how(report, config))}</p>'
        f'<p class="head">{accuracy.value:.3f}<small>95 % interval {accuracy.low:.3f} to '
        f"{accuracy.high:.3f} · {accuracy.n:,} held-out pairs of {report.heldout.prompts:,} prompts"
        f"</small></p><p>{escape(protection(report.diversity))}</p>"
    )
    body = (
        head
        + f'<h2>Members</h2><figure><div class="box">{chart}</div></figure>'
        + _members(report)
        + _against(report)
        + _diversity(report, shifted)
        + _uncertainty(report)
    )
    write_text(path, page(f"Ensemble of {len(report.members)} reward models", body))
    return path


def _mark(figure: Figure, style: str = "model") -> Mark:
    return Mark(figure.value, figure.low, figure.high, style)


def _how(report: EnsembleReport, config: EnsembleTraining) -> str:
    return (
        f"diversity {config.diversity}, aggregator {report.aggregator}, seed {config.seed}; "
        f"{report.heldout.encoding}"
    )


def _members(report: EnsembleReport) -> str:
    named = [("ensemble", report.heldout)] + [
        (f"member {i}", m) for i, m in enumerate(report.members, start=1)
    ]
    rows = [[name, *(shown(m.figures[key].to_dict()) for key in _FIGURES)] for name, m in named]
    return table(
        "Held-out figures, 95 % intervals over prompts: negative log-likelihood (NLL), expected "
        "calibration error (ECE), and the correlation of reward and length within prompts.",
        ["", *_FIGURES.values()],
        rows,
        [0],
    )


def _against(report: EnsembleReport) -> str:
    nll, accuracy = report.against_members["nll"], report.against_members["accuracy"]
    return (
        "<p>Pair by pair, the ensemble less the mean of its members: negative log-likelihood "
        f"{shown(nll.to_dict(), signed=True)} (below 0 is better), accuracy "
        f"{shown(accuracy.to_dict(), signed=True)}.</p>"
    )


def _diversity(report: EnsembleReport, shifted: str) -> str:
    names = {"heldout": "held-out pairs", "shifted": f"shifted: {shifted}"}
    rows = [
        [label, *(shown(getattr(d, key).to_dict()) for d in report.diversity.values())]
        for key, label in _DIVERSITY.items()
    ]
    note = (
        ""
        if "shifted" in report.diversity
        else ("<p>No pairs unlike the training data were at hand: --shifted names some.</p>")
    )
    return (
        "<h2>How different the members are</h2>"
        + table(
            "With 95 % intervals over prompts.",
            ["", *(names[name] for name in report.diversity)],
            rows,
        )
        + note
    )


def _uncertainty(report: EnsembleReport) -> str:
    found = report.uncertainty
    share = f"{found.rejection.share:.0%}"
    rows = [
        ["correlation of doubt with being wrong", shown(found.error_correlation.to_dict())],
        [
            f"accuracy without the {share} most doubtful pairs",
            shown(found.rejection.kept.to_dict()),
        ],
        ["gain over all pairs", shown(found.rejection.gain.to_dict(), signed=True)],
    ]
    return (
        "<h2>Does disagreement warn of errors?</h2><p>Doubt is the members' standard deviation "
        "over the size of the gap.</p>" + table("Held-out pairs.", ["", "value"], rows)
    )


def ensemble_card(report: EnsembleReport, config: TrainEnsemble, shifted: str) -> str:
    """The README.md of an ensemble's run directory."""
    heads = " | ".join(_FIGURES.values())
    lines = [
        f"| {name} | " + " | ".join(_cell(member.figures[key]) for key in _FIGURES) + " |"
        for name, member in [
            ("**ensemble**", report.heldout),
            *((f"member {i}", m) for i, m in enumerate(report.members, start=1)),
        ]
    ]
    parts = {"heldout": "held-out", "shifted": f"shifted ({shifted})"}
    diversity = [
        f"| {parts[name]} | " + " | ".join(_cell(f) for f in _diversity_figures(d)) + " |"
        for name, d in report.diversity.items()
    ]
    rejection = report.uncertainty.rejection
    return f"""---
tags:
- reward-model
- assay
---

# Ensemble of {len(report.members)} reward models

Trained with Assay on {", ".join(config.backbone)}: {_how(report, config)}.

| | {heads} |
|---|{"---|" * len(_FIGURES)}
{chr(10).join(lines)}

{protection(report.diversity)}

| pairs | {" | ".join(_DIVERSITY.values())} |
|---|{"---|" * len(_DIVERSITY)}
{chr(10).join(diversity)}

Without the {rejection.share:.0%} of the pairs that members doubt most, accuracy is
{rejection.kept} (gain {rejection.gain}).

```python no-run
from assay import Conversation, load_scorer
scores = load_scorer("RUN").score([Conversation.of("Why is the sky blue?", "Air scatters blue.")])
scores.reward, scores.std
```

Each `part-N` is a reward model by itself, the first member on its backbone.
"""


def _cell(figure: Figure) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _diversity_figures(diversity: Diversity) -> list[Any]:
    return [getattr(diversity, key) for key in _DIVERSITY]
