"""What a policy was given and said, as text, read back into the conversation it was.

A stack hands a reward text in the *policy's* chat template; a reward model has a template of its
own. So a prompt is taken apart by the policy's template, and the result is believed only if that
template makes exactly the same text of it again. Nothing is guessed: what cannot be read back is an
error that says what to name.

What cannot be known is decided so: a system message that the template would have written itself is
not one of the conversation's; white space that the template trims is gone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.data.contract import apply_template, end_of_response, freeze_dates
from assay.errors import AssayError, BackboneError, ConfigError, ContractError
from assay.types import Conversation, Message, Messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from assay.data.contract import Renderer

_MARKS = ("qzjxsystem", "qzjxfirst", "qzjxsecond", "qzjxthird")
_RENDERED = re.compile(r"\s*(?:<\|[A-Za-z_]+\|>|<bos>|<s>|<start_of_turn>|\[INST\])")
"""How texts begin that a chat template wrote."""
SHORTEST_REST = 32
"""A prompt that was cut from the left is recognised by as many of its last letters, or by the
template's header of a response."""


@dataclass(frozen=True, slots=True)
class _Pieces:
    """What a template writes around messages; None where it takes no system message."""

    start: str
    to_response: str
    to_next: str
    header: str  # after the last user's message, before the response
    lead: str  # what a response begins with besides, a space say
    system: tuple[str, str] | None  # before a first system message, and after it


class TemplateReader:
    """Reads texts that a chat template wrote; today's date is that of the day it was made."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str, name: str):
        self.tokenizer = tokenizer
        self.template = template
        self.name = name
        self._pieces = self._probed()
        self._ends = self._end_tokens()

    @property
    def header(self) -> str:
        """What stands between a prompt and its response; empty where that cannot be told."""
        return self._pieces.header if self._pieces else ""

    def messages(self, prompt: str) -> Messages | None:
        """The messages that the template makes exactly this text of, before a response.

        None if there are none it can find; the fewest if there are several.
        """
        if self._pieces is None:
            return None
        for candidate in self._candidates(prompt, self._pieces):
            try:
                if self._written(candidate) == prompt:
                    return candidate
            except ContractError:
                continue
        return None

    def response(self, text: str) -> tuple[str, bool]:
        """A response as the template was given it, and whether a token ended it.

        Args:
            text: What follows the header, up to the tokens that end it.
        """
        ended = False
        while end := next((e for e in self._ends if text.endswith(e)), None):
            text, ended = text[: -len(end)], True
        return text.removeprefix(self._pieces.lead if self._pieces else ""), ended

    def again(self, text: str) -> str:
        """The text as this tokenizer gives it back."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))

    def _written(self, messages: Messages) -> str:
        return apply_template(self.tokenizer, self.template, messages, generation_prompt=True)

    def _candidates(self, prompt: str, pieces: _Pieces) -> list[Messages]:
        if not prompt.endswith(pieces.header):
            return []
        body = prompt.removesuffix(pieces.header)
        found = []
        if body.startswith(pieces.start):
            found.append(_turns(body.removeprefix(pieces.start), pieces))
        if pieces.system and body.startswith(pieces.system[0]):
            system, joint, rest = body.removeprefix(pieces.system[0]).partition(pieces.system[1])
            if joint:
                found.append((Message("system", system), *_turns(rest, pieces)))
        return found

    def _probed(self) -> _Pieces | None:
        system, first, second, third = _MARKS
        turns = (Message("user", first), Message("assistant", second), Message("user", third))
        try:
            single = self._written(turns[:1])
            several = self._written(turns)
            whole = apply_template(
                self.tokenizer, self.template, turns[:2], generation_prompt=False
            )
        except ContractError:
            return None
        if single.count(first) != 1 or any(several.count(mark) != 1 for mark in _MARKS[1:]):
            return None
        start, header = single.split(first)
        to_response = several.partition(first)[2].partition(second)[0]
        to_next = several.partition(second)[2].partition(third)[0]
        if not to_response or not to_next:
            return None
        before_last = whole.partition(first)[2].partition(second)[0]
        lead = before_last.removeprefix(header) if before_last.startswith(header) else ""
        return _Pieces(start, to_response, to_next, header, lead, self._system(system, turns[:1]))

    def _system(self, mark: str, turns: Messages) -> tuple[str, str] | None:
        try:
            text = self._written((Message("system", mark), *turns))
        except ContractError:
            return None
        before, found, after = text.partition(mark)
        joint = after.partition(turns[0].content)[0]
        return (before, joint) if found and joint else None

    def _end_tokens(self) -> tuple[str, ...]:
        found = {str(self.tokenizer.eos_token)} if self.tokenizer.eos_token else set()
        with suppress(ContractError):  # a tokenizer without any: responses end where they end
            found.add(end_of_response(self.tokenizer, self.template)[0])
        return tuple(sorted(found, key=len, reverse=True))


def _turns(body: str, pieces: _Pieces) -> Messages:
    """User's and assistant's messages in turn, parted at what the template writes between them."""
    turns, rest, role = [], body, "user"
    while True:
        joint = pieces.to_response if role == "user" else pieces.to_next
        content, found, rest = rest.partition(joint)
        turns.append(Message(role, content))
        if not found:
            return tuple(turns)
        role = "assistant" if role == "user" else "user"


class ConversationReader:
    """Reads prompts and responses of a stack, in a chat template or plain.

    Args:
        template: The policy's. Default: texts are plain.
        always: Whether every prompt is in the template. Default: one that is not, and does not look
            like another template's, is a plain text.
        input_template: What the stack put a plain prompt into: ``"Question: {} Answer:"``.

    Raises:
        ConfigError: If the input template has not one ``{}``.
    """

    def __init__(
        self,
        template: TemplateReader | None = None,
        *,
        always: bool = False,
        input_template: str | None = None,
    ):
        if input_template is not None and input_template.count("{}") != 1:
            raise ConfigError(
                f"The input template {input_template!r} has {input_template.count('{}')} places "
                "'{}' for a prompt; wanted one."
            )
        self.template = template
        self.always = always
        self.input_template = input_template

    def prompt(self, text: str) -> Messages:
        """The messages of a prompt's text.

        Raises:
            ContractError: If it was written by a chat template that is not this one.
        """
        if self.input_template is not None:
            before, after = self.input_template.split("{}")
            if text.startswith(before) and text.endswith(after):
                end = len(text) - len(after)
                return (Message("user", text[len(before) : end]),)
            raise ContractError(
                f"The prompt {text[:40]!r} is not in the input template {self.input_template!r}; "
                "name the one that the policy's prompts are put into."
            )
        messages = self.template.messages(text) if self.template else None
        if messages is not None:
            return messages
        if self.always and self.template:
            raise ContractError(
                f"The prompt {text[:40]!r} cannot be read back exactly by the chat template of "
                f"{self.template.name}; name the policy that it was written for, or hand the "
                "messages over as they are."
            )
        if _RENDERED.match(text):
            raise ContractError(
                f"The prompt {text[:40]!r} was written by a chat template that is not the reward "
                "model's; name the policy whose template it is."
            )
        return (Message("user", text),)

    def conversation(self, prompt: str, query: str) -> tuple[Conversation, bool]:
        """The conversation of a prompt and of the same with its response; whether that ended.

        Args:
            prompt: Empty: all of the query up to the template's last header of a response.
            query: With special tokens. It may have lost the prompt's beginning.

        Raises:
            ContractError: If they do not fit, or the prompt cannot be read.
        """
        prompt, response = self._parted(prompt, query)
        text, ended = self.template.response(response) if self.template else (response, False)
        return Conversation(self.prompt(prompt), (Message("assistant", text),)), ended

    def _parted(self, prompt: str, query: str) -> tuple[str, str]:
        header = self.template.header if self.template else ""
        if not prompt:
            before, found, response = query.rpartition(header) if header else ("", "", "")
            if not found:
                raise ContractError(
                    f"The text {query[:40]!r} came without its prompt, and where its response "
                    "begins cannot be told; send the prompts too, or name the policy."
                )
            return before + header, response
        for known in (prompt, self.template.again(prompt) if self.template else prompt):
            if query.startswith(known):
                return prompt, query[len(known) :]
        # cut from the left for want of room: the query begins with the prompt's end
        least = len(header) if header and prompt.endswith(header) else SHORTEST_REST
        for start in range(1, len(prompt) - least + 1):
            if query.startswith(prompt[start:]):
                return prompt, query[len(prompt) - start :]
        raise ContractError(
            f"The text {query[:40]!r} does not begin with its prompt {prompt[:40]!r}, nor with the "
            "end of it; name the policy, whose tokenizer may write it otherwise."
        )


def template_of_policy(policy: str | Path) -> TemplateReader:
    """The template of a policy's directory or hub name.

    Raises:
        ConfigError: If it has no tokenizer, or that has no chat template.
    """
    from assay.models.backbones import load_tokenizer, resolve_backbone

    try:
        tokenizer = load_tokenizer(resolve_backbone(str(policy)))
    except BackboneError as error:
        raise ConfigError(f"The policy {policy} cannot be read: {error}") from error
    template: Any = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise ConfigError(
            f"The tokenizer of the policy {policy} has no chat template, so its prompts are plain "
            "text; leave the policy out."
        )
    with suppress(ContractError):  # it then writes the date it likes
        template, _ = freeze_dates(template, date.today().isoformat())
    return TemplateReader(tokenizer, template, str(policy))


def template_of_reward(renderer: Renderer) -> TemplateReader:
    """The template of a reward model, for policies that share it."""
    return TemplateReader(renderer.tokenizer, renderer.contract.chat_template, "the reward model")


def as_conversation(
    prompt: Any, response: Any, tools: Sequence[Mapping[str, Any]] | None = None
) -> Conversation:
    """From texts or message dictionaries, whose contents may be lists of text blocks.

    Raises:
        ContractError: If a message holds something else than text.
    """
    return Conversation.of(_plain(prompt, "prompt"), _plain(response, "response"), tools)


def _plain(value: Any, what: str) -> Any:
    if isinstance(value, str):
        return value
    try:
        return [{**m, "content": _content(m.get("content"), what)} for m in value]
    except (TypeError, AttributeError) as error:
        raise ContractError(
            f"A {what} is {str(value)[:40]!r}; wanted a text or a list of messages with role and "
            "content."
        ) from error


def _content(content: Any, what: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    blocks = list(content)
    if all(isinstance(b, Mapping) and isinstance(b.get("text"), str) for b in blocks):
        return "".join(b["text"] for b in blocks)
    raise ContractError(
        f"A message of a {what} holds something else than text; a reward model reads text."
    )


def first_line(error: AssayError) -> str:
    """What an error says."""
    return str(error).strip().splitlines()[0]
