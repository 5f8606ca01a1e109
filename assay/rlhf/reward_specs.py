"""A reward from a line of text: ``0.7*runs/a+0.3*http://127.0.0.1:5000/get_reward``.

A part is a run directory (or a hub name), the address of a reward server, a ``.json`` file of
verifiers (the share of them that pass), or ``FILE.py:FUNCTION``, whose file is run. A weight stands
before it with ``*``; parts are joined by ``+``, or by the minus of a weight. A path that holds a
plus or a star itself is loaded from Python.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from assay.configs import AggregatorName, Reduction, Truncation
from assay.errors import AssayError, ConfigError
from assay.rlhf.asking import OnFailure
from assay.rlhf.functions import FunctionScorer, load_function
from assay.rlhf.rewards import Part, Penalty, Reward
from assay.score.remote import RemoteScorer, RewardProtocol
from assay.types import Scorer

if TYPE_CHECKING:
    from assay.data.contract import Renderer

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_WEIGHT = re.compile(rf"\s*([+-]?\s*{_NUMBER})\s*\*")
_JOINT = re.compile(rf"\+|(?<=\S)\s*(?=-\s*{_NUMBER}\s*\*)")
_FUNCTION = re.compile(r"(.+\.py):([A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True)
class Term:
    """A source and its weight."""

    weight: float
    source: str


def parse_reward(spec: str) -> list[Term]:
    """The terms of a specification, in order.

    Raises:
        ConfigError: If a term is empty.
    """
    if spec and Path(spec).exists():
        return [Term(1.0, spec)]
    terms: list[Term] = []
    position = 0
    while True:
        weight = _WEIGHT.match(spec, position)
        start = weight.end() if weight else position
        joint = _JOINT.search(spec, start)
        source = spec[start : joint.start() if joint else None].strip()
        if not source:
            raise ConfigError(
                f"Part {len(terms) + 1} of the reward {spec!r} is empty; wanted "
                "0.7*SOURCE+0.3*SOURCE, a source being a run, an address, a file of verifiers, or "
                "FILE.py:FUNCTION."
            )
        terms.append(Term(float("".join(weight[1].split())) if weight else 1.0, source))
        if joint is None:
            return terms
        position = joint.end()


def load_reward(
    spec: str | Path,
    *,
    aggregator: AggregatorName | None = None,
    strength: float | None = None,
    reduction: Reduction | None = None,
    truncation: Truncation = "error",
    token_budget: int | None = None,
    penalty: Penalty | None = None,
    penalty_strength: float = 1.0,
    clip: tuple[float, float] | None = None,
    on_failure: OnFailure = "error",
    timeout_seconds: float | None = None,
    protocol: RewardProtocol | None = None,
    contract: str | Path | None = None,
    model: str | None = None,
    key_variable: str | None = None,
) -> Reward:
    """A reward from its specification; see the module for how that is written.

    ``FILE.py:FUNCTION`` runs the user's file.

    Args:
        aggregator: Of every ensemble among the parts; ``strength`` is its k, λ or β.
        reduction: Of every process model among them.
        truncation: What becomes of conversations that are too long.
        token_budget: Most tokens in one forward pass.
        penalty: For parts whose scores have a standard deviation: ensembles, runs with --laplace.
        penalty_strength: Its k or λ.
        clip: Lowest and highest value of the sum.
        on_failure: ``error`` stops with one sentence; ``skip`` gives NaN and counts.
        timeout_seconds: Longest time for one call of a part.
        protocol: Of reward servers. Default: told by their routes.
        contract: Run or tokenizer directory by which conversations are written for reward servers.
            Default: plain text.
        model: The model's name at a reward server.
        key_variable: Environment variable that holds the API key of reward servers.

    Raises:
        ConfigError: If the specification cannot be read, or a setting fits none of its parts.
        CheckpointError: If a part is no reward model.
    """
    terms = parse_reward(str(spec))
    kinds = [_kind(term.source) for term in terms]
    for setting, name, kind, what in (
        (aggregator, "an aggregator", "ensemble", "no ensemble"),
        (strength, "a strength", "ensemble", "no ensemble"),
        (reduction, "a reduction", "process", "no process model"),
        (contract, "a contract", "server", "no reward server"),
        (protocol, "a protocol", "server", "no reward server"),
        (key_variable, "a key_variable", "server", "no reward server"),
    ):
        if setting is not None and kind not in kinds:
            raise ConfigError(
                f"The reward {str(spec)!r} has {what} among its parts, and {name} is for those; "
                "leave it out."
            )
    renderer = _renderer(contract)
    parts = []
    for term, kind in zip(terms, kinds, strict=True):
        try:
            scorer: Scorer
            if kind == "server":
                scorer = RemoteScorer(
                    term.source,
                    protocol=protocol,
                    renderer=renderer,
                    model=model,
                    key_variable=key_variable,
                    # a request that is late ends by itself
                    timeout_seconds=min(timeout_seconds or 120.0, 120.0),
                    deadline_seconds=timeout_seconds or 600.0,
                )
            elif kind == "function":
                scorer = _function(term.source)
            else:
                scorer = _local(
                    term.source,
                    truncation=truncation,
                    token_budget=token_budget,
                    aggregator=aggregator if kind == "ensemble" else None,
                    strength=strength if kind == "ensemble" else None,
                    reduction=reduction if kind == "process" else None,
                )
        except AssayError as error:
            shown = _without_secrets(term.source)
            if shown in str(error):
                raise
            raise type(error)(f"The reward {shown!r} cannot be loaded: {error}") from error
        parts.append(
            Part(
                scorer=scorer,
                name=term.source,
                weight=term.weight,
                penalty=penalty if _has_std(scorer) else None,
                strength=penalty_strength,
                timeout_seconds=timeout_seconds,
            )
        )
    if penalty is not None and all(part.penalty is None for part in parts):
        raise ConfigError(
            f"No part of the reward {str(spec)!r} says its standard deviation, and the penalty "
            f"{penalty} needs one; name an ensemble or a run with --laplace, or leave it out."
        )
    return Reward(parts=tuple(parts), clip=clip, on_failure=on_failure)


def _without_secrets(source: str) -> str:
    """An address without user, password and query; any other source as it is."""
    if not source.startswith(("http://", "https://")):
        return source
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


def _kind(source: str) -> str:
    if source.startswith(("http://", "https://")):
        return "server"
    if _FUNCTION.fullmatch(source):
        return "function"
    from assay.models.ensemble_checkpoint import is_ensemble
    from assay.models.process_checkpoint import is_process

    if is_ensemble(source):
        return "ensemble"
    return "process" if is_process(source) else "model"


def _function(source: str) -> FunctionScorer:
    found = _FUNCTION.fullmatch(source)
    assert found is not None
    return FunctionScorer(load_function(found[1], found[2]), name=source)


def _local(
    source: str,
    *,
    truncation: Truncation,
    token_budget: int | None,
    aggregator: AggregatorName | None,
    strength: float | None,
    reduction: Reduction | None,
) -> Scorer:
    from assay.configs import TOKEN_BUDGET
    from assay.score.scorer import load_scorer

    return load_scorer(
        source,
        truncation=truncation,
        token_budget=token_budget or TOKEN_BUDGET,
        aggregator=aggregator,
        strength=strength,
        reduction=reduction,
    )


def _renderer(contract: str | Path | None) -> Renderer | None:
    if contract is None:
        return None
    from assay.models.rendering import load_renderer

    return load_renderer(contract)


def _has_std(scorer: Scorer) -> bool:
    """Whether its scores have a deviation: an ensemble, or a head with a posterior."""
    if getattr(scorer, "ensemble", None) is not None:
        return True
    return getattr(scorer, "rewarding", None) is not getattr(scorer, "model", None)
