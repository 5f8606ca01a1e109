"""Best of up to 64 responses of a real policy: how far does gold follow proxies taught by it?

As in Gao et al. 2023 gold is itself a reward model: a head over SmolLM2-135M, trained on human
labels of HH-helpful. Proxies are heads over the same features, trained on pairs that gold labelled,
some of the labels flipped. Responses are SmolLM2-135M's own, to prompts no head was trained on.
Seeds draw the pairs of a proxy and the flips; responses and gold are those of every seed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from common import Recorded, cores, find_data, main, table, write_record
from label_noise import fit_settings, trained
from numpy.typing import NDArray

from assay.data.pairs import PreferencePairs, prompt_key
from assay.evaluation.best_of_n import best_of_n_kl
from assay.evaluation.gold_fit import fit_gold
from assay.evaluation.overoptimization import GoldCurve, gold_curve
from assay.evaluation.selection import Candidates, Selector
from assay.models.backbones import cut_layers
from assay.models.generate import generate
from assay.models.policy import Policy
from assay.models.reward_model import RewardModel
from assay.models.views import View
from assay.progress import progress_bars
from assay.stats import cluster_mean
from assay.train.encode import pair_index
from assay.train.ensemble import encode_pairs
from assay.train.prepare import cached_features, kept_layers
from assay.train.reward import gap_scale
from assay.types import Conversation, Message, Messages

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Best-of-n of SmolLM2's responses by proxies of several sizes."""

    data: Path | None = None
    """Preference pairs. Default: hh_helpful.jsonl.gz in ASSAY_DATA."""
    backbone: str = "smollm2-135m"
    """Policy, and what all heads are over."""
    pairs: int = 1000
    """The first so many pairs, for gold by their human labels and for proxies by gold's."""
    sizes: tuple[int, ...] = (100, 300, 900)
    """Pairs that proxies are trained on."""
    flips: float = 0.25
    """Share of gold's labels that are flipped."""
    seeds: int = 5
    """Proxies of each size."""
    l2: float = 0.1
    """L2 penalty of all heads."""
    prompts: int = 40
    """Prompts to answer, of the rows after those."""
    max_prompt: int = 120
    """Longest prompt in tokens; longer ones are passed over."""
    samples: int = 64
    """Responses to each, and the largest n."""
    max_new_tokens: int = 48
    """Most tokens of a response."""
    threads: int = cores()
    """CPU threads. Default: all cores."""


def run(settings: Settings) -> None:
    """Answer, train the heads, print the table and write the record."""
    torch.set_num_threads(settings.threads)
    started = perf_counter()
    data = PreferencePairs.load(str(find_data(settings.data, "hh_helpful.jsonl.gz")), limit=4000)
    pairs = data.select(range(settings.pairs))
    policy = Policy.load(settings.backbone)
    asked = fresh_prompts(policy, data, settings)
    with progress_bars() as progress:
        said = generate(
            policy,
            asked,
            samples=settings.samples,
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.samples,
            progress=progress,
        )
    print(f"answers: {perf_counter() - started:,.0f} s", file=sys.stderr, flush=True)
    candidates = [
        Conversation(prompt, (Message("assistant", one.text),))
        for prompt, group in zip(asked, said, strict=True)
        for one in group
    ]
    differences, features = features_of(settings.backbone, pairs, candidates)
    heads, accuracies = heads_of(differences, settings)
    rewards = (features @ heads.T).reshape(len(asked), settings.samples, -1)  # (R, N, 1 + proxies)
    lengths = np.array([[len(one.ids) for one in group] for group in said], np.float64)
    curves = curves_of(rewards, lengths, settings)
    rows = {str(size): summary(curves[size], accuracies[size]) for size in settings.sizes}
    print(report(rows))
    facts = {
        "responses_cut": int(sum(one.finish == "length" for group in said for one in group)),
        "gold_on_human_labels": accuracies[0],
        "seconds": round(perf_counter() - started, 1),
    }
    write_record("best_of_n_gold", settings, {**facts, "proxies": rows})


def fresh_prompts(policy: Policy, data: PreferencePairs, settings: Settings) -> list[Messages]:
    """Different prompts of the rows after the pairs, none of them among the pairs' own."""
    rows = data.comparisons
    known = {prompt_key(c.prompt) for c in rows[: settings.pairs]}
    found: list[Messages] = []
    for comparison in rows[settings.pairs :]:
        key = prompt_key(comparison.prompt)
        if key in known or len(policy.prompt_ids(comparison.prompt)) > settings.max_prompt:
            continue
        known.add(key)
        found.append(comparison.prompt)
        if len(found) == settings.prompts:
            break
    return found


def features_of(
    backbone: str, pairs: PreferencePairs, candidates: Sequence[Conversation]
) -> tuple[Floats, Floats]:
    """Chosen less rejected features of the pairs, ``(P, D)``, and those of responses, ``(R, D)``.

    At the depth of frozen training, and on its scale.
    """
    model = RewardModel.from_backbone(backbone, max_length=512)
    view = View(kept_layers(int(model.network.config.get_text_config().num_hidden_layers)))
    cut_layers(model.network, view.layer)
    examples, _ = encode_pairs(model, pairs)
    of_pairs = cached_features(model, [t for e in examples for t in e.tokens], None, [view])
    index, scale = pair_index(examples), gap_scale(of_pairs, examples)
    tokens = model.renderer.tokenise(candidates)
    of_candidates = cached_features(model, tokens, None, [view])
    difference = of_pairs[index.chosen].astype(np.float64) - of_pairs[index.rejected]
    return difference * scale, of_candidates.astype(np.float64) * scale


def heads_of(
    differences: Floats, settings: Settings
) -> tuple[Floats, dict[int, list[float] | float]]:
    """Gold and then every proxy, ``(1 + proxies, D)``, sizes in turns of seeds.

    With the share of pairs on which gold agrees with the human label, under 0, and that on which
    each proxy agrees with gold among pairs it was not trained on, under its size.
    """
    count = len(differences)
    training = fit_settings(count)
    gold = trained(differences, np.ones((count, 1)), settings.l2, training)[0]
    better = differences @ gold > 0
    labels, unseen = [], []
    for size in settings.sizes:
        for seed in range(settings.seeds):
            rng = np.random.default_rng(seed)
            order, flipped = rng.permutation(count), rng.random(count) < settings.flips
            label = np.where(better ^ flipped, 1.0, 0.0)
            label[order[size:]] = np.nan
            labels.append(label)
            unseen.append(order[size:])
    proxies = trained(differences, np.stack(labels, axis=1), settings.l2, training)
    found: dict[int, list[float] | float] = {0: float(better.mean())}
    right = [
        float(np.mean((differences[rows] @ proxy > 0) == better[rows]))
        for rows, proxy in zip(unseen, proxies, strict=True)
    ]
    for i, size in enumerate(settings.sizes):
        found[size] = right[i * settings.seeds : (i + 1) * settings.seeds]
    return np.concatenate([gold[None], proxies]), found


def curves_of(rewards: Floats, lengths: Floats, settings: Settings) -> dict[int, list[GoldCurve]]:
    """A curve of every proxy, by size."""
    gold, proxies = rewards[..., 0], rewards[..., 1:]
    mean = Selector.parse("mean")
    curves = [
        gold_curve(Candidates(proxies[..., [i]], gold, lengths), mean)
        for i in range(proxies.shape[-1])
    ]
    return {
        size: curves[i * settings.seeds : (i + 1) * settings.seeds]
        for i, size in enumerate(settings.sizes)
    }


def summary(curves: Sequence[GoldCurve], accuracy: Any) -> dict[str, Any]:
    """Means over the seeds of one size with Student's intervals, and the fits."""
    lines = {
        name: [cluster_mean([c.lines[name].value[i] for c in curves]).to_dict()
               for i in range(len(curves[0].n))]
        for name in ("gold", "proxy", "length")
    }  # fmt: skip
    kl = np.array([best_of_n_kl(n) for n in curves[0].n])
    mean = np.array([figure["value"] for figure in lines["gold"]])
    alpha, beta = fit_gold(kl, mean)
    d = np.sqrt(kl)
    left = mean - d * (alpha - beta * d)
    return {
        "n": list(curves[0].n),
        "accuracy": cluster_mean(accuracy).to_dict(),
        **lines,
        "fit_of_mean": {
            "alpha": float(alpha),
            "beta": float(beta),
            "r_squared": float(1 - left @ left / np.sum((mean - mean.mean()) ** 2)),
        },
        "r_squared_by_seed": [c.fit.r_squared if c.fit else None for c in curves],
        "falls_by_seed": [c.falls for c in curves],
    }


def report(rows: Mapping[str, dict[str, Any]]) -> str:
    """A row a size."""
    header = ["pairs", "agrees with gold", "gold at n = 4", "16", "64", "proxy at 64",
              "length at 1 → 64", "fit α, β", "R² of the mean", "R² by seed", "falls"]  # fmt: skip
    out = []
    for size, row in rows.items():
        places = {n: i for i, n in enumerate(row["n"])}
        fit = row["fit_of_mean"]
        out.append([
            size, interval(row["accuracy"]),
            *(interval(row["gold"][places[n]]) for n in (4, 16, 64) if n in places),
            interval(row["proxy"][-1]),
            f"{row['length'][0]['value']:.1f} → {row['length'][-1]['value']:.1f}",
            f"{fit['alpha']:.2f}, {fit['beta']:.3f}", f"{fit['r_squared']:.4f}",
            f"{min(row['r_squared_by_seed']):.3f} to {max(row['r_squared_by_seed']):.3f}",
            f"{sum(row['falls_by_seed'])} of {len(row['falls_by_seed'])}",
        ])  # fmt: skip
    return table(header, out)


def interval(figure: Mapping[str, Any]) -> str:
    """A mean with its interval."""
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


if __name__ == "__main__":
    main(run, Settings)
