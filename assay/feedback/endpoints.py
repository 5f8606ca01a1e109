"""A client from the settings that verbs have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assay.configs import EndpointSettings
from assay.errors import ConfigError
from assay.feedback.cache import ReplyCache
from assay.feedback.client import AsyncClient, Endpoint
from assay.feedback.costs import Budget


def endpoint_of(settings: EndpointSettings) -> Endpoint:
    """The endpoint that the settings name.

    Raises:
        ConfigError: If there is none, or it cannot be asked.
    """
    if settings.endpoint is None:
        raise ConfigError("No --endpoint was given; wanted an address such as http://HOST/v1.")
    endpoint = Endpoint(
        base_url=settings.endpoint,
        model=settings.endpoint_model or "",
        key_variable=settings.key_variable,
        prompt_price=settings.prompt_price,
        cached_price=settings.cached_price,
        response_price=settings.response_price,
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
        timeout_seconds=settings.timeout_seconds,
        deadline_seconds=settings.deadline_seconds,
        retries=settings.retries,
        reach=settings.endpoint_reach,
    )
    endpoint.check()
    if settings.in_flight < 1:
        raise ConfigError(f"in_flight is {settings.in_flight}; wanted 1 or more requests.")
    return endpoint


def client_of(
    settings: EndpointSettings, cache: Path | None, budget: Budget | None = None
) -> AsyncClient:
    """A client whose replies are kept in ``cache`` and cost no more than ``max_cost``.

    Args:
        budget: What may be spent, in place of ``max_cost``: shared with other clients.

    Raises:
        ConfigError: If there is no endpoint, or a cap on the cost and no prices.
        DataError: If the file of replies is damaged.
    """
    endpoint = endpoint_of(settings)
    if budget is None and settings.max_cost is not None:
        budget = Budget(settings.max_cost)
    client = AsyncClient(endpoint, budget=budget)
    # last, so that settings that cannot work leave no file behind
    client.cache = None if cache is None else ReplyCache(cache)
    return client


def usage_of(clients: Sequence[AsyncClient]) -> dict[str, Any]:
    """What clients of one endpoint took together; ``cost`` is None without prices."""
    totals: Counter[str] = Counter()
    for client in clients:
        totals.update(asdict(client.usage))
    has_prices = any(client.endpoint.has_prices for client in clients)
    return {**totals, "cost": totals["cost"] if has_prices else None}


def spent_by(clients: Sequence[AsyncClient]) -> str:
    """What clients have spent so far, for the progress bar; empty where no price is known."""
    if not any(client.endpoint.has_prices for client in clients):
        return ""
    return f"{sum(client.usage.cost for client in clients):.4f} spent"


def close(client: AsyncClient) -> None:
    """Close the connections and the file of replies."""
    client.close()
    if client.cache is not None:
        client.cache.close()
