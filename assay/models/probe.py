"""The probe: does the tree engine equal the plain padded forward on this very backbone?

In value and gradient. Run once when a backbone is first loaded; the answer is remembered by the
backbone's architecture and settings.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from assay.atomic import write_json
from assay.data.contract import Tokens
from assay.data.trees import PackedTrees, build_tree, pack
from assay.errors import AssayError
from assay.formats.files import cache_dir
from assay.models.backbone_model import BackboneModel
from assay.models.backbones import set_checkpointing

VALUE_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3
ROUNDING = 1e-5
"""Relative difference that float32 leaves after some dozen layers: Gemma 3 has a feature of 50
deviations, of which two equal computations differ by 1e-4."""


class EngineWarning(UserWarning):
    """The tree engine was not used, and why."""


@dataclass(frozen=True)
class ProbeResult:
    """Differences between the tree engine and the padded forward on random trees.

    ``value`` is the largest difference of the pooled features, beyond ``ROUNDING`` of the feature,
    over their standard deviation;
    ``gradient`` the largest over parameters of ‖g − g′‖/‖g‖ (against the largest gradient's norm
    × 1e-6 where the true gradient is nearly zero).
    """

    value: float
    gradient: float
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether both are within tolerance."""
        return (
            not self.reason
            and self.value <= VALUE_TOLERANCE
            and self.gradient <= GRADIENT_TOLERANCE
        )


SHAPES = ((23, (7, 12)), (5, (9, 3, 6)), (0, (11, 4)))
"""Trees the probe reads: tokens of the prompt, and of each response."""

STEPS = ((0, 1), (0, 1, 2), (0, 1, 3), (0, 4), (0, 4, 5, 6), (0, 4, 5))
"""One more tree, of a solution's steps and their alternatives: which pieces make each beginning."""
STEP_TOKENS = 4

LONGEST_WINDOW = 1024
"""Sliding windows longer than this are not filled by the probe, for the time it would take."""


def random_trees(
    vocabulary: int,
    longest: int,
    *,
    share: bool,
    seed: int = 0,
    banned: int = -1,
    window: int | None = None,
) -> PackedTrees:
    """A few random trees: prompts longer than the responses, K = 3, and branches upon branches.

    Args:
        longest: Most tokens of a conversation.
        banned: A token that must not appear.
        window: A sliding window; where it fits, one more tree has responses that reach over it.
    """
    generator = np.random.default_rng(seed)
    over = ((window - 4, (9, 12)),) if window is not None and 4 < window <= longest - 8 else ()
    trees = []
    for prompt, rests in (*SHAPES, *over):
        if prompt + max(rests) > longest:
            prompt = max(0, longest - max(rests))
        ids = generator.integers(0, vocabulary, prompt + sum(rests)).astype(np.int32)
        ids[ids == banned] = (banned + 1) % vocabulary
        prefix, offset, sequences = ids[:prompt], prompt, []
        for rest in rests:
            sequences.append(Tokens(np.concatenate([prefix, ids[offset : offset + rest]]), prompt))
            offset += rest
        trees.append(build_tree(sequences, share=share))
    pieces = generator.integers(0, vocabulary, (7, STEP_TOKENS)).astype(np.int32)
    pieces[pieces == banned] = (banned + 1) % vocabulary
    if longest >= 4 * STEP_TOKENS:
        steps = [Tokens(np.concatenate(pieces[list(at)]), STEP_TOKENS) for at in STEPS]
        trees.append(build_tree(steps, share=share))
    return pack(trees)


def compare_values(model: BackboneModel, packed: PackedTrees) -> ProbeResult:
    """Run both engines on packed trees and compare features alone: enough to score with."""
    before = model.engine
    values = []
    try:
        for engine in ("padded", "tree"):
            model.set_engine(engine)
            with torch.no_grad():
                values.append(model.features(packed).float())
    except _FAILURES as error:
        return _failed(error)
    finally:
        model.set_engine(before)
    return ProbeResult(_difference(*values), 0.0)


def compare_engines(
    model: BackboneModel, packed: PackedTrees, *, checkpointing: bool = False
) -> ProbeResult:
    """Run both engines on packed trees and compare features and every parameter's gradient."""
    before = model.engine
    was_training = model.training
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    values, gradients = [], []
    try:
        for engine in ("padded", "tree"):
            model.set_engine(engine)
            model.train(checkpointing)
            if checkpointing:
                set_checkpointing(model.network, True)
            for parameter in model.parameters():
                parameter.requires_grad_(True)
            model.zero_grad(set_to_none=True)
            features = model.features(packed)
            weights = torch.linspace(-1.0, 1.0, features.numel(), device=features.device)
            weights = weights.reshape(features.shape)
            (features.float() * weights).sum().backward()
            values.append(features.detach().float())
            gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
            model.zero_grad(set_to_none=True)
    except _FAILURES as error:
        return _failed(error)
    finally:
        if checkpointing:
            set_checkpointing(model.network, False)
        model.zero_grad(set_to_none=True)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(flags[name])
        model.set_engine(before)
        model.train(was_training)
    return ProbeResult(_difference(*values), gradient_difference(*gradients))


_FAILURES = (AssayError, RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError)


def _failed(error: Exception) -> ProbeResult:
    inf = float("inf")
    return ProbeResult(inf, inf, f"{type(error).__name__}: {(str(error) or ' ').splitlines()[0]}")


def _difference(wanted: torch.Tensor, got: torch.Tensor) -> float:
    """Largest difference beyond float32's rounding of the value, over the standard deviation."""
    beyond = (wanted - got).abs() - ROUNDING * wanted.abs()
    return max(0.0, float(beyond.max())) / (float(wanted.std()) or 1.0)


def gradient_difference(
    wanted: Mapping[str, torch.Tensor | None], got: Mapping[str, torch.Tensor | None]
) -> float:
    """Largest ‖g − g′‖/‖g‖ over parameters, ‖g‖ being at least 1e-6 × the largest norm."""
    norms = {name: float(g.norm()) for name, g in wanted.items() if g is not None}
    floor = 1e-6 * max(norms.values(), default=1.0)
    worst = 0.0
    for name in wanted.keys() | got.keys():
        g, h = wanted.get(name), got.get(name)
        if g is None or h is None:
            present = h if g is None else g
            difference = 0.0 if present is None else float(present.norm())
            worst = max(
                worst, difference / max(norms.get(name, 0.0), floor) if difference > floor else 0.0
            )
            continue
        difference = float((g - h).norm())
        if difference > floor:
            worst = max(worst, difference / max(norms[name], floor))
    return worst


def probe(
    model: BackboneModel, *, gradients: bool = True, checkpointing: bool = False
) -> ProbeResult:
    """Compare both engines on this backbone.

    Args:
        gradients: False compares values alone, as much as scoring needs.
        checkpointing: Compare under gradient checkpointing.
    """
    embeddings: Any = model.network.get_input_embeddings()
    config: Any = model.network.config
    window = getattr(config.get_text_config(), "sliding_window", None)
    packed = random_trees(
        embeddings.weight.shape[0],
        model.contract.max_length,
        share=not model.encoder,
        banned=model.pad_token_id,
        window=window if window is not None and window <= LONGEST_WINDOW else None,
    )
    if not gradients:
        return compare_values(model, packed)
    return compare_engines(model, packed, checkpointing=checkpointing)


def choose_engine(
    model: BackboneModel, wanted: str, *, gradients: bool = True, checkpointing: bool = False
) -> str:
    """``tree`` where it equals the padded forward on this backbone, else ``padded``, warning."""
    if wanted != "auto":
        model.set_engine(wanted)
        return wanted
    key = _probe_key(model)
    deep = f"{key}-gradients{'-checkpointing' if checkpointing else ''}.json"
    # a probe with gradients answers for values too
    names = [deep] if gradients else [f"{key}.json", deep]
    known = [m for m in (cache_dir() / "probe" / name for name in names) if m.exists()]
    if known:
        saved = json.loads(known[0].read_text())
        result = ProbeResult(saved["value"], saved["gradient"], saved["reason"])
    else:
        result = probe(model, gradients=gradients, checkpointing=checkpointing)
        memo = cache_dir() / "probe" / names[0]
        memo.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            memo, {"value": result.value, "gradient": result.gradient, "reason": result.reason}
        )
    if result.passed:
        return "tree"
    why = (
        result.reason
        or f"values differ by {result.value:.1e} and gradients by {result.gradient:.1e}"
    )
    warnings.warn(
        f"The tree engine is not equal to the plain forward on {model.backbone_name} ({why}); "
        "using the padded forward, which is slower and gives the same rewards.",
        EngineWarning,
        stacklevel=3,
    )
    return "padded"


def _probe_key(model: BackboneModel) -> str:
    import transformers

    from assay import __version__

    config = {k: v for k, v in model.network.config.to_dict().items() if not k.startswith("_name")}
    parts = [
        __version__,
        torch.__version__,
        transformers.__version__,
        model.contract.pooling,
        model.network.device.type,
        (SHAPES, STEPS, ROUNDING),
        config,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]
