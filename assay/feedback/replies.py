"""What a model's endpoint answers, read: texts, log-probabilities, refusals, tokens.

The shapes are those of OpenAI's chat and plain completions, as vLLM, llama.cpp and others give
them. Optional parts that are missing or malformed are None; they never make a reply unusable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

ABOVE_ZERO = 1e-3
"""How far above 0 rounding may put a log-probability."""


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """A token that was written, with its natural log-probability.

    ``top`` has the likeliest tokens at its place, as far as the endpoint tells them; tokens that
    are written alike are added up.
    """

    token: str
    logprob: float
    top: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a reply's answers; ``finish`` is the endpoint's word for its end (stop, length).

    ``refusal`` is what it says instead of an answer; ``text`` may be empty then.
    """

    text: str
    finish: str | None
    logprobs: tuple[TokenLogprobs, ...] | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The answers to one request and the tokens they took, None where the endpoint says not.

    ``model`` is what the endpoint says it asked. ``cached_tokens`` are those of the prompt that it
    had read before; ``reasoning_tokens`` are among the response's. ``cached``: nothing was asked,
    the reply is out of a `ReplyCache`.
    """

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    response_tokens: int | None
    model: str | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached: bool = False

    def as_cached(self) -> Reply:
        """The same, out of a cache."""
        return replace(self, cached=True)


class UnreadableError(ValueError):
    """An answer has no usable choices; the text says what is wrong, as a verb phrase."""


def reply_of(value: Any) -> Reply:
    """The reply that a JSON answer is.

    Raises:
        UnreadableError: If it has no choices, or one without text.
    """
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or not choices:
        raise UnreadableError("without choices")
    model = value.get("model")
    usage = _mapping(value.get("usage"))
    return Reply(
        tuple(_choice(choice) for choice in choices),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        model if isinstance(model, str) else None,
        _count(_mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        _count(_mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")),
    )


def _choice(value: Any) -> Choice:
    choice = _mapping(value)
    message = choice.get("message")
    refusal = _text(_mapping(message).get("refusal"))
    text = _text(message.get("content") if isinstance(message, dict) else choice.get("text"))
    if text is None and refusal is None:
        raise UnreadableError("with a choice that has no text")
    logprobs = _logprobs(choice.get("logprobs"))
    return Choice(text or "", _text(choice.get("finish_reason")), logprobs, refusal)


def _logprobs(value: Any) -> tuple[TokenLogprobs, ...] | None:
    try:
        found = _mapping(value)
        if isinstance(found.get("content"), list):
            return tuple(_chat_token(token) for token in found["content"])
        if isinstance(found.get("tokens"), list):
            return _plain_tokens(found)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        return None
    return None


def _chat_token(value: Any) -> TokenLogprobs:
    top = _top((t["token"], t["logprob"]) for t in value.get("top_logprobs") or ())
    return TokenLogprobs(_token(value["token"]), _logprob(value["logprob"]), top)


def _plain_tokens(value: Mapping[str, Any]) -> tuple[TokenLogprobs, ...]:
    tokens, logprobs = value["tokens"], value["token_logprobs"]
    tops: Sequence[Any] = value.get("top_logprobs") or [None] * len(tokens)
    return tuple(
        TokenLogprobs(_token(token), _logprob(logprob), _top((top or {}).items()))
        for token, logprob, top in zip(tokens, logprobs, tops, strict=True)
    )


def _top(pairs: Any) -> dict[str, float]:
    top: dict[str, float] = {}
    for token, value in pairs:
        known, logprob = top.get(_token(token)), _logprob(value)
        top[token] = logprob if known is None else min(0.0, _log_sum(known, logprob))
    return top


def _log_sum(a: float, b: float) -> float:
    """log(exp a + exp b)."""
    high, low = max(a, b), min(a, b)
    return high if math.isinf(high) else high + math.log1p(math.exp(low - high))


def _token(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a token is a text")
    return value


def _logprob(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("a log-probability is a number")
    if math.isnan(value) or value > ABOVE_ZERO:
        raise ValueError("a log-probability is at most 0")
    return min(0.0, float(value))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
