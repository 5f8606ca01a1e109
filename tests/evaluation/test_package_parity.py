"""The same saved scores through PyPI's rewardbench 0.1.4 and through Assay."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from assay.evaluation.rewardbench import COUNTS, SECTIONS, section_scores, ties_score_package
from assay.evaluation.suite import ScoredItem


@pytest.fixture(scope="module")
def peer() -> Iterator[Any]:
    """``rewardbench.utils`` and ``rewardbench.constants``, needless imports stubbed out."""
    spec = importlib.util.find_spec("rewardbench")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("the package rewardbench is not installed (make install does it)")
    fastchat, models = types.ModuleType("fastchat.conversation"), types.ModuleType("models")
    fastchat.Conversation = models.REWARD_MODEL_CONFIG = {}  # type: ignore[attr-defined]
    package = types.ModuleType("rewardbench")
    package.__path__ = list(spec.submodule_search_locations)
    stubs = {
        "rewardbench": package,  # its __init__ imports all of its models
        "rewardbench.models": models,
        "fastchat": types.ModuleType("fastchat"),
        "fastchat.conversation": fastchat,
    }
    saved = {name: sys.modules.get(name) for name in stubs}
    sys.modules.update(stubs)
    try:
        utils = importlib.import_module("rewardbench.utils")
        constants = importlib.import_module("rewardbench.constants")
        yield types.SimpleNamespace(utils=utils, constants=constants)
    finally:
        for name, module in saved.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
        for name in ("rewardbench.utils", "rewardbench.constants"):
            sys.modules.pop(name, None)


def test_constants_are_the_packages(peer: Any) -> None:
    assert {k: list(v) for k, v in SECTIONS.items()} == peer.constants.SUBSET_MAPPING
    weights = {**COUNTS, "math-prm": 984}
    assert {n: peer.constants.EXAMPLE_COUNTS[n] for n in weights} == weights


def test_section_scores_equal_the_packages_also_for_partial_sets(peer: Any) -> None:
    rng = np.random.default_rng(0)
    names = list(COUNTS)
    for _ in range(300):
        kept = rng.choice(names, int(rng.integers(0, len(names) + 1)), replace=False)
        accuracies = {str(name): float(rng.random()) for name in kept}
        wanted = peer.utils.calculate_scores_per_section(
            peer.constants.EXAMPLE_COUNTS, peer.constants.SUBSET_MAPPING, accuracies
        )
        got = section_scores(accuracies)
        assert got.keys() == wanted.keys()
        for section in wanted:
            assert got[section] == pytest.approx(wanted[section], abs=1e-12)


def saved_rows(rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    in_lists = rng.random() < 0.5  # its own files hold both
    for prompt in range(int(rng.integers(2, 9))):
        levels = int(rng.integers(2, 6))
        kind = rng.random()
        for name, right in (("tied", int(rng.integers(2, 6))), ("ref", 1)):
            if (name == "tied" and kind > 0.9) or (name == "ref" and kind < 0.1):
                continue
            scores = (
                rng.integers(levels, size=right + 3).astype(float)
                if rng.random() < 0.5
                else rng.normal(size=right + 3)
            )
            saved = [[s] for s in scores.tolist()] if in_lists else scores.tolist()
            rows.append({"id": f"{name}:{prompt}", "scores": saved, "num_correct": right})
    return rows


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_ties_score_equals_the_packages_on_random_saved_scores(peer: Any) -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        rows = saved_rows(rng)
        _, wanted = peer.utils.process_single_model(rows)
        items = []
        for row in rows:
            flat = [s[0] if isinstance(s, list) else s for s in row["scores"]]
            correct = tuple(i < row["num_correct"] for i in range(len(flat)))
            items.append(
                ScoredItem(row["id"], "Ties", tuple(flat), correct, row["id"].split(":")[1])
            )
        assert ties_score_package(items) == pytest.approx(float(wanted), abs=1e-12)
