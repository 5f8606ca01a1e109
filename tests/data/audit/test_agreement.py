"""Agreement: published examples, parity with the packages, intervals that hold, why undefined."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from assay.data.audit.agreement import agreement
from assay.data.audit.answers import Answers, choices, last_positions, meetings, rated, strengths
from assay.data.audit.coefficients import LEVELS, alpha, kappa
from assay.data.audit.figures import Undefined
from assay.data.audit.reading import load_evidence
from assay.types import Figure

NONE = None
# Krippendorff's own example, as the package's documentation has it
CODERS = [
    [NONE, NONE, NONE, NONE, NONE, 3, 4, 1, 2, 1, 1, 3, 3, NONE, 3],
    [1, NONE, 2, 1, 3, 3, 4, 3, NONE, NONE, NONE, NONE, NONE, NONE, NONE],
    [NONE, NONE, 2, 1, 3, 4, 4, NONE, 2, 1, 1, 3, 3, NONE, 4],
]
# Fleiss' example in its best known form: ten subjects, fourteen raters, five categories
FLEISS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def answers_of(rows: list[list[Any]]) -> Answers:
    """Answers from a matrix of annotators by items, None where there is none."""
    there = [(i, a, v) for a, row in enumerate(rows) for i, v in enumerate(row) if v is not None]
    item, annotator, value = (np.array(column) for column in zip(*there, strict=True))
    return Answers(item, annotator, value.astype(float), item)


def named(count: int) -> list[str]:
    return [f"a{i}" for i in range(count)]


def value(outcome: Any) -> float:
    assert isinstance(outcome, Figure), outcome
    return outcome.value


def test_krippendorffs_example() -> None:
    found = agreement(answers_of(CODERS), named(3), resamples=200)
    assert value(found.alpha["nominal"]) == pytest.approx(0.691358, abs=1e-6)
    assert value(found.alpha["interval"]) == pytest.approx(0.810845, abs=1e-6)
    assert (found.items, found.judgments, found.annotators) == (12, 26, 3)
    # the items of two or three answers, in order: the share of pairs of answers that agree
    assert value(found.raw) == pytest.approx(np.mean([1, 1, 1, 1 / 3, 1, 0, 1, 1, 1, 1, 1, 0]))


def test_fleiss_example() -> None:
    rows = np.full((14, 10), -1.0)
    for item, counts in enumerate(FLEISS):
        rows[:, item] = np.repeat(np.arange(5), counts)
    found = agreement(answers_of(rows.tolist()), named(14), resamples=100)
    assert value(found.fleiss) == pytest.approx(0.210, abs=5e-4)
    assert value(found.raw) == pytest.approx(0.378, abs=5e-4)


def test_cohens_kappa_by_hand() -> None:
    # 20 both yes, 5 yes-no, 10 no-yes, 15 both no: p_o 0.7, p_e 0.5, kappa 0.4
    a = [1] * 25 + [-1] * 25
    b = [1] * 20 + [-1] * 5 + [1] * 10 + [-1] * 15
    found = agreement(answers_of([a, b]), ["ada", "bob"], resamples=300)
    (pair,) = found.pairs
    assert pair.annotators == ("ada", "bob")
    assert pair.shared == 50
    assert value(pair.kappa) == value(found.cohen) == pytest.approx(0.4)
    assert value(found.raw) == pytest.approx(0.7)
    assert isinstance(pair.kappa, Figure)
    assert pair.kappa.low < 0.4 < pair.kappa.high
    # two answers only: the square of the distance changes nothing
    assert value(pair.weighted) == pytest.approx(0.4)


def test_ties_left_out_are_left_out() -> None:
    found = agreement(answers_of([[1, 1, 0, 1], [1, -1, 1, 0], [0, -1, 1, 0]]), named(3))
    # item 1 agrees, item 2 has one pair of three, item 3 agrees, item 4 has a single one left
    assert value(found.raw_without_ties) == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert value(found.raw) == pytest.approx(np.mean([1 / 3] * 4))


@settings(max_examples=60)
@given(st.data())
def test_alpha_of_many_is_the_packages_of_each(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 5))
    domain = np.cumsum(data.draw(st.lists(st.integers(1, 4), min_size=size, max_size=size)))
    rows = data.draw(
        st.lists(st.lists(st.integers(0, 3), min_size=size, max_size=size), min_size=1, max_size=8)
    )
    counts = np.array(rows)
    shared = counts[counts.sum(axis=1) >= 2]
    assume(len(shared) and (shared.sum(axis=0) > 0).sum() >= 2)
    o = (shared[:, :, None] * shared[:, None, :] - shared[:, :, None] * np.eye(size)) / (
        shared.sum(axis=1) - 1
    )[:, None, None]
    for level in LEVELS:
        package = krippendorff.alpha(
            value_counts=counts, value_domain=domain, level_of_measurement=level
        )
        ours = alpha(o.sum(axis=0)[None], domain.astype(float), level)[0]
        assert ours == pytest.approx(package, abs=1e-9)


@settings(max_examples=40)
@pytest.mark.filterwarnings("ignore")  # scikit-learn's, of what is undefined
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=30))
def test_kappa_of_many_is_scikit_learns_of_each(given_pairs: list[tuple[int, int]]) -> None:
    a, b = (list(side) for side in zip(*given_pairs, strict=True))
    assume(len(set(a + b)) > 1)
    confusion = np.zeros((1, 3, 3))
    np.add.at(confusion[0], (a, b), 1.0)
    place = np.arange(3.0)
    distance = np.abs(place[:, None] - place[None, :])
    for weights, kind in ((np.minimum(distance, 1.0), None), (distance**2, "quadratic")):
        expected = cohen_kappa_score(a, b, labels=[0, 1, 2], weights=kind)
        assert kappa(confusion, weights)[0] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_meetings_are_all_pairs_of_answers_to_an_item() -> None:
    met = meetings(answers_of([[1, 0, None], [0, None, 1], [1, 1, 1]]))
    found = set(zip(met.a.tolist(), met.b.tolist(), met.cluster.tolist(), strict=True))
    assert found == {(0, 1, 0), (0, 2, 0), (1, 2, 0), (0, 2, 1), (1, 2, 2)}
    assert all(met.a < met.b)


def test_the_last_answer_of_an_annotator_counts() -> None:
    item, annotator = np.array([0, 0, 0, 1, 0]), np.array([5, 5, 2, 5, -1])
    assert last_positions(item, annotator).tolist() == [1, 2, 3]


def simulated(rng: np.random.Generator, items: int, flip: float, raters: int = 3) -> Answers:
    truth = rng.choice([-1.0, 1.0], items)
    flipped = rng.random((raters, items)) < flip
    return answers_of((truth * np.where(flipped, -1, 1)).tolist())


def test_the_interval_of_alpha_holds_the_truth() -> None:
    flip, rng = 0.15, np.random.default_rng(0)
    truth = 1 - 4 * flip * (1 - flip)  # D_o = 2ε(1-ε), D_e = ½
    held = {"nominal": 0, "fleiss": 0, "cohen": 0}
    runs = 60
    for _ in range(runs):
        found = agreement(simulated(rng, 80, flip), named(3), resamples=150)
        for name, outcome in (
            ("nominal", found.alpha["nominal"]),
            ("fleiss", found.fleiss),
            ("cohen", found.cohen),
        ):
            assert isinstance(outcome, Figure)
            held[name] += outcome.low <= truth <= outcome.high
    for name, count in held.items():
        assert count / runs >= 0.86, name  # 95 % less three standard errors


def test_items_of_one_prompt_are_resampled_together() -> None:
    answers = simulated(np.random.default_rng(1), 200, 0.2)
    repeated = Answers(
        np.concatenate([answers.item + 200 * k for k in range(5)]),
        np.tile(answers.annotator, 5),
        np.tile(answers.value, 5),
        np.tile(answers.cluster, 5),
    )
    alone, copied = (agreement(a, named(3)).alpha["nominal"] for a in (answers, repeated))
    assert isinstance(alone, Figure)
    assert isinstance(copied, Figure)
    assert copied.n == 5 * alone.n
    width = alone.high - alone.low
    assert copied.high - copied.low == pytest.approx(width, rel=0.1)  # copies add nothing


def test_the_same_seed_gives_the_same_intervals() -> None:
    answers = simulated(np.random.default_rng(2), 50, 0.2)
    once, again, other = (
        agreement(answers, named(3), resamples=50, seed=s).to_dict() for s in (1, 1, 2)
    )
    assert once == again
    assert once != other


def judged(*rows: dict[str, Any]) -> Any:
    evidence = load_evidence(list(rows))
    found = agreement(choices(evidence.judgments, evidence.items.cluster), evidence.annotators)
    return evidence, found


def row(prompt: str, chosen: str, rejected: str, annotator: str | None = None, **more: Any) -> Any:
    return {
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "annotator": annotator,
        **more,
    }


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([row("p", "a", "b")], "the data name no annotators"),
        ([row("p", "a", "b", "ada"), row("q", "a", "b", "ada")], "there is one annotator, 'ada'"),
        (
            [row("p", "a", "b", "ada"), row("q", "a", "b", "bob")],
            "no item was judged by two of the 2 annotators.",
        ),
        ([row("p", "a", "b", "ada"), row("p", "a", "b", "ada")], "there is one annotator, 'ada'"),
    ],
)
def test_agreement_that_is_undefined_says_why(rows: list[Any], why: str) -> None:
    _, found = judged(*rows)
    for outcome in (found.raw, found.raw_without_ties, found.fleiss, found.cohen,
                    *found.alpha.values()):  # fmt: skip
        assert isinstance(outcome, Undefined)
        assert why in outcome.why
        assert outcome.to_dict()["value"] is None
    assert found.items == 0


def test_judgments_that_are_all_the_same_have_raw_agreement_alone() -> None:
    ties = [row(p, "a", "b", who, tie=True) for p in "pqr" for who in ("ada", "bob")]
    _, found = judged(*ties)
    assert value(found.raw) == 1
    assert isinstance(found.raw_without_ties, Undefined)
    assert found.alpha["nominal"].to_dict()["why"] == (
        "all 6 judgments of shared items are ties, so chance alone would agree as well."
    )
    assert isinstance(found.fleiss, Undefined)
    one = agreement(answers_of([[1, 1], [1, 1]]), named(2))
    assert "are the same answer, so" in one.alpha["ordinal"].to_dict()["why"]


def test_kappas_that_are_undefined_say_why() -> None:
    few = answers_of([[1, 1, None, 1], [1, None, -1, 1], [None, 1, -1, -1]])
    found = agreement(few, named(3))
    assert found.cohen == Undefined("no two annotators share 10 items.")
    assert found.pairs == ()
    # ada and bob always agree on one answer; what varies is elsewhere
    lone = answers_of([[1] * 12 + [None, None], [1] * 12 + [1, -1], [None] * 12 + [1, 1]])
    found = agreement(lone, named(3))
    assert found.cohen == Undefined("of each pair of annotators both always give the same answer.")
    assert found.pairs[0].kappa == Undefined("both always give the same answer.")
    # three raters on one item, two on others that all agree: Fleiss takes the most common number
    mixed = answers_of([[1, 1, 1], [1, 1, -1], [None, None, 1]])
    assert agreement(mixed, named(3)).fleiss == Undefined(
        "all items with 2 judgments have the same answer."
    )


def test_a_single_prompt_has_values_without_intervals() -> None:
    answers = answers_of([[1, -1, 0, 1], [1, 1, 0, -1]])
    one = Answers(answers.item, answers.annotator, answers.value, np.zeros(8, dtype=int))
    found = agreement(one, named(2)).alpha["nominal"]
    assert isinstance(found, Figure)
    assert found.to_dict()["low"] is None


def test_strengths_are_signed_or_say_why_they_are_not_used() -> None:
    def rows(*given: Any) -> list[dict[str, Any]]:
        return [
            {
                "prompt": f"p{i}",
                "responses": ["a", "b"],
                "judgments": [
                    {"annotator": who, "choice": c, "strength": s}
                    for who, (c, s) in zip(("ada", "bob"), pair, strict=True)
                ],
            }
            for i, pair in enumerate(given)
        ]

    def read(given: list[dict[str, Any]]) -> Any:
        evidence = load_evidence(given)
        return strengths(evidence.judgments, evidence.items.cluster)

    found = read(rows([(0, 2), (0, 1)], [(1, 1), (None, None)]))
    assert isinstance(found, Answers)
    assert sorted(np.abs(found.value).tolist()) == [0, 1, 1, 2]
    assert read(rows([(0, None), (1, None)])) is None
    assert read(rows([(None, 1), (None, 1)])) is None
    assert read(rows([(0, 2), (0, None)])) == Undefined("1 of 2 judgments say no strength.")
    many = rows(*([(0, i + 1), (0, i + 1.5)] for i in range(11)))
    assert "different strengths are no scale" in read(many).why


# --- the real votes -------------------------------------------------------------------------------


def real(name: str) -> Iterator[dict[str, Any]]:
    folder = os.environ.get("ASSAY_DATA")
    path = Path(folder or ".") / f"{name}.jsonl.gz"
    if not folder or not path.exists():
        pytest.skip(f"{name} is not here; set ASSAY_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def matrix(cells: dict[tuple[Any, Any], float]) -> Any:
    """Annotators by items, as the package wants it; a later answer replaces an earlier one."""
    annotators, items = ({key[k]: None for key in cells} for k in (0, 1))
    place = [{name: at for at, name in enumerate(names)} for names in (annotators, items)]
    found = np.full((len(annotators), len(items)), np.nan)
    for (annotator, item), answer in cells.items():
        found[place[0][annotator], place[1][item]] = answer
    return found


def check(found: Any, cells: dict[tuple[Any, Any], float]) -> None:
    data = matrix(cells)
    for level in LEVELS:
        package = krippendorff.alpha(reliability_data=data, level_of_measurement=level)
        outcome = found.alpha[level]
        assert isinstance(outcome, Figure)
        assert outcome.value == pytest.approx(package, abs=1e-12), level
        assert outcome.low < outcome.value < outcome.high
    twice = (~np.isnan(data)).sum(axis=0) >= 2
    assert found.items == twice.sum()


def test_alpha_of_pandalm_is_the_packages() -> None:
    rows = list(real("pandalm_test"))
    _, found = judged(*rows)
    sign = {0: 0.0, 1: 1.0, 2: -1.0}
    check(found, {(k, r["id"]): sign[v] for r in rows for k, v in enumerate(r["votes"])})
    assert found.items == 697


def in_order(row: dict[str, Any], value: float) -> float:
    """A value in favour of model_a, as one in favour of the model first in the alphabet."""
    return value if row["model_a"] < row["model_b"] else -value


def test_alpha_of_tulu_is_the_packages_on_all_scales() -> None:
    rows = list(real("tulu1_human_eval"))
    evidence, found = judged(*rows)
    scale = {"a-is-better": 2, "a-is-slightly-better": 1, "tie": 0, "b-is-slightly-better": -1,
             "b-is-better": -2}  # fmt: skip
    fine: dict[tuple[Any, Any], float] = {}
    acceptable: dict[tuple[Any, Any], float] = {}
    for r in rows:
        item = (r["instance_id"], *sorted((r["model_a"], r["model_b"])))
        fine[r["evaluator"], item] = in_order(r, scale[r["preference"]])
        for side in "ab":
            answer = (r["instance_id"], r[f"model_{side}"])
            acceptable[r["evaluator"], answer] = float(r[f"{side}_acceptable"] == "no")
    check(found, {key: float(np.sign(answer)) for key, answer in fine.items()})
    strong = strengths(evidence.judgments, evidence.items.cluster)
    assert isinstance(strong, Answers)
    check(agreement(strong, evidence.annotators), fine)
    (ratings,) = evidence.ratings
    nominal = agreement(rated(ratings), evidence.annotators, has_ties=False).alpha["nominal"]
    package = krippendorff.alpha(
        reliability_data=matrix(acceptable), level_of_measurement="nominal"
    )
    assert value(nominal) == pytest.approx(package, abs=1e-12)


@pytest.mark.parametrize(
    "names", [("mtbench_human_votes",), ("mtbench_human_votes", "mtbench_gpt4_votes")]
)
def test_alpha_of_mtbench_is_the_packages(names: tuple[str, ...]) -> None:
    rows = [row for name in names for row in real(name)]
    won = {"model_a": 1.0, "model_b": -1.0, "tie": 0.0, "tie (inconsistent)": 0.0}
    cells = {}
    for r in rows:
        item = (r["question_id"], r["turn"], *sorted((r["model_a"], r["model_b"])))
        cells[r["judge"], item] = in_order(r, won[r["winner"]])
    check(judged(*rows)[1], cells)
