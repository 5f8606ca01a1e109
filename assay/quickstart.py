"""The verb ``assay quickstart``: the whole path on bundled data, offline, in minutes.

Trains a reward model on everyday questions, reports on prompts it never saw, verifies the run,
scores two replies, and writes a page to look at.
"""

from __future__ import annotations

import base64
import html
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.atomic import write_text
from assay.bundled import HELDOUT, TRAIN
from assay.configs import Quickstart, TrainReward
from assay.types import Comparison, Conversation

if TYPE_CHECKING:
    from assay.types import Scorer

PROMPT = "How can I fall asleep faster?"
REPLIES = (
    "Keep the room dark and cool, put screens away an hour before bed, and get up at the same time "
    "every day.",
    "Sleep is something people do at night. Many people sleep, and sleeping is known to be sleep.",
)
SHOWN = 8
"""Held-out prompts on the page."""


@dataclass(frozen=True)
class QuickstartResult:
    """What the quickstart did, for people and for ``--json``."""

    run: str
    page: str
    heldout: dict[str, Any]
    verification: str
    rewards: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "run": self.run,
            "page": self.page,
            "heldout": self.heldout,
            "verification": self.verification,
            "prompt": PROMPT,
            "replies": [
                {"text": text, "reward": reward}
                for text, reward in zip(REPLIES, self.rewards, strict=True)
            ],
        }

    def __str__(self) -> str:
        accuracy, length = self.heldout["accuracy"], self.heldout["length_only_accuracy"]
        below = "below" if length["value"] < accuracy["low"] else "NOT below"
        replies = "\n".join(f"  {r:+.2f}  {t}" for t, r in zip(REPLIES, self.rewards, strict=True))
        return (
            f"held-out accuracy {accuracy['value']:.3f} "
            f"[{accuracy['low']:.3f}, {accuracy['high']:.3f}], n={accuracy['n']} pairs "
            f"of {self.heldout['prompts']} prompts\n"
            f"length-only baseline {length['value']:.3f}, {below} that interval; chance 0.500\n"
            f"verified: {self.verification}\n"
            f"{PROMPT}\n{replies}\n"
            f"look at {self.page}; train on your own pairs with: "
            "assay train reward --data FILE --out RUN"
        )


def run(config: Quickstart) -> QuickstartResult:
    """The verb ``assay quickstart``; run again, it goes on or reuses the finished run."""
    from assay.score.scorer import load_scorer
    from assay.score.verify import verify
    from assay.train.run import is_finished
    from assay.train.run import run as train

    out = config.out
    if is_finished(out):
        print(f"{out} holds a finished run; verifying and scoring it.", file=sys.stderr)
    else:
        print(
            "training a reward head on bundled everyday questions (a few minutes)", file=sys.stderr
        )
        train(
            TrainReward(
                data=(str(TRAIN),),
                heldout=(str(HELDOUT),),
                backbone=config.backbone,
                out=out,
                seed=config.seed,
                resume=(out / "resume").exists(),
            )
        )
    verification = verify(out)
    scorer = load_scorer(out)
    rewards = scorer.score([Conversation.of(PROMPT, reply) for reply in REPLIES]).reward
    heldout = json.loads((out / "heldout.json").read_text())
    page = out / "quickstart.html"
    write_text(page, render_page(out, heldout, scorer))
    return QuickstartResult(
        run=str(out),
        page=str(page),
        heldout=heldout,
        verification=str(verification),
        rewards=tuple(float(r) for r in rewards),
    )


def render_page(run_directory: Path, heldout: dict[str, Any], scorer: Scorer) -> str:
    """A self-contained HTML page: figures, the report picture, and replies ranked by reward."""
    from assay.data.pairs import PreferencePairs

    comparisons = list(PreferencePairs.load(str(HELDOUT)).comparisons)[:SHOWN]
    picture = base64.b64encode((run_directory / "report.png").read_bytes()).decode()
    rows = "".join(_figure_row(name, heldout[key]) for key, name in _FIGURES)
    blocks = "".join(_block(c, scorer) for c in comparisons)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Assay quickstart</title><style>{_STYLE}</style></head><body><main>
<h1>A reward model, from preferences to scores</h1>
<p>Trained on bundled everyday questions with ranked replies; the figures are on
{heldout["prompts"]} prompts it never saw, with 95&nbsp;% intervals clustered by prompt.</p>
<table><thead><tr><th>figure</th><th class=number>value</th>
<th class=number>95&nbsp;% interval</th><th class=number>n</th></tr></thead>
<tbody>{rows}</tbody></table>
<img alt="Training curves, gap histogram and reliability of the run"
 src="data:image/png;base64,{picture}">
<h2>Held-out replies by reward</h2>
<p>The best reply by the labels is marked ★. A reward means something only next to the reward of
another reply to the same prompt.</p>
{blocks}
</main></body></html>
"""


_FIGURES = (
    ("accuracy", "accuracy"),
    ("length_only_accuracy", "length-only baseline"),
    ("gap", "gap, chosen − rejected"),
    ("nll", "negative log-likelihood (chance 0.693)"),
    ("ece", "calibration error"),
    ("reward_length_correlation", "reward–length correlation within prompts"),
)

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--bar:#2a78b8}
body{font:16px/1.5 system-ui,sans-serif;margin:0}
main{max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;padding:.35rem .6rem;vertical-align:top;border-bottom:1px solid var(--line)}
.number{font-variant-numeric:tabular-nums;white-space:nowrap;text-align:right}
img{width:100%;background:#fff;border-radius:6px}
h3{margin:1.6rem 0 .2rem}
.bar{display:inline-block;height:.6rem;background:var(--bar);border-radius:2px}
td.reply{white-space:pre-wrap}
"""


def _figure_row(name: str, figure: dict[str, Any]) -> str:
    def show(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    interval = f"[{show(figure['low'])}, {show(figure['high'])}]"
    return (
        f"<tr><td>{html.escape(name)}</td><td class=number>{show(figure['value'])}</td>"
        f"<td class=number>{interval}</td><td class=number>{figure['n']:,}</td></tr>"
    )


def _block(comparison: Comparison, scorer: Scorer) -> str:
    """One prompt with its replies, best reward first."""
    rewards = scorer.score(comparison.conversations()).reward
    best = set(comparison.ranking[0]) if comparison.ranking else set()
    low, high = float(rewards.min()), float(rewards.max())
    rows = []
    for i in sorted(range(len(rewards)), key=lambda i: -rewards[i]):
        width = 1 + 5 * (rewards[i] - low) / ((high - low) or 1.0)
        rows.append(
            f"<tr><td class=number>{rewards[i]:+.2f}</td>"
            f"<td><span class=bar style='width:{width:.1f}rem'></span></td>"
            f"<td>{'★' if i in best else ''}</td>"
            f"<td class=reply>{html.escape(_text(comparison, i))}</td></tr>"
        )
    prompt = html.escape("\n".join(m.content for m in comparison.prompt))
    return f"<h3>{prompt}</h3><table><tbody>{''.join(rows)}</tbody></table>"


def _text(comparison: Comparison, response: int) -> str:
    return "\n".join(m.content for m in comparison.responses[response])
