"""Properties of the contract on the tokenizers and templates of well-known families."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.contract import (
    FROZEN_DATE,
    Contract,
    Renderer,
    Tokens,
    apply_template,
    common_prefix,
    freeze_dates,
    make_contract,
)
from assay.errors import ContractError
from assay.types import Conversation, Message

FAMILIES = list(families.FAMILIES)
BOS = {"llama3": "<|begin_of_text|>", "gemma": "<bos>", "mistral": "<s>", "bert": "[CLS]"}
PADS = {
    "chatml": "<|endoftext|>",  # pad = EOS as shipped
    "llama3": "<|finetune_right_pad_id|>",
    "gemma": "<pad>",
    "mistral": "<unk>",
    "phi3": "<|endoftext|>",
    "gpt2": "<|assay_pad|>",
    "bert": "[PAD]",
    "between": "<unk>",
    "merging": "<unk>",
    "newlines": "<pad>",
}
ENDS = {
    "chatml": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "mistral": "</s>",
    "phi3": "<|end|>",
    "gpt2": "<|endoftext|>",
    "bert": "[SEP]",
    "between": "</s>",
    "merging": "</s>",
    "newlines": "</s>",
}
TALK = (
    {"role": "user", "content": "what is the time?"},
    {"role": "assistant", "content": "it is late."},
    {"role": "user", "content": "more?"},
)
CONVERSATIONS = [
    *(Conversation.of("q", "x" * n) for n in range(1, 40, 3)),
    Conversation.of("what is the time?", "it is late, and the tea is cold."),
    Conversation.of("a question", "  a first answer.\n"),
    Conversation.of(TALK, "yes"),
    Conversation.of(TALK, "yes, more words of the reply."),
]
"""Short ones, whose rendering is about as long as the special tokens, long ones, several turns."""

_made: dict[str, tuple[Any, Renderer]] = {}


def shipped_and_renderer(family: str) -> tuple[Any, Renderer]:
    """The tokenizer as its maker ships it, and a renderer made from another copy."""
    if family not in _made:
        tokenizer = families.FAMILIES[family]()
        contract = make_contract(tokenizer, max_length=2048)
        _made[family] = families.FAMILIES[family](), Renderer(contract, tokenizer)
    return _made[family]


def renderer_of(family: str) -> Renderer:
    return shipped_and_renderer(family)[1]


def dicts(conversation: Conversation) -> list[dict[str, Any]]:
    return [m.to_dict() for m in conversation.messages]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_token_is_the_only_end_of_response_in_the_response(family: str) -> None:
    renderer = renderer_of(family)
    assert renderer.contract.end_of_response == ENDS[family]
    end = renderer.contract.end_of_response_id
    assert renderer.tokenizer.convert_tokens_to_ids(ENDS[family]) == end
    for tokens in renderer.tokenise(CONVERSATIONS):
        assert tokens.ids[-1] == end
        assert (tokens.ids[tokens.response_start :] == end).sum() == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_response_starts_where_the_generation_prompt_ends(family: str) -> None:
    renderer = renderer_of(family)
    conversation = Conversation.of("what is the time?", "it is late")
    (tokens,) = renderer.tokenise([conversation])
    own = renderer.tokenizer.decode(tokens.ids[tokens.response_start :])
    assert own.replace(ENDS[family], "").strip() == "it is late"


def test_a_merge_across_the_boundary_belongs_to_the_response() -> None:
    renderer = renderer_of("merging")
    conversation = Conversation.of("what is the time?", "it is late")
    (tokens,) = renderer.tokenise([conversation])
    prompt = renderer.tokenizer(renderer.render_prompt(conversation))["input_ids"]
    assert tokens.response_start < len(prompt)
    assert renderer.tokenizer.decode(tokens.ids[tokens.response_start :]) == " it is late</s>"


@pytest.mark.parametrize("family", BOS)
def test_there_is_one_bos_and_it_comes_first(family: str) -> None:
    renderer = renderer_of(family)
    bos = renderer.tokenizer.convert_tokens_to_ids(BOS[family])
    for tokens in renderer.tokenise(CONVERSATIONS):
        assert tokens.ids[0] == bos
        assert (tokens.ids == bos).sum() == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_pad_token_is_a_real_one_and_not_the_end(family: str) -> None:
    renderer = renderer_of(family)
    contract, tokenizer = renderer.contract, renderer.tokenizer
    assert contract.pad_token == tokenizer.pad_token == PADS[family]
    assert tokenizer.pad_token_id != contract.end_of_response_id
    assert tokenizer.get_vocab()[contract.pad_token] == tokenizer.pad_token_id


@pytest.mark.parametrize("family", FAMILIES)
def test_the_saved_tokenizer_renders_the_same_tokens_by_itself(family: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    renderer = renderer_of(family)
    renderer.tokenizer.save_pretrained(tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert plain.pad_token == renderer.contract.pad_token
    for conversation, tokens in zip(CONVERSATIONS, renderer.tokenise(CONVERSATIONS), strict=True):
        got = plain.apply_chat_template(dicts(conversation), tokenize=True, return_dict=False)
        assert got == tokens.ids.tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_contract_made_of_the_saved_tokenizer_is_the_same(family: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    renderer = renderer_of(family)
    renderer.tokenizer.save_pretrained(tmp_path)
    again = make_contract(AutoTokenizer.from_pretrained(tmp_path), max_length=2048)
    assert again == replace(renderer.contract, template_source="tokenizer")  # it has one now
    assert again.digest == renderer.contract.digest


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("gpt2", "bert")])
def test_wrapping_leaves_prompts_alone_and_ends_conversations_sooner(family: str) -> None:
    shipped, renderer = shipped_and_renderer(family)
    template = freeze_dates(shipped.chat_template)[0]
    end = renderer.contract.end_of_response
    for conversation in CONVERSATIONS:
        original = apply_template(shipped, template, conversation.prompt, generation_prompt=True)
        assert renderer.render_prompt(conversation) == original
        whole = apply_template(shipped, template, conversation.messages, generation_prompt=False)
        after = {"phi3": "\n<|endoftext|>", "chatml": "\n", "gemma": "\n"}.get(family, "")
        wanted = whole.rstrip() + end if family == "between" else whole.removesuffix(after)
        if family == "newlines":
            assert whole.startswith("\n")
        assert renderer.render(conversation) == wanted


def test_rewards_do_not_change_with_the_year(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import chat_template_utils

    shipped, renderer = shipped_and_renderer("llama3")
    conversation = CONVERSATIONS[-1]
    ours, theirs = [], []
    for day in (datetime.datetime(2026, 12, 31), datetime.datetime(2027, 1, 1)):

        class Clock(datetime.datetime):
            @classmethod
            def now(cls, tz: Any = None, _day: datetime.datetime = day) -> datetime.datetime:
                return _day

        monkeypatch.setattr(chat_template_utils, "datetime", Clock)
        theirs.append(shipped.apply_chat_template(dicts(conversation), tokenize=False))
        ours.append(renderer.tokenise([conversation])[0].ids.tolist())
    assert theirs[0] != theirs[1]
    assert ours[0] == ours[1]
    assert renderer.contract.frozen_date == FROZEN_DATE
    assert "26 Jul 2024" in renderer.render(conversation)


def test_dates_are_frozen_in_any_quotes_and_formats() -> None:
    frozen, day = freeze_dates("{{ strftime_now('%Y-%m-%d') }} {{ strftime_now( \"%B %d\" ) }}")
    assert frozen == '{{ "2024-07-26" }} {{ "July 26" }}'
    assert day == FROZEN_DATE
    assert freeze_dates("{{ 'no date' }}") == ("{{ 'no date' }}", None)
    with pytest.raises(ContractError, match="computed format"):
        freeze_dates("{{ strftime_now(style) }}")


@pytest.mark.parametrize("place", ["prompt", "response"])
def test_a_message_with_the_end_token_as_text_is_refused(place: str) -> None:
    texts = {"prompt": "hello", "response": "bye", place: "stop<|im_end|>here"}
    with pytest.raises(ContractError, match=r"contains the end-of-response token '<\|im_end\|>'"):
        renderer_of("chatml").tokenise([Conversation.of(texts["prompt"], texts["response"])])


def test_an_end_token_from_a_message_s_extra_keys_is_refused() -> None:
    tokenizer = families.FAMILIES["chatml"]()
    tokenizer.chat_template = families.CHATML.replace(
        "message['content']", "message['content'] + (message['note'] or '')"
    )
    renderer = Renderer(make_contract(tokenizer, max_length=100), tokenizer)
    row = {"role": "assistant", "content": "bye", "note": "<|im_end|>"}
    with pytest.raises(ContractError, match="2 times where once was wanted"):
        renderer.tokenise([Conversation.of("hello", [row])])
    (tokens,) = renderer.tokenise([Conversation.of("hello", [{**row, "note": "!"}])])
    assert "bye!" in tokenizer.decode(tokens.ids)


def test_a_response_of_several_messages_ends_at_the_last_one() -> None:
    renderer = renderer_of("chatml")
    turns = [
        {"role": "assistant", "content": "let me look"},
        {"role": "tool", "content": "12:00"},
        {"role": "assistant", "content": "it is noon"},
    ]
    (tokens,) = renderer.tokenise([Conversation.of("what is the time?", turns)])
    end = renderer.contract.end_of_response_id
    assert (tokens.ids[tokens.response_start :] == end).sum() == 3
    assert tokens.ids[-1] == end


def test_turns_that_end_in_eos_do_not_move_the_end() -> None:
    """The last turn gets an EOS of its own although an earlier one stands a few tokens before."""
    renderer = renderer_of("between")
    text = renderer.render(Conversation.of(TALK, "ok"))
    assert text.endswith("user: more?</s>assistant: ok</s>")
    assert text.count("</s>") == 4


def test_tools_reach_the_template() -> None:
    renderer = renderer_of("llama3")
    messages = Conversation.of("what is the time?", "late").prompt
    answer = (Message("assistant", "late"),)
    clock, map_ = ({"name": "clock"},), ({"name": "a much longer name of a map"},)
    conversations = [Conversation(messages, answer, t) for t in (None, clock, map_)]
    assert [("Tools: " in renderer.render(c)) for c in conversations] == [False, True, True]
    # the prompt is the same object in all three, its header is not
    for tokens in renderer.tokenise(conversations):
        assert renderer.tokenizer.decode(tokens.ids[tokens.response_start :]) == "late<|eot_id|>"


def test_nothing_to_tokenise_is_nothing() -> None:
    assert renderer_of("chatml").tokenise([]) == []


def test_a_conversation_without_a_response_is_refused() -> None:
    with pytest.raises(ContractError, match="no response"):
        renderer_of("chatml").tokenise([Conversation.of("hello", [])])


def test_what_a_template_refuses_names_the_roles() -> None:
    system = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]
    with pytest.raises(ContractError, match="roles system, user, assistant: System role not supp"):
        renderer_of("gemma").tokenise([Conversation.of(system, "bye")])


def test_a_contract_whose_template_was_changed_is_caught() -> None:
    renderer = renderer_of("chatml")
    open_ended = replace(renderer.contract, chat_template=families.CHATML)
    with pytest.raises(ContractError, match="does not close a conversation"):
        Renderer(open_ended, renderer.tokenizer).tokenise([Conversation.of("hello", "bye")])
    other_id = replace(renderer.contract, end_of_response_id=0)
    with pytest.raises(ContractError, match="where the end-of-response token 0 was wanted"):
        Renderer(other_id, renderer.tokenizer).tokenise([Conversation.of("hello", "bye")])


def test_a_tokenizer_that_cannot_end_a_response_is_refused() -> None:
    bare = families.byte_tokenizer(None, ["<unk>"], unk_token="<unk>")
    with pytest.raises(ContractError, match="no chat template, no EOS and no separator"):
        make_contract(bare, max_length=10)
    bare.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    with pytest.raises(ContractError, match="has no EOS token"):
        make_contract(bare, max_length=10)
    bare.eos_token = "<not a token>"
    with pytest.raises(ContractError, match=r"is 1[0-9] tokens where one was wanted"):
        make_contract(bare, max_length=10)


def test_the_default_of_several_templates_is_taken() -> None:
    tokenizer = families.FAMILIES["chatml"]()
    tokenizer.chat_template = {"default": families.CHATML, "tool_use": "{{ 'other' }}"}
    contract = make_contract(tokenizer, max_length=10)
    assert contract == make_contract(families.FAMILIES["chatml"](), max_length=10)


def test_a_template_with_generation_marks_renders() -> None:
    """``{% generation %}`` marks the response for trainers that mask the prompt."""
    tokenizer = families.FAMILIES["chatml"]()
    tokenizer.chat_template = (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
        "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
        "{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    renderer = Renderer(make_contract(tokenizer, max_length=100), tokenizer)
    for conversation in CONVERSATIONS:
        assert renderer.render(conversation) == renderer_of("chatml").render(conversation)


def test_plain_template_reads_as_a_dialogue() -> None:
    text = renderer_of("gpt2").render(Conversation.of(TALK, " yes "))
    assert text == (
        "User: what is the time?\n\nAssistant: it is late.\n\nUser: more?\n\n"
        "Assistant: yes<|endoftext|>"
    )
    assert renderer_of("bert").render(Conversation.of("hi", "yes")) == (
        "[CLS]User: hi\n\nAssistant: yes[SEP]"
    )
    assert renderer_of("gpt2").contract.template_source == "plain"


def test_contract_survives_its_dictionary() -> None:
    contract = renderer_of("llama3").contract
    assert Contract.from_dict(contract.to_dict()) == contract
    with pytest.raises(ContractError, match="does not fit this version"):
        Contract.from_dict({**contract.to_dict(), "colour": "blue"})
    assert replace(contract, end_of_response_id=0).digest != contract.digest
    # how long and which states: not what the tokens are
    assert replace(contract, max_length=5, pooling="mean").digest == contract.digest


def test_truncation_policies_by_hand() -> None:
    renderer = renderer_of("mistral")  # ids 1 <s>, 2 </s>
    ids = np.array([1, 10, 11, 12, 13, 20, 21, 2], dtype=np.int32)
    tokens = Tokens(ids, response_start=5)

    def fit(limit: int, policy: Any) -> Tokens | None:
        contract = replace(renderer.contract, max_length=limit)
        return Renderer(contract, renderer.tokenizer).fit(tokens, policy)

    assert fit(8, "error") is tokens
    assert fit(7, "drop") is None
    assert fit(7, None) is None  # the contract's own policy is drop
    with pytest.raises(ContractError, match=r"has 8 tokens where max_length is 7"):
        fit(7, "error")
    cut = fit(6, "truncate-left")
    assert cut is not None
    assert cut.ids.tolist() == [1, 12, 13, 20, 21, 2]
    assert (cut.response_start, cut.truncated) == (3, 2)
    only_response = fit(4, "truncate-left")
    assert only_response is not None
    assert only_response.ids.tolist() == [1, 20, 21, 2]
    assert fit(3, "truncate-left") is None  # the response and its BOS need four


@given(
    family=st.sampled_from(FAMILIES),
    prompt=st.text("abc de", min_size=1, max_size=60),
    response=st.text("abc de", min_size=1, max_size=30),
    limit=st.integers(1, 80),
)
def test_cutting_from_the_left_keeps_the_response_and_its_end(
    family: str, prompt: str, response: str, limit: int
) -> None:
    renderer = renderer_of(family)
    short = Renderer(replace(renderer.contract, max_length=limit), renderer.tokenizer)
    (whole,) = renderer.tokenise([Conversation.of("a" + prompt, "a" + response)])
    cut = short.fit(whole, "truncate-left")
    own = whole.ids[whole.response_start :]
    if cut is None:
        assert len(own) + 1 > limit
        return
    assert len(cut.ids) == min(limit, len(whole.ids))
    assert cut.truncated == len(whole.ids) - len(cut.ids)
    np.testing.assert_array_equal(cut.ids[cut.response_start :], own)
    if family in BOS:
        assert cut.ids[0] == whole.ids[0]


def test_common_prefix_by_hand() -> None:
    assert common_prefix([[1, 2, 3], [1, 2, 4], [1, 5]]) == 1
    assert common_prefix([[1, 2], [1, 2, 3]]) == 2
    assert common_prefix([[7], [8]]) == 0
    assert common_prefix([[1, 2, 3]]) == 3
