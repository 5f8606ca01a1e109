"""The audit's page in a browser: nothing is wider than the window, on a telephone or a desk."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from assay.atomic import write_text
from assay.data.audit import reliability
from assay.data.audit.page import audit_page
from assay.data.audit.reading import load_evidence
from assay.data.audit.report import make_report


@pytest.mark.medium
def test_no_page_is_wider_than_its_window(
    tmp_path: Path, measured_pages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reliability, "MACE_STEPS", 2)
    source = random.Random(0)
    names = ["ada", "an-annotator-with-a-name-as-long-as-a-line-of-text-" * 2, "eve", "bob"]
    rows: list[dict[str, Any]] = []
    for i in range(60):
        said = [{"annotator": who, "choice": source.choice([0, 1, None]), "strength": 1}
                for who in source.sample(names, 3)]  # fmt: skip
        texts = [" ".join(source.choices(["tea", "rain", "x" * 90], k=9)) + f" {i}" for _ in "ab"]
        rows.append(
            {"prompt": f"What about {i}? " + "y" * 200, "responses": texts, "judgments": said}
        )
    report = make_report(load_evidence(rows), {"z" * 80: [rows[0]["prompt"]]}, resamples=20)
    plain = make_report(load_evidence([{"prompt": "p", "chosen": "aa", "rejected": "b"}]))
    pages = [tmp_path / "votes.html", tmp_path / "plain.html"]
    for page, made in zip(pages, (report, plain), strict=True):
        write_text(page, audit_page(made.record))
    for inside, window, letters, narrowest in measured_pages(pages, tmp_path):
        assert inside <= window
        assert letters > 100
        assert narrowest >= 600
