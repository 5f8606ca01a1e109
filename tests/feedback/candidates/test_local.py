"""Samples of a policy: the same whatever they are batched with, and never written twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import assay.models.generate as generation
from assay.errors import ConfigError, DataError
from assay.feedback.candidates.local import PolicySource
from assay.feedback.candidates.records import Job, Sample, Setting, Writing, prompt_digest
from assay.models.policy import Policy
from assay.types import Message

WARM = Setting(0, 1.0, 1.0)
WRITING = Writing(max_new_tokens=8)


@pytest.fixture(scope="module")
def policy(tiny_backbone: Path) -> Policy:
    return Policy.load(str(tiny_backbone))


def job(text: str, seed: int, setting: Setting = WARM) -> Job:
    messages = (Message("user", text),)
    return Job(messages, None, prompt_digest(messages, None), setting, seed, seed)


JOBS = [job(text, seed) for text in ("tea", "a longer one about rain", "maps") for seed in range(3)]


def written(policy: Policy, jobs: list[Job], size: int = 16, kept: Path | None = None) -> Any:
    told: list[Sample] = []
    source = PolicySource(policy, WRITING, kept, batch_size=size)
    found = source.write(jobs, told.append)
    assert len(told) == len(jobs)
    return found


@pytest.mark.medium
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(len(JOBS))), size=st.integers(1, 10))
def test_neither_order_nor_batch_size_changes_a_sample(
    policy: Policy, order: list[int], size: int
) -> None:
    expected = written(policy, JOBS)
    found = written(policy, [JOBS[i] for i in order], size)
    assert [(s.text, s.finish, s.seed) for s in found] == [
        (expected[i].text, expected[i].finish, expected[i].seed) for i in order
    ]
    assert len({s.text for s in expected}) > 5


def test_a_sample_is_what_generate_gives_for_its_seed(policy: Policy) -> None:
    (sample,) = written(policy, [JOBS[4]])
    ((again,),) = generation.generate(
        policy, [JOBS[4].messages], max_new_tokens=8, streams=[sample.seed]
    )
    assert sample.text == again.text


def test_a_prompt_is_read_once_for_its_samples(policy: Policy) -> None:
    found = written(policy, JOBS[:3])
    assert found[0].prompt_tokens > 0
    assert [s.prompt_tokens for s in found[1:]] == [0, 0]


def test_what_is_kept_is_not_written_again_and_batches_are_kept_at_once(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.sqlite"
    calls: list[int] = []
    real = generation.generate

    def counted(policy: Policy, prompts: list[Any], **more: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(prompts))
        return real(policy, prompts, **more)

    monkeypatch.setattr(generation, "generate", counted)
    with pytest.raises(KeyboardInterrupt):
        written(policy, JOBS, 3, kept)
    assert calls == [3, 3]
    calls.clear()
    found = written(policy, JOBS, 3, kept)
    assert calls == [3]
    assert [s.cached for s in found].count(True) == 6
    calls.clear()
    again = written(policy, JOBS, 3, kept)
    assert calls == []
    assert [s.text for s in again] == [s.text for s in found]
    assert all(s.cached for s in again)
    other = PolicySource(policy, Writing(max_new_tokens=9), kept)
    assert not other.write(JOBS[:1], lambda _: None)[0].cached


def test_equal_jobs_are_done_once(policy: Policy) -> None:
    first, second = written(policy, [JOBS[0], JOBS[0]])
    assert first.text == second.text


def test_settings_are_sampled_apart(policy: Policy) -> None:
    greedy = Setting(0, 0.0, 1.0)
    cold = [job("tea", seed, greedy) for seed in range(2)]
    found = written(policy, [*JOBS[:2], *cold])
    assert [s.text for s in found[:2]] == [s.text for s in written(policy, JOBS[:2])]
    assert found[2].text == found[3].text


def test_a_prompt_that_leaves_no_room_fails_alone_and_is_not_kept(
    policy: Policy, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.sqlite"
    jobs = [JOBS[0], job("tea " * 3000, 1)]
    for _ in range(2):
        good, bad = written(policy, jobs, kept=kept)
        assert good.failed is None
        assert bad.failed == "too_long"
        assert "reads 2,048 in all" in str(bad.detail)
        assert not bad.cached


def test_a_prompt_that_the_template_refuses_fails_alone(tiny_backbone: Path) -> None:
    policy = Policy.load(str(tiny_backbone))
    strict = "{{ raise_exception('no system here') }}"
    broken = Policy(policy.network, policy.tokenizer, strict, policy.end_ids)
    (sample,) = written(broken, [JOBS[0]])
    assert sample.failed == "template"
    assert "no system here" in str(sample.detail)
    silent = Policy(policy.network, policy.tokenizer, "", policy.end_ids)
    assert written(silent, [JOBS[0]])[0].detail == "the chat template made no token of it"


def test_a_damaged_file_and_a_batch_of_none_are_refused(policy: Policy, tmp_path: Path) -> None:
    kept = tmp_path / "kept.sqlite"
    source = PolicySource(policy, WRITING, kept)
    source._kept.write({source._key(JOBS[0]): {"strange": 1}})
    with pytest.raises(DataError, match="none of samples"):
        source.write([JOBS[0]], lambda _: None)
    with pytest.raises(ConfigError, match="batch_size 0"):
        PolicySource(policy, WRITING, batch_size=0)
