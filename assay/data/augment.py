"""Training pairs made of other training pairs: RRM's off-topic and neutral ones.

Knows nothing of tokens and models.
"""

from __future__ import annotations

import numpy as np

from assay.data.pairs import PreferencePairs
from assay.errors import DataError
from assay.types import Comparison, Preference, PreferencePair

RRM_SUBSET = "rrm"
DRAWS = 100
"""Tries to find a pair another pair can borrow from, before it is given up."""


def rrm(pairs: PreferencePairs, ratio: float = 1.0, seed: int = 0) -> list[Comparison]:
    """Pairs in which what does not depend on the prompt cannot decide, ``round(ratio · pairs)``.

    RRM, Liu et al. 2024 (arXiv 2409.13156). For a pair i and another pair j of another prompt, in
    turns:

    - off-topic: to i's prompt, i's chosen response is better than j's chosen one;
    - off-topic: to i's prompt, i's rejected response is better than j's chosen one, too;
    - neutral: to i's prompt, j's chosen and rejected responses are a tie (probability 0.5).

    Length, format and tone of j's responses are those of good answers, and it does not help them.
    The paper draws from more combinations and keeps those a trained model finds hard; here they are
    equal parts, drawn once, the same for the same data and seed. Ties, and prompts with tools, give
    none.

    Args:
        ratio: Added pairs for each pair with a better side, above 0 and at most 1.
        seed: Of the draw.

    Raises:
        DataError: If there are not two prompts to draw from, or all have the same responses.
    """
    judged = [
        (key, pair)
        for key, comparison in zip(pairs.prompt_keys(), pairs.comparisons, strict=True)
        for pair in comparison.pairs()
        if not pair.is_tie and pair.tools is None
    ]
    if len({key for key, _ in judged}) < 2:
        raise DataError(
            "augment rrm pairs a prompt with responses to another, and the training pairs have "
            f"{len({key for key, _ in judged})} prompt; leave it out."
        )
    generator = np.random.default_rng([seed, len(judged)])
    wanted = round(ratio * len(judged))
    added = []
    for number, place in enumerate(generator.permutation(len(judged))[:wanted]):
        key, own = judged[place]
        for draw in generator.integers(len(judged), size=DRAWS):
            other_key, other = judged[draw]
            if other_key != key and other.chosen not in (own.chosen, own.rejected):
                added.append(_made(number % 3, own, other))
                break
    if not added:
        raise DataError(
            f"augment rrm found nothing to borrow in {len(judged):,} training pairs: other prompts "
            "have the same chosen responses; leave it out."
        )
    return added


def _made(kind: int, own: PreferencePair, other: PreferencePair) -> Comparison:
    responses = (
        (own.chosen, other.chosen),
        (own.rejected, other.chosen),
        (other.chosen, other.rejected),
    )[kind]
    return Comparison(
        prompt=own.prompt,
        responses=responses,
        preferences=(Preference(0, 1, 0.5 if kind == 2 else 1.0, weight=own.weight),),
        subset=RRM_SUBSET,
    )
