"""Rows with ``chosen`` and ``rejected``, with and without a prompt of their own."""

from __future__ import annotations

from itertools import takewhile

from assay.formats.fields import (
    IDENTICAL,
    PROMPT_ROLES,
    Row,
    RowError,
    flag,
    labels,
    number,
    prompt,
    required,
    response,
    shown,
    text,
    turns,
)
from assay.types import Comparison, Message, Messages, Preference


def explicit_pair(row: Row) -> Comparison:
    """A prompt with chosen and rejected.

    Where those are whole conversations that repeat the prompt (UltraFeedback-binarized), it is
    taken off them.
    """
    asked = prompt(row)
    chosen = turns(required(row, "chosen"), "chosen", "assistant")
    rejected = turns(required(row, "rejected"), "rejected", "assistant")
    _check_different(chosen, rejected)
    if any(side[0].role in PROMPT_ROLES for side in (chosen, rejected)):
        common = shared_turns(chosen, rejected)
        _check_repeats(asked, common)
        asked, chosen, rejected = common, chosen[len(common) :], rejected[len(common) :]
    return _pair(row, asked, chosen, rejected)


def implicit_conversations(row: Row) -> Comparison:
    """Two conversations, lists or transcripts: the prompt is what they share at the beginning."""
    chosen = turns(required(row, "chosen"), "chosen", "user")
    rejected = turns(required(row, "rejected"), "rejected", "user")
    _check_different(chosen, rejected)
    common = shared_turns(chosen, rejected)
    if not common:
        raise _no_prompt("first message")
    return _pair(row, common, chosen[len(common) :], rejected[len(common) :])


def implicit_texts(row: Row) -> Comparison:
    """Two plain texts: the prompt is their common beginning, cut between words and stripped."""
    chosen, rejected = (
        text(required(row, "chosen"), "chosen"),
        text(required(row, "rejected"), "rejected"),
    )
    _check_different(_said(chosen), _said(rejected))
    cut = shared_words(chosen, rejected)
    if not chosen[:cut].strip():
        raise _no_prompt("first word")
    asked = (Message("user", chosen[:cut].rstrip()),)
    return _pair(row, asked, _said(chosen[cut:].lstrip()), _said(rejected[cut:].lstrip()))


def shared_turns(a: Messages, b: Messages) -> Messages:
    """The messages two conversations have in common before the first difference."""
    return tuple(m for m, _ in takewhile(lambda both: both[0] == both[1], zip(a, b, strict=False)))


def shared_words(a: str, b: str) -> int:
    """The length of two texts' common beginning that ends between words in both."""
    cut = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(a, b, strict=False)))
    while cut and not (_is_boundary(a, cut) and _is_boundary(b, cut)):
        cut -= 1
    return cut


def _is_boundary(value: str, at: int) -> bool:
    return at == len(value) or value[at].isspace() or value[at - 1].isspace()


def _pair(row: Row, asked: Messages, chosen: Messages, rejected: Messages) -> Comparison:
    sides = response(chosen, "chosen"), response(rejected, "rejected")
    preference = preferred(
        0, 1, _probability(row), _margin(row), number(row, "weight", 1.0, low=0.0)
    )
    return Comparison(
        prompt=asked,
        responses=sides,
        preferences=(preference,),
        first_shown=_first_shown(row),
        **labels(row),
    )


def preferred(
    first: int, second: int, probability: float, margin: float, weight: float
) -> Preference:
    """A preference turned so that the chosen side has a probability of at least one half."""
    if probability < 0.5:
        first, second, probability = second, first, 1.0 - probability
    return Preference(first, second, probability, margin, weight)


def _probability(row: Row) -> float:
    probability = number(row, "probability", 1.0, low=0.0, high=1.0)
    if not flag(row, "tie"):
        return probability
    if row.get("probability") not in (None, 0.5):
        raise RowError(
            f"'tie' is true but 'probability' is {shown(row['probability'])}, not 0.5",
            "tie and no tie",
        )
    return 0.5


def _first_shown(row: Row) -> int | None:
    value = row.get("first_shown")
    if value is None:
        return None
    if value not in ("chosen", "rejected"):
        raise RowError(
            f'\'first_shown\' must be "chosen" or "rejected", not {shown(value)}',
            "bad 'first_shown'",
        )
    return 0 if value == "chosen" else 1


def _margin(row: Row) -> float:
    if row.get("margin") is None and None not in (
        row.get("score_chosen"),
        row.get("score_rejected"),
    ):
        return number(row, "score_chosen", 0.0) - number(row, "score_rejected", 0.0)
    return number(row, "margin", 0.0)


def _said(content: str) -> Messages:
    return (Message("assistant", content),)


def _check_different(chosen: Messages, rejected: Messages) -> None:
    if chosen == rejected:
        raise RowError(
            "'chosen' and 'rejected' are the same; every pair needs two different responses",
            IDENTICAL,
        )


def _check_repeats(asked: Messages, common: Messages) -> None:
    there = {m.content.strip() for m in common}
    if not all(m.content.strip() in there for m in asked):
        raise RowError(
            "'chosen' and 'rejected' are conversations that do not both begin with the 'prompt'",
            "different prompts",
        )


def _no_prompt(unit: str) -> RowError:
    return RowError(
        f"'chosen' and 'rejected' differ from their {unit} on; "
        "without a 'prompt' they must begin with the same one",
        "no common prompt",
    )
