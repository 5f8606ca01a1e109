"""Steps on the real models that come as packages: labels survive, one pass equals many."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.data.contract import Renderer, make_contract
from assay.data.step_contract import StepRenderer, make_step_contract
from assay.models.backbones import PACKAGED, load_tokenizer, resolve_backbone
from assay.models.process_model import ProcessRewardModel
from assay.models.process_presets import PRESETS
from assay.models.step_scoring import score_steps
from assay.score.verify import verify
from assay.types import Message, Solution

pytestmark = pytest.mark.slow

STEPS = (
    "First there are 3 boxes of 12 eggs.",
    "$x^2 = 9$, so x is 3 or -3",
    "Then 3 * 12 = 36!",
    "# Answer\n\n36",
)
SOLUTION = Solution((Message("user", "How many eggs are there?"),), STEPS, (None,) * len(STEPS))
SEPARATORS = sorted({"\n", "\n\n", *(preset.steps.separator for preset in PRESETS.values())})


@pytest.fixture(scope="module", params=sorted(PACKAGED))
def backbone(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(PACKAGED[request.param].package) is None:
        pytest.skip(f"{PACKAGED[request.param].requirement} is not installed")
    return str(request.param)


@pytest.mark.parametrize("separator", SEPARATORS)
def test_every_step_keeps_its_label(backbone: str, separator: str) -> None:
    """The tokens up to where a step is read say that step and all before, and no later one."""
    tokenizer = load_tokenizer(resolve_backbone(backbone))
    contract = make_contract(tokenizer, max_length=500)
    steps = make_step_contract(tokenizer, separator=separator)
    (tokens,) = StepRenderer(Renderer(contract, tokenizer), steps).tokenise([SOLUTION])
    assert len(tokens) == len(STEPS)
    for k, beginning in enumerate(tokens):
        said = "".join(tokenizer.decode(beginning.ids).lower().split())
        for number, step in enumerate(STEPS):
            assert ("".join(step.lower().split()) in said) == (number <= k)


def test_one_pass_equals_a_pass_for_every_step(backbone: str, tmp_path: Path) -> None:
    model = ProcessRewardModel.from_backbone(backbone, max_length=256)
    (together,) = score_steps(model, [SOLUTION]).rewards
    beginnings = [
        replace(SOLUTION, steps=STEPS[: k + 1], labels=SOLUTION.labels[: k + 1])
        for k in range(len(STEPS))
    ]
    apart = [score_steps(model, [b]).rewards[0][-1] for b in beginnings]
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-4)
    model.set_engine("padded")
    np.testing.assert_allclose(score_steps(model, [SOLUTION]).rewards[0], apart, atol=1e-4)
    assert verify(model.save(tmp_path / "run")).golden >= 5
