"""The model card of a process model: what it is, its held-out figures, how its steps are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.train.process import ProcessResult

_LABELS = {
    "auc": "AUC of good against bad steps",
    "length_only_auc": "the same by the length of the step alone",
    "accuracy": "accuracy at 0.5",
    "nll": "negative log-likelihood",
    "ece": "expected calibration error",
    "good_share": "share of good steps",
}


def process_card(result: ProcessResult, record: Mapping[str, Any]) -> str:
    """The README.md of a run directory, in Markdown with the hub's metadata on top."""
    model, steps, trained = result.model, result.model.steps, record["training"]
    rows = "\n".join(
        f"| {label} | {figure.value:.3f} | [{figure.low:.3f}, {figure.high:.3f}] | {figure.n:,} |"
        for label, figure in ((label, result.figures[key]) for key, label in _LABELS.items())
        if figure.n
    )
    members = f", {model.num_members} heads on bootstraps" if model.num_members > 1 else ""
    place = f"the last token of {steps.separator!r} after it"
    if steps.read == "step":
        place = "its own last token"
    return f"""---
library_name: transformers
pipeline_tag: token-classification
tags:
- process-reward-model
- assay
---

# Process reward model on {model.backbone_name}

Trained with Assay ({trained["mode"]}{members}, {trained["steps"]:,} optimiser steps, seed
{trained["seed"]}) on {result.encoding.steps:,} judged steps of {result.encoding.problems:,}
problems. Training data SHA-256 `{record["data"]["train"]["digest"]}`.

## Held-out figures

On {result.heldout_encoding.steps:,} judged steps of {result.heldout_encoding.problems:,} problems
that were not trained on. Intervals are 95 %, clustered by problem. The saved state is the one with
the lowest loss on these same steps (step {trained["best_step"]:,}), so the figures are a little
better than on steps never looked at.

| figure | value | 95 % interval | n |
|---|---|---|---|
{rows}

Left out: {result.heldout_encoding} (held-out); {result.encoding} (training).
Prompts in both parts: {result.shared_prompts:,}.

![training](training.png)

## How steps are read

A step reward is P(the step is right) = 1 - P(bad), of the outputs {", ".join(steps.classes)}. It is
read at {place}, in the solution tokenised whole up to there, so it does not depend on what comes
after. A neutral label counts as {trained["neutral"]}. Longest solution:
{model.contract.max_length:,} tokens; steps beyond: {model.contract.truncation}.

```python no-run
from assay import Solutions, load_step_scorer
solutions = Solutions.load("solutions.jsonl")
load_step_scorer("RUN").score_steps(solutions).rewards
```
"""
