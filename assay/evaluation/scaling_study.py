"""A finished scaling study: its record, and the files it is written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from assay.atomic import write_json, write_text
from assay.configs import RewardTraining, Scaling
from assay.evaluation.scaling_answer import answer, table_text
from assay.evaluation.scaling_curves import ModelCurve
from assay.evaluation.scaling_points import ModelSize, Point

POINTS = "points.jsonl"
RESULTS = "results.json"
PAGE = "scaling.html"
SCHEMA = 1


@dataclass(frozen=True)
class ScalingStudy:
    """Curves over data sizes, smallest model first, and what they answer."""

    curves: tuple[ModelCurve, ...]
    record: Mapping[str, Any]
    config: Scaling

    @classmethod
    def of(
        cls,
        config: Scaling,
        training: RewardTraining,
        models: Sequence[ModelSize],
        data: Mapping[str, Any],
        shared_prompts: int,
        curves: Sequence[ModelCurve],
        points: Sequence[Point],
    ) -> ScalingStudy:
        """The record of a study.

        Args:
            data: What became of the training and the held-out data.
            shared_prompts: Held-out prompts that are training prompts too.
        """
        from assay.evaluation.run import package_versions

        names = {(m.backbone, m.layers): m.name for m in models}
        settings = {
            k: v for k, v in asdict(training).items() if k not in ("seed", "layers", "trackers")
        }
        record = {
            "schema": SCHEMA,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": package_versions(),
            "sizes": list(config.sizes),
            "seeds": list(config.seeds),
            "split_seed": config.split_seed,
            "max_length": config.max_length,
            "truncation": config.truncation,
            "training": settings,
            "data": {**data, "shared_prompts": shared_prompts},
            "models": [curve.to_dict() for curve in curves],
            "answers": [answer(curve) for curve in curves],
            "points": [_shown(point, names) for point in points],
        }
        return cls(tuple(curves), record, config)

    def save(self) -> ScalingStudy:
        """Write ``config.toml``, ``scaling.html`` and last ``results.json``, each whole or not."""
        from assay.evaluation.scaling_page import scaling_page
        from assay.toml import resolved_toml

        out = self.config.out
        write_text(out / "config.toml", resolved_toml(self.config))
        scaling_page(self, out / PAGE)
        write_json(out / RESULTS, self.record)
        return self

    @property
    def notes(self) -> list[str]:
        """What a reader must know besides the figures."""
        data, seeds = self.record["data"], len(self.config.seeds)
        found = []
        for side, name in (("train", "training"), ("heldout", "held-out")):
            dropped = "; ".join(f"{model}: {text}" for model, text in data[side]["dropped"].items())
            found.append(f"{name} data: {data[side]['loaded']}; by backbone, {dropped}")
        if data["shared_prompts"]:
            found.append(
                f"warning: {data['shared_prompts']:,} held-out prompts are also training prompts"
            )
        if seeds == 1:
            found.append("one seed: the intervals are over held-out prompts alone")
        return found

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``: ``results.json``."""
        return {"directory": str(self.config.out), **self.record}

    def __str__(self) -> str:
        return "\n".join(
            [
                *self.notes,
                "",
                table_text(self.curves),
                "",
                f"page: {self.config.out / PAGE}",
            ]
        )


def _shown(point: Point, names: Mapping[tuple[str, int | None], str]) -> dict[str, Any]:
    """A point without what was kept of every pair, its model by name."""
    kept = asdict(point)
    figures = kept.pop("figures")
    for name in ("gaps", "length_only", "backbone"):
        del kept[name]
    return {"model": names[point.backbone, point.layers], **kept, **figures}
