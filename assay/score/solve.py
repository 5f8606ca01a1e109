"""Search a policy for good solutions by their step rewards: best-of-n, votes, step-level beams.

Letters: N whole solutions of a problem · W beams · K next steps of a beam.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from assay.configs import Solving
from assay.data.contract import Ids
from assay.errors import ConfigError
from assay.feedback.answers import compare_answers, final_answer
from assay.formats.steps import join_steps, split_steps
from assay.models.generate import Generation, generate
from assay.models.policy import Policy
from assay.stats.reduce import reduce_steps
from assay.types import Messages, Solution, StepScorer

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A solution the policy wrote, what the scorer says of it, and whether it came to its end."""

    steps: tuple[str, ...]
    rewards: tuple[float, ...]
    reward: float
    ended: bool
    answer: str | None


@dataclass(frozen=True, slots=True)
class Solved:
    """The solution chosen for a problem, and all there was to choose from.

    ``answer`` is that of the choice: by a vote it need not be the best candidate's. ``tokens``
    counts those the policy wrote.
    """

    best: Candidate | None
    answer: str | None
    candidates: tuple[Candidate, ...]
    tokens: int


def check_solving(settings: Solving) -> None:
    """Refuse settings that cannot work.

    Raises:
        ConfigError: If a number is out of its range.
    """
    for name in ("samples", "width", "max_steps", "max_new_tokens", "batch_size"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"{name} is {getattr(settings, name)}; it is at least 1.")
    if not settings.separator:
        raise ConfigError("The separator is empty; name what ends a step in the policy's writing.")


def solve(
    policy: Policy,
    scorer: StepScorer,
    prompts: Sequence[Messages],
    settings: Solving | None = None,
    *,
    streams: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> list[Solved]:
    """A solution of each problem, in order.

    Args:
        streams: A number for each problem that, with the seed, decides its samples. Default: its
            place.
        progress: Called with the number of problems just solved.

    Raises:
        ConfigError: If a setting cannot work.
        DataError: If a prompt leaves no room in the policy's context.
    """
    settings = settings or Solving()
    check_solving(settings)
    numbers = list(range(len(prompts))) if streams is None else list(streams)
    search = _beam if settings.method == "beam" else _whole
    return search(policy, scorer, prompts, numbers, settings, progress)


def _whole(
    policy: Policy,
    scorer: StepScorer,
    prompts: Sequence[Messages],
    numbers: Sequence[int],
    settings: Solving,
    progress: Progress | None,
) -> list[Solved]:
    """N whole solutions of each problem, scored together; the prompt is read once."""
    groups = _samples(policy, prompts, numbers, settings)
    solved = []
    for prompt, group in zip(prompts, groups, strict=True):
        texts = [(tuple(_steps(g.text, settings.separator)), g.ended) for g in group]
        written = [(steps, ended) for steps, ended in texts if steps]
        candidates = scored(scorer, prompt, written, settings.reduction)
        tokens = sum(len(g.ids) for g in group)
        solved.append(chosen(candidates, settings.method, tokens))
        if progress:
            progress(1)
    return solved


def _samples(
    policy: Policy,
    prompts: Sequence[Messages | Ids],
    streams: Sequence[int],
    settings: Solving,
    stop: Sequence[str] = (),
) -> list[list[Generation]]:
    return generate(
        policy,
        prompts,
        samples=settings.samples,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        stop=stop,
        seed=settings.seed,
        streams=streams,
        batch_size=settings.batch_size,
    )


def _steps(text: str, separator: str) -> list[str]:
    """The steps of a whole text, by the policy's separator; without it, as any text is cut."""
    steps = [step.strip() for step in text.split(separator) if step.strip()]
    return steps if len(steps) > 1 else split_steps(text)


def scored(
    scorer: StepScorer,
    prompt: Messages,
    written: Sequence[tuple[tuple[str, ...], bool]],
    reduction: str,
) -> tuple[Candidate, ...]:
    """Candidates of one problem with their rewards; NaN where a step was cut."""
    if not written:
        return ()
    solutions = [Solution(prompt, steps, (None,) * len(steps)) for steps, _ in written]
    rewards = scorer.score_steps(solutions).rewards
    reduced = reduce_steps(rewards, reduction)
    return tuple(
        Candidate(steps, tuple(map(float, own)), float(reward), ended, _answer(steps))
        for (steps, ended), own, reward in zip(written, rewards, reduced, strict=True)
    )


def _answer(steps: Sequence[str]) -> str | None:
    found = final_answer(join_steps(list(steps)))
    return found.text if found is not None else None


def chosen(candidates: tuple[Candidate, ...], method: str, tokens: int) -> Solved:
    """The choice among candidates; those that did not come to their end only if none did."""
    whole = [c for c in candidates if c.ended] or list(candidates)
    scored_ones = [c for c in whole if not np.isnan(c.reward)]
    if not scored_ones:
        return Solved(None, None, candidates, tokens)
    best = max(scored_ones, key=lambda c: c.reward)
    if method not in ("weighted-vote", "majority"):
        return Solved(best, best.answer, candidates, tokens)
    groups = by_answer(scored_ones)
    if not groups:
        return Solved(best, best.answer, candidates, tokens)

    def votes(group: Sequence[Candidate]) -> float:
        return float(len(group)) if method == "majority" else sum(c.reward for c in group)

    # equal votes: the answer whose best solution has the higher reward
    winner = max(groups, key=lambda g: (votes(g), max(c.reward for c in g)))
    best = max(winner, key=lambda c: c.reward)
    return Solved(best, best.answer, candidates, tokens)


def by_answer(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Candidates grouped by equal answers; those without one are in no group."""
    groups: list[list[Candidate]] = []
    for candidate in candidates:
        if candidate.answer is None:
            continue
        for group in groups:
            first = group[0].answer
            if first == candidate.answer or same_answer(str(first), candidate.answer):
                group.append(candidate)
                break
        else:
            groups.append([candidate])
    return groups


@dataclass
class _Search:
    """One problem under search."""

    prompt: Messages
    number: int
    beams: list[Candidate] = field(default_factory=list)
    finished: list[Candidate] = field(default_factory=list)
    tokens: int = 0


def _beam(
    policy: Policy,
    scorer: StepScorer,
    prompts: Sequence[Messages],
    numbers: Sequence[int],
    settings: Solving,
    progress: Progress | None,
) -> list[Solved]:
    """Step-level beam search: K next steps of every beam, of which the W best are kept.

    All problems go on together, so that the policy's batches are full.
    """
    start = Candidate((), (), 1.0, False, None)
    searches = [
        _Search(prompt, number, [start]) for prompt, number in zip(prompts, numbers, strict=True)
    ]
    for depth in range(settings.max_steps):
        active = [s for s in searches if s.beams]
        if not active:
            break
        _advance(policy, scorer, active, depth, settings)
        if progress:
            progress(sum(not s.beams for s in active))
    solved = []
    for search in searches:
        if progress and search.beams:
            progress(1)
        solved.append(chosen((*search.finished, *search.beams), "beam", search.tokens))
    return solved


def _advance(
    policy: Policy,
    scorer: StepScorer,
    active: Sequence[_Search],
    depth: int,
    settings: Solving,
) -> None:
    """One more step for all problems that are not done."""
    places = [(search, beam) for search in active for beam in search.beams]
    begun = [
        policy.prompt_ids(search.prompt, _begun(beam.steps, settings.separator))
        for search, beam in places
    ]
    # beams are told apart by what they say, so a beam gets the same samples whatever stands by it
    streams = [_stream(search.number, depth, beam.steps) for search, beam in places]
    groups = _samples(policy, begun, streams, settings, stop=(settings.separator,))
    written: dict[int, dict[tuple[str, ...], bool]] = {}
    for (search, beam), group in zip(places, groups, strict=True):
        own = written.setdefault(id(search), {})
        for generation in group:
            search.tokens += len(generation.ids)
            step = generation.text.strip()
            steps = (*beam.steps, step) if step else beam.steps
            ended = generation.finish == "eos" or (not step and generation.ended)
            if steps:
                own[steps] = own.get(steps, False) or ended
    for search in active:
        ready = list(written.get(id(search), {}).items())
        candidates = scored(scorer, search.prompt, ready, settings.reduction)
        usable = [c for c in candidates if not np.isnan(c.reward)]
        best = sorted(usable, key=lambda c: -c.reward)[: settings.width]
        search.finished += [c for c in best if c.ended]
        search.beams = [c for c in best if not c.ended]


def _begun(steps: Sequence[str], separator: str) -> str:
    return "".join(step + separator for step in steps)


def _stream(number: int, depth: int, steps: Sequence[str]) -> int:
    text = "\0".join((str(number), str(depth), *steps))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def answer_is(found: str | None, reference: str | None) -> bool | None:
    """Whether an answer is the reference; None where there is no reference."""
    if reference is None:
        return None
    return found is not None and same_answer(found, reference)


@lru_cache(maxsize=2**16)
def same_answer(one: str, other: str) -> bool:
    """Whether two answers are the same: as text, as numbers, and by algebra where it is installed.

    What cannot be decided is taken for different.
    """
    verdict = compare_answers(one, other, symbolic=has_algebra())
    return verdict in ("exact", "numeric", "symbolic")


def has_algebra() -> bool:
    """Whether the extra ``math`` is installed."""
    return find_spec("math_verify") is not None


def row_of(solved: Solved, reference: str | None) -> Mapping[str, Any]:
    """What a problem's row is given."""
    best = solved.best
    return {
        "steps": list(best.steps) if best else None,
        "step_rewards": list(best.rewards) if best else None,
        "reward": best.reward if best else None,
        "found_answer": solved.answer,
        "found_is_right": answer_is(solved.answer, reference),
        "ended": best.ended if best else None,
        "candidates": [
            {
                "steps": list(c.steps),
                "reward": None if np.isnan(c.reward) else c.reward,
                "answer": c.answer,
                "ended": c.ended,
            }
            for c in solved.candidates
        ],
        "tokens": solved.tokens,
    }
