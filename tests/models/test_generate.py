"""Samples are those of the model, the same alone and in any batch, and end where they should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policies import tiny_policy

import assay.models.generate as module
from assay.data.contract import Ids
from assay.errors import ConfigError, DataError
from assay.models.generate import Generation, generate
from assay.models.policy import Policy
from assay.types import Message

NAMES = ("llama", "gemma3_text", "gemma2", "gpt2", "qwen2", "gpt_neox", "opt", "mistral")
LENGTHS = (5, 1, 21, 12, 5)


@pytest.fixture(scope="module", params=NAMES)
def policy(request: pytest.FixtureRequest, tiny_backbone: Path) -> Policy:
    return tiny_policy(request.param, tiny_backbone)


@pytest.fixture(scope="module")
def llama(tiny_backbone: Path) -> Policy:
    return tiny_policy("llama", tiny_backbone)


def prompts(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> list[Ids]:
    generator = np.random.default_rng(seed)
    return [generator.integers(3, 250, n).astype(np.int32) for n in lengths]


def flat(groups: list[list[Generation]]) -> list[Generation]:
    return [generation for group in groups for generation in group]


def assert_same(found: Sequence[Generation], wanted: Sequence[Generation]) -> None:
    assert [g.ids.tolist() for g in found] == [g.ids.tolist() for g in wanted]
    assert [(g.text, g.finish) for g in found] == [(g.text, g.finish) for g in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


def full_logits(policy: Policy, prompt: Ids, generation: Generation) -> torch.Tensor:
    """Logits before each token of the response, by one plain forward without cache or mask."""
    whole = np.concatenate([prompt, generation.ids]).astype(np.int64)
    network: Any = policy.network
    with torch.no_grad():
        logits = network(torch.from_numpy(whole)[None], use_cache=False).logits[0]
    return logits[len(prompt) - 1 : -1]


# --- the model's own ----------------------------------------------------------------------------


def test_greedy_is_transformers_own_generate(policy: Policy) -> None:
    network: Any = policy.network
    for prompt, (found,) in zip(
        prompts(), generate(policy, prompts(), max_new_tokens=24, temperature=0.0), strict=True
    ):
        own = network.generate(
            torch.from_numpy(prompt.astype(np.int64))[None],
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=24,
            do_sample=False,
        )[0, len(prompt) :]
        assert found.ids.tolist() == own.tolist()


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
def test_logprobs_are_a_plain_forwards(policy: Policy, temperature: float) -> None:
    found = generate(policy, prompts(), samples=2, max_new_tokens=20, temperature=temperature)
    for prompt, group in zip(prompts(), found, strict=True):
        for generation in group:
            logits = full_logits(policy, prompt, generation) / (temperature or 1.0)
            ids = torch.from_numpy(generation.ids.astype(np.int64))
            wanted = torch.log_softmax(logits, -1).gather(1, ids[:, None])[:, 0]
            np.testing.assert_allclose(generation.logprobs, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_batch_order_and_padding_change_nothing(policy: Policy, temperature: float) -> None:
    asked = prompts()
    settings: Any = {"samples": 2, "max_new_tokens": 20, "temperature": temperature, "top_p": 0.95}
    together = generate(policy, asked, **settings)
    alone = generate(policy, asked, batch_size=1, **settings)
    assert_same(flat(together), flat(alone))
    order = [3, 0, 4, 2, 1]
    other = generate(policy, [asked[i] for i in order], streams=order, batch_size=7, **settings)
    assert_same(flat(other), flat([together[i] for i in order]))


def test_a_sample_depends_on_seed_prompt_and_sample_number_alone(llama: Policy) -> None:
    one = prompts((6,)) * 2
    two, three = (generate(llama, one, samples=n, max_new_tokens=12) for n in (2, 3))
    assert_same([g for group in three for g in group[:2]], flat(two))
    texts = [g.ids.tolist() for g in flat(three)]
    assert len(set(map(str, texts))) == 6
    assert_same(flat(generate(llama, one, samples=2, max_new_tokens=12)), flat(two))
    other = flat(generate(llama, one, samples=2, max_new_tokens=12, seed=1))
    assert all(a.ids.tolist() != b.ids.tolist() for a, b in zip(other, flat(two), strict=True))
    longer = flat(generate(llama, one, samples=2, max_new_tokens=20))
    for short, long in zip(flat(two), longer, strict=True):
        assert long.ids[: len(short.ids)].tolist() == short.ids.tolist()


def test_samples_follow_the_models_law(llama: Policy) -> None:
    prompt = prompts((4,))
    found = flat(generate(llama, prompt, samples=600, max_new_tokens=1, batch_size=200))
    law = full_logits(llama, prompt[0], found[0]).softmax(-1)[0]
    counts = torch.bincount(torch.tensor([int(g.ids[0]) for g in found]), minlength=len(law))
    top = law.argsort(descending=True)[:10]
    error = (counts[top] / 600 - law[top]).abs()
    assert (error < 4 * (law[top] * (1 - law[top]) / 600).sqrt()).all()


def test_a_prompt_is_read_once_for_all_its_samples(
    llama: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []
    forward = module._forward

    def counted(policy: Policy, tokens: torch.Tensor, *rest: Any) -> torch.Tensor:
        shapes.append(tuple(tokens.shape))
        return forward(policy, tokens, *rest)

    monkeypatch.setattr(module, "_forward", counted)
    asked = prompts((9,)) * 2 + prompts((3,), seed=1)
    found = flat(generate(llama, asked, samples=4, max_new_tokens=30))
    assert shapes[0] == (2, 9)
    lengths = np.array([len(g.ids) for g in found])
    # a forward for every token but the last of each, by the rows that are still there
    assert [rows for rows, _ in shapes[1:]] == [
        int((lengths > step).sum()) for step in range(1, lengths.max())
    ]


def test_continuing_a_response_begun_gives_the_same_rest(llama: Policy) -> None:
    (prompt,) = prompts((7,))
    ((whole,),) = generate(llama, [prompt], max_new_tokens=16, temperature=0.0)
    begun = np.concatenate([prompt, whole.ids[:6]]).astype(np.int32)
    ((rest,),) = generate(llama, [begun], max_new_tokens=10, temperature=0.0)
    assert rest.ids.tolist() == whole.ids[6:].tolist()
    np.testing.assert_allclose(rest.logprobs, whole.logprobs[6:], atol=1e-5)


def test_messages_are_rendered_and_a_beginning_is_continued(llama: Policy) -> None:
    asked = (Message("user", "tea and maps"),)
    ids = llama.prompt_ids(asked)
    text = "<|im_start|>user\ntea and maps<|im_end|>\n<|im_start|>assistant\n"
    assert llama.text(ids.tolist()) == text
    assert llama.text(llama.prompt_ids(asked, "calm and").tolist()) == text + "calm and"
    by_messages, by_ids = (generate(llama, [p], max_new_tokens=5) for p in (asked, ids))
    assert_same(flat(by_messages), flat(by_ids))


# --- ends ---------------------------------------------------------------------------------------


def test_an_end_token_is_in_the_ids_and_not_in_the_text(llama: Policy) -> None:
    found = flat(generate(llama, prompts(), samples=20, max_new_tokens=60, temperature=1.5))
    ended = [g for g in found if g.finish == "eos"]
    assert ended
    for generation in ended:
        assert generation.ended
        assert generation.ids[-1] in llama.end_ids
        assert not set(generation.ids[:-1].tolist()) & llama.end_ids
        assert generation.text == llama.text(generation.ids[:-1].tolist())
    for generation in found:
        assert len(generation.ids) == len(generation.logprobs)
        if generation.finish == "length":
            assert not generation.ended
            assert len(generation.ids) == 60


def scripted(policy: Policy, text: str) -> Policy:
    """A policy whose network writes this text after anything, then its end token, greedily."""
    tokenizer: Any = policy.tokenizer
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]

    class Script(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = policy.network.config
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.begun = 0

        def forward(self, input_ids: torch.Tensor, past_key_values: Any, **_: Any) -> Any:
            self.begun = 0 if input_ids.shape[1] > 1 else self.begun + 1
            logits = torch.zeros(len(input_ids), 1, len(tokenizer))
            logits[:, :, ids[min(self.begun, len(ids) - 1)]] = 9.0
            return type("Out", (), {"logits": logits})

    return replace(policy, network=Script())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stop", "keep", "text", "finish"),
    [
        ((), False, "tea and é maps\n\nrain 🙂 calm", "eos"),
        (("\n\n",), False, "tea and é maps", "stop"),
        (("\n\n",), True, "tea and é maps\n\n", "stop"),
        (("🙂", "rain"), False, "tea and é maps\n\n", "stop"),
        (("🙂",), True, "tea and é maps\n\nrain 🙂", "stop"),
        (("nd é", "d"), False, "tea an", "stop"),
        (("and", "and é"), True, "tea and", "stop"),
        (("tea",), False, "", "stop"),
        (("absent",), False, "tea and é maps\n\nrain 🙂 calm", "eos"),
    ],
)
def test_stop_strings_cut_text_ids_and_logprobs(
    llama: Policy, stop: tuple[str, ...], keep: bool, text: str, finish: str
) -> None:
    policy = scripted(llama, "tea and é maps\n\nrain 🙂 calm")
    ((found,),) = generate(
        policy, prompts((3,)), max_new_tokens=90, temperature=0.0, stop=stop, keep_stop=keep
    )
    assert (found.text, found.finish, found.ended) == (text, finish, True)
    assert len(found.ids) == len(found.logprobs)
    if finish == "stop":
        assert policy.text(found.ids.tolist()).startswith(text)
        if text:
            assert not policy.text(found.ids[:-1].tolist()).startswith(text)


def test_the_context_is_the_end_of_every_response(tiny_backbone: Path) -> None:
    policy = tiny_policy("gpt2", tiny_backbone)  # 128 positions
    ((found,),) = generate(policy, prompts((120,)), max_new_tokens=50, temperature=0.0)
    assert (len(found.ids), found.finish) == (8, "length")
    with pytest.raises(DataError, match=r"Prompt 2 has 128 tokens and tiny gpt2 can read 128, so"):
        generate(policy, prompts((3, 128)), max_new_tokens=1)


def test_progress_counts_responses_and_tokens(llama: Policy) -> None:
    seen: list[tuple[str, int, int, int]] = []

    def report(stage: str, done: int, total: int, tokens: int) -> None:
        seen.append((stage, done, total, tokens))

    found = generate(llama, prompts(), samples=2, max_new_tokens=9, progress=report)
    assert [s[:3] for s in seen] == [("generating", i + 1, 10) for i in range(10)]
    assert sum(s[3] for s in seen) == sum(len(g.ids) for g in flat(found))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"samples": 0}, "samples is 0; wanted 1 or more"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0;"),
        ({"batch_size": 0}, "batch_size is 0;"),
        ({"temperature": -1.0}, "temperature is -1.0; wanted 0"),
        ({"top_p": 0.0}, "top_p is 0.0; wanted more than 0"),
        ({"stop": ("",)}, "not empty"),
        ({"stop": "ab"}, "wanted a list of strings"),
        ({"streams": [1, 2]}, "2 streams were given for 1 prompts"),
    ],
)
def test_settings_that_cannot_work_are_said(
    llama: Policy, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        generate(llama, prompts((2,)), **{"max_new_tokens": 3, **settings})


def test_an_empty_prompt_is_refused_and_no_prompts_give_nothing(llama: Policy) -> None:
    with pytest.raises(DataError, match="Prompt 1 has no tokens"):
        generate(llama, [np.array([], np.int32)], max_new_tokens=2)
    assert generate(llama, [], max_new_tokens=2) == []
