r"""A response's text in steps: where it may be cut, and where it never is.

Nothing of the text is lost: each step is a piece of it, and only white space is between two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

StepRule = Literal["auto", "numbers", "blank-lines", "lines", "sentences"]
Span = tuple[int, int]

SEPARATOR = "\n\n"
"""What is put between two steps."""

_BLANK_LINES = re.compile(r"\n[ \t\r]*\n\s*")
_LINES = re.compile(r"\n\s*")
_SENTENCES = re.compile(r"""(?<=[.!?])[)\]"'”*]*(?P<gap>\s+)(?=[(\["'“*]*(?:[A-Z0-9$]|\\\())""")
_STEP_NUMBER = re.compile(r"(?:^|(?<=\s))(?:#{1,6} +)?\**Step +(?P<number>\d+)\**\s*[:.)]", re.I)
_ITEM_NUMBER = re.compile(r"^ {0,3}\**(?P<number>\d+)[.)]\**(?=\s)", re.M)
_NO_END = re.compile(
    r"(?:^|[\s(\"'])(?:[A-Z]|e\.g|i\.e|vs|cf|Mr|Mrs|Ms|Dr|Prof|Fig|Eq|Eqs|approx|Thm)\.$"
    r"|(?:^|\n)[ \t]*\d+\.$"
)
"""How text ends before a full stop that ends no sentence: abbreviations, initials, list numbers."""

_OPENING = re.compile(
    r"^[ \t]*(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})"
    r"|(?<!\\)(?:\\begin\{(?P<name>[^{}\n]+)\}"
    r"|(?P<display>\$\$)|(?P<bracket>\\\[)|(?P<paren>\\\()|(?P<inline>\$(?=[^\s$])))",
    re.M,
)
_DISPLAY_END = re.compile(r"(?<!\\)\$\$")
_INLINE_END = re.compile(r"(?<=[^\s\\])\$(?!\d)")
_TABLE_RULE = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?")


def split_steps(text: str, by: StepRule = "auto") -> list[str]:
    r"""The steps of a text, without the white space around them; none of a blank text.

    A step never begins or ends inside a code fence, a Markdown table, a LaTeX environment, or
    mathematics in ``$…$``, ``$$…$$``, ``\(…\)`` or ``\[…\]``.

    Args:
        text: The response.
        by: "numbers": before each ``Step 1:``, ``Step 2:`` … or ``1.``, ``2.`` …, and after the
            last numbered paragraph. "blank-lines", "lines" and "sentences": there. "auto": the
            first of these, in this order, that the text has.

    Example:
        >>> split_steps("Add them: 2 + 2 = 4.\nSo it is 4.")
        ['Add them: 2 + 2 = 4.', 'So it is 4.']
    """
    whole = list(protected_spans(text))
    rules = ("numbers", "blank-lines", "lines", "sentences") if by == "auto" else (by,)
    for rule in rules:
        cuts = [cut for cut in _GAPS[rule](text, whole) if not _is_inside(cut, whole)]
        steps = _pieces(text, cuts)
        if len(steps) > 1:
            return steps
    return _pieces(text, [])


def join_steps(steps: Sequence[str], separator: str = SEPARATOR) -> str:
    """The steps as one text."""
    return separator.join(steps)


def protected_spans(text: str) -> Iterator[Span]:
    """The places ``(begin, end)`` of what is never cut: code, tables and mathematics, in order."""
    spans = sorted([*_delimited(text), *_tables(text)])
    end = 0
    for span in spans:
        if span[1] > end:
            yield span
            end = span[1]


def _delimited(text: str) -> Iterator[Span]:
    at = 0
    while found := _OPENING.search(text, at):
        end = _end_of(text, found)
        if end is None:  # never closed: no mathematics
            at = found.end()
            continue
        yield found.start(), end
        at = end


def _end_of(text: str, opening: re.Match[str]) -> int | None:
    after = opening.end()
    if fence := opening["fence"]:
        close = re.compile(rf"^[ \t]*{re.escape(fence)}{re.escape(fence[0])}*[ \t]*$", re.M)
        found = close.search(text, after)
        return found.end() if found else len(text)  # as in Markdown, to the end
    if name := opening["name"]:
        return _end_of_environment(text, name, after)
    if opening["display"]:
        found = _DISPLAY_END.search(text, after)
        return found.end() if found else None
    if opening["bracket"]:
        return _closed(text.find("\\]", after), 2)
    paragraph = _BLANK_LINES.search(text, after)
    limit = paragraph.start() if paragraph else len(text)
    if opening["paren"]:
        return _closed(text.find("\\)", after, limit), 2)
    # as in Pandoc: $5 and $6 are no mathematics
    found = _INLINE_END.search(text, after, limit)
    return found.end() if found else None


def _end_of_environment(text: str, name: str, after: int) -> int | None:
    depth = 1
    for mark in re.finditer(rf"\\(begin|end)\{{{re.escape(name)}\}}", text[after:]):
        depth += 1 if mark[1] == "begin" else -1
        if depth == 0:
            return after + mark.end()
    return None


def _closed(at: int, width: int) -> int | None:
    return None if at < 0 else at + width


def _tables(text: str) -> Iterator[Span]:
    """Lines with bars, one of them a rule of dashes, or each between two bars."""
    run: list[tuple[int, str]] = []
    at = 0
    for line in [*text.split("\n"), ""]:
        if "|" in line:
            run.append((at, line))
        else:
            if len(run) > 1 and _is_table([line for _, line in run]):
                yield run[0][0], run[-1][0] + len(run[-1][1])
            run = []
        at += len(line) + 1


def _is_table(lines: Sequence[str]) -> bool:
    stripped = [line.strip() for line in lines]
    barred = all(len(line) > 1 and line[0] == line[-1] == "|" for line in stripped)
    return barred or any(_TABLE_RULE.fullmatch(line) for line in stripped[1:])


def _blank_lines(text: str, whole: Sequence[Span]) -> list[Span]:
    return [found.span() for found in _BLANK_LINES.finditer(text)]


def _lines(text: str, whole: Sequence[Span]) -> list[Span]:
    return [found.span() for found in _LINES.finditer(text)]


def _sentences(text: str, whole: Sequence[Span]) -> list[Span]:
    ends = [
        found.span("gap")
        for found in _SENTENCES.finditer(text)
        if not _NO_END.search(text, max(found.start() - 12, 0), found.start())
    ]
    return sorted([*ends, *_blank_lines(text, whole)])


def _numbers(text: str, whole: Sequence[Span]) -> list[Span]:
    for pattern in (_STEP_NUMBER, _ITEM_NUMBER):
        marks = _counted_up(text, pattern, whole)
        if len(marks) > 1:
            rest = [
                cut
                for cut in _blank_lines(text, whole)
                if cut[0] > marks[-1] and not text[cut[0] : cut[1]].endswith((" ", "\t"))
            ]
            return [*((mark, mark) for mark in marks), *rest]
    return []


def _counted_up(text: str, pattern: re.Pattern[str], whole: Sequence[Span]) -> list[int]:
    """Where the numbers 1, 2, 3 … stand, each after the one before it."""
    marks: list[int] = []
    for found in pattern.finditer(text):
        is_next = int(found["number"]) == len(marks) + 1
        if is_next and not _is_inside((found.start(), found.start()), whole):
            marks.append(found.start())
    return marks


_GAPS = {
    "numbers": _numbers,
    "blank-lines": _blank_lines,
    "lines": _lines,
    "sentences": _sentences,
}


def _is_inside(cut: Span, whole: Sequence[Span]) -> bool:
    return any(begin < cut[1] and cut[0] < end for begin, end in whole)


def _pieces(text: str, cuts: Sequence[Span]) -> list[str]:
    ends = [0, *(place for cut in cuts for place in cut), len(text)]
    pieces = (text[begin:end].strip() for begin, end in list(pairwise(ends))[::2])
    return [piece for piece in pieces if piece]
