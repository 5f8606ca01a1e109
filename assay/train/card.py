"""The model card: what a run is, how it scores, its held-out figures, and how to serve it raw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from assay.train import learnt

if TYPE_CHECKING:
    from assay.train.reward import RewardResult

_LABELS = {
    "accuracy": "accuracy",
    "length_only_accuracy": "length-only baseline (fitted on the training pairs)",
    "gap": "gap (chosen − rejected)",
    "nll": "negative log-likelihood (chance 0.693)",
    "ece": "expected calibration error",
    "reward_length_correlation": "reward–length correlation within prompts (Spearman)",
}


def model_card(result: RewardResult, record: Mapping[str, Any]) -> str:
    """The README.md of a run directory, in Markdown with the hub's metadata on top."""
    model, report = result.model, result.heldout
    contract = model.contract
    figures = report.figures
    rows = "\n".join(
        f"| {label} | {figure.value:.3f} | [{figure.low:.3f}, {figure.high:.3f}] | {figure.n:,} |"
        for label, figure in ((label, figures[key]) for key, label in _LABELS.items())
        if figure.n
    )
    steps = record["training"]
    heldout = f"{report.encoding.pairs:,} pairs"
    if report.unit != "pairs":
        heldout = f"{report.encoding.comparisons:,} labelled {report.unit}, good against bad,"
    added = f", and {result.added.pairs:,} added pairs" if result.added else ""
    frozen = f", today's date frozen at {contract.frozen_date}" if contract.frozen_date else ""
    return f"""---
library_name: transformers
pipeline_tag: text-classification
tags:
- reward-model
- assay
---

# Reward model on {model.backbone_name}

Trained with Assay ({steps["mode"]}, loss {steps["loss"]}, {steps["steps"]:,} steps,
seed {steps["seed"]}) on {result.encoding.pairs:,} preference pairs in
{result.encoding.comparisons:,} comparisons{added}. Training data SHA-256
`{record["data"]["train"]["digest"]}`.

## Held-out figures

On {heldout} over {report.prompts:,} prompts that were not trained on.
Intervals are 95 %, clustered by prompt. The saved state is the one with the lowest loss on these
same {report.unit} (step {steps["best_step"]:,}), so the figures are a little better than on
{report.unit} never looked at.

| figure | value | 95 % interval | n |
|---|---|---|---|
{rows}

Left out: {record["data"]["dropped"]["heldout"]} (held-out);
{record["data"]["dropped"]["train"]} (training).
Prompts in both parts: {result.shared_prompts:,}.

![training](report.png)

{learnt.section(result.objective)}## Scoring contract

The reward is the raw output of the head, read at `{contract.end_of_response}`, the last token of
the conversation (pooling: {contract.pooling}). Longest conversation: {contract.max_length:,}
tokens; longer ones: {contract.truncation}.
Chat template: {contract.template_source}{frozen}.
Contract digest `{contract.digest}`.

```python no-run
from assay import Conversation, load_scorer
conversation = Conversation.of("Why is the sky blue?", "Air scatters blue light more.")
load_scorer("RUN").score([conversation]).reward
```

{_serving(model.is_standard)}
A reward means something only next to the reward of another response to the same prompt.
"""


def _serving(standard: bool) -> str:
    if not standard:
        return (
            "**Only Assay loads this directory**: its head reads other states than the last\n"
            "token's. For a directory that plain transformers reads, train with `--pooling last`.\n"
        )
    return """Plain transformers reads the same number, on single, left- and right-padded input:

```python no-run
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("RUN")
model = AutoModelForSequenceClassification.from_pretrained("RUN")
messages = [
    {"role": "user", "content": "Why is the sky blue?"},
    {"role": "assistant", "content": "Air scatters blue."},
]
inputs = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
model(**inputs).logits
```

To serve raw rewards elsewhere: `config.json` says `problem_type: regression`, so vLLM applies no
sigmoid on `/classify` (or pass `"use_activation": false`); TEI needs `"raw_scores": true`. (Neither
server was run on this checkpoint.)
"""
