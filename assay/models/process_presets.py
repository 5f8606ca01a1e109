"""Families of published process reward models: how each writes a solution, and how it is known.

A preset is facts: the layout of the text, where a step is read, which weights are the head, and
what upstream makes of its output. It says nothing of files and networks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from assay.configs import Reduction
from assay.data.step_contract import CLASSES, StepContract
from assay.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HeadKind = Literal["two-layers", "words", "labels", "value"]

GOOD_WORD, BAD_WORD = "+", "-"
"""What a language model that answers says of a step."""

VALUE_HEAD = "v_head.summary"

_PLAIN = (
    "{%- for message in messages -%}{{ message['content'] }}"
    "{%- if not loop.last -%}{{ '\\n' }}{%- elif add_generation_prompt -%}{{ GAP }}{%- endif -%}"
    "{%- endfor -%}"
)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How a family of process models is read.

    ``head`` is which weights give the outputs: ``two-layers`` (``score.0`` and ``score.2``),
    ``words`` (the language-model head's rows of ``+`` and ``-``), ``labels`` (a token classifier's)
    or ``value`` (``v_head.summary``).
    """

    name: str
    head: HeadKind
    steps: StepContract
    gap: str | None = None
    """What follows the prompt where there is no chat template. None: the tokenizer's template."""
    has_bos: bool = False
    """Whether the tokenizer's BOS token, if it has one, is put before the text."""
    token: str | None = None
    """What must be one token, for a step is read there."""
    model_type: str | None = None
    """The plain architecture behind code of its own. None: as the config says."""
    reduction: Reduction | None = None
    """How upstream makes one reward of a solution's steps."""
    upstream: str = "P(good)"
    """What upstream reports for a step; Assay reports P(good) for all."""

    def template(self) -> str | None:
        """The chat template that writes the prompt plainly; None: the tokenizer's own."""
        return None if self.gap is None else _PLAIN.replace("GAP", repr(self.gap))

    def step_contract(
        self, tokenizer: PreTrainedTokenizerBase, separator: str | None = None
    ) -> StepContract:
        """The contract for steps on a model's tokenizer.

        Args:
            separator: What the model was trained with, where the family leaves that open.

        Raises:
            ConfigError: If the family does not leave it open.
        """
        steps = self.steps
        if separator is not None:
            if self.name != "trl":
                raise ConfigError(
                    f"the preset {self.name} has its own separator, and {separator!r} was given; "
                    "leave it out, or name the preset trl."
                )
            steps = replace(steps, separator=separator)
        if self.has_bos and tokenizer.bos_token:
            steps = replace(steps, bos=str(tokenizer.bos_token))
        return steps


PRESETS = {
    preset.name: preset
    for preset in (
        # https://huggingface.co/Qwen/Qwen2.5-Math-PRM-7B; Zhang et al. 2025, arXiv 2501.07301
        Preset(
            name="qwen2.5-math-prm",
            head="two-layers",
            steps=StepContract(separator="<extra_0>"),
            token="<extra_0>",
            model_type="qwen2",
            reduction="product",
        ),
        # https://huggingface.co/peiyi9979/math-shepherd-mistral-7b-prm; Wang et al. 2024
        Preset(
            name="math-shepherd",
            head="words",
            steps=StepContract(separator=" ки", between="\n", opening="Step {number}: "),
            gap=" ",
            has_bos=True,
            token="ки",
            reduction="min",
        ),
        # https://github.com/RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py
        Preset(
            name="rlhflow",
            head="words",
            steps=StepContract(turns=True, answer=GOOD_WORD),
            reduction="mean",
        ),
        # https://huggingface.co/jinachris/PURE-PRM-7B; Cheng et al. 2025, arXiv 2504.15275
        Preset(
            name="pure",
            head="labels",
            steps=StepContract(separator="\n", pieces=True),
            gap="",
            reduction="min",
            upstream="P(good) - P(bad)",
        ),
        # https://github.com/SkyworkAI/skywork-o1-prm-inference, model_utils/io_utils.py
        Preset(
            name="skywork-o1",
            head="value",
            steps=StepContract(separator="\n", pieces=True, classes=CLASSES["one"]),
            gap="\n",
            has_bos=True,
            model_type="qwen2",
            reduction="mean",
        ),
        # https://github.com/huggingface/trl, PRMTrainer.tokenize_row
        Preset(
            name="trl",
            head="labels",
            steps=StepContract(separator="\n", pieces=True),
            gap="",
            has_bos=True,
        ),
    )
}
"""By name."""


def preset_named(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is unknown; use one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def recognise(
    config: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    weights: Collection[str],
    name: str,
) -> Preset | None:
    """The preset of a model by its architecture, tokenizer and weights; None if none fits.

    A language model that answers ``+`` and ``-`` is like any other but for its tokenizer or name:
    Math-Shepherd has ``ки`` as a token and no chat template, RLHFlow is known by its name only.

    Args:
        config: What its ``config.json`` says.
        weights: The names of its weights.
        name: What the user called it.
    """
    architecture = str((config.get("architectures") or [""])[0])
    if architecture == "Qwen2ForProcessRewardModel":
        return PRESETS["qwen2.5-math-prm"]
    if architecture.startswith("Qwen2") and f"{VALUE_HEAD}.weight" in weights:
        return PRESETS["skywork-o1"]
    if architecture.endswith("ForTokenClassification"):
        return PRESETS["trl"]
    shepherd = PRESETS["math-shepherd"]
    if architecture == "MistralForCausalLM" and not tokenizer.chat_template:
        return shepherd if has_token(tokenizer, shepherd.token) else None
    if architecture == "LlamaForCausalLM" and "rlhflow" in name.lower():
        return PRESETS["rlhflow"]
    return None


def has_token(tokenizer: PreTrainedTokenizerBase, text: str | None) -> bool:
    """Whether a text is one token, and not the unknown one; true of no text."""
    if text is None:
        return True
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return len(ids) == 1 and ids[0] != tokenizer.unk_token_id
