"""Verifiers of how many: words, sentences, items of lists, letters, keywords."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from assay.feedback.verifiers.base import Check, TextRule
from assay.feedback.verifiers.text import occurrences, paragraphs, sentences, words


@dataclass(frozen=True, kw_only=True)
class Counted(TextRule):
    """That something stands in the response so many times."""

    unit: ClassVar[str]

    at_least: int | None = None
    """Fewest of them."""
    at_most: int | None = None
    """Most of them."""
    exactly: int | None = None
    """Just so many, in place of the two others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        bounds = (self.at_least, self.at_most)
        if self.exactly is None and bounds == (None, None):
            raise self.wrong("it needs 'at_least', 'at_most' or 'exactly'.")
        if self.exactly is not None and bounds != (None, None):
            raise self.wrong("'exactly' goes without 'at_least' and 'at_most'.")
        if any(n is not None and n < 0 for n in (*bounds, self.exactly)):
            raise self.wrong("a count cannot be below 0.")
        if None not in bounds and bounds[0] > bounds[1]:  # type: ignore[operator]
            raise self.wrong(f"at_least {bounds[0]} is more than at_most {bounds[1]}.")

    @abstractmethod
    def count(self, text: str) -> int:
        """How many there are."""

    def look(self, text: str, prompt: str) -> Check:
        """Count, and compare with the bounds."""
        found = self.count(text)
        low = self.exactly if self.exactly is not None else self.at_least or 0
        high = self.exactly if self.exactly is not None else self.at_most
        right = low <= found and (high is None or found <= high)
        asked = " and ".join(
            f"{name} {n}"
            for name, n in (
                ("exactly", self.exactly), ("at least", self.at_least), ("at most", self.at_most),
            )
            if n is not None
        )  # fmt: skip
        return Check.of(right, f"{found:,} {self.unit}; asked: {asked}")


@dataclass(frozen=True, kw_only=True)
class WordCount(Counted, kind="word_count"):
    """Number of words."""

    unit = "words"

    def count(self, text: str) -> int:
        """Words, ``don't`` one."""
        return len(words(text))


@dataclass(frozen=True, kw_only=True)
class SentenceCount(Counted, kind="sentence_count"):
    """Number of sentences."""

    unit = "sentences"

    def count(self, text: str) -> int:
        """Sentences; an item of a list is one at least."""
        return len(sentences(text))


@dataclass(frozen=True, kw_only=True)
class QuestionCount(Counted, kind="question_count"):
    """Number of sentences that are questions."""

    unit = "questions"

    def count(self, text: str) -> int:
        """Sentences that end with a question mark, within quotes or not."""
        return sum(bool(re.search(r"[?？][\"'”’)\]*_!]*$", s)) for s in sentences(text))


@dataclass(frozen=True, kw_only=True)
class ParagraphCount(Counted, kind="paragraph_count"):
    """Number of paragraphs."""

    unit = "paragraphs"
    separator: str = ""
    """What parts them, such as ``***``. Default: a blank line."""

    def count(self, text: str) -> int:
        """Paragraphs that are not blank."""
        return len(paragraphs(text, self.separator))


@dataclass(frozen=True, kw_only=True)
class LineCount(Counted, kind="line_count"):
    """Number of lines that are not blank."""

    unit = "lines"

    def count(self, text: str) -> int:
        """Lines that are not blank."""
        return sum(bool(line.strip()) for line in text.splitlines())


@dataclass(frozen=True, kw_only=True)
class CharacterCount(Counted, kind="character_count"):
    """Number of characters."""

    unit = "characters"

    def count(self, text: str) -> int:
        """Unicode's code points, without white space at either end."""
        return len(text.strip())


@dataclass(frozen=True, kw_only=True)
class Matched(Counted):
    """Number of matches of a pattern of the kind's own."""

    pattern: ClassVar[re.Pattern[str]]

    def count(self, text: str) -> int:
        """Matches that do not overlap."""
        return len(self.pattern.findall(text))


@dataclass(frozen=True, kw_only=True)
class BulletCount(Matched, kind="bullet_count"):
    """Number of bullets: lines that begin with ``-``, ``*``, ``+`` or ``•`` and a space."""

    unit = "bullets"
    pattern = re.compile(r"^[ \t]*[-*+•][ \t]+\S", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class NumberedCount(Matched, kind="numbered_count"):
    """Number of numbered items: lines that begin with ``1.`` or ``1)`` and a space."""

    unit = "numbered items"
    pattern = re.compile(r"^[ \t]*\d{1,3}[.)][ \t]+\S", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class HeadingCount(Matched, kind="heading_count"):
    """Number of Markdown headings: lines that begin with one to six ``#`` and a space."""

    unit = "headings"
    pattern = re.compile(r"^ {0,3}#{1,6}[ \t]+\S", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class CodeBlockCount(Matched, kind="code_block_count"):
    """Number of fenced blocks of code."""

    unit = "blocks of code"
    pattern = re.compile(r"^[ \t]*(```|~~~).*?^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class PlaceholderCount(Matched, kind="placeholder_count"):
    """Number of placeholders: ``[name]``, but no link ``[text](address)``."""

    unit = "placeholders"
    pattern = re.compile(r"\[[^\[\]\n]*[^\[\]\n\s][^\[\]\n]*\](?!\()")


@dataclass(frozen=True, kw_only=True)
class HighlightCount(Matched, kind="highlight_count"):
    """Number of highlighted parts: ``*part*`` or ``**part**``."""

    unit = "highlighted parts"
    pattern = re.compile(
        r"\*\*(?![\s*])[^*\n]+(?<!\s)\*\*|(?<!\*)\*(?![\s*])[^*\n]+(?<!\s)\*(?!\*)"
    )


@dataclass(frozen=True, kw_only=True)
class SectionCount(Counted, kind="section_count"):
    """Number of sections: lines that begin with a marker and a number, ``Section 1``."""

    unit = "sections"
    marker: str = "Section"
    """The word before the number."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.marker.strip():
            raise self.wrong("'marker' is empty; give the word that begins a section.")

    def count(self, text: str) -> int:
        """Lines that begin with the marker and a number, in bold or as a heading too."""
        marker = re.escape(self.marker.strip())
        return len(re.findall(rf"^[ \t#*_]*{marker}[ \t]*\d+", text, re.MULTILINE | re.IGNORECASE))


@dataclass(frozen=True, kw_only=True)
class CapitalWordCount(Counted, kind="capital_word_count"):
    """Number of words in capitals."""

    unit = "words in capitals"
    min_letters: int = 2
    """Shortest word that counts: ``I`` and ``A`` are no shouting."""

    def count(self, text: str) -> int:
        """Words whose letters are all capitals."""
        return sum(
            word.isupper() and sum(map(str.isalpha, word)) >= self.min_letters
            for word in words(text)
        )


@dataclass(frozen=True, kw_only=True)
class LetterFrequency(Counted, kind="letter_frequency"):
    """How often one letter (or other character) is used, in upper or lower case."""

    unit = "times the letter"
    letter: str
    """The one character."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.letter) != 1:
            raise self.wrong(f"'letter' must be one character, not '{self.letter}'.")

    def count(self, text: str) -> int:
        """How often it is there."""
        return text.casefold().count(self.letter.casefold())


@dataclass(frozen=True, kw_only=True)
class KeywordFrequency(Counted, kind="keyword_frequency"):
    """How often a word or phrase is used, in upper or lower case."""

    unit = "times the keyword"
    keyword: str
    """The word or phrase."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.keyword.strip():
            raise self.wrong("'keyword' is empty; give a word or phrase.")

    def count(self, text: str) -> int:
        """How often it is there as whole words."""
        return occurrences(self.keyword, text)
