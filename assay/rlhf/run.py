"""The verbs ``assay rlhf ppo`` and ``assay rlhf rloo``: a policy and a reward in, a run out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.atomic import write_json, write_jsonl, write_text
from assay.configs import PPO, RlhfPPO, RlhfRLOO
from assay.errors import ConfigError, DataError
from assay.formats.files import numbering, read_rows
from assay.formats.prompts import prompt_in, prompt_text
from assay.types import Figure, Messages, json_number

if TYPE_CHECKING:
    from assay.models.reward_model import RewardModel
    from assay.progress import Report
    from assay.rlhf.distance import FeatureDistance
    from assay.rlhf.heldout import BeforeAfter
    from assay.rlhf.loop import Judges, PolicyResult
    from assay.rlhf.monitor import OveroptimizationMonitor

RESULTS = "results.json"
SAMPLES = "samples.jsonl"
POLICY = "policy"

RlhfConfig = RlhfPPO | RlhfRLOO


@dataclass(frozen=True)
class TrainedPolicy:
    """A finished run: where it is, and what the policy says to prompts it was not trained on."""

    directory: Path
    figures: Mapping[str, Figure]
    record: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"run": str(self.directory), **self.record}

    def __str__(self) -> str:
        return closing(self.figures, self.record, self.directory)


def run(config: RlhfConfig) -> TrainedPolicy:
    """Load, train under the monitor's eye, answer held-out prompts before and after, save.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    import torch

    from assay.models.policy import Policy
    from assay.rlhf.heldout import BeforeAfter, answers
    from assay.rlhf.loop import Judges, train_policy
    from assay.rlhf.rollouts import Prompts
    from assay.train.run import interruptible

    check_out(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    prompts = read_prompts(config.prompts, config.limit)
    train, heldout = split_prompts(prompts, config.heldout_prompts, config.seed)
    policy = Policy.load(config.policy)
    proxy = _proxy(config, policy, train)
    judges = Judges(
        proxy, _watched(config.audit, config), _watched(config.gold, config), _distance(config)
    )
    asked = Prompts.of(policy, heldout) if heldout else None
    outside = replace(config, samples=config.heldout_samples)
    before = answers(policy, policy, asked, judges.judge, outside) if asked else None
    monitor = _monitor(config)
    with interruptible(config.out), shown(monitor, type(config).__name__) as progress:
        result = train_policy(
            policy,
            judges.proxy,
            train,
            config,
            audit=judges.audit,
            gold=judges.gold,
            distance=judges.distance,
            value_model=_value_model(config),
            pretraining=_texts(config.texts),
            watch=monitor,
            directory=config.out,
            resume=config.resume,
            fingerprint={"reward": config.reward, "audit": config.audit, "gold": config.gold},
            progress=progress,
        )
    found = None
    if asked is not None and before is not None:
        fresh = Policy.load(config.policy)
        found = BeforeAfter(before, answers(result.policy, fresh, asked, judges.judge, outside))
    return save_run(config, result, found, monitor, judges)


@contextmanager
def shown(monitor: OveroptimizationMonitor, title: str) -> Iterator[Report | None]:
    """The monitor's table on a terminal, and lines of progress where there is none."""
    import sys

    from assay.progress import progress_bars
    from assay.rlhf.monitor_live import live_monitor

    if sys.stderr.isatty():
        with live_monitor(title) as show:
            monitor.on_seen = show
            yield None
        return
    with progress_bars() as progress:
        yield progress


def check_out(config: RlhfConfig) -> None:
    """Refuse a directory that holds a finished run, or an unfinished one without resume.

    Raises:
        ConfigError: With one sentence.
    """
    if config.out.exists() and not config.out.is_dir():
        raise ConfigError(f"--out {config.out} is a file; name a directory for the run.")
    if (config.out / RESULTS).exists():
        raise ConfigError(f"--out {config.out} holds a finished run; name another directory.")
    if (config.out / "resume").exists() and not config.resume:
        raise ConfigError(
            f"--out {config.out} holds an unfinished run; go on with --resume, or name another "
            "directory."
        )


def read_prompts(source: str, limit: int | None) -> list[Messages]:
    """The prompts of a file, each once, in order.

    Raises:
        DataError: If a row has none, or there are no rows.
    """
    place = f"{source} {numbering(source)}"
    found = [prompt_in(row, f"{place} {number}") for number, row in read_rows(source)]
    once = list(dict.fromkeys(found))
    if not once:
        raise DataError(f"{source} holds no rows; a policy is trained on prompts.")
    return list(islice(once, limit))


def split_prompts(
    prompts: Sequence[Messages], heldout: int, seed: int
) -> tuple[list[Messages], list[Messages]]:
    """Prompts to train on and prompts kept out.

    Raises:
        ConfigError: If none is left to train on.
    """
    if not 0 <= heldout < len(prompts):
        raise ConfigError(
            f"heldout_prompts is {heldout} and there are {len(prompts):,} different prompts; "
            "keep out fewer than there are."
        )
    order = np.random.default_rng(seed).permutation(len(prompts))
    out = set(order[:heldout].tolist())
    return (
        [p for i, p in enumerate(prompts) if i not in out],
        [prompts[i] for i in sorted(out)],
    )


def _proxy(config: RlhfConfig, policy: Any, prompts: Sequence[Messages]) -> Any:
    """The reward, normalised on what the reference policy says where that is asked for."""
    from assay.rlhf.reward_specs import load_reward
    from assay.rlhf.rewards import fit_normalisation
    from assay.rlhf.rollouts import Prompts, sample

    reward = load_reward(
        config.reward,
        aggregator=config.aggregator,
        strength=config.strength,
        reduction=config.reduction,
        truncation="drop",
        on_failure=config.on_failure,
        timeout_seconds=config.timeout,
    )
    if not config.normalize:
        return reward
    spoken, _ = sample(policy, Prompts.of(policy, prompts).kept[:64], config, config.seed + 5)
    return fit_normalisation(reward, spoken.conversations)


def _watched(spec: str | None, config: RlhfConfig) -> Any:
    from assay.rlhf.reward_specs import load_reward

    if spec is None:
        return None
    return load_reward(
        spec, truncation="drop", on_failure=config.on_failure, timeout_seconds=config.timeout
    )


def _distance(config: RlhfConfig) -> FeatureDistance | None:
    """From the features of what the reward model was trained on.

    Raises:
        ConfigError: If the reward is not one reward model.
    """
    from assay.data.pairs import PreferencePairs
    from assay.errors import CheckpointError
    from assay.models.checkpoint import load_model
    from assay.rlhf.distance import FITTED_ON, FeatureDistance

    if not config.trained_on:
        return None
    try:
        model = load_model(config.reward)
    except CheckpointError as error:
        raise ConfigError(
            f"trained_on wants one outcome reward model as the reward, whose features are "
            f"compared; {error}"
        ) from error
    pairs = PreferencePairs.load(config.trained_on, on_bad_row="skip")
    conversations = [c for x in pairs.comparisons for c in x.conversations()]
    return FeatureDistance.fit(model, conversations[:FITTED_ON])


def _value_model(config: RlhfConfig) -> RewardModel | None:
    from assay.models.checkpoint import load_model

    if not isinstance(config, PPO) or config.value != "reward":
        return None
    return load_model(config.reward)


def _texts(files: Sequence[str]) -> list[str]:
    return [
        prompt_text(prompt_in(row, f"{source} {numbering(source)} {number}"))
        for source in files
        for number, row in read_rows(source)
    ]


def _monitor(config: RlhfConfig) -> OveroptimizationMonitor:
    from assay.rlhf.monitor import Monitoring, OveroptimizationMonitor

    settings = Monitoring(
        steps=config.steps,
        window=config.baseline_steps,
        rate=config.false_alarms,
        stop_on_alarm=config.stop_on_alarm,
        stop_patience=Monitoring.stop_patience if config.stop_on_alarm else 0,
    )
    return OveroptimizationMonitor(settings, config.out)


def save_run(
    config: RlhfConfig,
    result: PolicyResult,
    heldout: BeforeAfter | None,
    monitor: OveroptimizationMonitor,
    judges: Judges,
) -> TrainedPolicy:
    """Write the policy, what it says now, the page and the results; the results last."""
    from assay.toml import resolved_toml
    from assay.train.resume import clear_resume

    out = config.out
    figures = heldout.figures() if heldout is not None else {}
    record: dict[str, Any] = {
        "method": "PPO" if isinstance(config, PPO) else config.advantage.upper(),
        "heldout": {name: figure.to_dict() for name, figure in figures.items()},
        "steps": result.steps,
        "stopped": result.stopped,
        "kept_step": result.kept_step,
        "prompts_too_long": result.too_long,
        "responses_left_out": result.left_out,
        "texts_cut": result.texts_cut,
        "engine": result.engine,
        "why_padded": result.why_padded,
        "seconds": result.seconds,
        "notices": [{**asdict(n), "p": json_number(n.p)} for n in monitor.notices],
    }
    result.policy.save(out / POLICY)
    write_text(out / "config.toml", resolved_toml(config))
    if heldout is not None:
        write_jsonl(out / SAMPLES, heldout.rows())
    monitor.write_page()
    write_json(out / RESULTS, record)
    clear_resume(out)
    return TrainedPolicy(out, figures, json.loads(json.dumps(record)))


def closing(figures: Mapping[str, Figure], record: Mapping[str, Any], out: Path) -> str:
    """What is printed at the end."""
    lines = [f"{record['method']}, {record['steps']:,} steps in {record['seconds']:,.0f} s"]
    if record["stopped"]:
        lines.append(f"stopped by the monitor; the policy is that of step {record['kept_step']:,}")
    for name in ("reward", "audit", "gold", "length", "ended"):
        if f"{name}_gain" in figures:
            before, after = (figures[f"{name}_{k}"].value for k in ("before", "after"))
            gain = figures[f"{name}_gain"]
            lines.append(
                f"{name} on held-out prompts: {before:.3f} before, {after:.3f} after; gain {gain}"
            )
    if "kl" in figures:
        lines.append(f"KL from the reference: {figures['kl']} nats a response")
    if record["why_padded"]:
        lines.append(f"updates did not share prompts: {record['why_padded']}")
    for name, what in (
        ("prompts_too_long", "prompts without room for an answer"),
        ("responses_left_out", "responses without a reward"),
    ):
        if record[name]:
            lines.append(f"left out: {record[name]:,} {what}")
    if record["texts_cut"]:
        lines.append(
            f"texts of the language-model loss that lost their end: {record['texts_cut']:,}"
        )
    lines += [
        f"{n['kind']} at step {n['step']:,}: {n['text']} {n['advice']}".rstrip()
        for n in record["notices"]
    ]
    return "\n".join([*lines, f"written to {out}: {POLICY}/, monitor.html, {SAMPLES}"])
