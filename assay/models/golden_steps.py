"""Golden solutions: fixed solutions whose step rewards are saved and replayed to detect drift.

As golden conversations are, and written by Assay itself.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import ContractError
from assay.models.golden import Replay, ids_digest, in_deviations, steady
from assay.types import Messages, Solution, as_messages

if TYPE_CHECKING:
    from assay.models.process_model import ProcessRewardModel

_TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Tom has 3 boxes of 12 eggs and drops 5 eggs. How many are whole?",
        ("He has 3 * 12 = 36 eggs.", "He drops 5, so 36 - 5 = 31 are whole.", "The answer is 31."),
    ),
    (
        "Tom has 3 boxes of 12 eggs and drops 5 eggs. How many are whole?",
        ("He has 3 + 12 = 15 eggs.", "He drops 5, so 15 - 5 = 10 are whole.", "The answer is 10."),
    ),
    (
        "What is the sum of the first four odd numbers?",
        ("They are 1, 3, 5 and 7.", "$1 + 3 + 5 + 7 = 16 = 4^2$.", "# Answer\n\n16"),
    ),
    ("Is 91 prime?", ("$91 = 7 \\cdot 13$.", "So it is not prime.")),
    ("Is 91 prime?", ("It is not even, nor does it end in 5.", "So it is prime.")),
    ("Solve $2x + 6 = 10$.", ("Subtract 6: $2x = 4$.", "Divide by 2:\n\\[ x = 2 \\]")),
    ("Solve $2x + 6 = 10$.", ("$x = 2$.",)),
    (
        "How many days are there in three leap years?",
        tuple(f"{n} leap year{'s' * (n > 1)}: {366 * n} days." for n in (1, 2, 3)),
    ),
)


def golden_solutions(model: "ProcessRewardModel") -> list[Solution]:
    """The fixed solutions that this model's contract can write within its length."""
    kept = []
    for prompt, steps in _TEXTS:
        solution = _solution(as_messages(prompt, "user"), steps)
        try:
            (tokens,) = model.step_renderer.tokenise([solution])
        except ContractError:
            continue
        if len(tokens[-1].ids) <= model.contract.max_length:
            kept.append(solution)
    return kept


def _solution(prompt: Messages, steps: Sequence[str]) -> Solution:
    return Solution(prompt, tuple(steps), (None,) * len(steps))


def golden_step_rows(model: "ProcessRewardModel") -> list[dict[str, Any]]:
    """Golden solutions with their step rewards and token digests, as in ``golden.jsonl``."""
    solutions = golden_solutions(model)
    if not solutions:
        return []
    rewards = iter(_rewards(model, solutions).tolist())
    return [
        {
            "prompt": [m.to_dict() for m in solution.prompt],
            "steps": list(solution.steps),
            "rewards": [next(rewards) for _ in solution.steps],
            "ids_sha256": ids_digest(tokens[-1].ids),
        }
        for solution, tokens in zip(solutions, model.step_renderer.tokenise(solutions), strict=True)
    ]


def replay_steps(model: "ProcessRewardModel", rows: Sequence[dict[str, Any]]) -> Replay:
    """Score saved golden solutions again and compare; differences are of single steps."""
    if not rows:
        return Replay(0, 0, 0.0)
    solutions = [_solution(as_messages(row["prompt"], "user"), row["steps"]) for row in rows]
    tokens = model.step_renderer.tokenise(solutions)
    changed = sum(
        ids_digest(t[-1].ids) != row["ids_sha256"] for t, row in zip(tokens, rows, strict=True)
    )
    saved = np.array([reward for row in rows for reward in row["rewards"]])
    differences = in_deviations(_rewards(model, solutions), saved)
    return Replay(len(rows), int(changed), float(differences.max()), tuple(differences.tolist()))


def _rewards(model: "ProcessRewardModel", solutions: Sequence[Solution]) -> NDArray[np.float64]:
    """Step rewards of all solutions, end to end, that two passes agree on."""
    from assay.models.step_scoring import score_steps

    return steady(lambda: np.concatenate(score_steps(model, solutions).rewards))
