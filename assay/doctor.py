"""The verb ``assay doctor``: tokenizer, template and data traps, found before training.

For somebody else's reward model it shows the inferred contract, marked unverified, and whether
plain transformers reads the token that the contract scores. The traps are those that users of
other trainers report.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from assay.configs import Doctor
from assay.errors import ConfigError, ContractError
from assay.types import Comparison, Conversation, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from assay.data.contract import Renderer
    from assay.data.pairs import PreferencePairs

Level = Literal["ok", "handled", "warning", "problem"]
_SIGNS = {"ok": "ok", "handled": "handled", "warning": "WARNING", "problem": "PROBLEM"}


@dataclass(frozen=True)
class Finding:
    """One thing checked: ok, a trap Assay handled, a warning, or a problem to fix."""

    level: Level
    check: str
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """All findings, and the contract they are about."""

    subject: str
    findings: tuple[Finding, ...]
    contract: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        counts = {level: sum(f.level == level for f in self.findings) for level in _SIGNS}
        return {
            "subject": self.subject,
            "counts": counts,
            "findings": [asdict(f) for f in self.findings],
            "contract": self.contract,
        }

    def __str__(self) -> str:
        lines = [self.subject]
        lines += [f"  {_SIGNS[f.level]:8} {f.check}: {f.text}" for f in self.findings]
        if self.contract:
            keys = (
                "template_source",
                "end_of_response",
                "pad_token",
                "max_length",
                "pooling",
                "frozen_date",
                "verified",
            )
            lines.append("contract: " + ", ".join(f"{k} {self.contract[k]!r}" for k in keys))
        return "\n".join(lines)


def run(config: Doctor) -> Diagnosis:
    """The verb ``assay doctor``.

    Raises:
        ConfigError: If there is nothing to look at.
    """
    if config.model:
        return diagnose_model(config.model)
    if not config.backbone:
        if not config.data:
            raise ConfigError(
                "assay doctor needs a reward-model directory, --backbone, or --data to look at."
            )
        return Diagnosis("data", tuple(_data_findings(config, None)))
    from assay.data.contract import Renderer, make_contract
    from assay.models.backbones import load_tokenizer, resolve_backbone

    location = resolve_backbone(config.backbone)
    shipped = load_tokenizer(location)
    tokenizer = load_tokenizer(location)
    contract = make_contract(tokenizer, max_length=config.max_length)
    renderer = Renderer(contract, tokenizer)
    findings = list(tokenizer_findings(shipped, renderer))
    if config.data:
        findings += _data_findings(config, renderer)
    return Diagnosis(config.backbone, tuple(findings), contract.to_dict())


def tokenizer_findings(shipped: PreTrainedTokenizerBase, renderer: Renderer) -> Iterator[Finding]:
    """Traps of a tokenizer and template as shipped, and what the contract makes of them."""
    contract = renderer.contract
    end = contract.end_of_response
    probe = Conversation.of("A question?", "An answer.")
    pad = shipped.pad_token
    if pad is None:
        yield Finding(
            "handled", "pad token", f"none is set; the contract pads with {contract.pad_token!r}."
        )
    elif str(pad) == end:
        yield Finding(
            "handled",
            "pad = EOS",
            f"padding and the end of a response are both {end!r}, so plain transformers would "
            f"score the token before the end; the contract pads with {contract.pad_token!r}.",
        )
    else:
        yield Finding(
            "ok", "pad = EOS", f"padding {str(pad)!r} is not the end of a response {end!r}."
        )
    if contract.template_source == "plain":
        yield Finding(
            "handled",
            "chat template",
            "there is none; conversations are rendered as plain 'User:' and 'Assistant:'.",
        )
    else:
        text = _shipped_render(shipped, probe)
        _, ended, after = text.rpartition(probe.response_text)[2].partition(end)
        if not ended:
            yield Finding(
                "handled",
                "missing EOS",
                f"the template does not end a response with {end!r}; the contract adds it.",
            )
        elif after:
            yield Finding(
                "handled",
                "text after the end",
                f"the template writes {after!r} after {end!r}; the contract stops at {end!r}.",
            )
        else:
            yield Finding(
                "ok", "end of response", f"a response ends in {end!r}, the token that is scored."
            )
        if "system" in text and "system" not in [m.role for m in probe.messages]:
            yield Finding(
                "warning",
                "system message",
                "the template adds a system message of its own to every conversation.",
            )
    if contract.frozen_date:
        yield Finding(
            "handled",
            "date in template",
            "the template writes today's date, so rewards would change from day to day; "
            f"frozen at {contract.frozen_date}.",
        )
    else:
        yield Finding("ok", "date in template", "the template does not ask for the date.")
    yield _bos_finding(renderer, probe)


def _shipped_render(tokenizer: PreTrainedTokenizerBase, conversation: Conversation) -> str:
    from assay.data.contract import apply_template

    template = tokenizer.chat_template
    chosen = template["default"] if isinstance(template, dict) else template
    return apply_template(tokenizer, str(chosen), conversation.messages, generation_prompt=False)


def _bos_finding(renderer: Renderer, probe: Conversation) -> Finding:
    tokenizer = renderer.tokenizer
    text = renderer.render(probe)
    bare = tokenizer(text, add_special_tokens=False)["input_ids"]
    special = tokenizer(text)["input_ids"]
    if len(special) > len(bare) and special[0] == special[1]:
        return Finding(
            "warning",
            "double BOS",
            "tokenising the rendered text with special tokens gives two BOS tokens; "
            "Assay gives one, and so does apply_chat_template(tokenize=True).",
        )
    if len(special) > len(bare):
        return Finding(
            "warning",
            "added tokens",
            f"tokenising the rendered text with special tokens adds {len(special) - len(bare)} "
            "tokens that training did not see; use add_special_tokens=False.",
        )
    return Finding("ok", "double BOS", "no token is added twice.")


def _data_findings(config: Doctor, renderer: Renderer | None) -> list[Finding]:
    from assay.data.pairs import PreferencePairs, overlap

    pairs = PreferencePairs.load(config.data, on_bad_row="skip", limit=config.limit)
    report = pairs.report
    findings = [Finding("ok", "rows", str(report))]
    for reason, count in report.dropped.items():
        if count:
            places = "; ".join(
                f"{d.where}: {d.reason}" for d in report.examples if d.reason == reason
            )
            findings.append(
                Finding("warning", reason, f"{count:,} left out{f' ({places})' if places else ''}.")
            )
    if report.contradictions:
        findings.append(
            Finding(
                "warning",
                "contradictions",
                f"{report.contradictions:,} pairs say the opposite of an earlier pair.",
            )
        )
    mismatched = sum(map(_mismatched_prompt, pairs.comparisons))
    if mismatched:
        findings.append(
            Finding(
                "problem",
                "prompt mismatch",
                f"{mismatched:,} comparisons have responses to different last user messages.",
            )
        )
    findings.append(_length_finding(pairs))
    if config.evaluation:
        evaluation = PreferencePairs.load(config.evaluation, on_bad_row="skip")
        shared = overlap(pairs, evaluation)
        level: Level = "problem" if shared else "ok"
        findings.append(
            Finding(
                level,
                "evaluation leakage",
                f"{shared:,} prompts are in both training and evaluation data.",
            )
        )
    if renderer is not None:
        findings += _token_findings(renderer, pairs.comparisons, config.max_length)
    return findings


def _mismatched_prompt(comparison: Comparison) -> bool:
    """Whether responses hold user turns, so that the last of them answer different prompts."""
    return any(m.role == "user" for response in comparison.responses for m in response)


def _length_finding(pairs: PreferencePairs) -> Finding:
    from assay.stats import LengthBaseline, accuracy

    differences = [len(_text(p.chosen)) - len(_text(p.rejected)) for p in pairs.pairs()]
    probability = [p.probability for p in pairs.pairs()]
    baseline = LengthBaseline.fit(differences, probability)
    figure = accuracy(baseline.predict(differences), probability, pairs.prompt_groups())
    direction = "longer" if baseline.weight > 0 else "shorter"
    level: Level = "warning" if figure.value > 0.6 else "ok"
    return Finding(
        level,
        "length-only accuracy",
        f"choosing the {direction} response is right in {figure}; a reward model must beat it.",
    )


def _text(messages: tuple[Message, ...]) -> str:
    return "\n".join(m.content for m in messages)


def _token_findings(renderer: Renderer, comparisons: Any, max_length: int) -> list[Finding]:
    """What tokenisation does to the data: refusals, length, merges, identical token ids."""
    refused = long_pairs = long_responses = merged = identical = total = 0
    reason = ""
    for comparison in comparisons:
        total += 1
        try:
            tokens = renderer.tokenise(comparison.conversations())
        except ContractError as error:
            refused += 1
            reason = reason or str(error)
            continue
        longest = max(len(t.ids) for t in tokens)
        long_pairs += longest > max_length
        long_responses += any(len(t.ids) - t.response_start > max_length for t in tokens)
        header = renderer.tokenizer(
            renderer.render_prompt(comparison.conversations()[0]), add_special_tokens=False
        )["input_ids"]
        merged += any(t.response_start < len(header) for t in tokens)
        identical += any(
            tokens[p.chosen].ids.tobytes() == tokens[p.rejected].ids.tobytes()
            for p in comparison.preferences
        )
    findings = [
        Finding(
            "warning" if long_pairs else "ok",
            "length",
            f"{long_pairs:,} of {total:,} comparisons are longer than max_length={max_length:,} "
            "tokens"
            + ("; they are dropped unless --truncation says otherwise." if long_pairs else "."),
        )
    ]
    if long_responses:
        findings.append(
            Finding(
                "problem",
                "response truncated",
                f"{long_responses:,} have a response longer than max_length by itself.",
            )
        )
    if refused:
        findings.append(
            Finding("problem", "refused by the contract", f"{refused:,} comparisons: {reason}")
        )
    if merged:
        findings.append(
            Finding(
                "handled",
                "boundary merges",
                f"in {merged:,} comparisons the tokenizer merges across the start of the response; "
                "conversations are tokenised whole, so nothing changes.",
            )
        )
    if identical:
        findings.append(
            Finding(
                "problem",
                "identical token ids",
                f"{identical:,} comparisons have sides that are the same tokens.",
            )
        )
    return findings


def diagnose_model(location: str) -> Diagnosis:
    """A reward-model directory: its contract, and whether plain transformers reads its token.

    Raises:
        CheckpointError: If it is not a reward model that can be loaded.
    """
    from assay.models.checkpoint import load_model

    model = load_model(location)
    findings = [
        Finding("ok", "contract", "saved by Assay; assay verify replays it.")
        if model.contract.verified
        else Finding(
            "warning",
            "contract",
            "inferred from the tokenizer and unverified: the training may have used another "
            "template.",
        )
    ]
    if not model.is_standard:
        findings.append(
            Finding(
                "warning",
                "pooling",
                "only Assay loads this directory: its head reads other states than the last "
                "token's.",
            )
        )
    else:
        findings.append(_plain_reading(location, model))
    return Diagnosis(location, tuple(findings), model.contract.to_dict())


def _plain_reading(location: str, model: Any) -> Finding:
    """Compare the rewards of padded batches in plain transformers with the contract's."""
    import numpy as np
    import torch
    from transformers import AutoModelForSequenceClassification

    from assay.models.backbone_model import pad_right
    from assay.models.golden import golden_conversations
    from assay.models.scoring import score_conversations

    conversations = golden_conversations(model)[:8]
    wanted = score_conversations(model, conversations).rewards
    plain = AutoModelForSequenceClassification.from_pretrained(
        location, dtype=torch.float32, trust_remote_code=False
    ).eval()
    config = plain.config.get_text_config()
    if config.pad_token_id is None:
        return Finding(
            "problem",
            "plain transformers",
            "config.json names no pad token, so batches of more than one fail there.",
        )
    ids, mask = pad_right(
        [t.ids for t in model.renderer.tokenise(conversations)], int(config.pad_token_id)
    )
    with torch.inference_mode():
        got = plain(input_ids=ids, attention_mask=mask).logits[:, 0].double().numpy()
    difference = float(np.abs(got - wanted).max()) / (float(wanted.std()) or 1.0)
    if difference <= 1e-3:
        return Finding(
            "ok",
            "plain transformers",
            "reads the same rewards in a padded batch "
            f"(within {difference:.0e} standard deviations).",
        )
    if int(config.pad_token_id) == model.contract.end_of_response_id:
        why = "its pad token is the end-of-response token, so it scores the token before the end"
    else:
        why = "it reads another token, or runs another attention, than the contract says"
    return Finding(
        "problem",
        "plain transformers",
        f"gives other rewards (by {difference:.1g} standard deviations): {why}.",
    )
