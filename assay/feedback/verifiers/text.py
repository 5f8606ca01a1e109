"""A text in units: words, sentences, paragraphs, lines of a list.

Letters of any script are letters. Words are told apart by what is no letter or digit, so scripts
written without spaces (Chinese, Japanese, Thai) have one word where a reader sees several.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+(?:['’\-]\w+)*")
_END = re.compile(r"(?:[.!?…]+[\"'”’)\]*_]*(?=\s|$))|[。！？]+")
_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|vs|etc|e\.g|i\.e|cf|no|fig|approx|inc|jr|sr)|\b[A-Z])\.$",
    re.IGNORECASE,
)
_ITEM = r"[ \t]*(?:[-*+•][ \t]+|\d{1,3}[.)][ \t]+)"
_BLOCK = re.compile(rf"\n[ \t]*\n|\n(?={_ITEM}\S)|\n(?=[ \t]*#)|(?<=:)\n")
_HEADING = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_MARKER = re.compile(rf"^(?:{_ITEM}|[ \t]*#+[ \t]+)")


def words(text: str) -> list[str]:
    """The words of a text; ``don't`` and ``well-known`` are one each."""
    return _WORD.findall(text)


def sentences(text: str) -> list[str]:
    """The sentences of a text.

    One ends at ``.``, ``!``, ``?`` or ``…`` before white space, at ``。！？`` anywhere, and with
    its paragraph, list item or heading. The full stop of an initial or a common English
    abbreviation ends none.
    """
    apart = _HEADING.sub(r"\g<0>\n", text)
    return [s for block in _BLOCK.split(apart) for s in _sentences(_MARKER.sub("", block))]


def _sentences(block: str) -> list[str]:
    found, start = [], 0
    for match in _END.finditer(block):
        at_end = not block[match.end() :].strip()
        if match[0] == "." and not at_end and _ABBREVIATION.search(block[start : match.end()]):
            continue
        found.append(block[start : match.end()].strip())
        start = match.end()
    found.append(block[start:].strip())
    return [sentence for sentence in found if _WORD.search(sentence)]


def paragraphs(text: str, separator: str = "") -> list[str]:
    """The paragraphs of a text that are not blank, parted by blank lines or by a separator."""
    parts = text.split(separator) if separator else re.split(r"\n[ \t]*\n", text)
    return [part.strip() for part in parts if part.strip()]


def occurrences(phrase: str, text: str, *, whole_words: bool = True) -> int:
    """How often a phrase stands in a text, in upper or lower case, white space of any kind."""
    pattern = r"\s+".join(re.escape(part) for part in phrase.split())
    if whole_words:
        pattern = rf"(?<!\w){pattern}(?!\w)"
    return len(re.findall(pattern, text, re.IGNORECASE))
