"""Completers: a local policy, a model behind an endpoint, a Python function.

Each gives its rollouts in the order asked, and the same ones for the same seed where it can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from assay.feedback.client import Client
from assay.feedback.http import EndpointError
from assay.feedback.replies import Reply
from assay.feedback.rollouts import Prefix, Rollouts, prefix_number
from assay.formats.steps import SEPARATOR
from assay.types import Message, Messages

if TYPE_CHECKING:
    from assay.models.policy import Policy

SEEDS = 2**31
"""Endpoints take seeds below this."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How rollouts are written."""

    max_new_tokens: int = 512
    temperature: float = 0.7
    top_p: float = 1.0
    separator: str = SEPARATOR
    """Follows every step of a prefix."""


@dataclass(frozen=True, eq=False)
class PolicyCompleter:
    """Completes with a policy in this process; what it writes does not depend on the batch."""

    policy: Policy
    writing: Writing = Writing()
    batch_size: int = 16

    @property
    def identity(self) -> Mapping[str, Any]:
        """The digest of weights, template and tokenizer, and the settings."""
        return {"policy": self.policy.digest, **asdict(self.writing)}

    def __call__(self, prefixes: Sequence[Prefix], n: int, seed: int) -> list[Rollouts]:
        """``n`` rollouts of each prefix; a prefix that leaves no room fails alone."""
        from assay.models.generate import generate

        w = self.writing
        ids = [self.policy.prompt_ids(p.prompt, p.begun(w.separator)) for p in prefixes]
        limit = self.policy.context
        fits = [i for i, x in enumerate(ids) if limit is None or len(x) < limit]
        groups = generate(
            self.policy,
            [ids[i] for i in fits],
            samples=n,
            max_new_tokens=w.max_new_tokens,
            temperature=w.temperature,
            top_p=w.top_p,
            seed=seed,
            streams=[prefix_number(prefixes[i]) for i in fits],
            batch_size=self.batch_size,
        )
        error = f"longer than the {limit} tokens the policy can read"
        found = [Rollouts((), (), error=error) for _ in prefixes]
        for i, group in zip(fits, groups, strict=True):
            found[i] = Rollouts(
                tuple(g.text for g in group),
                tuple(g.ended for g in group),
                len(ids[i]),
                sum(len(g.ids) for g in group),
            )
        return found


@dataclass(frozen=True, eq=False)
class EndpointCompleter:
    """Completes with a model behind an endpoint, several requests at a time.

    By chat, the steps begun are a last assistant message, and vLLM is asked to continue it
    (``continue_final_message``; ``asks_to_continue=False`` leaves that out for endpoints that
    refuse unknown fields, and go on by themselves). Some chat templates strip that message's last
    newline. With ``template``, a function from messages to the text that a response follows, plain
    completions are used instead, and nothing is left to the endpoint.
    """

    client: Client
    writing: Writing = Writing()
    concurrency: int = 8
    template: Callable[[Messages], str] | None = None
    template_name: str | None = None
    """Names the template in ``identity``."""
    asks_to_continue: bool = True

    @property
    def identity(self) -> Mapping[str, Any]:
        """Address and model, route and settings."""
        endpoint = self.client.endpoint
        route = "chat" if self.template is None else f"completions {self.template_name}"
        place = {"endpoint": endpoint.base_url, "model": endpoint.model, "route": route}
        return place | asdict(self.writing)

    def __call__(self, prefixes: Sequence[Prefix], n: int, seed: int) -> list[Rollouts]:
        """``n`` rollouts of each prefix; a request that is refused by itself fails alone."""
        with ThreadPoolExecutor(self.concurrency) as pool:
            futures = [pool.submit(self._one, prefix, n, seed) for prefix in prefixes]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # nothing more is asked of it
                raise

    def _one(self, prefix: Prefix, n: int, seed: int) -> Rollouts:
        try:
            reply = self._ask(prefix, n, (seed + prefix_number(prefix)) % SEEDS)
        except EndpointError as error:
            if error.is_gone:
                raise
            return Rollouts((), (), error=str(error))
        if len(reply.choices) != n:
            return Rollouts((), (), error=f"{len(reply.choices)} answers came where {n} were asked")
        return Rollouts(
            tuple(choice.text for choice in reply.choices),
            tuple(choice.finish != "length" for choice in reply.choices),
            reply.prompt_tokens or 0,
            reply.response_tokens or 0,
        )

    def _ask(self, prefix: Prefix, n: int, seed: int) -> Reply:
        w = self.writing
        settings: dict[str, Any] = {
            "n": n,
            "max_tokens": w.max_new_tokens,
            "temperature": w.temperature,
            "top_p": w.top_p,
            "seed": seed,
        }
        begun = prefix.begun(w.separator)
        if self.template is not None:
            return self.client.complete(self.template(prefix.prompt) + begun, **settings)
        if not begun:
            return self.client.chat(prefix.prompt, **settings)
        if self.asks_to_continue:
            settings |= {"continue_final_message": True, "add_generation_prompt": False}
        return self.client.chat((*prefix.prompt, Message("assistant", begun)), **settings)


@dataclass(frozen=True)
class FunctionCompleter:
    """Completes with a Python function of prompt, steps, count and seed; for simulations.

    Args:
        name: Tells it from other functions in a journal.
    """

    function: Callable[[Messages, tuple[str, ...], int, int], Sequence[str]]
    name: str

    @property
    def identity(self) -> Mapping[str, Any]:
        """The name."""
        return {"function": self.name}

    def __call__(self, prefixes: Sequence[Prefix], n: int, seed: int) -> list[Rollouts]:
        """``n`` rollouts of each prefix, all of them ended."""
        found = []
        for prefix in prefixes:
            texts = tuple(self.function(prefix.prompt, prefix.steps, n, seed))
            found.append(Rollouts(texts, (True,) * len(texts)))
        return found
