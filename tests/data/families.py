"""Small tokenizers with the templates and special tokens of well-known families, made in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" }}
{%- if tools %}{{- "Tools: " + (tools | tojson) }}{%- endif %}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
PHI3 = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)
BETWEEN = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}"
    "{% if not loop.last %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ eos_token + 'assistant: ' }}{% endif %}"
)
MERGING = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
NEWLINES = (
    "\n{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}{% endfor %}"
    "{{ '<|assistant|>' if add_generation_prompt else '' }}\n"
)

TEXTS = (
    "user: what is the time? assistant: it is late, and the tea is cold.",
    "a question about maps and rain; a first answer. more? yes, more words of the reply.",
)


def byte_tokenizer(template: str | None, specials: list[str], **named: Any) -> Any:
    """A byte-level BPE tokenizer; ``named`` gives bos_token, eos_token, pad_token, unk_token.

    A ``bos_token`` is put before every text that is tokenised with special tokens, as Llama's is.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(TEXTS * 4, trainer)
    if bos := named.get("bos_token"):
        core.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A $B",
            special_tokens=[(bos, core.token_to_id(bos))],
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=4096, **named)
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def wordpiece_tokenizer() -> Any:
    """A lower-casing WordPiece tokenizer as BERT has it: [CLS] before, [SEP] after, no template."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=160, special_tokens=specials)
    core.train_from_iterator(TEXTS * 4, trainer)
    core.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in specials])
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(s, core.token_to_id(s)) for s in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=512,
    )


FAMILIES: dict[str, Callable[[], Any]] = {
    "chatml": lambda: byte_tokenizer(
        CHATML,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    ),
    "llama3": lambda: byte_tokenizer(
        LLAMA3,
        [
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "<|finetune_right_pad_id|>",
        ],
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
    ),
    "gemma": lambda: byte_tokenizer(
        GEMMA,
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    ),
    "mistral": lambda: byte_tokenizer(
        MISTRAL,
        ["<unk>", "<s>", "</s>"],
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    ),
    "phi3": lambda: byte_tokenizer(
        PHI3,
        ["<unk>", "<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>"],
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
    ),
    "gpt2": lambda: byte_tokenizer(
        None,
        ["<|endoftext|>"],
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    ),
    "bert": wordpiece_tokenizer,
    "between": lambda: byte_tokenizer(BETWEEN, ["<unk>", "</s>"], eos_token="</s>"),
    "merging": lambda: byte_tokenizer(MERGING, ["<unk>", "</s>"], eos_token="</s>"),
    "newlines": lambda: byte_tokenizer(NEWLINES, ["<pad>", "</s>"], eos_token="</s>"),
}
"""``gpt2`` has one special token for everything, so a pad token has to be added; ``between`` ends
every turn but the last; the prompt of ``merging`` ends in a space that merges into the response."""
