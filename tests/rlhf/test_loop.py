"""The loop converges to what theory says, goes on after a kill, and takes what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from worlds import WORDS, ByText, ask, next_word, word_policy

from assay.configs import PPO, RLOO, PolicyTraining
from assay.errors import ConfigError, DataError, TrainingError
from assay.models.policy import Policy
from assay.rlhf.loop import train_policy
from assay.rlhf.records import Judged, Spoken

REWARDS = {"": 0.3, "yes": 1.0, "no": -0.5}
SHORT = {"steps": 4, "prompts_per_step": 3, "max_new_tokens": 5, "mode": "full", "lr": 1e-3}


class Seen:
    """Keeps what it is shown; ends the run at a step."""

    window = 0

    def __init__(self, stop_at: int = -1, die_at: int = -1, best_at: int = -1):
        self.rows: list[dict[str, Any]] = []
        self.batches: list[Spoken] = []
        self.judged: list[Judged] = []
        self.before: list[Spoken] = []
        self.stop_at, self.die_at, self.best_at = stop_at, die_at, best_at

    def baseline(self, spoken: Spoken, judged: Judged) -> None:
        self.before.append(spoken)

    def observe(
        self, step: int, spoken: Spoken, judged: Judged, extra: Mapping[str, float]
    ) -> SimpleNamespace:
        if step == self.die_at:
            raise KeyboardInterrupt
        self.rows.append({"step": step, **extra})
        self.batches.append(spoken)
        self.judged.append(judged)
        return SimpleNamespace(stop=step == self.stop_at, improved=step == self.best_at)

    def state(self) -> dict[str, Any]:
        return {"rows": [dict(row) for row in self.rows]}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.rows = list(state["rows"])


METHODS: dict[str, PolicyTraining] = {
    "PPO": PPO(samples=64, value_coef=0.5),
    "RLOO": RLOO(samples=64),
}


@pytest.mark.medium
@pytest.mark.parametrize("method", METHODS)
def test_it_converges_to_the_tilted_reference(method: str) -> None:
    """The optimum of E[r] − β KL is π_ref·e^{r/β}, normalised."""
    policy = word_policy(WORDS)
    prompt, beta = ask("yes"), 0.5
    reference = next_word(policy, prompt)
    wanted = reference * np.exp(np.array([REWARDS[""], REWARDS["yes"], REWARDS["no"]]) / beta)
    wanted /= wanted.sum()
    assert np.abs(wanted - reference).sum() / 2 > 0.3  # there is something to learn
    settings = replace(
        METHODS[method],
        steps=150,
        prompts_per_step=2,
        max_new_tokens=1,
        kl_coef=beta,
        mode="full",
        lr=3e-3,
        batch_size=128,
    )
    result = train_policy(policy, ByText(REWARDS.__getitem__), [prompt], settings)
    found = next_word(result.policy, prompt)
    assert np.abs(found - wanted).sum() / 2 < 0.02


@pytest.mark.parametrize("settings", [RLOO(**SHORT), PPO(**SHORT, samples=2)], ids=["RLOO", "PPO"])
def test_the_first_pass_is_the_policy_that_sampled(settings: PolicyTraining) -> None:
    seen = Seen()
    train_policy(word_policy(WORDS), ByText(len), [ask("yes"), ask("no yes")], settings, watch=seen)
    for row in seen.rows:
        assert row["policy/first_log_ratio"] < 1e-5
        assert row["policy/sampler_gap"] < 1e-5
    first = seen.batches[0]
    for ours, theirs in zip(first.logprobs, first.reference, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    moved = [
        a - b for a, b in zip(seen.batches[-1].logprobs, seen.batches[-1].reference, strict=True)
    ]
    assert max(np.abs(m).max() for m in moved) > 1e-3


def trained(settings: PolicyTraining, **how: Any) -> tuple[Seen, Policy]:
    seen = how.pop("watch", None) or Seen()
    prompts = how.pop("prompts", [ask("yes"), ask("no yes"), ask("no no no"), ask("yes yes")])
    reward = how.pop("reward", ByText(len))
    result = train_policy(word_policy(WORDS), reward, prompts, settings, watch=seen, **how)
    return seen, result.policy


def weights(policy: Policy) -> dict[str, Any]:
    return {name: p.detach().numpy() for name, p in policy.network.named_parameters()}


def assert_same(one: Policy, other: Policy, tolerance: float = 0.0) -> None:
    for (name, a), b in zip(weights(one).items(), weights(other).values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=name)


LONGER: dict[str, PolicyTraining] = {
    "RLOO": RLOO(**SHORT, kl_target=0.5, save_every=2),
    "GRPO": RLOO(**SHORT, advantage="grpo", epochs=2, minibatches=2, save_every=2),
    "PPO": PPO(**SHORT, samples=2, epochs=2, minibatches=2, save_every=2),
    "lora": RLOO(**{**SHORT, "mode": "lora"}, lora_rank=2, save_every=2),
    "ptx": PPO(**SHORT, ptx_coef=0.5, save_every=2),
}


@pytest.mark.parametrize("name", LONGER)
def test_a_killed_run_goes_on_to_the_same_trajectory(name: str, tmp_path: Path) -> None:
    settings = replace(LONGER[name], steps=5)
    how: dict[str, Any] = {"pretraining": ["yes no yes", "no no"]} if name == "ptx" else {}
    whole, wanted = trained(settings, **how)
    with pytest.raises(KeyboardInterrupt):
        trained(settings, **how, watch=Seen(die_at=4), directory=tmp_path)
    went_on, found = trained(settings, **how, directory=tmp_path, resume=True)
    assert [b.texts for b in went_on.batches] == [b.texts for b in whole.batches[2:]]
    clock = ("seconds/", "tokens_per_second/")
    for one, other in zip(went_on.rows, whole.rows, strict=True):
        for key in one:
            assert key.startswith(clock) or one[key] == other[key], key
    assert_same(found, wanted)


def test_another_runs_resume_point_is_refused(tmp_path: Path) -> None:
    settings = LONGER["RLOO"]
    trained(settings, directory=tmp_path)
    with pytest.raises(ConfigError, match=r"kl_coef = 0.05 and this run has 0.1"):
        trained(replace(settings, kl_coef=0.1), directory=tmp_path, resume=True)
    with pytest.raises(ConfigError, match="prompts = "):
        trained(settings, directory=tmp_path, resume=True, prompts=[ask("no")])


@pytest.mark.parametrize("name", ["RLOO", "PPO"])
def test_batches_and_budgets_change_nothing(name: str) -> None:
    settings = LONGER[name]
    whole, wanted = trained(settings)
    for changes in ({"batch_size": 1}, {"token_budget": 12}):
        cut, found = trained(replace(settings, **changes))
        assert [b.texts for b in cut.batches] == [b.texts for b in whole.batches]
        assert_same(found, wanted, tolerance=1e-5)


def test_every_step_draws_anew() -> None:
    """The same prompt and, at this rate, the same policy: what differs is what is drawn."""
    settings = RLOO(**{**SHORT, "lr": 1e-12}, samples=8)
    seen, _ = trained(settings, prompts=[ask("yes")])
    said = [batch.texts for batch in seen.batches]
    assert len(set(said)) == len(said)


def test_the_padded_forward_trains_the_same_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    _, wanted = trained(LONGER["RLOO"])
    monkeypatch.setattr(
        "assay.models.policy_reader.PolicyReader.check_engine",
        lambda self, packed: setattr(self, "engine", "padded"),
    )
    _, found = trained(LONGER["RLOO"])
    assert_same(found, wanted, tolerance=1e-5)


def test_a_response_without_a_reward_is_left_out_and_counted() -> None:
    def reward(text: str) -> float:
        return np.nan if text.startswith("no") else float(len(text))

    result = train_policy(
        word_policy(WORDS), ByText(reward), [ask("yes"), ask("no")], RLOO(**SHORT), watch=Seen()
    )
    assert result.left_out > 0
    assert all(np.isfinite(p).all() for p in weights(result.policy).values())
    with pytest.raises(TrainingError, match=r"All 12 rewards of step 1 are NaN or infinite"):
        trained(RLOO(**SHORT), reward=ByText(lambda text: np.inf))


def test_a_reward_of_the_wrong_length_is_refused() -> None:
    class Short(ByText):
        def score(self, conversations: Any) -> Any:
            return super().score(conversations[1:])

    with pytest.raises(TrainingError, match="11 numbers for 12 responses"):
        trained(RLOO(**SHORT), reward=Short(len))


def test_a_missing_end_has_a_score_of_its_own() -> None:
    """With one score for all that did not end, only ending pays."""
    settings = RLOO(
        steps=30,
        prompts_per_step=2,
        samples=16,
        max_new_tokens=2,
        mode="full",
        lr=3e-3,
        missing_end=-5.0,
        kl_coef=0.0,
    )
    seen, _ = trained(settings, reward=ByText(lambda text: 0.0))
    ended = [float(b.ended.mean()) for b in seen.batches]
    assert ended[0] < 0.8
    assert np.mean(ended[-5:]) > 0.95


def test_an_adaptive_coefficient_settles_at_its_target() -> None:
    settings = RLOO(
        steps=160,
        prompts_per_step=2,
        samples=16,
        max_new_tokens=3,
        mode="full",
        lr=3e-3,
        kl_coef=0.2,
        kl_target=0.4,
        kl_horizon=100.0,
        schedule="constant",
    )
    seen, _ = trained(settings, reward=ByText(lambda text: 2.0 * text.count("yes")))
    kl = [
        np.mean([(a - b).sum() for a, b in zip(s.logprobs, s.reference, strict=True)])
        for s in seen.batches
    ]
    assert np.mean(kl[-40:]) == pytest.approx(0.4, rel=0.2)
    assert len({row["kl/coefficient"] for row in seen.rows}) > 100


def test_the_watch_sees_the_reference_first_and_may_end_the_run(tmp_path: Path) -> None:
    seen = Seen(stop_at=2)
    seen.window = 2
    result = train_policy(
        word_policy(WORDS),
        ByText(len),
        [ask("yes")],
        RLOO(**SHORT),
        watch=seen,
        audit=ByText(lambda text: 7.0),
        gold=ByText(lambda text: -1.0),
        directory=tmp_path,
    )
    assert (result.steps, result.stopped) == (2, True)
    assert len(seen.before) == 2
    assert seen.before[0].texts != seen.batches[0].texts
    np.testing.assert_array_equal(seen.judged[0].audit, 7.0)
    np.testing.assert_array_equal(seen.judged[0].gold, -1.0)


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_is_stopped_goes_back_to_its_best_state(kept: bool, tmp_path: Path) -> None:
    settings = LONGER["RLOO"]
    directory = tmp_path if kept else None
    short = Seen(stop_at=2, best_at=2)
    wanted = train_policy(word_policy(WORDS), ByText(len), [ask("yes")], settings, watch=short)
    seen = Seen(stop_at=4, best_at=2)
    result = train_policy(
        word_policy(WORDS), ByText(len), [ask("yes")], settings, watch=seen, directory=directory
    )
    assert (result.steps, result.kept_step) == (4, 2)
    assert_same(result.policy, wanted.policy)


def test_a_stopped_run_that_is_resumed_stays_stopped(tmp_path: Path) -> None:
    settings = LONGER["RLOO"]
    _, wanted = trained(settings, watch=Seen(stop_at=2), directory=tmp_path)
    seen, found = trained(settings, watch=Seen(), directory=tmp_path, resume=True)
    assert seen.batches == []
    assert_same(found, wanted)


def test_texts_of_the_language_model_loss_are_kept_likely() -> None:
    base = PPO(
        steps=25, prompts_per_step=2, samples=8, max_new_tokens=3, mode="full", lr=3e-3, kl_coef=0.0
    )
    reward = ByText(lambda text: float(text.count("yes")))
    said = []
    for coefficient in (0.0, 5.0):
        texts = ["no no no no"] if coefficient else []
        _, policy = trained(replace(base, ptx_coef=coefficient), reward=reward, pretraining=texts)
        said.append(next_word(policy, ask("no no"))[2])
    assert said[1] > said[0] + 0.2


def test_prompts_without_room_are_counted_and_none_at_all_is_refused() -> None:
    long, full = ask("no " * 70), ask("no " * 62)
    result = train_policy(
        word_policy(WORDS), ByText(len), [ask("yes"), long, full], RLOO(**SHORT), watch=Seen()
    )
    assert result.too_long == 1  # the other has room for two tokens
    with pytest.raises(DataError, match="All 1 prompts fill the 64 tokens"):
        trained(RLOO(**SHORT), prompts=[long])
    with pytest.raises(DataError, match="There are no prompts"):
        trained(RLOO(**SHORT), prompts=[])


def test_a_prompt_that_leaves_room_for_one_token_is_trained_on() -> None:
    seen, _ = trained(RLOO(**SHORT), prompts=[ask("no " * 63)])
    assert {len(ids) for b in seen.batches for ids in b.ids} == {1}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (RLOO(steps=0), "steps is 0"),
        (RLOO(samples=1), "want 2 or more"),
        (RLOO(temperature=0.0), "temperature is 0.0"),
        (RLOO(kl_target=5.0, kl_coef=0.0), "can never grow"),
        (RLOO(ptx_coef=0.5), "wants both a weight and texts"),
        (RLOO(**{**SHORT, "minibatches": 9}), "minibatches is 9 and a step has 3 prompts"),
        (PPO(value="reward"), "value reward wants a reward model"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: PolicyTraining, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        trained(settings)
