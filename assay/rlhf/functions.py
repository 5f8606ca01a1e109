"""A Python function as a ``Scorer``, and loading one from a user's file.

Loading a file runs it: give only files you trust.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from assay.errors import ConfigError
from assay.formats.prompts import prompt_text
from assay.rlhf.asking import as_floats
from assay.types import Conversation, Scores

RewardFunction = Callable[[list[Any], list[Any]], Sequence[float | None]]
"""``f(prompts, responses)`` to one reward each; None where it does not apply."""


class FunctionScorer:
    """A function of prompts and responses as a ``Scorer``; ``std`` is not known.

    Args:
        name: Default: the function's own.
        messages: Whether it is given lists of message dictionaries. Default: texts; a prompt of
            several turns then says who said what.
    """

    def __init__(
        self, function: RewardFunction, *, name: str | None = None, messages: bool = False
    ):
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.messages = messages

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """What the function says ``(B,)``, NaN for None.

        Raises:
            DataError: If it gives something else than a list of numbers.
        """
        if self.messages:
            prompts: list[Any] = [[m.to_dict() for m in c.prompt] for c in conversations]
            responses: list[Any] = [[m.to_dict() for m in c.response] for c in conversations]
        else:
            prompts = [prompt_text(c.prompt) for c in conversations]
            responses = [c.response_text for c in conversations]
        return Scores(as_floats(self.function(prompts, responses)))


def load_function(path: str | Path, name: str) -> RewardFunction:
    """A function from a Python file, which is run.

    Raises:
        ConfigError: If there is no such file or function, or the file does not run.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{path} does not exist; a reward function is FILE.py:FUNCTION.")
    spec = importlib.util.spec_from_file_location(f"assay_reward_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file; a reward function is FILE.py:FUNCTION.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file does
        raise ConfigError(
            f"{path} does not run ({type(error).__name__}: {error}); it has to be imported for its "
            f"function {name!r}."
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        known = sorted(k for k, v in vars(module).items() if callable(v) and not k.startswith("_"))
        raise ConfigError(
            f"{path} has no function {name!r}; it has {', '.join(known) or 'no functions'}."
        )
    return function  # type: ignore[no-any-return]
