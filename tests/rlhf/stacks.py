"""Files of OpenRLHF and verl, read from their wheels and run without their dependencies.

The wheels are looked for in the directory that ``ASSAY_TEST_WHEELS`` names:
``pip download openrlhf verl --no-deps -d DIRECTORY``.
"""

from __future__ import annotations

import os
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest


def source(package: str, path: str) -> str:
    """The text of a package's file; skips the test where there is no wheel of it."""
    directory = os.environ.get("ASSAY_TEST_WHEELS")
    wheels = sorted(Path(directory).glob(f"{package}-*.whl")) if directory else []
    if not wheels:
        pytest.skip(f"ASSAY_TEST_WHEELS names no directory with a wheel of {package}")
    with zipfile.ZipFile(wheels[-1]) as wheel:
        name = next(n for n in wheel.namelist() if n.endswith(path))
        return wheel.read(name).decode()


def stub(patch: pytest.MonkeyPatch, name: str, **contents: Any) -> types.ModuleType:
    """A module of that name with nothing but these contents, for the test."""
    module = types.ModuleType(name)
    module.__path__ = []  # type: ignore[attr-defined]
    vars(module).update(contents)
    patch.setitem(sys.modules, name, module)
    return module


def load(patch: pytest.MonkeyPatch, package: str, path: str) -> types.ModuleType:
    """A package's own file as a module under its own name; what it imports has to be stubbed."""
    name = path.removesuffix(".py").replace("/", ".")
    module = types.ModuleType(name)
    module.__file__ = path
    patch.setitem(sys.modules, name, module)
    exec(compile(source(package, path), path, "exec"), vars(module))
    return module
