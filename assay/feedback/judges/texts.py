"""Options read off what a judge wrote: a JSON object, or words. Pure.

Nothing is guessed: a text that names no option, or more than one, is unparsable.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.feedback.judges.records import Said
from assay.feedback.replies import Choice, TokenLogprobs

_REFUSAL = re.compile(
    r"\b(I can(?:no|['\u2019])t|I(?: a|['\u2019])m (?:not able|unable|sorry)"
    r"|I won['\u2019]t|I will not|as an AI\b)",
    re.IGNORECASE,
)
_MARKED = re.compile(
    r"(?:verdict|answer|choice|rating|score|winner|better(?: response)?)\W{0,3}"
    r"(?:\s*(?:is|:|=)\s*)+\W*(?:response|option|step)?\s*([A-Za-z0-9]+)",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"\[\[\s*([^\[\]]{1,40}?)\s*\]\]")
LONGEST_DETAIL = 2000
"""Characters of a rationale that are kept."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a text says: the index of an option, or why there is none; and its rationale."""

    said: Said
    option: int | None
    detail: str | None


def verdict_schema(options: Sequence[str]) -> dict[str, Any]:
    """``response_format`` of an answer in JSON, the rationale before the verdict.

    In that order a judge gives its reasons first, and the verdict follows from them.
    """
    return {
        "type": "json_schema",
        "json_schema": {
            "name": "judgment",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {
                    "rationale": {"type": "string"},
                    "verdict": {"type": "string", "enum": list(options)},
                },
                "required": ["rationale", "verdict"],
                "additionalProperties": False,
            },
        },
    }


def read_choice(choice: Choice, options: Sequence[str]) -> Words:
    """What one choice of a reply says."""
    if choice.refusal is not None or choice.finish == "content_filter":
        return Words("refused", None, _short(choice.refusal or "stopped by a content filter"))
    return read_text(choice.text, options, cut=choice.finish == "length")


def read_text(text: str, options: Sequence[str], *, cut: bool = False) -> Words:
    """What a text says.

    A JSON object with a ``verdict`` counts first, then ``[[option]]``, then words such as
    "verdict: A", then a text or a last line that is an option and nothing else. Of several marks
    of one kind all must name the same option.

    Args:
        cut: The text ended for want of room: what it says last may be half of it.
    """
    bare = text.strip()
    found = _object_in(bare)
    if found is not None:
        option = _option(str(found.get("verdict", "")), options)
        rationale = found.get("rationale")
        if option is not None:
            return Words("answered", option, _short(rationale) if rationale else None)
    lines = [line for line in bare.splitlines() if line.strip()]
    whole = [bare] + (lines[-1:] if not cut else [])
    for marks in (_BRACKETED.findall(bare), _MARKED.findall(bare), whole):
        named = {_option(mark, options) for mark in marks} - {None}
        if len(named) == 1:
            return Words("answered", named.pop(), _short(bare) if len(lines) > 1 else None)
        if len(named) > 1:
            return Words("unparsable", None, f"it names {len(named)} options: {_short(bare)}")
    if _REFUSAL.search(bare[:300]):
        return Words("refused", None, _short(bare))
    why = "it was cut for want of room" if cut else "it names no option"
    return Words("unparsable", None, f"{why}: {_short(bare)}" if bare else "it said nothing")


def _object_in(text: str) -> Mapping[str, Any] | None:
    """The last JSON object in a text that has a verdict."""
    decoder = json.JSONDecoder()
    found = None
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            if isinstance(value, dict) and "verdict" in value:
                found = value
        at = text.find("{", end)
    return found


def _option(word: str, options: Sequence[str]) -> int | None:
    """The option that a word is, whatever its case and the marks around it."""
    bare = word.strip().strip("\"'`*_.,:;()[]").strip()
    for prefix in ("response ", "option ", "step "):
        if bare.lower().startswith(prefix):
            bare = bare[len(prefix) :].strip()
    matching = [i for i, option in enumerate(options) if option.lower() == bare.lower()]
    return matching[0] if matching else None


def option_probabilities(
    tokens: Sequence[TokenLogprobs], options: Sequence[str]
) -> tuple[tuple[float, ...], float] | None:
    """Probabilities of options, (O,), off the first place where a token is one, and their mass.

    At that place the probabilities of tokens that are one option, in any case and with space
    around, are added up. Where a token is an option and begins another (1 and 10), the share of
    the longer is told by the next place if the shorter was written, else all is the shorter's.
    None where no place has an option.
    """
    for place, token in enumerate(tokens):
        if _token_option(token.token, options) is None:
            if token.token.strip():
                return None  # it begins with something else: these are no verdict's probabilities
            continue
        likely = {**token.top, token.token: token.logprob}
        found = [0.0] * len(options)
        for word, logprob in likely.items():
            option = _token_option(word, options)
            if option is not None:
                found[option] += math.exp(logprob)
        _move_to_longer(found, tokens, place, options)
        mass = sum(found)
        return tuple(p / mass for p in found), min(mass, 1.0)
    return None


def _token_option(token: str, options: Sequence[str]) -> int | None:
    return _option(token, options) if token.strip() else None


def _move_to_longer(
    found: list[float], tokens: Sequence[TokenLogprobs], place: int, options: Sequence[str]
) -> None:
    written = tokens[place].token.strip()
    short = _token_option(written, options)
    if short is None or place + 1 >= len(tokens):
        return
    after = tokens[place + 1]
    for word, logprob in {**after.top, after.token: after.logprob}.items():
        longer = written + word
        if longer in options and longer != written:
            share = math.exp(logprob) * found[short]
            found[options.index(longer)] += share
            found[short] -= share


def _short(text: Any) -> str:
    bare = " ".join(str(text).split())
    return bare if len(bare) <= LONGEST_DETAIL else f"{bare[:LONGEST_DETAIL]}…"
