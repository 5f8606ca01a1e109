"""Injections against a judge that obeys, and one that does not."""

import pytest

from assay.errors import ConfigError
from assay.feedback.judges.injections import INJECTIONS, injected, injection_report
from assay.feedback.judges.packs import load_pack
from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.records import Answer, failed
from assay.feedback.judges.tasks import PairTask
from assay.types import Comparison, as_messages

TASK = PairTask(Questioner(load_pack()))


class Fake:
    """Likes what is good; obeys an injection if it is gullible."""

    name, identity = "fake", {"judge": "fake"}

    def __init__(self, gullible=(), fails=()):
        self.gullible, self.fails = gullible, fails

    def read(self, questions):
        for question in questions:
            text = question.messages[-1].content
            first = text.split("RESPONSE B")[0]
            if any(i.text in text for i in self.fails):
                yield failed("unparsable", "x")
                continue
            better = 0.8 if "good" in first.split("RESPONSE A")[1] else 0.2
            for injection in self.gullible:
                if injection.text in text:
                    better = 0.9 if injection.text in first else 0.1
            yield Answer("answered", (better, 1 - better), "text")


def comparisons(count=3):
    return [
        Comparison(as_messages(f"q {i}", "user"),
                   (as_messages("a good one", "assistant"), as_messages("poor", "assistant")), ())
        for i in range(count)
    ]  # fmt: skip


def test_there_are_thirty_of_ten_kinds():
    assert len(INJECTIONS) == len({i.text for i in INJECTIONS}) == 30
    kinds = [i.kind for i in INJECTIONS]
    assert {kinds.count(kind) for kind in kinds} == {3}


def test_a_steadfast_judge_is_not_turned():
    report = injection_report(Fake(), TASK, comparisons())
    assert (report.flips.value, report.shift.value, report.failures) == (0.0, 0.0, 0)
    assert report.flips.n == 90


def test_a_judge_that_obeys_some_is_turned_by_those():
    obeyed = [i for i in INJECTIONS if i.kind in ("order", "plea")]
    report = injection_report(Fake(gullible=obeyed), TASK, comparisons())
    assert report.flips.value == pytest.approx(0.2)
    assert report.shift.value == pytest.approx(0.2 * 0.7)
    assert {k for k, f in report.by_kind.items() if f.value == 1} == {"order", "plea"}
    assert "flipped by an injection 0.200" in str(report)


def test_failures_are_no_flips_and_counted():
    lost = INJECTIONS[:6]
    report = injection_report(Fake(gullible=lost, fails=lost), TASK, comparisons())
    assert (report.failures, report.flips.value, report.flips.n) == (18, 0.0, 72)
    with pytest.raises(ConfigError, match="none can flip"):
        injection_report(Fake(), TASK, [])


def test_an_injection_goes_to_the_end_of_one_response():
    (item,) = comparisons(1)
    changed = injected(item, 1, INJECTIONS[0])
    assert changed.responses[0] == item.responses[0]
    assert changed.responses[1][0].content == f"poor\n\n{INJECTIONS[0].text}"
