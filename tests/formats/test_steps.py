"""Text into steps: by each rule, by hand; nothing lost and nothing torn, by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.formats.steps import StepRule, join_steps, protected_spans, split_steps

RULES: tuple[StepRule, ...] = ("auto", "numbers", "blank-lines", "lines", "sentences")

WHOLE = [
    "$$\na = b\n\n= c. Then\n$$",
    "\\[ a\n\nb. So 3 \\]",
    "\\begin{align}\na &= b \\\\[2pt]\n\n\\begin{align}\nc\n\\end{align}\n\n2. d\n\\end{align}",
    "```python\nx = 1\n\n1. not a step\n2. nor this. Nor This\n```",
    "~~~\na\n\n```\nb\n~~~",
    "| a | b |\n|---|---|\n| 1. One | 2 |",
    "a | b\n--- | ---\n1 | 2",
    "\\( x = 1. Then \\)",
    "$x = 1. Then$",
]
"""Text that is never cut, with what would be a cut elsewhere."""

PLAIN = ["Add them.", "So it is 4", "2. Next", "Step 1: go", "costs $5 and $6. He", "|x| < 3", "a"]


def test_blank_lines_come_before_lines_and_lines_before_sentences() -> None:
    assert split_steps("One. Two.\nThree.\n\nFour.") == ["One. Two.\nThree.", "Four."]
    assert split_steps("One. Two.\nThree.") == ["One. Two.", "Three."]
    assert split_steps("One. Two? (Three!) Four.") == ["One.", "Two?", "(Three!)", "Four."]
    assert split_steps("one") == ["one"]


@pytest.mark.parametrize("by", RULES)
def test_blank_text_has_no_steps(by: StepRule) -> None:
    assert split_steps(" \n\n ", by) == []


def test_numbered_steps_are_cut_before_their_numbers() -> None:
    text = "Plan:\n\nStep 1: a\n\nmore\nStep 2: b, as in Step 1: yes\nStep 3: c\n\nSo 5."
    assert split_steps(text) == [
        "Plan:",
        "Step 1: a\n\nmore",
        "Step 2: b, as in Step 1: yes",
        "Step 3: c",
        "So 5.",
    ]
    assert split_steps("Step 1: a Step 2: b") == ["Step 1: a", "Step 2: b"]
    assert split_steps("### Step 1: a\nx\n### Step 2. b") == ["### Step 1: a\nx", "### Step 2. b"]
    assert split_steps("**Step 1:** a\nx\n**Step 2:** b") == ["**Step 1:** a\nx", "**Step 2:** b"]


def test_list_items_keep_their_indented_paragraphs() -> None:
    text = "1. a\n\n   still a\n2. b\n\n   still b\n\nSo 5."
    assert split_steps(text) == ["1. a\n\n   still a", "2. b\n\n   still b", "So 5."]
    assert split_steps("1) a\n2) b") == ["1) a", "2) b"]


def test_numbers_that_do_not_count_up_from_one_are_no_list() -> None:
    assert split_steps("4. a\nb") == ["4. a", "b"]
    assert split_steps("1. a\nb\n3. c") == ["1. a", "b", "3. c"]
    assert split_steps("a 1. b 2. c", "numbers") == ["a 1. b 2. c"]


def test_a_rule_that_finds_nothing_gives_one_step() -> None:
    assert split_steps("One. Two.", "lines") == ["One. Two."]
    assert split_steps("One.\nTwo.", "blank-lines") == ["One.\nTwo."]


@pytest.mark.parametrize(
    "text",
    [
        "He is 3.5 m tall",
        "See e.g. Euler",
        "Ask Mr. Hall",
        "By J. Doe",
        "it is so. then it ends",
        "1. Compute it",
        "We have (see Eq. 3)",
    ],
)
def test_full_stops_that_end_no_sentence(text: str) -> None:
    assert split_steps(text, "sentences") == [text]


def test_sentences_may_begin_with_mathematics_and_quotes() -> None:
    text = 'It is 4. $x$ is 5. \\(y\\) is 6. "Yes." No.'
    assert split_steps(text, "sentences") == [
        "It is 4.",
        "$x$ is 5.",
        "\\(y\\) is 6.",
        '"Yes."',
        "No.",
    ]


def test_prices_are_no_mathematics() -> None:
    text = "It costs $5. He pays $6. So $11."
    assert split_steps(text, "sentences") == ["It costs $5.", "He pays $6.", "So $11."]


def test_what_is_never_closed_protects_nothing_but_a_fence() -> None:
    for opening in ("$$", "\\[", "\\(", "\\begin{align}", "$x"):
        assert split_steps(f"a {opening}\n\nb", "blank-lines") == [f"a {opening}", "b"]
    assert split_steps("a\n\n```\nb\n\nc", "blank-lines") == ["a", "```\nb\n\nc"]
    assert split_steps("```a``` b\n\nc", "blank-lines") == ["```a``` b", "c"]


def test_lines_with_bars_are_a_table_only_as_a_table() -> None:
    assert split_steps("|x| < 3\n|y| < 4", "lines") == ["|x| < 3", "|y| < 4"]
    assert split_steps("a\n\n| 1 | 2 |\n| 3 | 4 |", "lines") == ["a", "| 1 | 2 |\n| 3 | 4 |"]


def test_escaped_dollars_and_line_breaks_open_nothing() -> None:
    assert list(protected_spans("\\$$ a\\\\[2pt] \\$")) == []
    assert list(protected_spans("$a\\$b$")) == [(0, 6)]


def test_windows_line_ends_are_line_ends() -> None:
    assert split_steps("a\r\nb\r\n\r\nc") == ["a\r\nb", "c"]


def test_steps_are_joined_by_a_blank_line() -> None:
    assert join_steps(["a", "b"]) == "a\n\nb"
    assert join_steps(["a", "b"], "\n") == "a\nb"


fragments = st.lists(
    st.sampled_from(
        [*PLAIN, *WHOLE, "$", "$$", "\\[", "\\begin{align}", "```", "|", "\n", " \n\n"]
    ),
    max_size=12,
)
gaps = st.sampled_from(["\n", "\n\n", " ", "\n \n"])


@given(fragments, gaps, st.sampled_from(RULES))
def test_only_white_space_is_between_steps(parts: list[str], gap: str, by: StepRule) -> None:
    text = gap.join(parts)
    at = 0
    for step in split_steps(text, by):
        assert step == step.strip() != ""
        begin = text.index(step, at)
        assert not text[at:begin].strip()
        at = begin + len(step)
    assert not text[at:].strip()


blocks = st.lists(st.sampled_from([*PLAIN, *WHOLE]), max_size=8)


@given(blocks, st.sampled_from(RULES))
def test_code_tables_and_mathematics_stay_whole(parts: list[str], by: StepRule) -> None:
    text = "\n\n".join(parts)
    steps = split_steps(text, by)
    for whole in {part for part in parts if part in WHOLE}:
        assert sum(step.count(whole) for step in steps) == parts.count(whole)


@given(blocks, st.sampled_from(["numbers", "blank-lines", "lines"]))
def test_a_step_of_a_rule_is_not_cut_further(parts: list[str], by: StepRule) -> None:
    steps = split_steps("\n\n".join(parts), by)
    if by != "numbers":  # a piece of a list may begin a list of its own
        assert all(split_steps(step, by) == [step] for step in steps)
    assert split_steps(join_steps(steps), by) == steps
