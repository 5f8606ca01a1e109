"""The whole audit: everything counted once, as one record that a page and a file are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from assay.atomic import write_json, write_jsonl, write_text
from assay.data.audit.agreement import Agreement, agreement
from assay.data.audit.annotators import Annotator, annotator_table
from assay.data.audit.answers import Answers, choices, rated, shared_items, strengths
from assay.data.audit.balance import Length, Position, length, longer_signs, position
from assay.data.audit.contamination import Contamination, contamination
from assay.data.audit.diversity import Diversity, Lengths, diversity, lengths, prompt_sizes
from assay.data.audit.duplicates import Duplicates, duplicates
from assay.data.audit.figures import Undefined
from assay.data.audit.findings import Finding, findings
from assay.data.audit.judgments import Evidence
from assay.data.audit.noise import Noise, noise
from assay.data.audit.reliability import Reliability, fit_reliability, reliability
from assay.formats.files import shown_name
from assay.progress import Report

RESULTS = "audit.json"
PAGE = "audit.html"
FLAGGED = "flagged.jsonl"
SCHEMA = 1


@dataclass(frozen=True)
class Parts:
    """Every part of an audit, computed."""

    evidence: Evidence
    agreement: Agreement
    strength: Agreement | Undefined | None
    ratings: Mapping[str, Agreement]
    reliability: Reliability
    annotators: tuple[Annotator, ...]
    noise: Noise
    position: Position
    length: Length
    duplicates: Duplicates
    contamination: Contamination | None
    diversity: Mapping[str, Diversity]
    lengths: Mapping[str, Lengths]


@dataclass(frozen=True)
class AuditReport:
    """An audit: its findings, what ``audit.json`` holds, and the rows to look at."""

    findings: tuple[Finding, ...]
    record: Mapping[str, Any]
    flagged: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """What ``audit.json`` holds."""
        return dict(self.record)

    def __str__(self) -> str:
        data = self.record["data"]
        lines = [
            f"{data['judgments']:,} judgments of {data['items']:,} items in "
            f"{data['comparisons']:,} comparisons by {data['annotators'] or 'no named'} annotators",
            *map(str, self.findings),
        ]
        return "\n".join(lines)

    def save(self, directory: str | Path) -> Path:
        """Write ``flagged.jsonl``, ``audit.html`` and last ``audit.json``, each whole or not."""
        from assay.data.audit.page import audit_page

        out = Path(directory)
        out.mkdir(parents=True, exist_ok=True)
        write_jsonl(out / FLAGGED, list(self.flagged))
        write_text(out / PAGE, audit_page(self.record))
        write_json(out / RESULTS, self.record)
        return out


def make_report(
    evidence: Evidence,
    against: Mapping[str, Iterable[str | None]] | None = None,
    *,
    threshold: float = 0.8,
    resamples: int = 2000,
    seed: int = 0,
    progress: Report | None = None,
) -> AuditReport:
    """Audit what was read.

    Args:
        against: Prompts of evaluations by name, which must not be in the data.
        threshold: Jaccard similarity from which texts are near duplicates.
        resamples: Of every bootstrap.
    """
    parts = _parts(evidence, against or {}, threshold, resamples, seed, progress)
    found = findings(parts)
    record = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "sources": [shown_name(source) for source in evidence.sources],
        "settings": {"near_duplicate": threshold, "resamples": resamples, "seed": seed},
        "data": _data(evidence),
        "findings": [finding.to_dict() for finding in found],
        "agreement": {
            **parts.agreement.to_dict(),
            "strength": parts.strength and parts.strength.to_dict(),
            "ratings": {name: block.to_dict() for name, block in parts.ratings.items()},
        },
        "noise": parts.noise.to_dict(),
        "reliability": parts.reliability.to_dict(),
        "annotators": [annotator.to_dict() for annotator in parts.annotators],
        "position": parts.position.to_dict(),
        "length": parts.length.to_dict(),
        "duplicates": parts.duplicates.to_dict(),
        "contamination": parts.contamination and parts.contamination.to_dict(),
        "diversity": {name: block.to_dict() for name, block in parts.diversity.items()},
        "lengths": {name: block.to_dict() for name, block in parts.lengths.items()},
    }
    return AuditReport(found, record, _flagged(parts))


def _parts(
    evidence: Evidence,
    against: Mapping[str, Iterable[str | None]],
    threshold: float,
    resamples: int,
    seed: int,
    progress: Report | None,
) -> Parts:
    judgments, cluster, names = evidence.judgments, evidence.items.cluster, evidence.annotators
    answers = choices(judgments, cluster)
    agreed = agreement(answers, names, resamples, seed)
    strength = strengths(judgments, cluster)
    fit = fit_reliability(answers, seed)
    held: Contamination | None = None
    if against:
        held = contamination(evidence, against, threshold, progress)
    kinds = {"prompts": evidence.prompts, "responses": evidence.responses}
    texts = {kind: np.unique(numbers[numbers >= 0]) for kind, numbers in kinds.items()}
    return Parts(
        evidence=evidence,
        agreement=agreed,
        strength=agreement(strength, names, resamples, seed)
        if isinstance(strength, Answers)
        else strength,
        ratings={
            ratings.question: agreement(rated(ratings), names, resamples, seed, has_ties=False)
            for ratings in evidence.ratings
        },
        reliability=reliability(fit),
        annotators=annotator_table(evidence, answers, fit, longer_signs(evidence)),
        noise=noise(evidence, agreed, _usual_judgments(answers)),
        position=position(evidence),
        length=length(evidence),
        duplicates=duplicates(evidence, threshold, progress),
        contamination=held,
        diversity={
            kind: diversity(evidence.texts, numbers, seed)
            for kind, numbers in texts.items()
            if len(numbers)
        },
        lengths={
            kind: found
            for kind, numbers in kinds.items()
            if (found := lengths(evidence.texts.lengths[numbers[numbers >= 0]]))
        },
    )


def _usual_judgments(answers: Answers) -> int:
    """The most common number of judgments of an item that has two or more."""
    shared = answers.item[np.isin(answers.item, shared_items(answers))]
    if not len(shared):
        return 1
    return int(np.bincount(np.unique(shared, return_counts=True)[1]).argmax())


def _data(evidence: Evidence) -> dict[str, Any]:
    report, sizes = evidence.report, prompt_sizes(evidence)
    return {
        "rows": report.rows,
        "comparisons": report.comparisons,
        "items": len(evidence.items),
        "judgments": len(evidence.judgments),
        "ties": report.ties,
        "annotators": len(evidence.annotators),
        "prompts": int((sizes > 0).sum()),
        "comparisons_of_a_prompt": {
            "median": float(np.median(sizes[sizes > 0])),
            "largest": int(sizes.max()),
        },
        "has_texts": evidence.has_texts,
        "formats": dict(report.formats or {}),
        "dropped": dict(report.dropped),
        "dropped_examples": [
            {"where": _shown_place(example.where, evidence), "reason": example.reason}
            for example in report.examples
        ],
        "no_pair_to_train_on": dict(evidence.unusable),
        "same_but_for_case_and_space": evidence.identical,
    }


def _shown_place(where: str, evidence: Evidence) -> str:
    for source in evidence.sources:
        where = where.replace(source, shown_name(source))
    return where


def _flagged(parts: Parts) -> tuple[dict[str, Any], ...]:
    """Every row that a finding is about, in the order read, and why."""
    reasons: dict[int, list[str]] = {}
    marked = dict(parts.duplicates.flagged)
    if parts.contamination is not None:
        marked["contamination"] = parts.contamination.flagged
    for why, comparisons in marked.items():
        for comparison in comparisons.tolist():
            reasons.setdefault(comparison, []).append(why)
    rows = []
    for comparison in sorted(reasons):
        source, row = parts.evidence.place(comparison)
        rows.append({"source": source, "row": row, "why": reasons[comparison]})
    return tuple(rows)


def _versions() -> dict[str, str]:
    found = {}
    for package in ("assay", "krippendorff", "crowd-kit", "scikit-learn", "statsmodels"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
