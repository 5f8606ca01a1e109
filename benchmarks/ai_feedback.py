"""Preferences without people: what does a reward model learn from verifiers and a small judge?

SmolLM2 answers prompts that ask for something a program can check (few words, no capitals, a given
word …), four times each. A verifier labels pairs of answers, SmolLM2 itself judges them, and a
reward model (a frozen head over the same backbone) is trained on the soft labels of each, and of
both. What a verifier says of the answers to prompts that none of them saw is the truth that all are
measured by, beside the length of the response and the judge itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from common import Recorded, cores, main, table, trained_head, write_record

from assay.feedback.judges.kept import KeptJudge
from assay.feedback.judges.local import LocalJudge
from assay.feedback.judges.packs import load_pack
from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.tasks import ChoiceTask, Judged, judged_stream
from assay.feedback.verifiers import Rule, verifier_of
from assay.models.generate import generate
from assay.models.policy import Policy
from assay.progress import progress_bars
from assay.score.scorer import RewardScorer
from assay.stats import estimate_mean
from assay.stats.pairs import accuracy, accuracy_difference
from assay.types import Comparison, Conversation, as_messages

TOPICS = (
    "the sea in winter", "a lost umbrella", "why bread rises", "the first snow", "an old bicycle",
    "learning to swim", "a noisy neighbour", "the smell of rain", "how bees talk",
    "a long train ride", "the moon", "making tea", "a school play", "growing tomatoes",
    "a broken clock", "night markets", "the colour blue", "a stray cat", "writing letters",
    "mountain paths", "how glass is made", "a birthday", "city pigeons", "the desert",
    "a library", "baking a cake", "river boats", "a chess game", "autumn leaves",
    "keeping a diary",
)  # fmt: skip
TASKS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("Use at most 15 words.", {"kind": "word_count", "at_most": 15}),
    ("Use at least 30 words.", {"kind": "word_count", "at_least": 30}),
    ("Write exactly one sentence.", {"kind": "sentence_count", "exactly": 1}),
    ("Ask a question in it.", {"kind": "question_count", "at_least": 1}),
    ("Use no commas.", {"kind": "no_commas"}),
    ("Give a list with at least two bullet points.", {"kind": "bullet_count", "at_least": 2}),
    ("Use the word because.", {"kind": "required_words", "words": ["because"]}),
    ("Do not use the word the.", {"kind": "forbidden_words", "words": ["the"]}),
)
Labels = dict[tuple[int, int], float]
"""P(the first is better) of pairs of a comparison's responses."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Prompts, candidates, labels, reward models."""

    backbone: str = "smollm2-135m"
    """Policy, judge, and what all heads are over."""
    prompts: int = 240
    """Prompts, a topic with a task each; at most 240."""
    samples: int = 4
    """Responses to each."""
    max_new_tokens: int = 40
    """Most tokens of a response."""
    heldout: float = 0.4
    """Share of the prompts that the reward models are measured on."""
    judged: int = 80
    """Training prompts that the judge judges; it takes most of the time."""
    l2: float = 0.1
    """L2 penalty of the heads."""
    seed: int = 0
    """Of prompts, samples and the split."""
    threads: int = cores()
    """CPU threads. Default: all cores."""
    keep: Path | None = None
    """Directory of what the judge said, so that a run goes on. Default: a temporary one."""


def run(settings: Settings) -> None:
    """Generate, verify, judge, train, evaluate; print and record."""
    torch.set_num_threads(settings.threads)
    began = perf_counter()
    policy = Policy.load(settings.backbone)
    with tempfile.TemporaryDirectory() as temporary:
        folder = settings.keep or Path(temporary)
        comparisons, truths, candidates = answers(settings, policy)
        seconds = {"generating": perf_counter() - began}
        train, heldout = split(settings, len(comparisons))
        began_judging = perf_counter()
        asked = train[: settings.judged]
        measured = heldout[: settings.judged // 2]
        judged = judge(settings, policy, [comparisons[i] for i in (*asked, *measured)], folder)
    seconds["judging"] = perf_counter() - began_judging
    said = dict(zip((*asked, *measured), judged, strict=True))
    labels = {
        "verifier": {i: verified(truths[i]) for i in train},
        "verifier, as many prompts": {i: verified(truths[i]) for i in asked},
        "judge": {i: soft(said[i]) for i in asked},
        "verifier and judge": {i: both(verified(truths[i]), soft(said[i])) for i in asked},
    }
    test = {i: verified(truths[i]) for i in heldout}
    began_training = perf_counter()
    rewards = {name: head(settings, comparisons, given, heldout) for name, given in labels.items()}
    rewards["length"] = {i: lengths(comparisons[i]) for i in heldout}
    seconds["training"] = perf_counter() - began_training
    seconds["all"] = perf_counter() - began
    figures = measure(rewards, test, comparisons)
    figures["judge itself"] = judge_figure(said, {i: test[i] for i in measured})
    print(shown(figures, labels))
    write_record(
        "ai_feedback",
        settings,
        {
            "candidates": candidates,
            "labels": {name: counted(given) for name, given in labels.items()},
            "figures": figures,
            "judge": outcomes(judged),
            "seconds": {name: round(s, 1) for name, s in seconds.items()},
        },
    )


def prompts_of(settings: Settings) -> list[tuple[str, Rule]]:
    """So many topics with a task each, drawn, and what checks the task."""
    every = [(topic, task) for topic in TOPICS for task in TASKS]
    order = np.random.default_rng(settings.seed).permutation(len(every))
    return [
        (f"Write a few words about {topic}. {words}", verifier_of(dict(spec)))
        for topic, (words, spec) in (every[i] for i in order[: settings.prompts])
    ]


def answers(
    settings: Settings, policy: Policy
) -> tuple[list[Comparison], list[list[bool | None]], dict[str, Any]]:
    """Candidates of every prompt, different ones, and what the verifier says of each."""
    asked = prompts_of(settings)
    with progress_bars() as progress:
        groups = generate(
            policy,
            [as_messages(prompt, "user") for prompt, _ in asked],
            samples=settings.samples,
            max_new_tokens=settings.max_new_tokens,
            temperature=1.0,
            seed=settings.seed,
            progress=progress,
        )
    comparisons, truths = [], []
    repeated = empty = 0
    for (prompt, verifier), group in zip(asked, groups, strict=True):
        texts = [g.text.strip() for g in group]
        kept = [t for t in dict.fromkeys(texts) if t]
        empty += texts.count("")
        repeated += len([t for t in texts if t]) - len(kept)
        if len(kept) < 2:
            continue
        responses = tuple(as_messages(text, "assistant") for text in kept)
        comparison = Comparison(as_messages(prompt, "user"), responses, (), subset=verifier.name)
        comparisons.append(comparison)
        truths.append([verifier.check(c).passed for c in comparison.conversations()])
    flat = [t for group in truths for t in group]
    return comparisons, truths, {
        "prompts": len(comparisons),
        "responses": len(flat),
        "repeated": repeated,
        "empty": empty,
        "unchecked": flat.count(None),
        "passed": estimate_mean(
            [float(t) for t in flat if t is not None],
            [n for n, group in enumerate(truths) for t in group if t is not None],
        ).figure().to_dict(),
    }  # fmt: skip


def split(settings: Settings, count: int) -> tuple[list[int], list[int]]:
    """Prompts to train on and prompts to measure on."""
    order = np.random.default_rng(settings.seed + 1).permutation(count).tolist()
    held = round(settings.heldout * count)
    return order[held:], order[:held]


def judge(
    settings: Settings, policy: Policy, comparisons: Sequence[Comparison], folder: Path
) -> list[Judged]:
    """The best of all responses in both orders, by log-probabilities."""
    kept = KeptJudge(LocalJudge(policy), folder / "answers.sqlite")
    task = ChoiceTask(Questioner(load_pack(), settings.seed))
    found = []
    with progress_bars() as progress:
        for judged in judged_stream(iter(comparisons), task, kept):
            found.append(judged)
            progress("judging", len(found), len(comparisons), 0)
    return found


def verified(passed: Sequence[bool | None]) -> Labels:
    """A pair has a label where one response passes and the other does not."""
    return {
        (i, j): float(bool(passed[i]))
        for i, j in combinations(range(len(passed)), 2)
        if None not in (passed[i], passed[j]) and passed[i] != passed[j]
    }


def soft(judged: Judged) -> Labels:
    """What the judge holds of every pair, inconsistent ones too: their mean is near a half."""
    return {p.pair: p.probability for p in judged.pairs if p.probability is not None}


def both(sure: Labels, judged: Labels) -> Labels:
    """The verifier where it tells two apart, the judge's soft label elsewhere."""
    return {**judged, **sure}


def head(
    settings: Settings,
    comparisons: Sequence[Comparison],
    labels: Mapping[int, Labels],
    heldout: Sequence[int],
) -> dict[int, Any]:
    """Rewards of the held-out responses by a head that is trained on these labels."""
    rows = [
        {
            "prompt": comparisons[i].prompt[0].content,
            "chosen": comparisons[i].responses[a if p >= 0.5 else b][0].content,
            "rejected": comparisons[i].responses[b if p >= 0.5 else a][0].content,
            "probability": max(p, 1 - p),
        }
        for i, given in labels.items()
        for (a, b), p in given.items()
    ]
    model = trained_head(rows, settings.backbone, settings.l2, settings.seed)
    asked: list[Conversation] = [c for i in heldout for c in comparisons[i].conversations()]
    flat = iter(RewardScorer(model).score(asked).reward)
    return {i: np.array([next(flat) for _ in comparisons[i].responses]) for i in heldout}


def lengths(comparison: Comparison) -> Any:
    """Characters of each response: the reward that knows nothing else."""
    return np.array([float(len(c.response_text)) for c in comparison.conversations()])


def measure(
    rewards: Mapping[str, Mapping[int, Any]],
    test: Mapping[int, Labels],
    comparisons: Sequence[Comparison],
) -> dict[str, Any]:
    """Accuracy on pairs that the verifier tells apart, by scorer; and less length, pair by pair."""
    places = [(i, pair, truth) for i, given in test.items() for pair, truth in given.items()]
    clusters = [i for i, _, _ in places]

    def gaps(name: str) -> Any:
        signs = np.array([1.0 if truth == 1 else -1.0 for _, _, truth in places])
        return signs * np.array(
            [rewards[name][i][a] - rewards[name][i][b] for i, (a, b), _ in places]
        )

    length = gaps("length")
    return {
        name: {
            "accuracy": accuracy(gaps(name), clusters=clusters).to_dict(),
            "less_length": accuracy_difference(gaps(name), length, clusters=clusters).to_dict(),
        }
        for name in rewards
    }


def judge_figure(said: Mapping[int, Judged], test: Mapping[int, Labels]) -> dict[str, Any]:
    """The judge's own accuracy by the verifier, ties a half."""
    gaps, clusters = [], []
    for i, given in test.items():
        held = soft(said[i])
        for pair, truth in given.items():
            if pair in held:
                gaps.append((held[pair] - 0.5) * (1 if truth == 1 else -1))
                clusters.append(i)
    return {"accuracy": accuracy(gaps, clusters=clusters).to_dict()}


def counted(labels: Mapping[int, Labels]) -> dict[str, Any]:
    """How many prompts and pairs, and how sure the labels are."""
    flat = [p for given in labels.values() for p in given.values()]
    return {
        "prompts": sum(bool(given) for given in labels.values()),
        "pairs": len(flat),
        "mean_strength": float(np.mean([abs(2 * p - 1) for p in flat])) if flat else None,
    }


def outcomes(judged: Sequence[Judged]) -> dict[str, Any]:
    """What came of the judge's pairs, and what it makes of the place a response stands in."""
    pairs = [p for j in judged for p in j.pairs]
    firsts = [(p.first, n) for n, j in enumerate(judged) for p in j.pairs if p.first is not None]
    return {
        "outcomes": {o: sum(p.outcome == o for p in pairs) for o in {p.outcome for p in pairs}},
        "first_preferred": estimate_mean([f for f, _ in firsts], [n for _, n in firsts])
        .figure()
        .to_dict(),
    }


def shown(figures: Mapping[str, Any], labels: Mapping[str, Mapping[int, Labels]]) -> str:
    """A row a scorer."""
    rows = []
    for name, found in figures.items():
        size = counted(labels[name]) if name in labels else {}
        rows.append(
            [
                name,
                str(size.get("prompts", "")),
                str(size.get("pairs", "")),
                bracketed(found["accuracy"]),
                bracketed(found["less_length"]) if "less_length" in found else "",
            ]
        )
    return table(["labels of", "prompts", "pairs", "accuracy by the verifier", "less length"], rows)


def bracketed(figure: Mapping[str, Any]) -> str:
    """A figure with its interval and n."""
    low, high = figure["low"], figure["high"]
    return f"{figure['value']:.3f} [{low:.3f}, {high:.3f}], n={figure['n']}"


if __name__ == "__main__":
    main(run, Settings)
