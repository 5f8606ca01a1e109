"""The one loop of reinforcement learning: sample, score, compare with the reference, update.

PPO, RLOO and GRPO differ in what ``update`` makes of a step's scores. Every step's samples follow
from the seed and the step's number, so a killed run goes on to the same trajectory.

Letters: P prompts · K samples of a prompt · B = P·K responses of a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from assay.configs import PPO, RLOO, PolicyTraining
from assay.errors import ConfigError, TrainingError
from assay.formats.storage import canonical, digest_of_bytes
from assay.models.policy import Policy
from assay.models.policy_reader import PolicyReader
from assay.models.reward_model import RewardModel
from assay.progress import Report
from assay.rlhf.kl import KLControl, k1
from assay.rlhf.pretraining import MixedTask, Texts
from assay.rlhf.records import Judged, Spoken
from assay.rlhf.rollouts import Prompts, Read, read, sample
from assay.rlhf.update import Learning, Meter, StepTask, learning, minibatches
from assay.rlhf.values import ActorCritic, HeadValues, RewardModelValues
from assay.rlhf.watch import Watch
from assay.stats.arrays import Floats
from assay.train.plan import rate_factor
from assay.train.resume import Progress, ResumePoints
from assay.train.updates import Updates
from assay.types import Conversation, Messages, Scorer

UPDATES, BASELINE, TEXTS = 1, 2, 3
"""Tell streams of random numbers of a step apart from its samples' (0)."""


@dataclass(frozen=True)
class PolicyResult:
    """A trained policy, and how its training went.

    ``stopped`` says whether the watch ended it; the policy is then that of ``kept_step``, the best
    one it saw, and otherwise the last. ``why_padded`` says why updates could not share prompts,
    where they could not. ``too_long`` counts prompts without room for an
    answer, ``left_out`` responses without a reward, ``texts_cut`` texts that lost their end.
    """

    policy: Policy
    steps: int
    kept_step: int
    stopped: bool
    rows: list[dict[str, Any]]
    too_long: int
    left_out: int
    texts_cut: int
    seconds: float
    engine: str
    why_padded: str


@dataclass(frozen=True)
class Judges:
    """What scores the responses of a step: the proxy is optimised, the others are watched."""

    proxy: Scorer
    audit: Scorer | None = None
    gold: Scorer | None = None
    distance: Callable[[Sequence[Conversation]], Floats] | None = None

    def judge(self, spoken: Spoken) -> Judged:
        """What each of them says."""
        conversations = spoken.conversations
        proxy = self.proxy.score(conversations)
        if len(proxy.reward) != len(spoken):
            raise TrainingError(
                f"The reward gave {len(proxy.reward)} numbers for {len(spoken)} responses; "
                "wanted one each."
            )
        audit = self.audit.score(conversations).reward if self.audit is not None else None
        gold = self.gold.score(conversations).reward if self.gold is not None else None
        distance = self.distance(conversations) if self.distance is not None else None
        return Judged(np.asarray(proxy.reward, dtype=np.float64), proxy.std, audit, gold, distance)


def train_policy(
    policy: Policy,
    reward: Scorer,
    prompts: Sequence[Messages],
    settings: PolicyTraining,
    *,
    audit: Scorer | None = None,
    gold: Scorer | None = None,
    distance: Callable[[Sequence[Conversation]], Floats] | None = None,
    value_model: RewardModel | None = None,
    pretraining: Sequence[str] = (),
    watch: Watch | None = None,
    directory: Path | None = None,
    resume: bool = False,
    fingerprint: Mapping[str, Any] | None = None,
    progress: Report | None = None,
) -> PolicyResult:
    """Train a policy on a reward; the policy given is changed, the result's is merged.

    Args:
        reward: What is optimised: anything that scores conversations. A response whose reward is
            NaN is left out of the update and counted.
        audit: A held-out reward model, watched and not optimised.
        gold: The truth, where there is one; watched and not optimised.
        distance: How far responses lie from the reward model's training data (``FeatureDistance``).
        value_model: What PPO's value model begins as, with ``value="reward"``.
        pretraining: Texts of the language-model loss that ``ptx_coef`` mixes in.
        watch: Sees every step, and may end the run.
        directory: Where resume points go; None keeps nothing.
        resume: Go on from the last resume point there, if there is one.
        fingerprint: What else must be equal between a resume point and this run.

    Raises:
        ConfigError: If settings cannot work together, or the resume point is of others.
        DataError: If no prompt has room for an answer.
        TrainingError: If the loss becomes NaN or infinite, or every reward of a step is.
    """
    started = time.monotonic()
    settings = resolved(settings, value_model, pretraining)
    run = _Run(
        policy,
        Judges(reward, audit, gold, distance),
        Prompts.of(policy, prompts),
        settings,
        value_model,
        Texts.of(policy, pretraining, settings.token_budget) if pretraining else None,
    )
    run.begin(watch, directory, resume, {**(fingerprint or {}), **run.identity()}, progress)
    while run.step < settings.steps and not run.stopped:
        tokens = run.advance(watch)
        ends = run.step == settings.steps or run.stopped
        if directory is not None and (ends or run.step % settings.save_every == 0):
            run.save(watch)
        if progress:
            progress("steps", run.step, settings.steps, tokens)
    if run.stopped:
        run.go_back()
    return PolicyResult(
        policy=run.module.reader.merged(),
        steps=run.step,
        kept_step=run.best_step if run.stopped and run.best_step else run.step,
        stopped=run.stopped,
        rows=watch.rows if watch is not None else [],
        too_long=run.prompts.too_long,
        left_out=run.left_out,
        texts_cut=run.texts.cut if run.texts is not None else 0,
        seconds=time.monotonic() - started,
        engine=run.module.reader.engine,
        why_padded=run.module.reader.why,
    )


def resolved(
    settings: PolicyTraining, value_model: RewardModel | None, pretraining: Sequence[str]
) -> PolicyTraining:
    """Settings with what was left open decided.

    Raises:
        ConfigError: If they cannot work.
    """
    for name in ("steps", "prompts_per_step", "samples", "epochs", "minibatches", "save_every"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"{name} is {getattr(settings, name)}; wanted 1 or more.")
    if settings.minibatches > settings.prompts_per_step:
        raise ConfigError(
            f"minibatches is {settings.minibatches} and a step has {settings.prompts_per_step} "
            "prompts; an update needs a prompt."
        )
    if not 0 < settings.temperature < float("inf"):
        raise ConfigError(
            f"temperature is {settings.temperature}; wanted more than 0: a policy that always says "
            "the likeliest has no gradient."
        )
    if not isinstance(settings, PPO) and settings.samples < 2:
        raise ConfigError(
            "samples is 1; RLOO and GRPO compare the responses to a prompt with each other, so "
            "they want 2 or more."
        )
    if isinstance(settings, PPO) and (settings.value == "reward") != (value_model is not None):
        raise ConfigError(
            "value reward wants a reward model to begin as the value model, and a value model "
            "wants value reward."
        )
    if bool(settings.ptx_coef) != bool(pretraining):
        raise ConfigError(
            f"ptx_coef is {settings.ptx_coef} with {len(pretraining)} texts; the language-model "
            "loss wants both a weight and texts, or neither."
        )
    episodes = settings.steps * settings.prompts_per_step * settings.samples
    horizon = settings.kl_horizon if settings.kl_horizon is not None else max(1.0, episodes / 10)
    KLControl(settings.kl_coef, settings.kl_target, horizon).check()
    lr = settings.lr or {"lora": 1e-4, "full": 3e-6}[settings.mode]
    return replace(settings, lr=lr, kl_horizon=horizon)


class _Run:
    """The state of one run and what is done with it: a step, a resume point."""

    def __init__(
        self,
        policy: Policy,
        judges: Judges,
        prompts: Prompts,
        settings: PolicyTraining,
        value_model: RewardModel | None,
        texts: Texts | None,
    ):
        self.judges = judges
        self.prompts = prompts
        self.settings = settings
        self.start_digest = policy.digest
        rank = settings.lora_rank if settings.mode == "lora" else None
        reader = PolicyReader(
            policy,
            temperature=settings.temperature,
            lora_rank=rank,
            lora_alpha=settings.lora_alpha,
            seed=settings.seed,
        )
        self.module = ActorCritic(reader, _values(policy, value_model, settings))
        self.updates = _updates(self.module, settings)
        assert settings.kl_horizon is not None
        self.control = KLControl(settings.kl_coef, settings.kl_target, settings.kl_horizon)
        self.texts = texts
        self.step = 0
        self.left_out = 0
        self.stopped = False
        self.best_step = 0
        self.points: ResumePoints | None = None

    def identity(self) -> dict[str, Any]:
        """What must be the same for a resumed run to go on to the same trajectory."""
        texts = digest_of_bytes(
            canonical({"prompt": [m.to_dict() for m in p.messages]}) for p in self.prompts.kept
        )
        kind = PPO if isinstance(self.settings, PPO) else RLOO
        names = [f.name for f in fields(kind) if f.name != "save_every"]
        return {
            "method": kind.__name__,
            "policy": self.start_digest,
            "prompts": texts,
            **{name: getattr(self.settings, name) for name in names},
        }

    def begin(
        self,
        watch: Watch | None,
        directory: Path | None,
        resume: bool,
        fingerprint: Mapping[str, Any],
        progress: Report | None,
    ) -> None:
        """Go back to the last resume point, or let the watch see the reference policy."""
        self.points = ResumePoints(self.module, self.updates.optimizer, directory, fingerprint)
        found = self.points.load() if resume and directory is not None else Progress()
        if found.step:
            self.step = found.step
            self.control = KLControl(**found.extra["kl"])
            self.left_out = int(found.extra["left_out"])
            self.best_step = found.best_step
            self.stopped = bool(found.extra["stopped"])
            self.module.reader.engine = str(found.extra["engine"])
            if watch is not None:
                watch.restore(found.extra["watch"])
            return
        if watch is None:
            return
        for number in range(watch.window):
            spoken, judged, _ = self._speak(number, BASELINE)
            watch.baseline(spoken, judged)
            if progress:
                progress("baseline", number + 1, watch.window, sum(map(len, spoken.ids)))

    def advance(self, watch: Watch | None) -> int:
        """One step; the tokens it sampled."""
        clock = _Clock()
        settings = self.settings
        spoken, judged, told = self._speak(self.step, 0, clock)
        scores = self._scores(spoken, judged)
        learnt = learning(scores, told, settings, self.control.beta)
        with clock.of("update"):
            figures = self._update(told, learnt)
        kl = float(np.mean([k1(a, b).sum() for a, b in zip(told.old, told.reference, strict=True)]))
        figures["kl/coefficient"] = self.control.beta
        figures["policy/sampler_gap"] = max(
            float(np.abs(a - b).max()) for a, b in zip(told.old, spoken.logprobs, strict=True)
        )
        figures["reward/left_out"] = float(np.isnan(scores).sum())
        tokens = sum(map(len, spoken.ids))
        figures |= clock.figures(tokens, sum(tree.num_tokens for tree in told.trees))
        self.control = self.control.after(kl, len(spoken))
        self.step += 1
        if watch is not None:
            seen = watch.observe(self.step, spoken, judged, figures)
            self.stopped = seen.stop
            if seen.improved and self.points is not None:
                self.points.save_best()
                self.best_step = self.step
        return tokens

    def _speak(
        self, step: int, stream: int, clock: _Clock | None = None
    ) -> tuple[Spoken, Judged, Read]:
        """A step's responses, what is said of them, and their log-probabilities."""
        clock = clock or _Clock()
        settings, module = self.settings, self.module
        seed = int(np.random.SeedSequence([settings.seed, stream, step]).generate_state(1)[0])
        # the baseline's prompts are those of the first steps
        numbers = self.prompts.of_step(step, settings.prompts_per_step, settings.seed)
        prompts = [self.prompts.kept[i] for i in numbers]
        with clock.of("sample"):
            spoken, tokens = sample(module.reader.policy, prompts, settings, seed)
        with clock.of("reference"):
            told = read(module, spoken, tokens, settings.token_budget)
        spoken = replace(spoken, reference=told.reference)
        with clock.of("score"):
            judged = self.judges.judge(spoken)
        return spoken, judged, told

    def _scores(self, spoken: Spoken, judged: Judged) -> Floats:
        """What is optimised: the reward, or the score of a missing end. NaN is left out.

        Raises:
            TrainingError: If there is no reward at all.
        """
        scores = np.where(np.isfinite(judged.proxy), judged.proxy, np.nan)
        if self.settings.missing_end is not None:
            scores = np.where(spoken.ended | np.isnan(scores), scores, self.settings.missing_end)
        missing = int(np.isnan(scores).sum())
        self.left_out += missing
        if missing == len(scores):
            raise TrainingError(
                f"All {missing} rewards of step {self.step + 1} are NaN or infinite; look at the "
                "reward. The last resume point is untouched."
            )
        return scores

    def _update(self, told: Read, learnt: Learning) -> dict[str, float]:
        """The inner epochs over a step's responses."""
        settings = self.settings
        factor = rate_factor(self.step, settings.steps, settings.schedule)
        total = Meter()
        losses: list[float] = []
        norms: list[float] = []
        first = 0.0
        batches = minibatches(len(told.trees), settings, [settings.seed, UPDATES, self.step])
        for number, batch in enumerate(batches):
            task = StepTask(told, learnt, settings)
            weight = sum(task.weights[i] for i in batch)
            if not weight:  # none of these prompts has two responses with a reward
                continue
            mixed = self._mixed(task, weight, number)
            texts = range(len(task.costs), len(mixed.costs))
            where = f"step {self.step + 1} of {settings.steps}"
            loss, norm = self.updates.step(mixed, [*batch, *texts], factor, where, weight)
            first = task.meter.farthest if number == 0 else first
            total, losses, norms = total + task.meter, [*losses, loss], [*norms, norm]
        if not losses:
            return {}
        return {
            "train/loss": float(np.mean(losses)),
            "train/gradient_norm": float(np.mean(norms)),
            "train/lr": float(settings.lr or 0.0) * factor,
            "policy/first_log_ratio": first,
            **total.figures(),
        }

    def _mixed(self, task: StepTask, weight: float, number: int) -> StepTask | MixedTask:
        """The task, with texts of the language-model loss where there are any."""
        settings = self.settings
        if self.texts is None:
            return task
        seed = [settings.seed, TEXTS, self.step, number]
        texts = self.texts.drawn(settings.prompts_per_step, seed)
        return MixedTask(task, texts, settings.ptx_coef, weight)

    def save(self, watch: Watch | None) -> None:
        """Write a resume point."""
        assert self.points is not None
        extra = {
            "kl": self.control.to_dict(),
            "left_out": self.left_out,
            "stopped": self.stopped,
            "engine": self.module.reader.engine,
            "watch": watch.state() if watch is not None else None,
        }
        self.points.save(Progress(step=self.step, best_step=self.best_step, extra=extra))

    def go_back(self) -> None:
        """The state that the watch found best, if it found one."""
        assert self.points is not None
        if self.best_step:
            self.points.load_best(Progress(best={"step": float(self.best_step)}))


class _Clock:
    """Seconds of each part of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count the block's time to this part."""
        begun = time.monotonic()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.monotonic() - begun

    def figures(self, sampled: int, read: int) -> dict[str, float]:
        """Seconds and speeds."""
        found = {f"seconds/{part}": value for part, value in self.seconds.items()}
        found["tokens_per_second/sample"] = sampled / max(self.seconds.get("sample", 0.0), 1e-9)
        found["tokens_per_second/update"] = read / max(self.seconds.get("update", 0.0), 1e-9)
        return found


def _values(
    policy: Policy, value_model: RewardModel | None, settings: PolicyTraining
) -> nn.Module | None:
    if not isinstance(settings, PPO):
        return None
    if value_model is None:
        network: Any = policy.network
        return HeadValues(network.get_output_embeddings().weight.shape[1])
    return RewardModelValues(
        value_model,
        policy,
        lora_rank=settings.lora_rank if settings.mode == "lora" else None,
        lora_alpha=settings.lora_alpha,
        seed=settings.seed,
    )


def _updates(module: ActorCritic, settings: PolicyTraining) -> Updates:
    from accelerate import Accelerator

    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [{"params": trained, "lr": settings.lr, "weight_decay": 0.0}]
    return Updates(
        module,
        groups,
        Accelerator(),
        token_budget=settings.token_budget,
        max_grad_norm=settings.max_grad_norm,
        eps=settings.adam_eps,
    )
