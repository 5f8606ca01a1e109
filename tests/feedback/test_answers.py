"""Final answers are found where they are stated, and compared by what they mean."""

from __future__ import annotations

import gzip
import json
import os
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import pytest

from assay.errors import MissingExtraError
from assay.feedback.answers import answers_equal, compare_answers, final_answer, number_of

needs_algebra = pytest.mark.skipif(find_spec("math_verify") is None, reason="needs assay[math]")

FOUND = [
    (r"So \boxed{42}.", "42", "boxed"),
    (r"\boxed{1} and then \boxed{\frac{1}{2}}", r"\frac{1}{2}", "boxed"),
    (r"\fbox {\sqrt{x^{2}+1}}", r"\sqrt{x^{2}+1}", "boxed"),
    (r"\boxed{\left\{1, 2\right\}}", r"\left\{1, 2\right\}", "boxed"),
    (r"\boxed{7} but \boxed{never closed", "7", "boxed"),
    (r"The answer is 3. \boxed{5}", "5", "boxed"),
    ("48 + 24 = 72\n#### 72", "72", "hash"),
    ("#### 1\nno:\n  ####  1,080 \n", "1,080", "hash"),
    ("The answer is 3.5.", "3.5", "sentence"),
    ("The final answer is: $18. She is glad.", "$18", "sentence"),
    ("**Answer:** 12 apples", "12 apples", "sentence"),
    ("16 * 7 = 112\nA: 224", "224", "sentence"),
    (r"the answer is $\frac{3}{4}$; done", r"$\frac{3}{4}$", "sentence"),
    ("She has 3 and buys 4, so 7 in all.", "7", "last number"),
    ("it costs -$1,234.50 in all", "-$1,234.50", "last number"),
    ("that is 3/4 of it", "3/4", "last number"),
]


@pytest.mark.parametrize(("text", "answer", "source"), FOUND)
def test_the_last_stated_answer_is_found(text: str, answer: str, source: str) -> None:
    found = final_answer(text)
    assert found is not None
    assert (found.text, found.source) == (answer, source)
    assert found.is_stated == (source != "last number")


@pytest.mark.parametrize("text", ["", "no idea", r"\boxed{", "####   "])
def test_a_text_without_answer_has_none(text: str) -> None:
    assert final_answer(text) is None


NUMBERS = [
    ("42", 42),
    ("−42", -42),
    ("1,234,567.5", Fraction("1234567.5")),
    ("3/4", Fraction(3, 4)),
    ("-3 / 4", Fraction(-3, 4)),
    ("1 1/2", Fraction(3, 2)),
    ("-1 1/2", Fraction(-3, 2)),
    (r"\frac{3}{4}", Fraction(3, 4)),
    (r"-\dfrac34", Fraction(-3, 4)),
    (r"2\frac{1}{2}", Fraction(5, 2)),
    ("25%", Fraction(1, 4)),
    (r"25\%", Fraction(1, 4)),
    ("$5.00", 5),
    (r"\$5", 5),
    ("12 apples", 12),
    (r"12\text{ cm}^2", 12),
    ("10 km/h", 10),
    ("18 dollars per day", 18),
    ("5kg", 5),
    (r"90^\circ", 90),
    ("1.2e3", 1200),
    ("x = 5", 5),
    (r"$$7$$.", 7),
    ("1{,}000", 1000),
    ("3x", None),
    ("5 x", None),
    ("2 pi", None),
    ("3 or 4", None),
    ("1/0", None),
    ("1,23", None),
    ("1.2.3", None),
    ("nan", None),
    ("1e9999", None),
    (r"\sqrt{2}", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_numbers_are_read_exactly_or_not_at_all(text: str, value: Fraction | int | None) -> None:
    assert number_of(text) == value


SAME = [
    ("Paris", "paris.", "exact"),
    (r"\text{Tuesday}", "Tuesday", "exact"),
    (r"\frac{1}{2}", r"\dfrac{1}{2}", "exact"),
    ("1,000", "1000.0", "numeric"),
    ("0.5", "1/2", "numeric"),
    ("50%", "0.5", "numeric"),
    ("50%", "50", "numeric"),
    ("0.3333333333", "1/3", "numeric"),
    ("18 dollars", "$18", "numeric"),
]
DIFFERENT = [
    ("1", "2"),
    ("0.333", "1/3"),
    ("50%", "5"),
    ("-5", "5"),
    ("yes", "no"),
    ("", ""),
    ("1000000", "1000002"),
    ("1e-30", "0"),
]


@pytest.mark.parametrize(("a", "b", "verdict"), SAME)
def test_what_is_the_same_as_text_or_number_needs_no_algebra(a: str, b: str, verdict: str) -> None:
    assert compare_answers(a, b, symbolic=False) == verdict
    assert compare_answers(b, a, symbolic=False) == verdict


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_what_differs_as_number_or_word_differs(a: str, b: str) -> None:
    assert compare_answers(a, b, symbolic=False) == "different"
    assert not answers_equal(a, b)


def test_without_algebra_its_questions_are_undecided_or_name_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert compare_answers("x+1", "1+x", symbolic=False) == "undecided"
    monkeypatch.setattr("assay.errors.find_spec", lambda _: None)
    assert answers_equal("1/2", "0.5")
    with pytest.raises(MissingExtraError, match=r"add it with: pip install 'assay\[math\]'"):
        answers_equal("x+1", "1+x")


ALGEBRA = [
    ("x+1", "1+x", "symbolic"),
    ("sqrt(8)", r"2\sqrt{2}", "symbolic"),
    (r"\{1,2\}", r"\{2,1\}", "symbolic"),
    (r"x \in [1,2]", "[1,2]", "symbolic"),
    (r"\frac{x}{2}", "0.5x", "symbolic"),
    ("5!", "120", "symbolic"),
    ("x+1", "x+2", "different"),
    ("(1,2)", "(2,1)", "different"),
    ("[0,1)", "(0,1)", "different"),
    (r"\pi", "3.14", "different"),
]


@needs_algebra
def test_algebra_decides_the_rest() -> None:
    found = [(a, b, compare_answers(a, b, seconds=60.0)) for a, b, _ in ALGEBRA]
    assert found == ALGEBRA
    back = [(a, b, compare_answers(b, a, seconds=60.0)) for a, b, _ in ALGEBRA]
    assert back == ALGEBRA


@pytest.mark.skipif("ASSAY_DATA" not in os.environ, reason="needs ASSAY_DATA")
def test_gsm8k_answers_are_all_found_and_graded_as_published() -> None:
    folder = Path(os.environ["ASSAY_DATA"])
    with gzip.open(folder / "gsm8k_train.jsonl.gz", "rt") as file:
        for row in map(json.loads, file):
            found = final_answer(row["answer"])
            assert found is not None
            assert found.source == "hash"
            assert number_of(found.text) is not None
    wrong = total = 0
    with gzip.open(folder / "gsm8k_model_solutions.jsonl.gz", "rt") as file:
        for row in map(json.loads, file):
            truth = final_answer(row["ground_truth"])
            assert truth is not None
            for solution in row["solutions"]:
                answer = final_answer(solution["solution"])
                same = answer is not None and compare_answers(
                    answer.text, truth.text, symbolic=False
                ) in ("exact", "numeric")
                total += 1
                wrong += same != solution["is_correct"]
    assert total > 2000
    assert wrong / total < 0.01
