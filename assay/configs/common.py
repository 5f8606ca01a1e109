"""What settings of several rooms share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Truncation = Literal["drop", "truncate-left", "error"]
Pooling = Literal["last", "mean", "last+mean"]
Reach = Literal["public", "loopback", "private"]
"""How near an address may be: only public ones, this machine too, or any network of ours too."""

OnBadRow = Literal["error", "skip"]

TOKEN_BUDGET = 1536
"""Most tokens in one forward pass, unless said otherwise: the fastest on two CPU cores, where more
no longer fit the caches. Not tuned on a GPU."""


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """A model behind an OpenAI-compatible endpoint, and what asking it may cost."""

    endpoint: str | None = None
    """Ask a model behind this OpenAI-compatible address, such as http://localhost:8000/v1."""
    endpoint_model: str | None = None
    """Its name there."""
    key_variable: str | None = None
    """Environment variable that holds the endpoint's key. Default: none is sent."""
    endpoint_reach: Reach = "loopback"
    """How near the endpoint may be. loopback: on this machine, or public. private: in a private
    network too. public: neither. Link-local and metadata addresses are always refused."""
    prompt_price: float | None = None
    """Price of a million prompt tokens."""
    cached_price: float | None = None
    """Price of a million prompt tokens that the endpoint had read before. Default: the same."""
    response_price: float | None = None
    """Price of a million response tokens."""
    max_cost: float | None = None
    """Ask no more than this may pay for; needs the prices."""
    in_flight: int = 8
    """Most requests at a time."""
    requests_per_minute: float | None = None
    """Most requests a minute. Default: as many as it takes."""
    tokens_per_minute: float | None = None
    """Most tokens a minute. Default: as many as it takes."""
    timeout_seconds: float = 120.0
    """Longest wait for a connection, or for the next bytes of a reply."""
    deadline_seconds: float = 600.0
    """Longest time for one request, retries and waits included."""
    retries: int = 5
    """Further tries after errors that may pass."""
