"""A judge's report: hand-worked figures, recovery of planted biases, symmetries, words."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from judged_made import both, certain, comparison, crowd, failure, said

from assay.data.audit.figures import Undefined
from assay.errors import DataError
from assay.feedback.judges.judge_agreement import (
    Agreement,
    AmongPeople,
    Calibration,
    agreement_with_people,
    among_people,
    calibration,
    halves,
    tempered,
)
from assay.feedback.judges.judge_biases import (
    Position,
    SelfPreference,
    Stability,
    position,
    self_preference,
    stability,
)
from assay.feedback.judges.judge_compare import Compared, compare_judges
from assay.feedback.judges.judge_report import JudgeReport, judge_report, spent
from assay.feedback.judges.judge_verbosity import Verbosity, logistic_fit, verbosity
from assay.feedback.judges.judged import JudgedComparison
from assay.feedback.judges.pairs import judged_pair
from assay.types import Figure


def figure(value: Any) -> Figure:
    assert isinstance(value, Figure), value
    return value


def with_people(records: list[JudgedComparison], resamples: int = 50) -> Agreement:
    found = agreement_with_people(records, resamples)
    assert isinstance(found, Agreement)
    return found


def numbered(*parts: JudgedComparison) -> list[JudgedComparison]:
    return [replace(part, item=str(i), prompt=str(i)) for i, part in enumerate(parts)]


def swapped(record: JudgedComparison) -> JudgedComparison:
    """The same with the two responses listed the other way round."""
    first, second = record.judgment.answers
    flip = record.lengths and record.lengths[::-1]
    judgment = judged_pair((0, 1), ((0, 1), (1, 0)), (second, first))
    return replace(
        record, judgment=judgment, lengths=flip, votes=tuple(1 - v for v in record.votes)
    )


def test_outcomes_are_counted_and_no_failure_is_covered() -> None:
    records = numbered(
        comparison(certain(0.8)),
        comparison(both(0.8, 0.7)),
        comparison(both(0.5, 0.5)),
        comparison(failure("refused")),
        comparison(failure("http-error")),
    )
    report = judge_report(records, "j", resamples=20)
    counts = {name: n for name, n in report.outcomes.items() if n}
    assert counts == {"verdict": 1, "inconsistent": 1, "tie": 1, "refused": 1, "http-error": 1}
    assert (report.coverage.value, report.coverage.n) == (0.6, 5)
    assert (figure(report.ties).value, figure(report.ties).n) == (pytest.approx(1 / 3), 3)
    assert "1 http-error" in str(report)


def test_position_is_that_of_the_first_shown() -> None:
    found = position(
        numbered(comparison(both(0.9, 0.6)), comparison(both(0.8, 0.1)), comparison(both(0.3, 0.4)))
    )
    assert isinstance(found, Position)
    assert found.bias.value == pytest.approx((0.25 - 0.05 - 0.15) / 3)
    assert found.consistent.value == pytest.approx(1 / 3)
    assert found.prefers_first.value == pytest.approx(3 / 6)
    assert found.in_first_order.value == pytest.approx(2 / 3)
    assert found.in_second_order.value == pytest.approx(1 / 3)
    one_order = comparison(judged_pair((0, 1), ((0, 1),), (said(0.9),)))
    assert isinstance(position([one_order]), Undefined)


def test_accuracy_by_hand_and_of_consistent_verdicts_alone() -> None:
    found = with_people(
        numbered(
            comparison(both(0.9, 0.2), human=1.0),  # right in both orders
            comparison(both(0.9, 0.6), human=1.0),  # right by the first order, and on average
            comparison(both(0.6, 0.9), human=1.0),  # right by the first alone
            comparison(both(0.2, 0.8), human=1),  # wrong in both
            comparison(certain(0.9), human=0.5),  # people are even
            comparison(certain(0.9)),  # nobody was asked
            comparison(failure("unparsable"), human=1.0),
        )
    )
    assert found.items == 4
    assert figure(found.accuracy).value == pytest.approx(2 / 4)
    assert figure(found.first_order).value == pytest.approx(3 / 4)
    assert figure(found.second_order).value == pytest.approx(1 / 4)
    assert figure(found.gain).value == pytest.approx(2 / 4 - (3 / 4 + 1 / 4) / 2)
    assert figure(found.consistent).value == pytest.approx(1 / 2)
    assert figure(found.consistent).n == 2
    assert figure(found.consistent_share).value == pytest.approx(3 / 5)


def test_an_even_judge_is_half_right_also_by_rounding() -> None:
    judgment = both(0.7, 0.7)
    assert comparison(judgment).probability == 0.5
    found = with_people(numbered(*(comparison(both(p, p), human=1.0) for p in (0.7, 0.9, 0.6))))
    assert figure(found.accuracy).value == 0.5
    assert figure(found.gain).value == 0.0


def test_averaging_helps_under_a_bias_of_position_and_is_not_shown_to_without() -> None:
    biased = with_people(crowd(600, bias=2.0))
    assert figure(biased.gain).low > 0.03
    assert biased.averaging.startswith("Averaging both orders is more accurate")
    fair = with_people(crowd(600, bias=0.0))
    assert figure(fair.gain).value == 0
    assert fair.averaging.startswith("It is not shown")
    worse = replace(biased, gain=Figure(-0.1, -0.2, -0.05, 10))
    assert "less accurate" in worse.averaging
    assert "unknown: one." in replace(biased, gain=Undefined("one.")).averaging


def test_no_figure_depends_on_which_response_is_listed_first() -> None:
    records = crowd(120, bias=0.5, length=0.7)
    turned = [swapped(r) if i % 2 else r for i, r in enumerate(records)]
    one, other = (judge_report(r, "j", resamples=30).to_dict() for r in (records, turned))
    for name in ("coverage", "ties", "stability", "self_preference", "spent", "outcomes"):
        assert one[name] == other[name]
    assert one["position"]["bias"]["value"] == pytest.approx(other["position"]["bias"]["value"])
    for block, names in {
        "agreement": ("accuracy", "gain", "kappa", "alpha", "consistent", "among_people"),
        "verbosity": ("judge", "people", "excess", "balanced_accuracy", "judgment", "length"),
    }.items():
        for name in names:
            a, b = (r[block][name] for r in (one, other))
            if name == "among_people":
                a, b = a["difference"], b["difference"]
            assert a["value"] == pytest.approx(b["value"]), name
            assert a["low"] == pytest.approx(b["low"]), name


@pytest.mark.medium
def test_kappa_and_alpha_are_those_of_the_packages() -> None:
    from krippendorff import alpha
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(3)
    judge = rng.choice([-1, 0, 1], 80, p=[0.4, 0.1, 0.5])
    people = np.where(rng.random(80) < 0.6, judge, rng.choice([-1, 0, 1], 80))
    records = numbered(
        *(
            comparison(certain(float(0.5 + 0.3 * j)), human=float(0.5 + 0.5 * h))
            for j, h in zip(judge, people, strict=True)
        )
    )
    found = with_people(records)
    judge, people = judge[people != 0], people[people != 0]  # an even vote is no verdict
    a, b = np.concatenate([judge, -judge]), np.concatenate([people, -people])
    assert figure(found.kappa).value == pytest.approx(cohen_kappa_score(a, b))
    wanted = alpha(np.stack([a, b]), level_of_measurement="nominal")
    # the package takes twice as many comparisons for what is half of each
    assert figure(found.alpha).value == pytest.approx(wanted, abs=0.004)
    assert figure(found.kappa).low < figure(found.kappa).value < figure(found.kappa).high
    # where the file lists the better first, plain kappa would be 0 whatever the judge says
    listed = numbered(*(comparison(certain(0.9), human=1.0) for _ in range(9)))
    assert figure(with_people(listed).kappa).value == 1.0


def test_a_temperature_of_the_other_half_repairs_an_overconfident_judge() -> None:
    rng = np.random.default_rng(1)
    true = rng.uniform(0.05, 0.95, 3000)
    votes = (rng.random(3000) < true).astype(float)
    odds = np.log(true / (1 - true))
    prompt = [f"p{i // 3}" for i in range(3000)]
    found = calibration(1 / (1 + np.exp(-3 * odds)), votes, prompt, resamples=30)
    assert found.temperatures == pytest.approx((3.0, 3.0), rel=0.15)
    assert found.ece.value > 0.1
    assert figure(found.tempered_ece).value < 0.03
    assert figure(found.tempered_nll).value < found.nll.value
    assert sum(b.n for b in found.bins) == 3000
    assert all(b.low <= b.share <= b.high for b in found.tempered_bins)


def test_a_temperature_is_never_fitted_on_the_prompts_it_is_applied_to() -> None:
    prompt = [f"p{i // 2}" for i in range(40)]
    second = halves(prompt)
    assert second.sum() == 20
    assert all(second[i] == second[i + 1] for i in range(0, 40, 2))
    rng = np.random.default_rng(0)
    gap, q = rng.normal(size=40), rng.integers(0, 2, 40).astype(float)
    before = tempered(gap, q, prompt)
    other = q.copy()
    other[second] = 1 - other[second]  # changes what is applied to the first half alone
    after = tempered(gap, other, prompt)
    assert before is not None
    assert after is not None
    assert after[0][second] == pytest.approx(before[0][second])
    assert after[0][~second] != pytest.approx(before[0][~second])
    assert tempered(gap, q, ["one"] * 40) is None


def test_a_judge_is_compared_with_people_as_they_are_with_each_other() -> None:
    records = [
        comparison(certain(0.9), "a", votes=(1, 1, 0)),  # 2/3 of people; a third among them
        comparison(certain(0.1), "b", votes=(1.0, 0.5)),  # a tie counts half
        comparison(certain(0.1), "c", votes=(1.0,)),
    ]
    found = among_people(records)
    assert isinstance(found, AmongPeople)
    assert found.judge.value == pytest.approx((2 / 3 + 0.25) / 2)
    assert found.people.value == pytest.approx((1 / 3 + 0.5) / 2)
    assert (found.difference.n, found.votes) == (2, 5)
    assert isinstance(among_people(records[2:]), Undefined)


@pytest.mark.medium
def test_verbosity_beyond_peoples_is_found_and_held_fixed() -> None:
    plain, verbose = (verbosity(crowd(900, length=b)) for b in (0.0, 3.0))
    assert isinstance(plain, Verbosity)
    assert isinstance(verbose, Verbosity)
    assert figure(plain.excess).low < 0 < figure(plain.excess).high
    assert figure(verbose.excess).low > 0.1
    assert figure(verbose.length).high < 0  # the judge overrates length
    assert figure(plain.length).low < 0 < figure(plain.length).high
    assert figure(verbose.balanced_accuracy).value < figure(plain.balanced_accuracy).value
    liked = verbosity(crowd(900, people_like_length=2.0))
    assert isinstance(liked, Verbosity)
    assert figure(liked.length).value == pytest.approx(2.0, abs=0.5)
    assert figure(liked.people).low > 0.6
    thirds = liked.thirds
    assert sum(t.prefers_longer.n for t in thirds) == liked.judge.n
    assert [t.prefers_longer.n for t in thirds] == pytest.approx([300] * 3, abs=3)
    assert thirds[0].longest_ratio <= thirds[1].shortest_ratio < thirds[2].longest_ratio


def test_a_judge_that_takes_the_longer_has_one_half_with_length_balanced() -> None:
    rng = np.random.default_rng(0)
    records = []
    for i in range(60):
        lengths = (10, 20) if rng.random() < 0.5 else (20, 10)
        longer_is_better = i % 6 != 0
        human = float((lengths[0] > lengths[1]) == longer_is_better)
        p = 0.9 if lengths[0] > lengths[1] else 0.1
        records.append(comparison(certain(p), str(i), human=human, lengths=lengths))
    found = verbosity(records)
    assert isinstance(found, Verbosity)
    assert figure(found.balanced_accuracy).value == 0.5
    assert figure(found.thirds[0].accuracy).value == pytest.approx(5 / 6)
    assert isinstance(found.judgment, Undefined)  # judge and length are one and the same
    only = verbosity([r for i, r in enumerate(records) if i % 6])
    assert isinstance(only, Verbosity)
    assert isinstance(only.balanced_accuracy, Undefined)
    unlabelled = verbosity([comparison(certain(0.9), lengths=(0, 9))])
    assert isinstance(unlabelled, Verbosity)
    assert isinstance(unlabelled.people, Undefined)
    assert unlabelled.judge.value == 0.0
    assert isinstance(verbosity([comparison(certain(0.9), lengths=(9, 9))]), Undefined)


@pytest.mark.medium
def test_the_regression_is_that_of_statsmodels() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    q = np.clip(1 / (1 + np.exp(-x @ [1.0, -0.5])) + rng.normal(0, 0.1, 300), 0, 1)
    cluster = rng.integers(40, size=300)
    found = logistic_fit(x, q, cluster)
    assert not isinstance(found, Undefined)
    fit = sm.GLM(q, x, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False}
    )
    assert [f.value for f in found] == pytest.approx(fit.params)
    from scipy.stats import t

    half = t.ppf(0.975, 38) * fit.bse * (40 / 38) ** 0.5
    assert [f.high - f.value for f in found] == pytest.approx(half)


@pytest.mark.parametrize(
    ("x", "q", "why"),
    [
        ([[1.0, 0.5], [-1.0, 0.3], [2.0, 0.1]], [1.0, 0.0, 1.0], "without error"),
        ([[1.0, 1.0], [2.0, 2.0], [-1.0, -1.0]], [1.0, 0.0, 1.0], "do not vary"),
    ],
)
def test_where_there_is_no_fit_it_says_so(x: list[list[float]], q: list[float], why: str) -> None:
    found = logistic_fit(np.array(x), np.array(q), np.arange(3))
    assert isinstance(found, Undefined)
    assert why in found.why
    noisy = np.array([[1.0, 0.2], [1.0, -0.4], [-0.5, 1.0], [0.3, 0.9]])
    one = logistic_fit(noisy, np.array([1.0, 0.0, 0.6, 0.3]), np.zeros(4, dtype=np.intp))
    assert isinstance(one, Undefined)
    assert "1 prompts are too few for 2" in one.why


def test_what_a_judge_does_with_its_own_responses() -> None:
    records = [
        comparison(certain(0.9), "0", models=("me", "you"), human=1.0),
        comparison(certain(0.9), "1", models=("you", "me"), human=0.0),
        comparison(certain(0.2), "2", models=("you", "me"), human=1.0),
        comparison(certain(0.9), "3", models=("me", "me-2"), human=0.0),  # both its own
        comparison(certain(0.9), "4", models=("you", None), human=0.0),
    ]
    found = self_preference(records, {"me", "me-2"})
    assert isinstance(found, SelfPreference)
    assert (found.against, found.judge.n) == ("people", 3)
    assert found.judge.value == pytest.approx(2 / 3)
    assert figure(found.reference).value == pytest.approx(2 / 3)
    assert figure(found.excess).value == 0
    panel = self_preference([replace(r, human=None, panel=0.0) for r in records], {"me", "me-2"})
    assert isinstance(panel, SelfPreference)
    assert (panel.against, figure(panel.reference).value) == ("panel", pytest.approx(2 / 3))
    nobody = self_preference([replace(r, human=None) for r in records], {"me"})
    assert isinstance(nobody, SelfPreference)
    assert isinstance(nobody.excess, Undefined)
    assert isinstance(self_preference(records, {"they"}), Undefined)


def test_questions_asked_again_show_stability() -> None:
    records = [
        comparison(certain(0.9), "0", repeats=(certain(0.8), certain(0.4))),
        comparison(certain(0.6), "1", repeats=(failure("refused"),)),
    ]
    found = stability(records)
    assert isinstance(found, Stability)
    assert (found.repeats, found.same_choice.value) == (2, 0.5)
    assert found.moved.value == pytest.approx((0.1 + 0.5) / 2)
    assert isinstance(stability(records[1:]), Undefined)


def test_what_was_spent_is_added_up_and_an_unknown_price_makes_no_label_price() -> None:
    paid = {"cost": 0.01, "prompt_tokens": 100, "response_tokens": 2, "mass": 0.5}
    records = [
        comparison(both(0.9, 0.1, **paid)),
        comparison(both(0.9, 0.1, **{**paid, "cost": 0.0, "cached": True}), "1"),
        comparison(failure("not-asked"), "2"),
    ]
    found = spent(records)
    assert found.cost == pytest.approx(0.02)
    assert found.per_label == pytest.approx(0.01)
    assert (found.answers, found.prompt_tokens, found.response_tokens) == (6, 400, 8)
    assert found.cached_share == pytest.approx(2 / 6)
    assert found.means == {"log-probabilities": 5}
    assert found.mass == 0.5
    unknown = spent([*records, comparison(both(0.9, 0.1, cost=None), "3")])
    assert (unknown.per_label, unknown.unpriced) == (None, 2)


def test_two_judges_are_compared_on_what_both_judged() -> None:
    a = [comparison(certain(p), str(i), human=1.0) for i, p in enumerate((0.9, 0.8, 0.7, 0.2))]
    b = [comparison(certain(p), str(i)) for i, p in enumerate((0.9, 0.3, 0.1, 0.6, 0.9))]
    a.append(comparison(failure("refused"), "4", human=1.0))
    found = compare_judges(a, b, ("a", "b"))
    assert isinstance(found, Compared)
    assert found.shared == 4
    assert [figure(f).value for f in found.accuracy] == [0.75, 0.5]
    assert figure(found.difference).value == 0.25
    assert found.same_side.value == 0.25
    assert found.apart.value == pytest.approx((0 + 0.5 + 0.6 + 0.4) / 4)
    assert "neither is shown" in str(found)
    good, bad = crowd(500, skill=1.0), crowd(500, skill=-1.0)
    assert str(compare_judges(good, bad)).startswith(
        "A and B on 500 comparisons that both judged: A is more accurate"
    )
    assert " B is more accurate" in str(compare_judges(bad, good))
    unlabelled = compare_judges(b, b)
    assert isinstance(unlabelled, Compared)
    assert "unknown: people decided none" in str(unlabelled)
    assert isinstance(compare_judges(a, [comparison(certain(0.9), "other")]), Undefined)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_report_is_json_and_says_why_what_is_lacking_is_lacking() -> None:
    report = judge_report(crowd(80, bias=0.3), "j", resamples=20)
    assert isinstance(report, JudgeReport)
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert json.loads(text)["agreement"]["calibration"]["after_temperature"]["ece"]["n"] == 80
    assert str(report).startswith("j: 80 comparisons of 40 prompts\n")
    bare = judge_report([comparison(failure("refused"))], "j")
    for block in ("ties", "position", "stability", "agreement", "verbosity", "self_preference"):
        assert isinstance(getattr(bare, block), Undefined)
    assert "with people: undefined: no comparison was judged by people" in str(bare)
    json.dumps(bare.to_dict(), allow_nan=False)
    even = with_people(numbered(*(comparison(certain(0.9), human=0.5) for _ in range(3))))
    assert isinstance(even.accuracy, Undefined)
    assert even.items == 0
    tied = with_people(numbered(*(comparison(certain(0.5), human=0.5) for _ in range(3))))
    assert isinstance(tied.kappa, Undefined)
    with pytest.raises(DataError, match="there are none"):
        judge_report([], "j")


def test_a_single_prompt_has_figures_without_intervals() -> None:
    records = [replace(r, prompt="one") for r in crowd(12)]
    report = judge_report(records, "j", resamples=20)
    assert isinstance(report.agreement, Agreement)
    assert isinstance(report.agreement.calibration, Calibration)
    assert report.agreement.calibration.temperatures is None
    assert math.isnan(figure(report.agreement.kappa).low)
    json.dumps(report.to_dict(), allow_nan=False)


def test_what_is_no_share_is_refused() -> None:
    with pytest.raises(DataError, match="human of comparison '0' is 2; wanted a share"):
        comparison(certain(0.9), human=2)
    with pytest.raises(DataError, match="vote 2 of comparison '0' is -1"):
        comparison(certain(0.9), votes=(1, -1))


def test_points_are_by_what_is_shown_first_whichever_was_asked_first() -> None:
    turned = judged_pair((0, 1), ((1, 0), (0, 1)), (said(0.6), said(0.9)))
    report = judge_report([comparison(both(0.9, 0.6)), comparison(turned, "1")], "j")
    assert report.points == (pytest.approx((0.9, 0.4)), pytest.approx((0.9, 0.4)))
