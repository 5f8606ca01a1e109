"""Does a real policy learn from a real reward model, and stay where the KL target holds it?

SmolLM2-135M-Instruct with LoRA on prompts of HH-helpful, against a frozen head trained on the human
preferences of one half of the pairs; the audit is a head trained on the other half. Prompts that
neither policy was trained on are answered before and after.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from common import Recorded, cores, find_data, main, table, write_record

from assay.configs import RlhfPPO, RlhfRLOO, TrainReward
from assay.rlhf.run import run as train_policy
from assay.train.run import run as train_reward
from assay.types import Figure

Method = Literal["rloo", "ppo"]
SHARE = 0.5
"""Of the prompts, those whose pairs train the proxy; the others train the audit."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """A policy trained on a reward model of human preferences."""

    data: Path | None = None
    """Preference pairs. Default: hh_helpful.jsonl.gz in ASSAY_DATA."""
    pairs: int = 1600
    """Use only the first so many pairs."""
    prompts: int = 192
    """Prompts, of which heldout are kept out."""
    heldout: int = 32
    """Prompts answered before and after."""
    max_prompt: int = 160
    """Longest prompt in tokens; longer ones are passed over."""
    methods: tuple[Method, ...] = ("rloo", "ppo")
    """Each trains a policy of its own."""
    steps: int = 40
    """Steps."""
    prompts_per_step: int = 8
    """Prompts of a step."""
    samples: int = 4
    """Responses to each."""
    max_new_tokens: int = 48
    """Most tokens of a response."""
    lr: float = 3e-4
    """Learning rate."""
    kl_coef: float = 0.4
    """β to begin with. High: it falls while the divergence is below its target, and the divergence
    then comes to the target from below."""
    kl_target: float = 3.0
    """Nats a response that β is led to."""
    kl_horizon: float | None = None
    """Episodes in which β can move by a fifth. Default: a tenth of the run's."""
    audit_backbone: str = "smollm2-135m"
    """What the audit's head is over."""
    seed: int = 0
    """Seed of everything."""
    threads: int = cores()
    """CPU threads. Default: all cores."""
    name: str = "rlhf_run"
    """Name of the record."""
    keep: Path | None = None
    """Directory of the runs. Default: a temporary one."""


def run(settings: Settings) -> None:
    """Train both reward models, then a policy by each method, print and record."""
    data = find_data(settings.data, "hh_helpful.jsonl.gz")
    with tempfile.TemporaryDirectory() as temporary:
        work = settings.keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        prepare(settings, data, work)
        accuracies = {name: reward_model(settings, work, name) for name in ("proxy", "audit")}
        runs = {method: policy_run(settings, work, method) for method in settings.methods}
    print(shown(runs))
    write_record(settings.name, settings, {"reward_models": accuracies, "runs": runs})


def prepare(settings: Settings, data: Path, work: Path) -> None:
    """Two halves of the pairs by prompt, and the prompts that are short enough."""
    from assay.formats.files import read_rows
    from assay.formats.prompts import prompt_in, prompt_text
    from assay.models.policy import Policy

    if (work / "prompts.jsonl").exists():
        return
    policy = Policy.load("smollm2-135m")
    draw = np.random.default_rng(settings.seed)
    halves: dict[str, list[dict[str, Any]]] = {"proxy": [], "audit": []}
    side: dict[str, str] = {}
    prompts: dict[str, dict[str, Any]] = {}
    for number, row in read_rows(data):
        if number > settings.pairs:
            break
        prompt = prompt_in(row, f"row {number}")
        name = prompt_text(prompt)
        half = side.setdefault(name, "proxy" if draw.random() < SHARE else "audit")
        halves[half].append(row)
        if len(policy.prompt_ids(prompt)) <= settings.max_prompt:
            prompts[name] = {"prompt": [m.to_dict() for m in prompt]}
    for name, rows in (*halves.items(), ("prompts", list(prompts.values())[: settings.prompts])):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (work / f"{name}.jsonl").write_text(text)


def reward_model(settings: Settings, work: Path, name: str) -> dict[str, Any]:
    """A frozen head on one half of the pairs; its held-out accuracy."""
    out = work / f"{name}-run"
    if not (out / "manifest.json").exists():
        train_reward(
            TrainReward(
                data=(str(work / f"{name}.jsonl"),),
                out=out,
                backbone="smollm2-135m" if name == "proxy" else settings.audit_backbone,
                max_length=512,
                seed=settings.seed,
                threads=settings.threads,
                resume=True,
            )
        )
    accuracy: dict[str, Any] = json.loads((out / "heldout.json").read_text())["accuracy"]
    return accuracy


def policy_run(settings: Settings, work: Path, method: Method) -> dict[str, Any]:
    """A policy trained by one method: its figures, the KL of its last quarter, what it says."""
    out = work / method
    if not (out / "results.json").exists():
        shared: dict[str, Any] = {
            "policy": "smollm2-135m",
            "reward": str(work / "proxy-run"),
            "audit": str(work / "audit-run"),
            "prompts": str(work / "prompts.jsonl"),
            "out": out,
            "heldout_prompts": settings.heldout,
            "normalize": True,
            "steps": settings.steps,
            "prompts_per_step": settings.prompts_per_step,
            "max_new_tokens": settings.max_new_tokens,
            "lr": settings.lr,
            "schedule": "constant",
            "kl_coef": settings.kl_coef,
            "kl_target": settings.kl_target,
            "kl_horizon": settings.kl_horizon,
            "baseline_steps": 4,
            "stop_on_alarm": False,
            "seed": settings.seed,
            "threads": settings.threads,
            "resume": True,
        }
        if method == "rloo":
            train_policy(RlhfRLOO(**shared, samples=settings.samples))
        else:
            train_policy(RlhfPPO(**shared, samples=settings.samples))
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["step"] > 0]
    last = [row["objective/kl"] for row in steps[-len(steps) // 4 :]]
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    return {
        **results,
        "kl_last_quarter": float(np.mean(last)),
        "curve": [
            {
                k: row.get(k)
                for k in (
                    "step",
                    "objective/kl",
                    "kl/coefficient",
                    "objective/proxy",
                    "objective/audit",
                )
            }
            for row in steps
        ],
        "samples": samples[:: max(1, len(samples) // 4)][:4],
    }


def shown(runs: Mapping[Method, dict[str, Any]]) -> str:
    """A row a method."""
    columns = ("reward_before", "reward_after", "reward_gain", "audit_gain", "length_gain", "kl")
    rows = [
        [
            method,
            *(str(Figure(**found["heldout"][c])) for c in columns),
            f"{found['kl_last_quarter']:.2f}",
            f"{found['seconds'] / 60:.0f} min",
        ]
        for method, found in runs.items()
    ]
    return table(["method", *columns, "KL, last quarter", "time"], rows)


if __name__ == "__main__":
    main(run, Settings)
