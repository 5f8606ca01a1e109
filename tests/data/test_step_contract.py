"""Properties of the contract for steps: every step keeps its own token, whatever the tokenizer."""

from __future__ import annotations

from dataclasses import replace

import families
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.contract import Renderer, make_contract
from assay.data.step_contract import StepContract, StepRenderer, make_step_contract
from assay.errors import ContractError
from assay.types import Message, Solution

SEPARATORS = ("\n", "\n\n", "<extra_0>", " ки", "+", ";")
KINDS = ("chatml", "gemma", "bert")


def renderer(kind: str, separator: str = "\n", read: str = "auto") -> StepRenderer:
    tokenizer = families.FAMILIES[kind]()
    contract = make_contract(tokenizer, max_length=500)
    steps = make_step_contract(tokenizer, separator=separator, read=read)
    return StepRenderer(Renderer(contract, tokenizer), steps)


def solution(*steps: str) -> Solution:
    return Solution((Message("user", "How many?"),), steps, (None,) * len(steps))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("separator", SEPARATORS)
def test_every_step_is_read_at_its_own_end(kind: str, separator: str) -> None:
    """The tokens up to where a step is read say that step and all before, and no later one."""
    wanted = renderer(kind, separator)
    if separator == " ки":  # Math-Shepherd has a newline between it and the next step
        wanted = StepRenderer(wanted.renderer, replace(wanted.steps, between="\n"))
    steps = ("the tea is cold.", "a first answer", "it is late; yes", "more words of rain")
    (tokens,) = wanted.tokenise([solution(*steps)])
    assert len(tokens) == len(steps)
    for k, beginning in enumerate(tokens):
        said = "".join(wanted.renderer.tokenizer.decode(beginning.ids).lower().split())
        for number, step in enumerate(steps):
            assert ("".join(step.lower().split()) in said) == (number <= k)
    lengths = [len(t.ids) for t in tokens]
    assert lengths == sorted(set(lengths))


texts = st.text(alphabet="ab 1.$\n", min_size=1, max_size=12).filter(lambda t: t.strip())


@settings(max_examples=40)
@given(steps=st.lists(texts, min_size=1, max_size=5), kind=st.sampled_from(KINDS))
def test_a_beginning_is_the_same_tokens_whatever_comes_after(steps: list[str], kind: str) -> None:
    wanted = renderer(kind)
    (whole,) = wanted.tokenise([solution(*steps)])
    for k in range(len(steps)):
        (beginning,) = wanted.tokenise([solution(*steps[: k + 1])])
        assert beginning[-1].ids.tolist() == whole[k].ids.tolist()


def test_a_separator_that_is_no_token() -> None:
    with pytest.raises(ContractError, match=r"no token of this tokenizer.*--read step"):
        renderer("bert", "\n", "separator")
    assert renderer("bert", "\n").steps.read == "step"
    assert renderer("chatml", "\n").steps.read == "separator"
    with pytest.raises(ContractError, match="empty"):
        renderer("chatml", "")


def test_steps_as_turns_of_the_user() -> None:
    """RLHFlow's layout: the question goes with the first step, each answer is a plus."""
    wanted = renderer("chatml")
    turns = StepRenderer(wanted.renderer, StepContract(turns=True))
    first, second = turns.beginnings(solution("one", "two"))
    assert first.endswith("<|im_start|>user\nHow many? one<|im_end|>\n<|im_start|>assistant\n")
    assert second.startswith(first + "+<|im_end|>")
    assert second.endswith("<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n")


def test_what_cannot_be_read_is_named() -> None:
    wanted = renderer("chatml")
    with pytest.raises(ContractError, match="Solution 2 has no steps"):
        wanted.tokenise([solution("a"), solution()])
    with pytest.raises(ContractError, match=r"Step 2 of solution 1 contains the end-of-response"):
        wanted.tokenise([solution("a", "b<|im_end|>")])
    with pytest.raises(ContractError, match=r"Step 2 of solution 1 is no token"):
        renderer("bert").tokenise([solution("a", "\u200b")])


def test_it_is_saved_and_read_again() -> None:
    steps = StepContract(separator=" ки", between="\n", classes=("bad", "neutral", "good"))
    assert StepContract.from_dict(steps.to_dict()) == steps
    with pytest.raises(ContractError, match="does not fit"):
        StepContract.from_dict({**steps.to_dict(), "colour": "red"})


def test_pieces_are_tokenised_each_by_itself() -> None:
    wanted = renderer("gemma")
    tokenizer = wanted.renderer.tokenizer
    apart = StepRenderer(wanted.renderer, StepContract(pieces=True, between=";", bos="<bos>"))
    (tokens,) = apart.tokenise([solution("one", "two")])
    header = wanted.header(solution())
    pieces = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in (header, "one", "two")]
    newline, semicolon = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in ("\n", ";"))
    first = [tokenizer.bos_token_id, *pieces[0], *pieces[1], *newline]
    assert tokens[0].ids.tolist() == first
    assert tokens[1].ids.tolist() == [*first, *semicolon, *pieces[2], *newline]
    assert tokens[0].response_start == len(pieces[0]) + 1


def test_steps_are_numbered_once() -> None:
    wanted = renderer("chatml")
    numbered = StepRenderer(wanted.renderer, StepContract(opening="Step {number}: ", between=" "))
    texts = numbered.beginnings(solution("one", " Step 2: two", "Step 2: three"))
    assert texts[-1].endswith("Step 1: one\n  Step 2: two\n Step 3: Step 2: three\n")
