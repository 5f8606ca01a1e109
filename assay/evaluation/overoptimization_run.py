"""The verb ``assay overoptimization``: candidates in; curves of gold and proxy, and a page, out.

With logs of RL in place of candidates :mod:`assay.evaluation.policy_study` does the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.atomic import write_json, write_jsonl, write_text
from assay.configs import Overoptimization
from assay.errors import ConfigError
from assay.evaluation.best_of_n import STEADY, best_of_n_kl
from assay.evaluation.gold_fit import D_MIN
from assay.evaluation.overoptimization import GoldCurve, geometric_grid, gold_curve
from assay.evaluation.overoptimization_answer import answer, table_text
from assay.evaluation.overoptimization_scoring import ScoredCandidates, scored_candidates
from assay.evaluation.run import RESULTS, SCORES, package_versions
from assay.evaluation.selection import Candidates, Selector
from assay.evaluation.study import PAGE, SCHEMA, Study
from assay.formats.files import shown_name

if TYPE_CHECKING:
    from assay.evaluation.policy_study import PolicyStudy

SELECTORS = ("single", "mean", "worst-case", "mean-variance")
"""What an ensemble's members are compared under unless said otherwise."""


@dataclass(frozen=True)
class OveroptimizationStudy(Study):
    """Curves of several selectors on the same candidates, and the record of how they came about."""

    curves: tuple[GoldCurve, ...]
    record: Mapping[str, Any]
    directory: Path | None = None

    @property
    def notes(self) -> list[str]:
        """What is compared, and what was left out or cut."""
        r = self.record
        members = f" ({r['members']} members)" if r["members"] > 1 else ""
        gone = "; ".join(
            f"{n:,} {'row' if n == 1 else 'rows'} with {why}" for why, n in r["left_out"].items()
        )
        cut = sum(r["truncated"].values())
        return [
            f"best-of-n by {r['proxy']}{members}, measured by {r['gold']}: {r['prompts']:,} "
            f"prompts × {r['samples']:,} candidates",
            f"left out: {gone or 'none'}; truncated responses: {cut:,}",
        ]

    @property
    def table(self) -> str:
        """A row a selector and n."""
        return table_text(self.curves)

    def save(self, directory: Path, scores: Sequence[dict[str, Any]] = ()) -> None:
        """Write ``scores.jsonl``, the page and last ``results.json``, each whole or not."""
        from assay.evaluation.overoptimization_page import overoptimization_page

        directory.mkdir(parents=True, exist_ok=True)
        if scores:
            write_jsonl(directory / SCORES, list(scores))
        overoptimization_page(self, directory / PAGE)
        write_json(directory / RESULTS, self.record)


def overoptimization(
    candidates: Candidates,
    selectors: Sequence[Selector] = (),
    *,
    max_n: int | None = None,
    proxy: str = "the proxy",
    gold: str = "gold",
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> OveroptimizationStudy:
    """Curves of several selectors on the same candidates.

    Args:
        selectors: Default: of several members ``single``, ``mean``, ``worst-case`` and
            ``mean-variance``, of one ``single``.
        max_n: Largest n. Default: all candidates of a prompt.
        proxy: What selects, by name.
        gold: What measures, by name.
        facts: What else the record says.

    Raises:
        ConfigError: If a selector is named twice, or there are not so many candidates.
    """
    names = SELECTORS if candidates.members > 1 else SELECTORS[:1]
    chosen = list(selectors) or [Selector.parse(name) for name in names]
    shown = [str(selector) for selector in chosen]
    if len(set(shown)) < len(shown):
        raise ConfigError(f"An aggregator is named twice: {', '.join(shown)}.")
    most = max_n or candidates.samples
    grid = geometric_grid(most)
    curves = tuple(gold_curve(candidates, selector, grid, seed=seed) for selector in chosen)
    record = {
        "schema": SCHEMA,
        "method": "best-of-n",
        "proxy": proxy,
        "gold": gold,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": package_versions(),
        "prompts": candidates.count,
        "samples": candidates.samples,
        "members": candidates.members,
        "left_out": {},
        "truncated": {},
        "members_scale": None,
        **(facts or {}),
        "gold_mean": float(candidates.gold.mean()),
        "gold_std": candidates.gold_std,
        "n": list(grid),
        "kl": [best_of_n_kl(n) for n in grid],
        "steady_up_to": max(1, candidates.samples // STEADY),
        "curves": {curve.selector: curve.to_dict() for curve in curves},
        "minus_first": {curve.selector: curve.minus(curves[0]).to_dict() for curve in curves[1:]},
        "answers": [answer(curve) for curve in curves],
    }
    return OveroptimizationStudy(curves, record)


def run(config: Overoptimization) -> OveroptimizationStudy | PolicyStudy:
    """The verb ``assay overoptimization``: best-of-n of candidates, or the logs of policies."""
    _check_out(config)
    if not config.runs:
        return best_of_n_study(config)
    from assay.evaluation.policy_study import run_policies

    return run_policies(config)


def best_of_n_study(config: Overoptimization) -> OveroptimizationStudy:
    """The verb with ``--input``."""
    selectors = _check(config)
    from assay.progress import progress_bars
    from assay.toml import resolved_toml

    if config.threads and (config.run or config.gold):
        import torch

        torch.set_num_threads(config.threads)
    with progress_bars() as progress:
        scored = scored_candidates(config, progress)
    study = overoptimization(
        scored.candidates,
        selectors,
        max_n=config.max_n,
        proxy=shown_name(config.run) if config.run else "the rewards in the rows",
        gold=shown_name(config.gold) if config.gold else "the gold in the rows",
        seed=config.seed,
        facts=_facts(config, scored),
    )
    config.out.mkdir(parents=True, exist_ok=True)
    write_text(config.out / "config.toml", resolved_toml(config))
    study.save(config.out, scored.rows())
    return OveroptimizationStudy(study.curves, study.record, config.out)


def _check_out(config: Overoptimization) -> None:
    if config.out.exists() and not config.out.is_dir():
        raise ConfigError(f"--out {config.out} is a file; name a directory for the curves.")
    if (config.out / RESULTS).exists():
        raise ConfigError(f"--out {config.out} holds finished results; name another directory.")


def _check(config: Overoptimization) -> list[Selector]:
    if config.input is None:
        raise ConfigError(
            "A curve wants --input (rows with candidates, for best-of-n) or --runs (directories of "
            "assay rlhf); got neither."
        )
    if config.min_sqrt_kl != D_MIN:
        raise ConfigError("--min-sqrt-kl is for the fit of --runs; leave it out with --input.")
    if config.max_n is not None and config.max_n < 2:
        raise ConfigError(f"--max-n is {config.max_n}; selection begins at 2.")
    return [Selector.parse(name) for name in config.aggregators]


def _facts(config: Overoptimization, scored: ScoredCandidates) -> dict[str, Any]:
    many = scored.candidates.members > 1
    return {
        "source": shown_name(str(config.input)),
        "left_out": dict(scored.left_out),
        "truncated": dict(scored.truncated),
        "members_scale": scored.members_scale if many else None,
    }
