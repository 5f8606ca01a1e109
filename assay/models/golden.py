"""Golden conversations: fixed texts whose rewards are saved and replayed to detect drift.

They are Assay's own, so a checkpoint never carries its user's data. Their rewards are computed
until two passes agree, so that a fault of the machine in one pass is neither saved nor taken for
drift.
"""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assay.configs import Truncation
from assay.data.contract import Ids
from assay.errors import CheckpointError, ContractError
from assay.types import Conversation

if TYPE_CHECKING:
    from assay.models.reward_model import RewardModel
    from assay.models.scoring import Rewarding

STEADY = 1e-5
"""Two passes agree when no reward differs by more, in standard deviations."""
PASSES = 4
"""Most passes over the golden conversations before the machine is given up."""

_LONG = "Begin by reading the whole page once. " * 24
_TALK = (
    {"role": "user", "content": "My bike chain keeps slipping."},
    {"role": "assistant", "content": "Is it new, or has it been on for a long time?"},
    {"role": "user", "content": "About four years."},
)
_TEXTS: tuple[tuple[Any, str], ...] = (
    ("What is the capital of Australia?", "Canberra."),
    ("What is the capital of Australia?", "The capital of Australia is Sydney, its largest city."),
    ("What is the capital of Australia?", "I like questions! Ask me another one."),
    (
        "Write a haiku about rain.",
        "Rain taps on the roof\nthe cat opens one green eye\nand closes it. Night.",
    ),
    ("Write a haiku about rain.", "Rain is water that falls from clouds."),
    (
        "How do I stop a nosebleed?",
        "Sit up, lean forward, and pinch the soft part of your nose for ten minutes.",
    ),
    ("How do I stop a nosebleed?", "Lie down flat and tilt your head back."),
    ("Convert 3 kg to grams.", "3 kg = 3,000 g"),
    ("Convert 3 kg to grams.", "3 kg = 300 g"),
    ("Reverse a list in Python.", "```python\nitems[::-1]\n```"),
    ("Reverse a list in Python.", "Use `list.sort()`.\n\n- easy\n- fast\n"),
    (
        _TALK,
        "Then the chain is probably worn. Measure it: over 0.75 % longer than new, replace it.",
    ),
    (_TALK, "You should buy a car."),
    ("Say hello in French, German and Japanese.", "Bonjour, Hallo, こんにちは 🙂"),
    ("Say hello in French, German and Japanese.", "Hello, hello, hello"),
    ("Summarise in one line: " + _LONG, "Read first, then act."),
    (
        "Why is the sky blue?",
        "Air scatters short wavelengths of sunlight more than long ones. " * 6,
    ),
    ("Why is the sky blue?", " "),
    ("   spaces   around   ", "  kept or trimmed as the template says  "),
    (
        [
            {"role": "system", "content": "Answer with one word."},
            {"role": "user", "content": "2 + 2?"},
        ],
        "Four",
    ),
    (
        [
            {"role": "system", "content": "Answer with one word."},
            {"role": "user", "content": "2 + 2?"},
        ],
        "It is five, I think.",
    ),
)


@dataclass(frozen=True, slots=True)
class Replay:
    """What replaying golden conversations gave.

    ``difference`` is the largest |reward − saved reward| over the saved rewards' standard
    deviation, ``differences`` that of each conversation; ``retokenised`` counts conversations whose
    token ids are no longer those that were saved.
    """

    count: int
    retokenised: int
    difference: float
    differences: tuple[float, ...] = ()


class UnsteadyWarning(UserWarning):
    """The same conversations got other rewards when they were scored again."""


def golden_conversations(model: "RewardModel") -> list[Conversation]:
    """The fixed conversations that this model's contract can render within its length."""
    kept = []
    for prompt, response in _TEXTS:
        conversation = Conversation.of(prompt, response)
        try:
            (tokens,) = model.renderer.tokenise([conversation])
        except ContractError:  # e.g. a template that takes no system message
            continue
        if len(tokens.ids) <= model.contract.max_length:
            kept.append(conversation)
    return kept


def steady_rewards(
    model: "Rewarding", conversations: Sequence[Conversation], truncation: Truncation = "error"
) -> NDArray[np.float64]:
    """Rewards on which two passes in a row agree, warning if an earlier one did not.

    Raises:
        CheckpointError: If no two passes in a row agree: the machine does not compute reliably.
    """
    from assay.models.scoring import score_conversations

    return steady(lambda: score_conversations(model, conversations, truncation=truncation).rewards)


def steady(compute: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Rewards on which two passes in a row agree, warning if an earlier one did not.

    Raises:
        CheckpointError: If no two passes in a row agree: the machine does not compute reliably.
    """
    before = compute()
    worst = 0.0
    for _ in range(PASSES - 1):
        rewards = compute()
        differences = in_deviations(rewards, before)
        if not (differences > STEADY).any():
            if worst:
                warnings.warn(
                    f"Scored again, the golden conversations got rewards up to {worst:.2g} "
                    "standard deviations away, and then the same twice; "
                    "this machine made an error of arithmetic.",
                    UnsteadyWarning,
                    stacklevel=4,
                )
            return rewards
        worst = max(worst, float(differences.max()))
        before = rewards
    raise CheckpointError(
        f"In {PASSES} passes the golden conversations got rewards up to {worst:.2g} standard "
        "deviations apart; this machine does not compute reliably."
    )


def in_deviations(rewards: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """|reward − wanted| over the standard deviation of what was wanted."""
    return np.abs(rewards - wanted) / (float(wanted.std()) or 1.0)


def golden_rows(model: "RewardModel") -> list[dict[str, Any]]:
    """Golden conversations with their rewards and token digests, as saved in ``golden.jsonl``."""
    conversations = golden_conversations(model)
    if not conversations:
        return []
    rewards = steady_rewards(model, conversations)
    tokens = model.renderer.tokenise(conversations)
    return [
        {
            "prompt": [m.to_dict() for m in c.prompt],
            "response": [m.to_dict() for m in c.response],
            "reward": float(r),
            "tokens": len(t.ids),
            "ids_sha256": ids_digest(t.ids),
        }
        for c, r, t in zip(conversations, rewards, tokens, strict=True)
    ]


def replay(model: "RewardModel", rows: Sequence[dict[str, Any]]) -> Replay:
    """Score saved golden conversations again and compare."""
    if not rows:  # max_length was too short for every golden conversation
        return Replay(0, 0, 0.0)
    conversations = [Conversation.of(row["prompt"], row["response"]) for row in rows]
    tokens = model.renderer.tokenise(conversations)
    changed = sum(
        ids_digest(t.ids) != row["ids_sha256"] for t, row in zip(tokens, rows, strict=True)
    )
    saved = np.array([row["reward"] for row in rows])
    differences = in_deviations(steady_rewards(model, conversations, "truncate-left"), saved)
    return Replay(len(rows), int(changed), float(differences.max()), tuple(differences.tolist()))


def ids_digest(ids: Ids) -> str:
    """SHA-256 of token ids."""
    return hashlib.sha256(np.ascontiguousarray(ids, dtype="<i4").tobytes()).hexdigest()
