"""A local language model as a judge: the probability it gives to each option, nothing sampled.

Letters: O options of a question.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from assay.configs import TOKEN_BUDGET
from assay.data.contract import Ids, Tokens, common_prefix, end_of_response
from assay.errors import ContractError
from assay.feedback.judges.records import Answer, Question, failed
from assay.formats.files import shown_name
from assay.models.policy import Policy
from assay.models.policy_reader import PolicyReader
from assay.models.scoring import pack_groups
from assay.types import Message, Messages

WINDOW = 64
"""Questions read at a time, so that memory does not grow with their number."""


class LocalJudge:
    """Reads P(option | question) off a policy's log-probabilities and normalises over the options.

    An option is the response, whole: log P is summed over its tokens, and where one option begins
    another (1 and 10) over the token that ends a response too. All options of a question share it
    in one packed tree, and all questions of a window what they begin with: system message, prompt,
    and of steps and checklists the response. The answer does not depend on what it is batched with.
    """

    def __init__(
        self, policy: Policy, *, token_budget: int = TOKEN_BUDGET, temperature: float = 1.0
    ):
        self.policy = policy
        self.token_budget = token_budget
        self.temperature = temperature
        self._reader = PolicyReader(policy, temperature=temperature, train=False)
        self._end = end_of_response(policy.tokenizer, policy.template)[0]

    @property
    def name(self) -> str:
        """The policy's; of a directory its last part, whatever machine it lay on."""
        return shown_name(self.policy.name)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The digest of weights, template and tokenizer, and the temperature."""
        return {"judge": "local", "policy": self.policy.digest, "temperature": self.temperature}

    def read(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """An answer to each question, in order."""
        waiting = iter(questions)
        while window := list(islice(waiting, WINDOW)):
            yield from self._window(window)

    def _window(self, questions: Sequence[Question]) -> list[Answer]:
        answers: list[Answer | None] = [None] * len(questions)
        tokens: list[Tokens] = []
        owners: list[int] = []
        for at, question in enumerate(questions):
            try:
                own = self._tokens(question)
            except ContractError as error:
                answers[at] = failed("not-asked", str(error))
                continue
            longest, limit = max(len(t.ids) for t in own), self.policy.context
            if limit is not None and longest > limit:
                answers[at] = failed(
                    "not-asked", f"{longest:,} tokens are more than the {limit:,} the judge reads"
                )
                continue
            tokens += own
            owners += [at] * len(own)
        logprobs = self._logprobs(tokens)
        for at, question in enumerate(questions):
            if answers[at] is None:
                mine = [i for i, owner in enumerate(owners) if owner == at]
                answers[at] = answer_of(logprobs[mine], question, len(tokens[mine[0]].ids))
        return [answer for answer in answers if answer is not None]

    def _tokens(self, question: Question) -> list[Tokens]:
        """Each option after the question; the prompt is what all have in common."""
        ends = self._end if _is_ambiguous(question.options) else ""
        ids = [self._ids(question, option + ends) for option in question.options]
        shared = min(common_prefix(ids), min(map(len, ids)) - 1)
        return [Tokens(i, shared) for i in ids]

    def _ids(self, question: Question, said: str) -> Ids:
        begun = question.begun + said
        try:
            return self.policy.prompt_ids(question.messages, begun)
        except ContractError:
            # templates such as Gemma's take no system message: its words go before the question
            merged = without_system(question.messages)
            if merged == question.messages:
                raise
            return self.policy.prompt_ids(merged, begun)

    def _logprobs(self, tokens: Sequence[Tokens]) -> NDArray[np.float64]:
        """The sum over each option's tokens."""
        found = np.zeros(len(tokens))
        groups = self._groups(tokens)
        for indexes, packed in pack_groups(tokens, self.token_budget, share=True, groups=groups):
            flat = self._reader.reference(packed).double().cpu().numpy()
            start = 0
            for i in indexes:
                count = len(tokens[i].ids) - tokens[i].response_start
                found[i] = flat[start : start + count].sum()
                start += count
        return found

    def _groups(self, tokens: Sequence[Tokens]) -> list[list[int]] | None:
        """Which options may share a beginning: all, whatever their questions; None of one alone.

        The padded forward shares nothing, and its rows would only grow.
        """
        return None if self._reader.engine == "padded" else [list(range(len(tokens)))]


def answer_of(logprobs: NDArray[np.float64], question: Question, prompt_tokens: int) -> Answer:
    """Log-probabilities of the options, (O,), normalised, and how much they had in all."""
    highest = float(logprobs.max())
    shares = np.exp(logprobs - highest)
    mass = float(np.exp(highest) * shares.sum())
    probabilities = tuple(float(p) for p in shares / shares.sum())
    assert len(probabilities) == len(question.options)
    return Answer(
        "answered",
        probabilities,
        "log-probabilities",
        mass=min(mass, 1.0),
        prompt_tokens=prompt_tokens,
        cost=0.0,
    )


def without_system(messages: Messages) -> Messages:
    """The same with the system's words before the first turn's."""
    if not messages or messages[0].role != "system" or len(messages) < 2:
        return messages
    first = messages[1]
    return (Message(first.role, f"{messages[0].content}\n\n{first.content}"), *messages[2:])


def _is_ambiguous(options: Sequence[str]) -> bool:
    return any(a != b and b.startswith(a) for a in options for b in options)


def load_judge(
    name: str, *, device: torch.device | None = None, temperature: float = 1.0
) -> LocalJudge:
    """A judge over a packaged backbone, a directory, or a hub name.

    Raises:
        BackboneError: If there is none of that name, or it cannot generate.
    """
    return LocalJudge(Policy.load(name, device=device), temperature=temperature)
