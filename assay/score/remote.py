"""A reward server as a ``Scorer``: OpenRLHF's, LLaMA-Factory's or vLLM's protocol.

These servers read texts, and tokenise them as they come. So the text has to be the one the reward
model was trained on: give the contract of its run (``load_renderer``). Without one a conversation
is sent as plain text, which suits a server that reads text: a judge, a rule.

Knows nothing of training. The key comes from an environment variable and is in no message.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlsplit

import numpy as np

from assay.configs import Reach
from assay.errors import ConfigError
from assay.feedback.http import Answer, Connection, EndpointError, JsonClient
from assay.formats.prompts import prompt_text
from assay.types import Conversation, Scores

if TYPE_CHECKING:
    from assay.data.contract import Renderer

RewardProtocol = Literal["openrlhf", "llamafactory", "vllm"]

ROUTES: Mapping[RewardProtocol, str] = {
    "openrlhf": "/get_reward",
    "llamafactory": "/v1/score/evaluation",
    "vllm": "/classify",
}
"""What an address without a path is completed by, and what a protocol is recognised by."""


@dataclass(frozen=True, slots=True)
class Text:
    """A conversation as a server is given it; ``whole`` begins with ``prompt``."""

    prompt: str
    whole: str


def plain_text(conversation: Conversation) -> Text:
    """Prompt and response as text, a blank line between them.

    A prompt of several turns says who said what, and then whose turn it is.
    """
    prompt = prompt_text(conversation.prompt) + "\n\n"
    if len(conversation.prompt) > 1:
        prompt += "assistant: "
    return Text(prompt, prompt + conversation.response_text)


def rendered_text(renderer: Renderer, conversation: Conversation) -> Text:
    """Prompt and response in a chat template, special tokens and all; ends in end-of-response.

    Raises:
        ContractError: If the template refuses the conversation.
    """
    whole = renderer.render(conversation)
    prompt = renderer.render_prompt(conversation)
    # templates may write a finished conversation otherwise than the one they open
    return Text(prompt if whole.startswith(prompt) else "", whole)


class RemoteScorer:
    """Rewards from a server, in order, several requests at a time; ``std`` is not known.

    Protocols:
        openrlhf: ``{"query", "prompts", "labels"}`` to ``{"rewards": [float]}``
            (OpenRLHF 0.11, ``cli/serve_rm.py``).
        llamafactory: ``{"model", "messages": [text]}`` to ``{"scores": [float]}``.
        vllm: ``{"input": [text], "use_activation": false, "add_special_tokens": false}`` to
            ``{"data": [{"index", "probs": [float]}]}``. vLLM before 0.11.2 ignores the last field
            and puts a second BOS before texts that begin with one.

    Safe to use from several threads. Rewards are raw as the server gives them.
    """

    def __init__(
        self,
        url: str,
        *,
        protocol: RewardProtocol | None = None,
        renderer: Renderer | None = None,
        model: str | None = None,
        key_variable: str | None = None,
        batch_size: int = 16,
        concurrency: int = 4,
        timeout_seconds: float = 120.0,
        deadline_seconds: float = 600.0,
        retries: int = 5,
        reach: Reach = "private",
    ):
        """Make a scorer; nothing is asked yet.

        Args:
            url: With the route; without a path the protocol's own is added.
            protocol: Default: recognised by the route.
            renderer: Writes conversations as the served model was trained on them. Default: plain
                text.
            model: The model's name there, where a server has several.
            key_variable: Environment variable that holds the API key.
            batch_size: Most conversations in a request.
            concurrency: Most requests at a time.
            timeout_seconds: Longest wait for a connection, or for the next bytes of a reply.
            deadline_seconds: Longest time for a request, retries and waits included.
            retries: Further tries after errors that may pass.
            reach: How near the server may be. Default: anywhere, for reward servers stand in
                networks of their own; ``public`` for an address that somebody else wrote.

        Raises:
            ConfigError: If the address is none, its protocol is not known, a number is out of its
                range, or the environment variable is not set.
        """
        if batch_size < 1 or concurrency < 1:
            raise ConfigError(
                f"batch_size {batch_size} and concurrency {concurrency} were given; wanted 1 or "
                "more of each."
            )
        self.protocol: RewardProtocol = protocol or protocol_of(url)
        if self.protocol not in ROUTES:
            known = ", ".join(get_args(RewardProtocol))
            raise ConfigError(f"protocol {protocol!r} is unknown; use one of {known}.")
        if urlsplit(url).query:
            raise ConfigError(
                f"The address of the reward server {urlsplit(url).hostname} has a query ('?…'), "
                "which messages would show; leave it out, and give a key by key_variable."
            )
        bare = urlsplit(url).path in ("", "/")
        self.url = url.rstrip("/") + ROUTES[self.protocol] if bare else url
        self.renderer = renderer
        self.model = model
        self.batch_size = batch_size
        self.concurrency = concurrency
        self._client = JsonClient(
            Connection(
                base_url=self.url,
                key_variable=key_variable,
                timeout_seconds=timeout_seconds,
                deadline_seconds=deadline_seconds,
                retries=retries,
                reach=reach,
            )
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """Rewards ``(B,)`` as the server gives them.

        Raises:
            ContractError: If the template refuses a conversation.
            EndpointError: If the server gives no answer in time, or one that is not one finite
                number a conversation.
        """
        texts = [self._text(c) for c in conversations]
        starts = range(0, len(texts), self.batch_size)
        batches = [texts[start : start + self.batch_size] for start in starts]
        with ThreadPoolExecutor(self.concurrency) as pool:
            futures = [pool.submit(self._ask, batch) for batch in batches]
            try:
                rewards = [reward for future in futures for reward in future.result()]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # nothing more is asked of it
                raise
        return Scores(np.array(rewards, dtype=np.float64))

    def _text(self, conversation: Conversation) -> Text:
        if self.renderer is None:
            return plain_text(conversation)
        return rendered_text(self.renderer, conversation)

    def _ask(self, texts: Sequence[Text]) -> list[float]:
        body = _BODIES[self.protocol](texts, self.model)
        return self._client.post("", body, lambda answer: self._read(answer, len(texts)))

    def _read(self, answer: Answer, wanted: int) -> list[float]:
        try:
            values = _READERS[self.protocol](answer.value)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise self._error(
                f"{answer.url} answered something else than the protocol {self.protocol} "
                f"says{answer.shown}; name the server's protocol"
            ) from error
        if len(values) != wanted:
            raise self._error(
                f"{answer.url} answered {len(values)} rewards where {wanted} conversations were "
                "sent; one reward is wanted for each"
            )
        for number, value in enumerate(values, 1):
            if not _is_finite(value):
                raise self._error(
                    f"{answer.url} answered {_shown(value)} for conversation {number} of the "
                    f"{wanted} that were sent; wanted a finite number, one reward"
                )
        return [float(value) for value in values]

    def _error(self, message: str) -> EndpointError:
        return self._client.error(f"{message}.")


def protocol_of(url: str) -> RewardProtocol:
    """The protocol that an address's route belongs to.

    Raises:
        ConfigError: If it is none of the known ones.
    """
    path = urlsplit(url).path.rstrip("/")
    for protocol, route in ROUTES.items():
        if path.endswith(route):
            return protocol
    routes = ", ".join(ROUTES.values())
    raise ConfigError(
        f"The protocol of {urlsplit(url).hostname or url!r} cannot be told from its route "
        f"{path or '/'!r} (known: {routes}); name it: {', '.join(get_args(RewardProtocol))}."
    )


def _openrlhf_body(texts: Sequence[Text], model: str | None) -> dict[str, Any]:
    return {
        "query": [t.whole for t in texts],
        "prompts": [t.prompt for t in texts],
        "labels": [""] * len(texts),
        **({"model": model} if model else {}),
    }


def _llamafactory_body(texts: Sequence[Text], model: str | None) -> dict[str, Any]:
    return {"model": model or "model", "messages": [t.whole for t in texts]}


def _vllm_body(texts: Sequence[Text], model: str | None) -> dict[str, Any]:
    return {
        "input": [t.whole for t in texts],
        "use_activation": False,
        # the text has its special tokens
        "add_special_tokens": False,
        **({"model": model} if model else {}),
    }


def _vllm_rewards(value: Any) -> list[Any]:
    rows = sorted(value["data"], key=lambda row: row["index"])
    # more than one output is shown as it is, and refused
    return [row["probs"][0] if len(row["probs"]) == 1 else row["probs"] for row in rows]


_BODIES: Mapping[RewardProtocol, Callable[[Sequence[Text], str | None], dict[str, Any]]] = {
    "openrlhf": _openrlhf_body,
    "llamafactory": _llamafactory_body,
    "vllm": _vllm_body,
}
_READERS: Mapping[RewardProtocol, Callable[[Any], list[Any]]] = {
    "openrlhf": lambda value: list(value["rewards"]),
    "llamafactory": lambda value: list(value["scores"]),
    "vllm": _vllm_rewards,
}


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)[:60]
