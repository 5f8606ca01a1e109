"""Responses that name the model that wrote them: a blind comparison is not blind any more."""

from __future__ import annotations

import re

from assay.types import Messages

_NAMES = (
    "ChatGPT", "GPT-?[345](?:\\.\\d)?o?", "OpenAI", "Claude", "Anthropic", "Gemini", "Bard",
    "DeepMind", "Llama[ -]?[234]?", "Meta AI", "Mistral", "Mixtral", "Qwen", "Tongyi", "DeepSeek",
    "Gemma", "SmolLM\\d?", "Grok", "xAI", "Command[ -]R", "Cohere", "Phi-\\d", "Vicuna", "Alpaca",
    "Koala", "Falcon", "Yi-\\d+B", "Zephyr", "Tulu", "OLMo", "Nemotron", "ERNIE", "Kimi", "GLM-\\d",
)  # fmt: skip
_SELF = re.compile(
    r"\b(?:I am|I'm|as|call me|my name is|ich bin|soy|je suis|developed by|created by|made by|"
    rf"trained by|from)\s+(?:an?\s+|the\s+)?(?:AI\s+)?(?:model\s+|assistant\s+)?"
    rf"(?:named\s+|called\s+)?({'|'.join(_NAMES)})\b",
    re.IGNORECASE,
)


def leak_in(messages: Messages, model: str | None = None) -> str | None:
    """The words by which a response may give its model away; None where there are none."""
    text = "\n".join(message.content for message in messages)
    found = _SELF.search(text)
    if found:
        return found.group(0)[:200]
    if model and len(model) >= 4:
        place = text.lower().find(model.lower())
        if place >= 0:
            return text[place : place + len(model)][:200]
    return None
