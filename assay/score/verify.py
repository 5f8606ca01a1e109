"""Verify a run: files as saved, tokens as saved, rewards as saved."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.configs import Verify
from assay.errors import CheckpointError, ContractError, DriftError

if TYPE_CHECKING:
    from assay.models.backbone_model import BackboneModel


@dataclass(frozen=True)
class Verification:
    """A run that passed: the golden conversations replayed and how far their rewards moved."""

    run: str
    files: int
    golden: int
    difference: float
    engine: str
    members: int = 1

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"passed": True, **asdict(self)}

    def __str__(self) -> str:
        by = f" by {self.members} members" if self.members > 1 else ""
        return (
            f"{self.run}: {self.files} files unchanged, {self.golden} golden conversations "
            f"replayed{by} on the {self.engine} engine, "
            f"rewards within {self.difference:.1e} standard deviations"
        )


def verify(run: str | Path, *, tolerance: float = 1e-4, engine: str = "auto") -> Verification:
    """Check a run's files against its manifest and replay its golden conversations.

    Args:
        tolerance: Largest difference of a reward, in standard deviations of the golden rewards.

    Raises:
        DriftError: If a file, a token or a reward is not what was saved.
        CheckpointError: If it is no run directory.
    """
    from assay.models.checkpoint import ASSAY_FILE, GOLDEN, MANIFEST, check_manifest, load_model
    from assay.models.ensemble_checkpoint import is_ensemble
    from assay.models.golden import replay
    from assay.models.golden_steps import replay_steps
    from assay.models.process_checkpoint import is_process, load_process

    path = Path(run)
    if not (path / ASSAY_FILE).exists() and not (path / MANIFEST).exists():
        raise CheckpointError(
            f"{path} is not a finished run: it has neither {ASSAY_FILE} nor {MANIFEST}."
        )
    try:
        check_manifest(path)
    except CheckpointError as error:
        raise DriftError(str(error)) from error
    files = len(json.loads((path / MANIFEST).read_text())["files"])
    if is_ensemble(path):
        return _verify_ensemble(path, files, tolerance, engine)
    rows = [json.loads(line) for line in (path / GOLDEN).read_text().splitlines()]
    model: BackboneModel
    try:
        if is_process(path):
            model = steps_model = load_process(path, engine=engine, check=False)
            result = replay_steps(steps_model, rows)
        else:
            model = outcome_model = load_model(path, engine=engine, check=False)
            result = replay(outcome_model, rows)
    except ContractError as error:
        raise DriftError(
            f"{path}: a golden conversation can no longer be rendered: {error}"
        ) from error
    if result.retokenised:
        raise DriftError(
            f"{path}: {result.retokenised} of {result.count} golden conversations have other token "
            "ids than were saved; "
            "the chat template, the tokenizer or the transformers version changed."
        )
    if not result.difference <= tolerance:
        moved = sum(not difference <= tolerance for difference in result.differences)
        raise DriftError(
            f"{path}: golden rewards moved by {result.difference:.2g} standard deviations where "
            f"{tolerance:g} is allowed, in {moved} of {result.count} conversations; "
            "the weights or the code that runs them changed."
        )
    return Verification(str(path), files, result.count, result.difference, model.engine)


def _verify_ensemble(path: Path, files: int, tolerance: float, engine: str) -> Verification:
    """Each part by itself, then all members' rewards of the golden conversations."""
    import numpy as np

    from assay.models.checkpoint import ASSAY_FILE, GOLDEN
    from assay.models.ensemble_checkpoint import golden_rewards, load_ensemble
    from assay.types import Conversation

    entries = json.loads((path / ASSAY_FILE).read_text())["parts"]
    names = [Path(entry["directory"]).name for entry in entries]
    parts = [verify(path / name, tolerance=tolerance, engine=engine) for name in names]
    try:
        ensemble = load_ensemble(path, engine=engine, check=False)
    except CheckpointError as error:
        raise DriftError(str(error)) from error
    rows = [json.loads(line) for line in (path / GOLDEN).read_text().splitlines()]
    difference = max(part.difference for part in parts)
    if rows:
        conversations = [Conversation.of(row["prompt"], row["response"]) for row in rows]
        saved = np.array([row["rewards"] for row in rows])
        moved = np.abs(golden_rewards(ensemble, conversations) - saved) / saved.std(axis=0)
        worst = float(moved.max())
        if not worst <= tolerance:
            member = int(moved.max(axis=0).argmax()) + 1
            raise DriftError(
                f"{path}: golden rewards of member {member} moved by {worst:.2g} standard "
                f"deviations where {tolerance:g} is allowed; the weights or the code that runs "
                "them changed."
            )
        difference = max(difference, worst)
    return Verification(
        run=str(path),
        files=files + sum(part.files for part in parts),
        golden=len(rows),
        difference=difference,
        engine=parts[0].engine,
        members=ensemble.members,
    )


def run(config: Verify) -> Verification:
    """The verb ``assay verify``."""
    return verify(config.run, tolerance=config.tolerance)
