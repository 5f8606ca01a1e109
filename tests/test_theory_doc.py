"""Contract: the theory page names every public loss and statistic, and its code runs."""

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from assay import stats
from assay.rlhf import advantages, kl
from assay.rlhf import losses as policy_losses
from assay.train import losses

PAGE = (Path(__file__).parent.parent / "docs" / "theory.md").read_text(encoding="utf-8")


def public_names(module: ModuleType) -> set[str]:
    return {
        name
        for name, thing in vars(module).items()
        if (inspect.isfunction(thing) or inspect.isclass(thing))
        and f"{thing.__module__}.".startswith(f"{module.__name__}.")
        and not name.startswith("_")
    }


@pytest.mark.parametrize("module", [losses, stats, advantages, kl, policy_losses])
def test_every_public_formula_has_its_place(module: ModuleType) -> None:
    headings = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^### .*$", PAGE, re.MULTILINE))))
    assert public_names(module) - headings - {"Rejection", "ReliabilityBin"} == set()


def test_the_code_of_the_page_runs() -> None:
    namespace: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        exec(block, namespace)
