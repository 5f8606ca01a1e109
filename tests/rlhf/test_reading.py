"""What a policy's template wrote is read back exactly, or refused in one sentence."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.contract import Renderer, apply_template, freeze_dates, make_contract
from assay.errors import ConfigError, ContractError
from assay.rlhf.plugins.reading import (
    ConversationReader,
    TemplateReader,
    as_conversation,
    template_of_policy,
    template_of_reward,
)
from assay.types import Message, Messages

USER = (Message("user", "What is 2 + 2?"),)
SEVERAL = (
    Message("user", "Hi"),
    Message("assistant", "Hello, you.\n\nHow are you?"),
    Message("user", "More"),
)
SYSTEM = (Message("system", "Be kind."), *SEVERAL)
WITH_TEMPLATE = [name for name in FAMILIES if FAMILIES[name]().chat_template]


def reader_of(name: str) -> TemplateReader:
    tokenizer = FAMILIES[name]()
    template, _ = freeze_dates(tokenizer.chat_template, date.today().isoformat())
    return TemplateReader(tokenizer, template, name)


READERS = {name: reader_of(name) for name in WITH_TEMPLATE}


def written(reader: TemplateReader, messages: Messages) -> str:
    return apply_template(reader.tokenizer, reader.template, messages, generation_prompt=True)


@pytest.mark.parametrize("name", WITH_TEMPLATE)
@pytest.mark.parametrize("messages", [USER, SEVERAL, SYSTEM], ids=["one", "several", "system"])
def test_prompts_of_well_known_templates_are_read_back(name: str, messages: Messages) -> None:
    reader = READERS[name]
    try:
        text = written(reader, messages)
    except ContractError:
        pytest.skip("the template takes no system message")
    found = reader.messages(text)
    assert found is not None
    assert written(reader, found) == text
    assert found == messages


contents = st.text(
    st.sampled_from("ab \n<|>[]/#:é🙂") | st.characters(codec="utf-8", exclude_categories=["Cs"]),
    min_size=1,
    max_size=30,
).filter(lambda text: text.strip() == text and "qzjx" not in text)


@settings(max_examples=60)
@given(name=st.sampled_from(WITH_TEMPLATE), turns=st.lists(contents, min_size=1, max_size=5))
def test_whatever_is_said_is_read_back_or_refused(name: str, turns: list[str]) -> None:
    reader = READERS[name]
    turns = turns if len(turns) % 2 else turns[:-1]
    roles = ["user", "assistant"] * 3
    messages = tuple(Message(role, text) for role, text in zip(roles, turns, strict=False))
    text = written(reader, messages)
    found = reader.messages(text)
    assert found is not None
    assert written(reader, found) == text  # never another conversation's text
    assert found == messages


def test_a_default_system_message_is_not_the_conversations() -> None:
    tokenizer = FAMILIES[WITH_TEMPLATE[0]]()
    template = (
        "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nHelp.<|im_end|>\n{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    reader = TemplateReader(tokenizer, template, "p")
    assert reader.messages(written(reader, USER)) == USER
    assert reader.messages(written(reader, SYSTEM)) == SYSTEM
    assert reader.messages(written(reader, (Message("system", "Help."), *USER))) == USER


def test_texts_of_another_template_are_not_read() -> None:
    one, other = (READERS[n] for n in ("chatml", "llama3"))
    assert one.messages(written(other, USER)) is None
    assert one.messages("What is 2 + 2?") is None
    assert one.messages("") is None
    strange = TemplateReader(one.tokenizer, "{{ messages | length }}", "odd")
    assert strange.messages("1") is None
    assert strange.header == ""
    refusing = TemplateReader(one.tokenizer, "{{ raise_exception('no') }}", "no")
    assert refusing.messages("1") is None


@pytest.fixture
def chatml() -> ConversationReader:
    return ConversationReader(READERS["chatml"], always=True)


PROMPT = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_a_query_is_its_prompt_and_a_response(chatml: ConversationReader) -> None:
    conversation, ended = chatml.conversation(PROMPT, PROMPT + "Hello\n you<|im_end|>")
    assert conversation.prompt == (Message("user", "Hi"),)
    assert conversation.response == (Message("assistant", "Hello\n you"),)
    assert ended
    conversation, ended = chatml.conversation(PROMPT, PROMPT + "Hello")
    assert conversation.response_text == "Hello"
    assert not ended
    assert chatml.conversation(PROMPT, PROMPT)[0].response_text == ""


def test_a_prompt_cut_from_the_left_is_scored_whole(chatml: ConversationReader) -> None:
    cut = PROMPT[18:]
    conversation, _ = chatml.conversation(PROMPT, cut + "Hello<|im_end|>")
    assert conversation.prompt == (Message("user", "Hi"),)
    assert conversation.response_text == "Hello"
    with pytest.raises(ContractError, match="does not begin with its prompt"):
        chatml.conversation(PROMPT, "assistant\nHello<|im_end|>")  # less than the header is left


def test_a_query_without_its_prompt_is_parted_at_the_last_header(
    chatml: ConversationReader,
) -> None:
    reader = READERS["chatml"]
    query = written(reader, SYSTEM) + "Fine<|im_end|>"
    conversation, ended = chatml.conversation("", query)
    assert conversation.prompt == SYSTEM
    assert (conversation.response_text, ended) == ("Fine", True)
    with pytest.raises(ContractError, match="came without its prompt"):
        chatml.conversation("", "Hi there")
    with pytest.raises(ContractError, match="came without its prompt"):
        ConversationReader().conversation("", "Hi there")


def test_plain_prompts_are_what_was_asked() -> None:
    plain = ConversationReader()
    long = "Tell me about the rain and the maps and the tea, please."
    conversation, ended = plain.conversation(long, long + " It rains.")
    assert conversation.prompt == (Message("user", long),)
    assert (conversation.response_text, ended) == (" It rains.", False)
    assert plain.conversation(long, long[10:] + " It rains.")[0].response_text == " It rains."
    with pytest.raises(ContractError, match="does not begin with its prompt 'Hi'"):
        plain.conversation("Hi", "Ho")
    # a reward model's own template is tried, and a text that is not in it is plain
    lenient = ConversationReader(READERS["chatml"])
    assert lenient.prompt("Hi") == (Message("user", "Hi"),)
    assert lenient.prompt(PROMPT) == (Message("user", "Hi"),)


def test_an_input_template_is_taken_off() -> None:
    reader = ConversationReader(input_template="Q: {}\nA:")
    conversation, _ = reader.conversation("Q: Why?\nA:", "Q: Why?\nA: Because.")
    assert conversation.prompt == (Message("user", "Why?"),)
    assert conversation.response_text == " Because."
    with pytest.raises(ContractError, match="is not in the input template"):
        reader.prompt("Why?")
    with pytest.raises(ConfigError, match="has 0 places"):
        ConversationReader(input_template="Q:")


def test_what_another_template_wrote_is_refused(chatml: ConversationReader) -> None:
    foreign = written(READERS["llama3"], USER)
    with pytest.raises(ContractError, match="not the reward model's; name the policy"):
        ConversationReader(READERS["chatml"]).prompt(foreign)
    with pytest.raises(ContractError, match="name the policy whose template it is"):
        ConversationReader().prompt(PROMPT)
    with pytest.raises(ContractError, match="cannot be read back exactly by the chat template of"):
        chatml.prompt("Hi")


def test_a_policys_template_is_loaded(tiny_backbone: Path, tmp_path: Path) -> None:
    reader = template_of_policy(tiny_backbone)
    assert reader.messages(PROMPT) == (Message("user", "Hi"),)
    assert reader.response("Hello<|im_end|>") == ("Hello", True)
    with pytest.raises(ConfigError, match=r"The policy .* cannot be read: "):
        template_of_policy(tmp_path)
    shutil.copytree(tiny_backbone, tmp_path / "plain")
    (tmp_path / "plain" / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="has no chat template, so its prompts are plain text"):
        template_of_policy(tmp_path / "plain")


@pytest.mark.parametrize("name", WITH_TEMPLATE)
def test_a_reward_models_frozen_template_reads_what_it_writes(name: str) -> None:
    tokenizer = FAMILIES[name]()
    renderer = Renderer(make_contract(tokenizer, max_length=64), tokenizer)
    conversation = as_conversation([m.to_dict() for m in SEVERAL], "Fine")
    prompt = renderer.render_prompt(conversation)
    reader = ConversationReader(template_of_reward(renderer))
    whole = renderer.render(conversation)
    found, ended = reader.conversation(prompt if whole.startswith(prompt) else "", whole)
    assert found == conversation
    assert renderer.render(found) == whole
    assert ended


def test_messages_hold_text(chatml: Any) -> None:
    blocks = [{"role": "user", "content": [{"type": "text", "text": "H"}, {"text": "i"}]}]
    call = [{"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}]
    conversation = as_conversation(blocks, call, [{"name": "f"}])
    assert conversation.prompt == (Message("user", "Hi"),)
    assert conversation.response == (Message("assistant", "", {"tool_calls": [{"name": "f"}]}),)
    assert conversation.tools == ({"name": "f"},)
    with pytest.raises(ContractError, match="something else than text"):
        as_conversation([{"role": "user", "content": [{"type": "image"}]}], "x")
    with pytest.raises(ContractError, match="A response is '3'; wanted a text or a list"):
        as_conversation("x", 3)
