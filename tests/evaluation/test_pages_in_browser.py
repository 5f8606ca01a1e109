"""The pages in a browser: nothing is wider than the window, on a telephone or a desk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.evaluation.leaderboard import leaderboard_page
from assay.evaluation.overoptimization_page import overoptimization_page
from assay.evaluation.overoptimization_run import overoptimization
from assay.evaluation.rewardbench import COUNTS, REWARDBENCH
from assay.evaluation.run import evaluate
from assay.evaluation.scaling_page import scaling_page
from assay.evaluation.scaling_study import ScalingStudy
from assay.evaluation.scoring import ScoredSuite
from assay.evaluation.selection import Candidates
from assay.evaluation.suite import Item, ScoredItem, Suite
from assay.evaluation.suites import ONE_OF_N
from assay.types import Scores, as_messages


class Noisy:
    def score(self, conversations):
        draws = [np.random.default_rng(len(c.response_text)).normal() for c in conversations]
        return Scores(np.array(draws))


@pytest.mark.medium
def test_no_page_is_wider_than_its_window(
    made_study: Callable[..., ScalingStudy], tmp_path: Path, measured_pages: Any
) -> None:
    rng = np.random.default_rng(0)
    items = tuple(
        Item(str(i), "a-rather-long-name-of-a-subset" if i % 2 else "b",
             as_messages("Why? " + "x" * 300, "user"),
             tuple(as_messages(" ".join(rng.choice(["tea.", "rain"], int(n))), "assistant")
                   for n in rng.integers(3, 40, 4)),
             (True, False, False, False), str(i))
        for i in range(40)
    )  # fmt: skip
    made = evaluate(Noisy(), Suite(ONE_OF_N, items, "made"), model="m" * 90, probed=20)
    made.save(tmp_path / "made")
    rows = tuple(
        ScoredItem(str(i), name, (float(i % 3), 0.5), (True, False), f"{name}{i}", (9, 5 + i % 7))
        for name, count in COUNTS.items()
        for i in range(count)
    )
    suite = Suite(REWARDBENCH, (), "scores")
    bench = evaluate(None, suite, scored=ScoredSuite(rows, 0, 0, 0), model="bench")
    bench.save(tmp_path / "bench")
    names = ("made", "bench", "board", "scaling")
    pages = [tmp_path / f"{name}.html" for name in names]
    shutil.copy(tmp_path / "made" / "report.html", pages[0])
    shutil.copy(tmp_path / "bench" / "report.html", pages[1])
    leaderboard_page([dict(bench.record), {**bench.record, "model": "other"}], pages[2])
    laws = (lambda n: 0.8 - 1.4 * n**-0.5, lambda n: 0.7)
    scaling_page(made_study(("m" * 90, "n n " * 20), laws), pages[3])
    for inside, window, letters, narrowest in measured_pages(pages, tmp_path):
        assert inside <= window
        assert letters > 100  # the page is really there
        assert narrowest >= 600  # charts scroll in their box rather than shrink past reading


@pytest.mark.medium
def test_the_page_of_best_of_n_curves_is_not_wider_than_its_window(
    tmp_path: Path, measured_pages: Any
) -> None:
    rewards = np.random.default_rng(0).normal(size=(6, 40, 3))
    candidates = Candidates(rewards, rewards[..., 0], 50 + rewards[..., 0])
    study = overoptimization(candidates, proxy="m" * 90, gold="g" * 90)
    page = overoptimization_page(study, tmp_path / "curves.html")
    for inside, window, letters, narrowest in measured_pages([page], tmp_path):
        assert inside <= window
        assert letters > 100
        assert narrowest >= 600
