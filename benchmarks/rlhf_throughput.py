"""How many steps of RLOO go in an hour, against TRL's trainer and a plain loop of ``generate``?

Every system runs in a process of its own, in turns: the same prompts, samples, lengths, adapters,
learning rate and KL penalty, SmolLM2-135M in fp32. The first step of each is not timed. Responses
are drawn, so their lengths differ a little; tokens are counted and shown.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from common import (
    Recorded,
    Skip,
    answer,
    cores,
    find_data,
    is_worker,
    main,
    run_worker,
    shown,
    table,
    write_record,
)

System = Literal["assay", "trl", "generate"]


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """RLOO on two cores: steps per hour, and where the time goes."""

    data: Path | None = None
    """Rows with prompts. Default: hh_helpful.jsonl.gz in ASSAY_DATA."""
    policy: str = "smollm2-135m"
    """The policy."""
    prompts: int = 8
    """Prompts of a step."""
    samples: int = 4
    """Responses to each."""
    max_new_tokens: int = 64
    """Most tokens of a response."""
    max_prompt: int = 200
    """Longest prompt in tokens; longer ones are passed over."""
    steps: int = 4
    """Steps of a run; the first is not timed."""
    lora_rank: int = 16
    """Rank of the adapters."""
    lr: float = 1e-4
    """Learning rate, constant."""
    beta: float = 0.05
    """Of the KL penalty."""
    trl_batch: int = 8
    """Responses in one of TRL's forwards; gradients are accumulated over those of a step."""
    repeats: int = 3
    """Runs of each system."""
    threads: int = cores()
    """CPU threads. Default: all cores."""
    systems: tuple[System, ...] = ("assay", "trl", "generate")
    """What to run."""


def run(settings: Settings) -> None:
    """Run the systems in turns, print the table and write the record."""
    if "trl" in settings.systems and find_spec("trl") is None:
        raise Skip("TRL is not installed; run: pip install -c constraints.txt -e '.[bench]'.")
    data = find_data(settings.data, "hh_helpful.jsonl.gz")
    job = {**asdict(settings), "data": str(data), "out": ""}
    job |= run_worker(__file__, "prepare", job)
    runs: dict[str, list[dict[str, Any]]] = {system: [] for system in settings.systems}
    for repeat in range(settings.repeats):
        for system in settings.systems:
            done = run_worker(__file__, system, job)
            runs[system].append(done)
            print(f"repeat {repeat + 1} {system}: {done}", file=sys.stderr, flush=True)
    print(systems_table(runs))
    ratios = {}
    if {"assay", "trl"} <= set(runs):
        ratios = {
            "steps_per_hour": [
                a["steps_per_hour"] / t["steps_per_hour"]
                for a, t in zip(runs["assay"], runs["trl"], strict=True)
            ]
        }
        print(f"\nsteps per hour, Assay over TRL: {shown(ratios['steps_per_hour'], 2)}")
    if {"assay", "generate"} <= set(runs):
        ratios["sampled_tokens_per_second"] = [
            a["sampled_tokens_per_second"] / g["sampled_tokens_per_second"]
            for a, g in zip(runs["assay"], runs["generate"], strict=True)
        ]
        print(
            "sampled tokens per second, Assay over a loop of generate: "
            f"{shown(ratios['sampled_tokens_per_second'], 2)}"
        )
    write_record(
        "rlhf_throughput", replace(settings, data=data), {"runs": runs, "assay_over": ratios}
    )


def systems_table(runs: Mapping[str, list[dict[str, Any]]]) -> str:
    """One row a system."""
    columns = {
        "steps_per_hour": "steps/hour",
        "tokens_per_step": "tokens/step",
        "sampled_tokens_per_second": "sampled tokens/s",
        "sampling_share": "share sampling",
        "update_share": "share updating",
    }
    rows = [
        [system, *(shown([d[k] for d in done], 2) if k in done[0] else "" for k in columns)]
        for system, done in runs.items()
    ]
    return table(["system", *columns.values()], rows)


# --- what runs in a process of its own ------------------------------------------------------------


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Enough prompts that are short enough."""
    from assay.formats.files import read_rows
    from assay.formats.prompts import prompt_in
    from assay.models.policy import Policy

    policy = Policy.load(job["policy"])
    kept: list[list[dict[str, Any]]] = []
    for number, row in read_rows(job["data"]):
        prompt = prompt_in(row, f"row {number}")
        if len(policy.prompt_ids(prompt)) <= job["max_prompt"]:
            kept.append([m.to_dict() for m in prompt])
        if len(kept) == job["prompts"] * job["steps"]:
            break
    return {"rows": kept}


def with_assay(job: dict[str, Any]) -> dict[str, Any]:
    """Assay's loop."""
    import torch

    from assay.configs import RLOO
    from assay.models.policy import Policy
    from assay.rlhf.loop import train_policy
    from assay.types import as_messages

    torch.set_num_threads(job["threads"])
    clock = Clock()
    settings = RLOO(
        steps=job["steps"],
        prompts_per_step=job["prompts"],
        samples=job["samples"],
        max_new_tokens=job["max_new_tokens"],
        lora_rank=job["lora_rank"],
        lora_alpha=2 * job["lora_rank"],
        lr=job["lr"],
        schedule="constant",
        kl_coef=job["beta"],
    )
    prompts = [as_messages(row, "user") for row in job["rows"]]
    policy = Policy.load(job["policy"])
    train_policy(policy, clock, prompts, settings, watch=clock)
    return clock.figures()


class Clock:
    """Rewards by length, and watches: when each step ended and what it did."""

    window = 0

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.ends: list[float] = []
        self.tokens: list[int] = []
        self.stop = self.improved = False

    def score(self, conversations: Any) -> Any:
        """The number of characters of each response."""
        import numpy as np

        from assay.types import Scores

        return Scores(np.array([float(len(c.response_text)) for c in conversations]))

    def baseline(self, spoken: Any, judged: Any) -> None:
        """Nothing: no baseline is asked for."""

    def observe(self, step: int, spoken: Any, judged: Any, extra: Mapping[str, float]) -> Any:
        """Keep the time and the loop's own figures."""
        self.ends.append(time.monotonic())
        self.tokens.append(sum(map(len, spoken.ids)))
        self.rows.append(dict(extra))
        return self

    def state(self) -> dict[str, Any]:
        """Nothing is kept."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing was kept."""

    def figures(self) -> dict[str, Any]:
        """Speeds of all steps but the first."""
        seconds = self.ends[-1] - self.ends[0]
        steps = len(self.ends) - 1

        def total(part: str) -> float:
            return float(sum(row[f"seconds/{part}"] for row in self.rows[1:]))

        return {
            "steps_per_hour": 3600 * steps / seconds,
            "tokens_per_step": sum(self.tokens[1:]) / steps,
            "sampled_tokens_per_second": sum(self.tokens[1:]) / total("sample"),
            "sampling_share": total("sample") / seconds,
            "update_share": (total("update") + total("reference")) / seconds,
        }


def with_trl(job: dict[str, Any]) -> dict[str, Any]:
    """TRL's RLOOTrainer, without gradient checkpointing: faster, and there is memory for it."""
    import tempfile

    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback

    from assay.models.policy import Policy

    torch.set_num_threads(job["threads"])
    trl: Any = import_module("trl")
    policy = Policy.load(job["policy"])
    ends: list[float] = []
    tokens: list[int] = []

    class Times(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.monotonic())

    def reward(completions: Any, completion_ids: Any, **_: Any) -> list[float]:
        tokens.append(sum(map(len, completion_ids)))
        return [float(len(c[0]["content"])) for c in completions]

    batch = job["prompts"] * job["samples"]
    config = trl.RLOOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=job["trl_batch"],
        gradient_accumulation_steps=batch // job["trl_batch"],
        num_generations=job["samples"],
        max_completion_length=job["max_new_tokens"],
        max_steps=job["steps"],
        learning_rate=job["lr"],
        lr_scheduler_type="constant",
        beta=job["beta"],
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        shuffle_dataset=False,
        report_to=[],
        save_strategy="no",
        logging_steps=1000,
        disable_tqdm=True,
    )
    tokenizer: Any = policy.tokenizer
    tokenizer.padding_side = "left"
    trainer = trl.RLOOTrainer(
        model=policy.network,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": row} for row in job["rows"]]),
        processing_class=tokenizer,
        callbacks=[Times()],
        peft_config=LoraConfig(
            r=job["lora_rank"],
            lora_alpha=2 * job["lora_rank"],
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    trainer.train()
    steps = len(ends) - 1
    return {
        "steps_per_hour": 3600 * steps / (ends[-1] - ends[0]),
        "tokens_per_step": sum(tokens[1 : steps + 1]) / steps,
    }


def with_generate(job: dict[str, Any]) -> dict[str, Any]:
    """Plain transformers: one padded call of ``generate`` a step."""
    import torch

    from assay.models.policy import Policy
    from assay.types import as_messages

    torch.set_num_threads(job["threads"])
    policy = Policy.load(job["policy"])
    network: Any = policy.network
    tokens, seconds = 0, 0.0
    for step in range(job["steps"]):
        rows = job["rows"][step * job["prompts"] : (step + 1) * job["prompts"]]
        ids = [policy.prompt_ids(as_messages(row, "user")) for row in rows]
        longest = max(map(len, ids))
        batch = torch.zeros(len(ids), longest, dtype=torch.long)
        mask = torch.zeros_like(batch)
        for number, own in enumerate(ids):
            batch[number, longest - len(own) :] = torch.from_numpy(own).long()
            mask[number, longest - len(own) :] = 1
        begun = time.monotonic()
        with torch.inference_mode():
            out = network.generate(
                input_ids=batch,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                num_return_sequences=job["samples"],
                max_new_tokens=job["max_new_tokens"],
                eos_token_id=sorted(policy.end_ids),
                pad_token_id=0,
            )
        if step:
            seconds += time.monotonic() - begun
            for row in out[:, longest:].tolist():
                ends = [at for at, token in enumerate(row) if token in policy.end_ids]
                tokens += (ends[0] + 1) if ends else len(row)
    return {
        "sampled_tokens_per_second": tokens / seconds,
        "tokens_per_step": tokens / (job["steps"] - 1),
    }


if __name__ == "__main__":
    if is_worker(sys.argv):
        answer(
            {
                "prepare": prepare,
                "assay": with_assay,
                "trl": with_trl,
                "generate": with_generate,
            }
        )
    else:
        main(run, Settings)
