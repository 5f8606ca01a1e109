"""The verb ``assay rlhf iterate``: reward model, policy, fresh comparisons, and again.

Bai et al. 2022 (arXiv 2204.05862, §4.5): each round trains a reward model on all comparisons so far
and a policy from the beginning on it; what that policy says is compared anew. Every stage of every
round is a directory or file of its own, and one that is there is not made again, so the same
command goes on after a kill, and after people have labelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.atomic import write_json, write_jsonl
from assay.configs import RLOO, PolicyRun, RlhfIterate, RlhfRLOO, TrainReward
from assay.errors import ConfigError, DataError
from assay.formats.files import read_rows
from assay.types import Conversation, Figure, Messages

if TYPE_CHECKING:
    pass

COMPARISONS = "comparisons.jsonl"
PAIRS = "pairs.jsonl"
RESULTS = "results.json"


@dataclass(frozen=True)
class Iterated:
    """What every round came to; ``waiting`` is the file that people have to label first."""

    directory: Path
    rounds: tuple[Mapping[str, Any], ...]
    waiting: Path | None

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        waiting = str(self.waiting) if self.waiting is not None else None
        return {"run": str(self.directory), "rounds": list(self.rounds), "waiting": waiting}

    def __str__(self) -> str:
        lines = []
        for number, found in enumerate(self.rounds, start=1):
            lines.append(f"round {number}: {found['said']}")
        if self.waiting is not None:
            pairs = self.waiting.with_name(PAIRS)
            lines.append(
                f"to be labelled: {self.waiting}; write {pairs} with the fields prompt, chosen and "
                "rejected, and give the same command again"
            )
        return "\n".join([*lines, f"written to {self.directory}"])


def run(config: RlhfIterate) -> Iterated:
    """All rounds, or as far as there are labels.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    if config.rounds < 1 or config.fresh_pairs < 1:
        raise ConfigError("rounds and fresh_pairs are 1 or more.")
    found: list[Mapping[str, Any]] = []
    fresh: list[str] = []
    for number in range(1, config.rounds + 1):
        place = config.out / f"round-{number}"
        reward = reward_model(config, fresh, place / "reward")
        trained = policy_run(config, reward, place / "rlhf")
        comparisons = place / COMPARISONS
        if not comparisons.exists():
            write_jsonl(comparisons, fresh_comparisons(config, place / "rlhf", number))
        pairs = place / PAIRS
        if not pairs.exists():
            if config.labeler is None:
                return Iterated(config.out, tuple(found), comparisons)
            write_jsonl(pairs, labelled(comparisons, config.labeler))
        found.append(summary(trained, reward, pairs))
        fresh.append(str(pairs))
        write_json(config.out / RESULTS, {"rounds": found})
    return Iterated(config.out, tuple(found), None)


def reward_model(config: RlhfIterate, fresh: Sequence[str], out: Path) -> Path:
    """The round's reward model, trained on all comparisons so far."""
    from assay.train.run import is_finished
    from assay.train.run import run as train

    if not is_finished(out):
        train(
            TrainReward(
                data=(*config.data, *fresh),
                out=out,
                backbone=config.backbone,
                mode=config.reward_mode,
                seed=config.seed,
                threads=config.threads,
                resume=True,
            )
        )
    return out


def policy_run(config: RlhfIterate, reward: Path, out: Path) -> Mapping[str, Any]:
    """The round's policy, trained from the beginning on that reward model; its results."""
    import json

    from assay.rlhf import run as rlhf

    if not (out / rlhf.RESULTS).exists():
        shared = {
            f.name: getattr(config, f.name) for part in (RLOO, PolicyRun) for f in fields(part)
        }
        rlhf.run(RlhfRLOO(**{**shared, "reward": str(reward), "out": out, "resume": True}))
    record: Mapping[str, Any] = json.loads((out / rlhf.RESULTS).read_text())
    return record


def fresh_comparisons(config: RlhfIterate, rlhf: Path, number: int) -> list[dict[str, Any]]:
    """Pairs of different responses of the trained policy, to prompts of the run in turn.

    Raises:
        DataError: If the policy says one thing only to every prompt.
    """
    from assay.models.generate import generate
    from assay.models.policy import Policy
    from assay.rlhf.run import POLICY, read_prompts

    policy = Policy.load(str(rlhf / POLICY))
    prompts = read_prompts(config.prompts, config.limit)
    order = np.random.default_rng([config.seed, number]).permutation(len(prompts))
    chosen = [prompts[order[i % len(prompts)]] for i in range(config.fresh_pairs)]
    groups = generate(
        policy,
        [policy.prompt_ids(p) for p in chosen],
        samples=2,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        stop=config.stop,
        seed=config.seed + number,
        batch_size=config.batch_size,
    )
    rows = [
        {"prompt": [m.to_dict() for m in prompt], "responses": [g.text for g in group]}
        for prompt, group in zip(chosen, groups, strict=True)
        if group[0].text != group[1].text and all(g.text.strip() for g in group)
    ]
    if not rows:
        raise DataError(
            f"The policy in {rlhf} gives one and the same answer twice to every prompt, so there "
            "is nothing to compare; raise the temperature or the KL penalty."
        )
    return rows


def labelled(comparisons: Path, labeler: str) -> list[dict[str, Any]]:
    """Pairs whose better response is the one the labeler rewards more; ties are left out.

    Raises:
        DataError: If every pair is a tie.
    """
    from assay.rlhf.records import conversations_of
    from assay.rlhf.reward_specs import load_reward
    from assay.types import as_messages

    rows = [row for _, row in read_rows(comparisons)]
    prompts: list[Messages] = [as_messages(row["prompt"], "user") for row in rows for _ in (0, 1)]
    texts = [text for row in rows for text in row["responses"]]
    reward = load_reward(labeler, truncation="drop").score(conversations_of(prompts, texts)).reward
    found = []
    for row, (one, other) in zip(rows, reward.reshape(-1, 2), strict=True):
        if one == other or not np.isfinite([one, other]).all():
            continue
        better, worse = row["responses"] if one > other else row["responses"][::-1]
        found.append({"prompt": row["prompt"], "chosen": better, "rejected": worse})
    if not found:
        raise DataError(
            f"{labeler} rewards both responses of every pair in {comparisons} alike; nothing can "
            "be learnt from that."
        )
    return found


def summary(results: Mapping[str, Any], reward: Path, pairs: Path) -> dict[str, Any]:
    """The round's figures: the policy on held-out prompts, its reward model on fresh pairs."""
    accuracy = fresh_accuracy(reward, pairs)
    heldout = results["heldout"]
    said = f"its reward model orders {accuracy} of the fresh pairs right"
    if "reward_gain" in heldout:
        gain = Figure(**heldout["reward_gain"])
        said = f"reward on held-out prompts up by {gain}, KL {Figure(**heldout['kl'])}; {said}"
    return {"heldout": heldout, "fresh_accuracy": accuracy.to_dict(), "said": said}


def fresh_accuracy(reward: Path, pairs: Path) -> Figure:
    """How many pairs of its policy's responses a reward model orders as they are labelled."""
    from assay.data.pairs import PreferencePairs
    from assay.formats.prompts import prompt_text
    from assay.score.scorer import load_scorer
    from assay.stats import cluster_mean

    found = PreferencePairs.load(str(pairs))
    scorer = load_scorer(str(reward), truncation="drop")
    pairs_found = [pair for x in found.comparisons for pair in x.pairs()]
    sides = [Conversation(p.prompt, side) for p in pairs_found for side in (p.chosen, p.rejected)]
    gaps = np.subtract(*scorer.score(sides).reward.reshape(-1, 2).T)
    known = np.isfinite(gaps)
    right = np.where(gaps == 0, 0.5, gaps > 0)
    prompts = [prompt_text(p.prompt) for p, k in zip(pairs_found, known, strict=True) if k]
    return cluster_mean(right[known], prompts, (0.0, 1.0))
