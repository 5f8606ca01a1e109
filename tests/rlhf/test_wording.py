"""Counts of a text against counting by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.rlhf.wording import SAID, WORDING, compression, wording

TEXT = """# Title

I’m sorry, but perhaps it depends! Really?

- one
* two
3. three
not - a list

**bold** and __also bold__, but 2 ** 3 ** 4 is not.
```python
x = 1
```
"""


def test_counts_are_those_of_a_reader() -> None:
    found = wording(TEXT)
    digits = found.pop("digits")
    assert found == {
        "list_lines": 3,
        "headings": 1,
        "bold": 2,
        "fences": 2,
        "refusals": 1,
        "hedges": 2,
        "exclamations": 1,
        "questions": 1,
    }
    assert digits == pytest.approx(5 / len(TEXT))  # 3 2 3 4 1


@pytest.mark.parametrize(
    "text", ["I cannot help with that.", "i can't do this", "I am unable to", "As an AI, no"]
)
def test_refusals_are_found(text: str) -> None:
    assert wording(text)["refusals"] == 1


@pytest.mark.parametrize(
    "text", ["You cannot divide by zero.", "He is sorry.", "Canada in general"]
)
def test_other_words_are_no_refusals(text: str) -> None:
    assert wording(text)["refusals"] == 0


def test_every_count_has_its_words() -> None:
    assert set(SAID) == set(WORDING)


def test_repetition_compresses_and_nothing_has_no_ratio() -> None:
    assert compression("abc " * 200) < 0.1 < 0.9 < compression("Qz7!k")
    assert math.isnan(compression(""))


@given(st.text())
def test_any_text_is_counted(text: str) -> None:
    assert all(math.isfinite(v) and v >= 0 for v in wording(text).values())
    assert wording(text)["digits"] <= 1
    if text:
        assert compression(text) > 0


def test_a_lone_surrogate_is_no_error() -> None:
    assert compression("a\ud800b") > 0
