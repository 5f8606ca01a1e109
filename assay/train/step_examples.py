"""Solutions as token trees with a target for every judged step, and the count of what did not fit.

Solutions of a problem, and alternatives of a step, stand in one tree as far as a forward pass has
room. Letters: S steps of a solution · N judged steps of an example · K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assay.configs import TOKEN_BUDGET, Neutral, ProcessTraining, Truncation
from assay.data.contract import Tokens
from assay.data.step_contract import StepRenderer
from assay.data.trees import Tree, build_tree
from assay.errors import ContractError, DataError
from assay.models.scoring import prompt_groups, within_budget
from assay.types import Solution

WINDOW = 256
_NAMES = {1: "good", 0: "neutral", -1: "bad", None: "a share"}


@dataclass(frozen=True)
class StepExample:
    """Judged steps of one problem in one tree.

    ``where`` says which solution and which of its steps each is, ``cluster`` numbers the problem.
    """

    tree: Tree
    tokens: tuple[Tokens, ...]
    targets: NDArray[np.float32]  # (N, K)
    weights: NDArray[np.float32]  # (N,)
    where: tuple[tuple[int, int], ...]
    cluster: int

    @property
    def weight(self) -> float:
        """Its steps' weights together: the loss of a batch is the mean over steps."""
        return float(self.weights.sum())


@dataclass(frozen=True)
class StepEncoding:
    """What tokenisation kept and what it lost, of steps that have a target."""

    solutions: int
    steps: int
    problems: int
    tokens: int
    """Tokens the engine sees, after sharing."""
    unshared_tokens: int
    """Tokens of every solution by itself, all its steps in one pass."""
    cut: Counter[str]
    """Judged steps beyond ``max_length``, by their label."""
    refused: int
    """Solutions the contract refused."""
    max_length: int
    first_refusal: str = ""

    def __str__(self) -> str:
        lost = ", ".join(f"{n:,} {label}" for label, n in sorted(self.cut.items())) or "none"
        text = (
            f"{self.steps:,} judged steps of {self.problems:,} problems; cut beyond "
            f"{self.max_length:,} tokens: {lost}"
        )
        if self.refused:
            text += f"; {self.refused:,} solutions refused ({self.first_refusal})"
        return text


def class_targets(
    solution: Solution, training: ProcessTraining, classes: int
) -> list[tuple[float, ...] | None]:
    """What the head should say of each step: a distribution over the classes, or None, ``(S,)``.

    A label goes before a share. With ``targets="hard"`` a share is 1 where any rollout was right
    (hard estimation, Math-Shepherd eq. 3).
    """
    shares: Sequence[float | None] = solution.probabilities or (None,) * len(solution.steps)
    return [
        _target(label, share, training.neutral, training.targets == "hard", classes)
        for label, share in zip(solution.labels, shares, strict=True)
    ]


def _target(
    label: int | None, share: float | None, neutral: Neutral, hard: bool, classes: int
) -> tuple[float, ...] | None:
    if label is None and share is None:
        return None
    if label == 0 and classes == 3:
        return (0.0, 1.0, 0.0)
    if label == 0:
        if neutral == "skip":
            return None
        good = float(neutral == "good")
    elif label is not None:
        good = float(label == 1)
    else:
        assert share is not None
        good = float(share > 0) if hard else share
    return (1 - good, good) if classes == 2 else (1 - good, 0.0, good)


def encode_steps(
    renderer: StepRenderer,
    solutions: Sequence[Solution],
    clusters: Sequence[int],
    training: ProcessTraining,
    *,
    share: bool,
    truncation: Truncation | None = None,
) -> tuple[list[StepExample], StepEncoding]:
    """Examples of all judged steps, and what was left out.

    Args:
        clusters: The number of each solution's problem.
        share: Whether beginnings can be shared (not for encoders).

    Raises:
        DataError: If no judged step is left.
        ContractError: If a solution is too long and the policy is ``error``.
    """
    kinds = max(2, len(renderer.steps.classes))
    kept: list[_Step] = []
    cut: Counter[str] = Counter()
    refused, first_refusal, unshared, taken = 0, "", 0, 0
    policy = truncation or renderer.renderer.contract.truncation
    for start in range(0, len(solutions), WINDOW):
        window = solutions[start : start + WINDOW]
        for offset, tokens in enumerate(_tokenise(renderer, window, start + 1)):
            number = start + offset
            if isinstance(tokens, ContractError):
                refused += 1
                first_refusal = first_refusal or str(tokens)
                continue
            steps, lost = _judged(
                renderer, solutions[number], number, tokens, training, policy, kinds
            )
            cut += lost
            kept += [replace(step, cluster=clusters[number]) for step in steps]
            unshared += max((len(step.tokens.ids) for step in steps), default=0)
            taken += bool(steps)
    if not kept:
        raise DataError(_nothing(solutions, cut, refused, first_refusal, renderer))
    examples = _examples(kept, share)
    return examples, StepEncoding(
        solutions=taken,
        steps=len(kept),
        problems=len({step.cluster for step in kept}),
        tokens=sum(e.tree.num_tokens for e in examples),
        unshared_tokens=unshared,
        cut=cut,
        refused=refused,
        max_length=renderer.renderer.contract.max_length,
        first_refusal=first_refusal,
    )


def _nothing(
    solutions: Sequence[Solution],
    cut: Counter[str],
    refused: int,
    first_refusal: str,
    renderer: StepRenderer,
) -> str:
    if refused == len(solutions):
        return f"All {refused:,} solutions were refused by the contract: {first_refusal}"
    if cut:
        return (
            f"All {cut.total():,} judged steps lie beyond "
            f"max_length={renderer.renderer.contract.max_length:,} tokens; raise --max-length."
        )
    return (
        f"None of the {len(solutions):,} solutions has a judged step; give labels or probabilities."
    )


@dataclass(frozen=True)
class _Step:
    """A judged step by itself."""

    tokens: Tokens
    target: tuple[float, ...]
    weight: float
    where: tuple[int, int]
    cluster: int = 0


def _tokenise(
    renderer: StepRenderer, window: Sequence[Solution], first: int
) -> list[list[Tokens] | ContractError]:
    """Tokens of every solution of a window, or the error of those the contract refuses."""
    try:
        return [*renderer.tokenise(window, first)]
    except ContractError:
        results: list[list[Tokens] | ContractError] = []
        for number, solution in enumerate(window, start=first):
            try:
                results += renderer.tokenise([solution], number)
            except ContractError as error:
                results.append(error)
        return results


def _judged(
    renderer: StepRenderer,
    solution: Solution,
    number: int,
    tokens: Sequence[Tokens],
    training: ProcessTraining,
    policy: Truncation,
    kinds: int,
) -> tuple[list[_Step], Counter[str]]:
    """The judged steps of a solution that fit, and the labels of those that do not."""
    steps: list[_Step] = []
    cut: Counter[str] = Counter()
    for step, target in enumerate(class_targets(solution, training, kinds)):
        if target is None:
            continue
        try:
            fitted = renderer.renderer.fit(tokens[step], policy)
        except ContractError as error:
            raise ContractError(f"Step {step + 1} of solution {number + 1}: {error}") from error
        if fitted is None:
            cut[_NAMES[solution.labels[step]]] += 1
        else:
            steps.append(_Step(fitted, target, solution.weight, (number, step)))
    return steps, cut


def _examples(kept: Sequence[_Step], share: bool) -> list[StepExample]:
    """One tree for the steps of a problem, or several where one forward pass has no room."""
    tokens = [step.tokens for step in kept]
    examples = []
    for group in prompt_groups(tokens):
        parts = within_budget(group, tokens, TOKEN_BUDGET) if share else [[i] for i in group]
        for part in parts:
            examples.append(
                StepExample(
                    tree=build_tree([tokens[i] for i in part], share=share),
                    tokens=tuple(tokens[i] for i in part),
                    targets=np.array([kept[i].target for i in part], dtype=np.float32),
                    weights=np.array([kept[i].weight for i in part], dtype=np.float32),
                    where=tuple(kept[i].where for i in part),
                    cluster=kept[part[0]].cluster,
                )
            )
    return examples
