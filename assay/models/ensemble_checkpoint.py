"""An ensemble on disk: a run directory for each part, and what makes one reward of its members'.

``part-N`` is a whole reward model by itself, its first member, with ``members.safetensors`` and
``members.json`` beside it where it carries more. The ensemble's own ``assay.json`` names the parts
with the digests of their manifests, so that a part cannot be exchanged; it is written last.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from assay.atomic import write_json, write_jsonl, written
from assay.data.contract import Contract
from assay.errors import AssayError, CheckpointError, ConfigError
from assay.models.checkpoint import (
    ASSAY_FILE,
    FORMAT,
    GOLDEN,
    MANIFEST,
    check_manifest,
    file_digest,
    load_model,
    read_json,
    save_model,
    write_manifest,
)
from assay.models.ensemble import HeadEnsemble, TrunkEnsemble
from assay.models.golden import golden_conversations, steady_rewards
from assay.models.reward_model import RewardModel
from assay.models.views import View
from assay.stats import Aggregator, Standards
from assay.types import Conversation

KIND = "ensemble"
MEMBERS = "members.json"
MEMBER_WEIGHTS = "members.safetensors"

Part = HeadEnsemble | TrunkEnsemble | RewardModel
"""A part of an ensemble: one backbone with one member or more."""


@dataclass(frozen=True)
class Ensemble:
    """Parts with all members, what puts these on one scale, and how they become one."""

    parts: tuple[Part, ...]
    standards: Standards
    aggregator: Aggregator

    @property
    def members(self) -> int:
        """M."""
        return len(self.standards.mean)


def trunk_of(part: Part) -> RewardModel:
    """The reward model a part is built on, its first member."""
    return part if isinstance(part, RewardModel) else part.trunk


def check_contracts(contracts: Sequence[Contract]) -> None:
    """Refuse members that would not read the same conversations.

    Templates and tokenizers may differ, as backbones do.

    Raises:
        ConfigError: Naming the member that differs.
    """
    first = contracts[0]
    for number, other in enumerate(contracts[1:], start=2):
        for name in ("max_length", "truncation"):
            ours, theirs = getattr(first, name), getattr(other, name)
            if ours != theirs:
                raise ConfigError(
                    f"Member {number} has {name} {theirs} and member 1 has {ours}: an ensemble "
                    "rewards what all its members can read; train them with the same."
                )


def save_ensemble(
    ensemble: Ensemble, directory: str | Path, record: Mapping[str, Any] | None = None
) -> Path:
    """Write an ensemble: its parts, golden conversations with all members' rewards, the record.

    Raises:
        CheckpointError: If a weight is NaN or infinite.
    """
    from assay import __version__

    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, part in enumerate(ensemble.parts):
        place = target / f"part-{number}"
        save_model(trunk_of(part), place)
        _write_members(part, place)
        write_manifest(place)
        parts.append({"directory": place.name, "manifest_sha256": file_digest(place / MANIFEST)})
    write_jsonl(target / GOLDEN, _golden_rows(ensemble))
    write_json(
        target / ASSAY_FILE,
        {
            "format": FORMAT,
            "kind": KIND,
            "parts": parts,
            "standards": asdict(ensemble.standards),
            "aggregator": asdict(ensemble.aggregator),
            "versions": {"assay": __version__, "torch": torch.__version__},
            **(record or {}),
        },
    )
    write_manifest(target)
    return target


def _write_members(part: Part, place: Path) -> None:
    if isinstance(part, RewardModel):
        return
    if isinstance(part, HeadEnsemble):
        tensors = {"weights": part.weights.cpu().contiguous()}
        about: dict[str, Any] = {"structure": "heads", "views": [str(v) for v in part.views]}
    else:
        tensors = {
            f"{number}.{name}": tensor
            for number, state in enumerate(part.states())
            for name, tensor in state.items()
        }
        about = {"structure": "trunk", "shared": part.shared, "members": len(part.heads)}
    bad = next((name for name, t in tensors.items() if not torch.isfinite(t).all()), None)
    if bad:
        raise CheckpointError(f"Member weight {bad} holds NaN or infinite values; not saved.")
    with written(place / MEMBER_WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_json(place / MEMBERS, about)


def is_ensemble(directory: str | Path) -> bool:
    """Whether a directory holds an ensemble."""
    path = Path(directory) / ASSAY_FILE
    if not path.is_file():
        return False
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("kind") == KIND)
    except (ValueError, AttributeError):
        return False


def load_ensemble(directory: str | Path, *, engine: str = "auto", check: bool = True) -> Ensemble:
    """An ensemble from its directory.

    Args:
        check: Whether to compare every file with its manifest first.

    Raises:
        CheckpointError: If a file of the ensemble or of one of its members is missing or damaged.
    """
    path = Path(directory)
    if check:
        check_manifest(path)
    record = read_json(path / ASSAY_FILE, "parts", "standards", "aggregator")
    parts = []
    for entry in record["parts"]:
        place = path / Path(entry["directory"]).name
        if not (place / MANIFEST).is_file():
            raise CheckpointError(f"{path} lacks {place.name}; copy the ensemble again.")
        if file_digest(place / MANIFEST) != entry["manifest_sha256"]:
            raise CheckpointError(
                f"{place} is not the part this ensemble was saved with; copy the ensemble again."
            )
        parts.append(_load_part(place, engine, check))
    try:
        standards = Standards(**{k: tuple(v) for k, v in record["standards"].items()})
        aggregator = Aggregator(**record["aggregator"])
    except (TypeError, AttributeError, AssayError) as error:
        raise CheckpointError(
            f"{path / ASSAY_FILE} is damaged ({error}); copy the ensemble again."
        ) from error
    return Ensemble(tuple(parts), standards, aggregator)


def _load_part(place: Path, engine: str, check: bool) -> Part:
    trunk = load_model(place, engine=engine, check=check)
    if not (place / MEMBERS).exists():
        return trunk
    about = read_json(place / MEMBERS, "structure")
    try:
        tensors = load_file(place / MEMBER_WEIGHTS)
        if about["structure"] == "heads":
            return HeadEnsemble(trunk, [View.parse(v) for v in about["views"]], tensors["weights"])
        states: list[dict[str, torch.Tensor]] = [{} for _ in range(about["members"])]
        for key, tensor in tensors.items():
            number, _, name = key.partition(".")
            states[int(number)][name] = tensor
        return TrunkEnsemble(trunk, about["shared"], states)
    except (OSError, KeyError, ValueError, IndexError, SafetensorError, ConfigError) as error:
        raise CheckpointError(
            f"The members in {place} cannot be read ({error}); copy the ensemble again."
        ) from error


def golden_rewards(
    ensemble: Ensemble, conversations: Sequence[Conversation]
) -> NDArray[np.float64]:
    """Raw rewards of conversations by every member, ``(B, M)``, on which two passes agree."""
    columns = [
        steady_rewards(part, conversations, "truncate-left").reshape(len(conversations), -1)
        for part in ensemble.parts
    ]
    return np.concatenate(columns, axis=1)


def _golden_rows(ensemble: Ensemble) -> list[dict[str, Any]]:
    conversations = golden_conversations(trunk_of(ensemble.parts[0]))
    if not conversations:
        return []
    rewards = golden_rewards(ensemble, conversations)
    return [
        {
            "prompt": [m.to_dict() for m in c.prompt],
            "response": [m.to_dict() for m in c.response],
            "rewards": row.tolist(),
        }
        for c, row in zip(conversations, rewards, strict=True)
    ]


def weight_average(models: Sequence[RewardModel]) -> RewardModel:
    """One model whose weights are the mean of the members': WARM (Ramé et al. 2024).

    ``φ̄ = (1/M) Σ φ_m``, of members that started from the same weights. The first model is changed
    in place. For linear heads on one backbone the average's reward is the mean of the rewards.

    Raises:
        ConfigError: If contracts or shapes differ.
    """
    first = models[0]
    states = [model.state_dict() for model in models]
    for number, (model, state) in enumerate(zip(models, states, strict=True), start=1):
        shapes = {k: v.shape for k, v in state.items()}
        if model.contract.digest != first.contract.digest or shapes != {
            k: v.shape for k, v in states[0].items()
        }:
            raise ConfigError(
                f"Member {number} has another contract or other layers than member 1; only weights "
                "that mean the same can be averaged."
            )
    average = {
        name: torch.stack([state[name].float() for state in states]).mean(dim=0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in states[0].items()
    }
    first.load_state_dict(average)
    return first


def average_of(ensemble: Ensemble) -> RewardModel:
    """The weight average of an ensemble's members, as ``weight_average`` has it.

    Raises:
        ConfigError: If their weights do not mean the same: heads that look at other states, or
            several backbones.
    """
    if len(ensemble.parts) > 1:
        return weight_average([copy.deepcopy(trunk_of(part)) for part in ensemble.parts])
    (part,) = ensemble.parts
    model = copy.deepcopy(trunk_of(part))
    if isinstance(part, HeadEnsemble):
        if len(part.views) > 1:
            raise ConfigError("Heads that read different states have no average; use heads.")
        with torch.no_grad():
            model.head.weight.copy_(part.weights.mean(dim=0, keepdim=True))
        return model
    if isinstance(part, TrunkEnsemble):
        return weight_average([part.member(number) for number in range(part.reward_shape[0])])
    return model
