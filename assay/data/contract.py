"""The scoring contract: how a conversation becomes the tokens whose last one is scored.

Every stage (training, scoring, serving, RL) renders and tokenises through here, and only here, so a
conversation is the same token ids everywhere. The contract knows nothing of models and tensors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assay.configs import Pooling, Truncation
from assay.errors import ContractError
from assay.types import Conversation, Message, Messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FROZEN_DATE = "2024-07-26"
"""The date templates see in place of today's (the one Llama 3's own template falls back to)."""

PLAIN_TEMPLATE = (
    "{{ BOS }}{%- for message in messages -%}"
    "{{ message['role'] | capitalize }}: {{ message['content'] | trim }}"
    "{%- if not loop.last or add_generation_prompt -%}{{ '\\n\\n' }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'Assistant: ' }}{%- else -%}{{ END }}{%- endif -%}"
)
"""Template of backbones that have none: BOS and END are replaced by the tokenizer's own tokens."""

_PROBE = (
    Message("user", "Question?"),
    Message("assistant", "A first answer."),
    Message("user", "More?"),
)
_MARK = "qzjxmark"
_WRAPPED = "{%- set rendered +%}"
"""How a wrapped template begins; the plus keeps a newline that follows."""
_STRFTIME = re.compile(r"strftime_now\(\s*(?P<quote>['\"])(?P<format>.*?)(?P=quote)\s*\)")

Ids = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Contract:
    """How a conversation becomes a number, as saved in ``assay.json``.

    The scored token is the last one of the tokenised conversation, and that is the end-of-response
    token; ``pooling`` says which states the head reads (``first`` is an encoder's own reading).
    """

    chat_template: str
    template_source: str
    """``tokenizer`` (the backbone's chat template) or ``plain``."""
    end_of_response: str
    end_of_response_id: int
    pad_token: str
    max_length: int = 1024
    truncation: Truncation = "drop"
    pooling: Pooling | str = "last"
    dtype: str = "float32"
    frozen_date: str | None = None
    """The date put in place of today's, where the template asks for one."""
    tokenizer_digest: str = ""
    verified: bool = True
    """False for a contract inferred from somebody else's model."""

    def to_dict(self) -> dict[str, Any]:
        """As written in ``assay.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Contract:
        """From ``assay.json``.

        Raises:
            ContractError: If a key is unknown or missing.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise ContractError(
                f"The contract in assay.json does not fit this version of assay: {error}."
            ) from error

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the token ids: template, end-of-response, tokenizer."""
        parts = (
            self.chat_template,
            self.end_of_response,
            self.end_of_response_id,
            self.tokenizer_digest,
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenised conversation.

    ``response_start`` is the index of the first token that belongs to the response (to the turn's
    end: the last one is the end-of-response token). ``truncated`` counts the prompt tokens cut from
    the left.
    """

    ids: Ids
    response_start: int
    truncated: int = 0


class Renderer:
    """A contract with its tokenizer: renders and tokenises conversations."""

    def __init__(self, contract: Contract, tokenizer: PreTrainedTokenizerBase):
        self.contract = contract
        self.tokenizer = tokenizer

    def render(self, conversation: Conversation) -> str:
        """The conversation as the text that is tokenised; it ends in the end-of-response token.

        Raises:
            ContractError: If the template refuses the conversation, or a message contains the
                end-of-response token.
        """
        if not conversation.response:
            raise ContractError(
                "The conversation has no response; a reward is the reward of a response."
            )
        end = self.contract.end_of_response
        for message in conversation.messages:
            if end in message.content:
                raise ContractError(
                    f"A message contains the end-of-response token {end!r} as text; "
                    "remove it from the message."
                )
        text = self._apply(conversation.messages, conversation.tools, generation_prompt=False)
        if not text.endswith(end):
            raise ContractError(
                f"The rendered conversation ends in {text[-20:]!r} where {end!r} was wanted; "
                "the chat template does not close a conversation whose last role is "
                f"{conversation.messages[-1].role!r}."
            )
        return text

    def render_prompt(self, conversation: Conversation) -> str:
        """The prompt with the header of the response, as a policy sees it before it answers."""
        return self._apply(conversation.prompt, conversation.tools, generation_prompt=True)

    def _apply(
        self, messages: Messages, tools: Sequence[Any] | None, *, generation_prompt: bool
    ) -> str:
        return apply_template(
            self.tokenizer,
            self.contract.chat_template,
            messages,
            tools,
            generation_prompt=generation_prompt,
        )

    def tokenise(self, conversations: Sequence[Conversation]) -> list[Tokens]:
        """Each conversation whole, as token ids, not yet cut to ``max_length``.

        Raises:
            ContractError: If a conversation cannot be rendered or does not end in exactly one
                end-of-response token.
        """
        if not conversations:
            return []
        rendered = self.tokenizer(
            [self.render(c) for c in conversations], add_special_tokens=False
        )["input_ids"]
        headers: dict[tuple[int, int], list[int]] = {}
        tokens = []
        for conversation, ids in zip(conversations, rendered, strict=True):
            key = id(conversation.prompt), id(conversation.tools)
            if key not in headers:
                text = self.render_prompt(conversation)
                headers[key] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            start = min(common_prefix([ids, headers[key]]), len(ids) - 1)
            self._check(ids, start, len(conversation.response))
            tokens.append(Tokens(np.asarray(ids, dtype=np.int32), start))
        return tokens

    def _check(self, ids: list[int], start: int, messages: int) -> None:
        end = self.contract.end_of_response_id
        if ids[-1] != end:
            raise ContractError(
                f"The conversation's last token is {ids[-1]} where the end-of-response token {end} "
                "was wanted; the tokenizer splits or merges it."
            )
        # a response of several messages (tool calls and results) may end each of them with it
        if messages == 1 and (count := ids[start:].count(end)) != 1:
            raise ContractError(
                f"The response holds the end-of-response token {self.contract.end_of_response!r} "
                f"{count} times where once was wanted; look for it in the message's extra keys."
            )

    def fit(self, tokens: Tokens, truncation: Truncation | None = None) -> Tokens | None:
        """The tokens within ``max_length``, by the truncation policy; None: they are to be dropped.

        ``truncate-left`` cuts the prompt from the left, keeps a leading special token, and keeps
        the response and its end; a response that is too long by itself is dropped.

        Raises:
            ContractError: If the policy is ``error`` and the tokens are too many.
        """
        policy = truncation or self.contract.truncation
        limit = self.contract.max_length
        over = len(tokens.ids) - limit
        if over <= 0:
            return tokens
        if policy == "error":
            raise ContractError(
                f"A conversation has {len(tokens.ids):,} tokens where max_length is {limit:,}; "
                "shorten it, or ask for truncation (--truncation truncate-left)."
            )
        head = 1 if int(tokens.ids[0]) in self.tokenizer.all_special_ids else 0
        if policy == "drop" or len(tokens.ids) - tokens.response_start > limit - head:
            return None
        ids = np.concatenate([tokens.ids[:head], tokens.ids[head + over :]])
        return replace(tokens, ids=ids, response_start=tokens.response_start - over, truncated=over)


def common_prefix(sequences: Sequence[Sequence[int] | Ids]) -> int:
    """Length of the longest common prefix of token sequences."""
    shortest = min(len(s) for s in sequences)
    first = np.asarray(sequences[0][:shortest])
    length = shortest
    for other in sequences[1:]:
        different = np.flatnonzero(first[:length] != np.asarray(other[:length]))
        if different.size:
            length = int(different[0])
    return length


def apply_template(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    messages: Messages,
    tools: Sequence[Any] | None = None,
    *,
    generation_prompt: bool,
) -> str:
    """The template's text of messages; what it says when it refuses becomes a ContractError."""
    from jinja2.exceptions import TemplateError

    try:
        return str(
            tokenizer.apply_chat_template(
                [m.to_dict() for m in messages],
                tools=list(tools) if tools else None,
                chat_template=template,
                add_generation_prompt=generation_prompt,
                tokenize=False,
            )
        )
    except (TemplateError, TypeError, KeyError) as error:
        roles = ", ".join(m.role for m in messages)
        raise ContractError(
            f"The chat template refuses a conversation of roles {roles}: {error}."
        ) from error


def make_contract(
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    truncation: Truncation = "drop",
    pooling: Pooling | str = "last",
) -> Contract:
    """A contract from a backbone's tokenizer, which is changed so that plain loaders score alike.

    The template is frozen in time and wrapped so that a finished conversation ends at its
    end-of-response token; the pad token is made another one than that, because transformers scores
    the rightmost token that is not the pad token. Both are set on the tokenizer.

    Raises:
        ContractError: If no end-of-response token can be found.
    """
    template, source = tokenizer.chat_template, "tokenizer"
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        template, source = plain_template(tokenizer), "plain"
    template, date = freeze_dates(template)
    end, after = end_of_response(tokenizer, template)
    template = end_template_at(template, end, after)
    tokenizer.chat_template = template
    # add_special_tokens, not the attribute: that alone leaves a new token out of the vocabulary
    tokenizer.add_special_tokens({"pad_token": choose_pad(tokenizer, end)})
    end_ids = tokenizer(end, add_special_tokens=False)["input_ids"]
    if len(end_ids) != 1:
        raise ContractError(
            f"The end-of-response text {end!r} is {len(end_ids)} tokens where one was wanted."
        )
    return Contract(
        chat_template=template,
        template_source=source,
        end_of_response=end,
        end_of_response_id=int(end_ids[0]),
        pad_token=str(tokenizer.pad_token),
        max_length=max_length,
        truncation=truncation,
        pooling=pooling,
        frozen_date=date,
        tokenizer_digest=tokenizer_digest(tokenizer),
    )


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of what the tokenizer does to a fixed text and of its vocabulary."""
    sample = "Hello, world! 1 + 1 = 2.\n\n\tdef f(x): return x  # ünïcödé 你好 🙂"
    content = {
        "vocabulary": hashlib.sha256(
            json.dumps(sorted(tokenizer.get_vocab().items())).encode()
        ).hexdigest(),
        "sample": tokenizer(sample, add_special_tokens=False)["input_ids"],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def plain_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """``User: …`` and ``Assistant: …`` between the tokens this tokenizer itself puts around a text.

    Raises:
        ContractError: If the tokenizer has neither an EOS nor a separator token to end a response
            with.
    """
    end = tokenizer.eos_token or tokenizer.sep_token
    if not end:
        raise ContractError(
            "The tokenizer has no chat template, no EOS and no separator token; "
            "a response needs a token that ends it."
        )
    # Ask by encoding: add_bos_token is not on every tokenizer, and says nothing of [CLS].
    bare, full = (
        tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True)
    )
    leads = len(full) > len(bare) and full[0] != bare[0]
    start = str(tokenizer.convert_ids_to_tokens(full[0])) if leads else ""
    return PLAIN_TEMPLATE.replace("BOS", json.dumps(start)).replace("END", json.dumps(str(end)))


def freeze_dates(template: str, frozen: str = FROZEN_DATE) -> tuple[str, str | None]:
    """The template with a fixed date in place of today's, and that date if one was replaced.

    Args:
        frozen: The date, as ISO 8601 writes it.

    Raises:
        ContractError: If the template asks for the date in a way that cannot be replaced.
    """
    from datetime import date

    if "strftime_now" not in template:
        return template, None
    day = date.fromisoformat(frozen)
    text = _STRFTIME.sub(lambda m: json.dumps(day.strftime(m["format"])), template)
    # Llama 3 asks "is strftime_now defined"; with the call gone both branches are the same date.
    if "strftime_now(" in text:
        raise ContractError(
            "The chat template asks for today's date with a computed format, so rewards would "
            "change from day to day; save the tokenizer with a template that names a date."
        )
    return text, frozen


def end_of_response(tokenizer: PreTrainedTokenizerBase, template: str) -> tuple[str, str]:
    """The special token that the template puts after a response, and the text it puts after that.

    Where it puts none, the EOS token.

    Raises:
        ContractError: If there is neither.
    """
    text = apply_template(
        tokenizer, template, (*_PROBE, Message("assistant", _MARK)), generation_prompt=False
    )
    tail = text.rpartition(_MARK)[2]
    specials = {str(t) for t in tokenizer.all_special_tokens} | {
        str(t) for t in tokenizer.get_added_vocab() if str(t).startswith(("<", "["))
    }
    found = [(tail.index(s), -len(s), s) for s in specials if s and s in tail]
    if found:
        end = min(found)[2]
        return end, tail.partition(end)[2]
    if tokenizer.eos_token:
        return str(tokenizer.eos_token), ""
    raise ContractError(
        f"The chat template ends a response with {tail!r} and the tokenizer has no EOS token; "
        "a response needs a token that ends it."
    )


def end_template_at(template: str, end: str, after: str) -> str:
    """The template wrapped so that a conversation stops at (or is given) its end-of-response token.

    Args:
        after: What the template itself writes after that token.
    """
    if template.startswith(_WRAPPED):
        return template
    # Jinja drops a template's last newline, and here it would no longer be the last
    body = re.sub(r"(\r\n|\r|\n)\Z", "", template)
    literal, ending = (json.dumps(text, ensure_ascii=False) for text in (end, end + after))
    cut = f"rendered[:-{len(after)}]" if after else "rendered"
    return (
        f"{_WRAPPED}{body}{{%+ endset -%}}"
        "{%- if add_generation_prompt -%}{{ rendered }}"
        f"{{%- elif rendered.endswith({ending}) -%}}{{{{ {cut} }}}}"
        f"{{%- else -%}}{{{{ rendered.rstrip() ~ {literal} }}}}{{%- endif -%}}"
    )


def choose_pad(tokenizer: PreTrainedTokenizerBase, end: str) -> str:
    """A pad token other than the end-of-response token, the tokenizer's own if it can be."""
    current = tokenizer.pad_token
    if current and str(current) != end:
        return str(current)
    added = [str(t) for t in tokenizer.get_added_vocab()]
    padlike = [t for t in added if "pad" in t.lower()]
    endlike = [t for t in ("<|endoftext|>", "<unk>") if t in added]
    others = [str(t) for t in (tokenizer.unk_token, tokenizer.bos_token) if t]
    candidates = [t for t in (*padlike, *endlike, *others) if t != end]
    return candidates[0] if candidates else "<|assay_pad|>"
