"""Contract: the public names are these, each loads, and importing loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import assay

PUBLIC_NAMES = [
    "AssayError",
    "Comparison",
    "Conversation",
    "EnsembleTraining",
    "Judge",
    "Message",
    "OveroptimizationMonitor",
    "PPO",
    "Policy",
    "PreferencePair",
    "PreferencePairs",
    "ProcessRewardModel",
    "ProcessTraining",
    "RLOO",
    "RemoteScorer",
    "RewardModel",
    "RewardTraining",
    "Scorer",
    "Scores",
    "Solution",
    "Solutions",
    "StepScorer",
    "StepScores",
    "Suite",
    "audit",
    "best_of_n",
    "compare",
    "evaluate",
    "load_judge",
    "load_reward",
    "load_scorer",
    "load_step_scorer",
    "train_ensemble",
    "train_policy",
    "train_process",
    "train_reward",
    "verify",
]


def test_public_names_are_the_documented_ones():
    assert sorted(assay.__all__) == PUBLIC_NAMES
    assert sorted(assay._MODULES) == PUBLIC_NAMES
    assert set(PUBLIC_NAMES) <= set(dir(assay))


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_public_name_loads(name):
    assert getattr(assay, name).__name__ == name
    assert getattr(assay, name) is vars(assay)[name]


def test_type_checkers_see_the_names_where_they_are_loaded_from():
    tree = ast.parse(Path(assay.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("assay.")
        for alias in node.names
    }
    assert seen == assay._MODULES


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'reward_modle'"):
        _ = assay.reward_modle


@pytest.mark.parametrize(
    "command", ["import assay", "import assay.cli; assay.cli.main(['--help'])"]
)
def test_import_and_help_load_nothing_heavy(command):
    heavy = {"torch", "transformers", "datasets", "numpy", "scipy", "sklearn", "matplotlib", "tyro"}
    code = f"import sys; {command}; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
