"""What requests would take, before any is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from assay.feedback.cache import ReplyCache, reply_key
from assay.feedback.client import CHAT, PLAIN, Endpoint, body_of
from assay.feedback.costs import tokens_of
from assay.types import Messages

Request = tuple[Messages | str, Mapping[str, Any]]
"""A conversation for `AsyncClient.chat` or a text for `complete`, and the settings."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What requests would take; without those in the cache, which ``cached`` counts.

    ``prompt_tokens`` is about right for English text (four bytes a token);
    ``response_tokens_at_most`` is None where a request names no ``max_tokens``, and then
    ``cost_at_most`` is, which is None without prices too. No cost passes ``cost_at_most``.
    """

    requests: int
    prompt_tokens: int
    response_tokens_at_most: int | None
    cost_at_most: float | None
    cached: int


def estimate(
    endpoint: Endpoint, requests: Iterable[Request], cache: ReplyCache | None = None
) -> Estimate:
    """What requests would take; nothing is sent. Requests that are equal are asked once."""
    asked, prompts, cached, cost = 0, 0, 0, 0.0
    responses: int | None = 0
    seen: set[str] = set()
    for prompt, given in requests:
        settings = dict(given)
        sample = settings.pop("sample", 0)
        body = body_of(endpoint, prompt, settings)
        if cache is not None:
            key = reply_key(PLAIN if isinstance(prompt, str) else CHAT, body, sample)
            if key in seen or key in cache:
                cached += 1
                continue
            seen.add(key)
        tokens = tokens_of(body)
        asked += 1
        prompts += tokens.prompt_about
        if tokens.response_at_most is None or responses is None:
            responses = None
            continue
        responses += tokens.response_at_most
        cost += endpoint.price_at_most(tokens.prompt_at_most, tokens.response_at_most)
    return Estimate(
        asked,
        prompts,
        responses,
        cost if endpoint.has_prices and responses is not None else None,
        cached,
    )
