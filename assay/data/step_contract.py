"""The contract for steps: how the beginnings of a solution become the tokens that are read.

The reward of step k is read at the last token of *the solution up to step k*, tokenised whole. So a
step's reward never depends on what comes after it, and reading all steps of a solution in one pass
is the same as reading each beginning by itself, wherever a tokenizer merges across the boundary: a
tree shares what the beginnings have in common, token by token. Models of others that were trained
on separately tokenised pieces are read in pieces. Knows nothing of models and tensors.

Letters: S steps of a solution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.configs import StepRead
from assay.data.contract import Renderer, Tokens, apply_template, common_prefix
from assay.errors import ContractError
from assay.types import Conversation, Message, Solution

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CLASSES = {"one": ("good",), "two": ("bad", "good"), "three": ("bad", "neutral", "good")}
"""What the outputs of a head are, by the name of the choice."""

_PROBES = ("Then x = 12.", "so $x^2 = 9$", "it is odd")


@dataclass(frozen=True, kw_only=True)
class StepContract:
    """Where a step ends and is read, and what the outputs there mean, as saved in ``assay.json``.

    A solution is written as the response to its prompt: each step, the ``separator``, and
    ``between`` before the next step. With ``turns`` each step is a turn of the user, answered by
    ``answer``, and read where the answer to it begins.
    """

    separator: str = "\n"
    between: str = ""
    read: StepRead = "separator"
    """``separator``: at its last token. ``step``: before it."""
    turns: bool = False
    answer: str = "+"
    classes: tuple[str, ...] = CLASSES["two"]
    opening: str = ""
    """What a step begins with, unless it does so by itself; ``{number}`` counts steps from 1."""
    pieces: bool = False
    """Whether prompt, step and separator are tokenised each by itself, not as one text."""
    bos: str = ""
    """A token that is put before the text's own."""

    def to_dict(self) -> dict[str, Any]:
        """As written in ``assay.json``."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StepContract:
        """From ``assay.json``.

        Raises:
            ContractError: If a key is unknown or missing.
        """
        try:
            return cls(**{**values, "classes": tuple(values["classes"])})
        except (TypeError, KeyError) as error:
            raise ContractError(
                f"The contract for steps in assay.json does not fit this version of assay: {error}."
            ) from error


def make_step_contract(
    tokenizer: PreTrainedTokenizerBase,
    *,
    separator: str = "\n",
    read: StepRead = "auto",
    classes: tuple[str, ...] = CLASSES["two"],
) -> StepContract:
    """A contract for steps on a tokenizer; ``auto`` reads the separator where it is a token.

    Raises:
        ContractError: If the separator is to be read and is no token.
    """
    if not separator:
        raise ContractError("The separator of steps is empty; name what stands after each step.")
    is_token = _adds_a_token(tokenizer, separator)
    if read == "separator" and not is_token:
        raise ContractError(
            f"The separator {separator!r} is no token of this tokenizer, which leaves it out; "
            "read the step itself (--read step), or name a separator that is one, such as "
            f"{tokenizer.sep_token or tokenizer.eos_token or ';'!r}."
        )
    if read == "auto":
        read = "separator" if is_token else "step"
    return StepContract(separator=separator, read=read, classes=classes)


def _adds_a_token(tokenizer: PreTrainedTokenizerBase, separator: str) -> bool:
    """Whether a step with the separator is other tokens than without."""
    bare, ended = (
        tokenizer([text + end for text in _PROBES], add_special_tokens=False)["input_ids"]
        for end in ("", separator)
    )
    return all(a != b for a, b in zip(bare, ended, strict=True))


class StepRenderer:
    """A contract with its contract for steps: writes and tokenises the beginnings of solutions."""

    def __init__(self, renderer: Renderer, steps: StepContract):
        self.renderer = renderer
        self.steps = steps

    def header(self, solution: Solution) -> str:
        """The prompt, as a policy sees it before it answers."""
        if self.steps.turns:
            return self._turns(solution, 0)
        return self.renderer.render_prompt(Conversation(solution.prompt, ()))

    def beginnings(self, solution: Solution) -> list[str]:
        """The solution up to each of its steps, as the texts whose last token is read, ``(S,)``.

        Raises:
            ContractError: If the template refuses the prompt.
        """
        if self.steps.turns:
            return [self._turns(solution, k + 1) for k in range(len(solution.steps))]
        return ["".join(parts) for parts in self._parts(solution)]

    def _parts(self, solution: Solution) -> list[list[str]]:
        """The pieces of every beginning: prompt, step, separator, step, ..."""
        contract = self.steps
        parts, beginnings = [self.header(solution)], []
        for step in self._opened(solution.steps):
            end = [contract.separator] if contract.read == "separator" else []
            beginnings.append([*parts, step, *end])
            parts += [step, contract.separator, contract.between]
        return beginnings

    def _opened(self, steps: Sequence[str]) -> list[str]:
        openings = [self.steps.opening.format(number=n) for n in range(1, len(steps) + 1)]
        return [
            step if step.lstrip().startswith(opening.strip()) else opening + step
            for step, opening in zip(steps, openings, strict=True)
        ]

    def _turns(self, solution: Solution, count: int) -> str:
        """The prompt and the first steps as turns of the user, with the header of an answer."""
        contract = self.renderer.contract
        *before, asked = solution.prompt
        first = asked.content
        if count:
            first = f"{asked.content} {solution.steps[0]}"
        messages = [*before, Message(asked.role, first)]
        for step in solution.steps[1:count]:
            messages += [Message("assistant", self.steps.answer), Message("user", step)]
        return apply_template(
            self.renderer.tokenizer,
            contract.chat_template,
            tuple(messages),
            generation_prompt=count > 0,
        )

    def tokenise(self, solutions: Sequence[Solution], first: int = 1) -> list[list[Tokens]]:
        """Tokens of every beginning of every solution, not yet cut to ``max_length``.

        Args:
            first: The number of the first solution, which errors count from.

        Raises:
            ContractError: If a solution has no steps, cannot be written, or has a step of which
                the tokenizer leaves nothing.
        """
        if not solutions:
            return []
        for number, solution in enumerate(solutions, start=first):
            if not solution.steps:
                raise ContractError(f"Solution {number} has no steps; a step reward needs a step.")
            self._check_text(solution, number)
        tokens = []
        for number, (header, own) in enumerate(self._ids(solutions), start=first):
            self._check(own, header, number)
            start = min(common_prefix([header, *own]), min(map(len, own)) - 1)
            tokens.append([Tokens(np.asarray(i, dtype=np.int32), start) for i in own])
        return tokens

    def _ids(self, solutions: Sequence[Solution]) -> Iterator[tuple[list[int], list[list[int]]]]:
        """The tokens of each solution's header and of its beginnings."""
        contract, tokenizer = self.steps, self.renderer.tokenizer
        parts = [
            self._parts(s) if contract.pieces else [[text] for text in self.beginnings(s)]
            for s in solutions
        ]
        headers = [self.header(s) for s in solutions]
        texts = list(dict.fromkeys([*headers, *(t for g in parts for p in g for t in p)]))
        found = tokenizer(texts, add_special_tokens=False)["input_ids"]
        ids = dict(zip(texts, found, strict=True))
        bos: list[Any] = [tokenizer.convert_tokens_to_ids(contract.bos)] if contract.bos else []
        for header, group in zip(headers, parts, strict=True):
            own = [[*bos, *(i for text in beginning for i in ids[text])] for beginning in group]
            yield [*bos, *ids[header]], own

    def _check_text(self, solution: Solution, number: int) -> None:
        end = self.renderer.contract.end_of_response
        for step, text in enumerate(solution.steps, start=1):
            if end in text:
                raise ContractError(
                    f"Step {step} of solution {number} contains the end-of-response token {end!r} "
                    "as text; remove it from the step."
                )

    def _check(self, ids: Sequence[list[int]], header: list[int], number: int) -> None:
        before = header
        for step, own in enumerate(ids, start=1):
            if not own or own == before:
                raise ContractError(
                    f"Step {step} of solution {number} is no token of this tokenizer; "
                    "put words in it, or join it to the step before."
                )
            before = own
