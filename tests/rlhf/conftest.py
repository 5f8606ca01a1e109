"""A small reward model with a random head, saved once, and what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assay.types import Conversation

PROMPTS = ("Write about tea", "the maps and rain?", "Some words")
RESPONSES = ("clear kind", "a reply about the rain", "rude", "")


@pytest.fixture(scope="session")
def reward_run(
    tiny_backbone: Path, cache_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A saved reward model, untrained: its rewards differ from text to text all the same."""
    from assay.models.reward_model import RewardModel

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE", str(cache_directory))
        model = RewardModel.from_backbone(str(tiny_backbone), max_length=512)
        return model.save(tmp_path_factory.mktemp("reward") / "run")


@pytest.fixture(scope="session")
def reward_scorer(reward_run: Path, cache_directory: Path) -> Any:
    """What ``assay score`` scores with."""
    from assay.score.scorer import load_scorer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE", str(cache_directory))
        return load_scorer(reward_run)


@pytest.fixture(scope="session")
def conversations() -> list[Conversation]:
    """Every prompt with every response."""
    return [Conversation.of(p, r) for p in PROMPTS for r in RESPONSES]
