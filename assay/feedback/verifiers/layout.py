"""Verifiers of words and form: what must or must not be there, and where.

In the manner of the instructions of IFEval (Zhou et al. 2023, "Instruction-Following Evaluation for
Large Language Models"); the definitions are Assay's own and are told in docs/verifiers.md.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from assay.feedback.verifiers.base import Check, TextRule
from assay.feedback.verifiers.languages import NAMES, language_of
from assay.feedback.verifiers.text import occurrences, paragraphs, words

_COMMAS = ",，、،"
_FENCE = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.M | re.S
)


def fenced(text: str) -> list[tuple[str, str]]:
    """Language (lower case, may be empty) and content of every fenced block of code."""
    return [(language.lower(), content) for _, language, content in _FENCE.findall(text)]


@dataclass(frozen=True, kw_only=True)
class WordRule(TextRule):
    """A verifier with a list of words or phrases."""

    words: tuple[str, ...]
    """Words or phrases, in upper or lower case."""
    whole_words: bool = True
    """Whether ``art`` in ``party`` does not count."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.words or not all(word.strip() for word in self.words):
            raise self.wrong("'words' is empty or has an empty one; list words or phrases.")

    def present(self, text: str) -> list[str]:
        """Those that are there."""
        return [w for w in self.words if occurrences(w, text, whole_words=self.whole_words)]


@dataclass(frozen=True, kw_only=True)
class RequiredWords(WordRule, kind="required_words"):
    """That every word or phrase of a list is there."""

    def look(self, text: str, prompt: str) -> Check:
        """Name those that are not there."""
        present = self.present(text)
        missing = [word for word in self.words if word not in present]
        return Check.of(not missing, f"missing: {_listed(missing)}")


@dataclass(frozen=True, kw_only=True)
class ForbiddenWords(WordRule, kind="forbidden_words"):
    """That no word or phrase of a list is there."""

    def look(self, text: str, prompt: str) -> Check:
        """Name those that are there."""
        present = self.present(text)
        return Check.of(not present, f"found: {_listed(present)}")


def _listed(found: list[str]) -> str:
    return ", ".join(f"'{word}'" for word in found) or "none"


@dataclass(frozen=True, kw_only=True)
class ForbiddenCharacters(TextRule, kind="forbidden_characters"):
    """That none of some characters is there."""

    characters: str
    """The characters, such as ``!?``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.characters:
            raise self.wrong("'characters' is empty; give those that are forbidden.")

    def look(self, text: str, prompt: str) -> Check:
        """Name those that are there."""
        present = sorted(set(self.characters) & set(text))
        return Check.of(not present, f"found: {_listed(present)}")


@dataclass(frozen=True, kw_only=True)
class NoCommas(TextRule, kind="no_commas"):
    """That there is no comma, of any script."""

    def look(self, text: str, prompt: str) -> Check:
        """Count commas."""
        found = sum(text.count(comma) for comma in _COMMAS)
        return Check.of(not found, f"{found:,} commas")


@dataclass(frozen=True, kw_only=True)
class Lowercase(TextRule, kind="lowercase"):
    """That no letter is a capital, and there are letters."""

    def look(self, text: str, prompt: str) -> Check:
        """Count capitals."""
        found = sum(map(str.isupper, text))
        return Check.of(not found and any(map(str.islower, text)), f"{found:,} capitals")


@dataclass(frozen=True, kw_only=True)
class Uppercase(TextRule, kind="uppercase"):
    """That every letter is a capital, and there are letters."""

    def look(self, text: str, prompt: str) -> Check:
        """Count small letters."""
        found = sum(map(str.islower, text))
        return Check.of(not found and any(map(str.isupper, text)), f"{found:,} small letters")


@dataclass(frozen=True, kw_only=True)
class Title(TextRule, kind="title"):
    """That there is a title in double angle brackets: ``<<A title>>``."""

    def look(self, text: str, prompt: str) -> Check:
        """Find it."""
        found = re.search(r"<<[^<>\n]*\w[^<>\n]*>>", text)
        return Check.of(found is not None, f"title: {found[0] if found else 'none'}")


@dataclass(frozen=True, kw_only=True)
class PhraseRule(TextRule):
    """A verifier with one phrase at one end of the response."""

    phrase: str
    """The phrase, in upper or lower case."""
    case_sensitive: bool = False
    """Whether upper and lower case matter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.phrase.strip():
            raise self.wrong("'phrase' is empty; give the words that are wanted.")

    def cased(self, text: str) -> str:
        """As it is compared: white space as single spaces, without quotes around."""
        joined = " ".join(text.split())
        joined = joined if self.case_sensitive else joined.casefold()
        return joined.strip('"“” ')


@dataclass(frozen=True, kw_only=True)
class StartsWith(PhraseRule, kind="starts_with"):
    """That the response begins with a phrase."""

    def look(self, text: str, prompt: str) -> Check:
        """Compare the beginning."""
        right = self.cased(text).startswith(self.cased(self.phrase))
        return Check.of(right, f"begins: {text.strip()[: len(self.phrase) + 10]!r}")


@dataclass(frozen=True, kw_only=True)
class EndsWith(PhraseRule, kind="ends_with"):
    """That the response ends with a phrase, and nothing after it."""

    def look(self, text: str, prompt: str) -> Check:
        """Compare the end."""
        right = self.cased(text).endswith(self.cased(self.phrase))
        return Check.of(right, f"ends: {text.strip()[-len(self.phrase) - 10 :]!r}")


@dataclass(frozen=True, kw_only=True)
class Quoted(TextRule, kind="quoted"):
    """That the whole response stands in double quotes."""

    def look(self, text: str, prompt: str) -> Check:
        """Look at both ends."""
        inner = text.strip()
        right = len(inner) > 2 and (inner[0], inner[-1]) in (('"', '"'), ("“", "”"))
        return Check.of(right, f"first and last: {inner[0]!r} and {inner[-1]!r}")


@dataclass(frozen=True, kw_only=True)
class Postscript(TextRule, kind="postscript"):
    """That a line begins with a postscript's marker, and says something."""

    marker: str = "P.S."
    """The marker: ``P.S.`` or ``P.P.S.``; ``PS:`` and ``p. s.`` are the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not any(map(str.isalpha, self.marker)):
            raise self.wrong("'marker' has no letters; give 'P.S.' or 'P.P.S.'.")

    def look(self, text: str, prompt: str) -> Check:
        """Find it."""
        letters = [re.escape(letter) for letter in self.marker if letter.isalpha()]
        dotted, plain = r"\.[ ]?".join(letters) + r"\.?", "".join(letters) + "[.:]"
        found = re.search(
            rf"^[ \t*_]*(?:{dotted}|{plain})[ \t*_:,-]*\w", text, re.MULTILINE | re.IGNORECASE
        )
        return Check.of(found is not None, "found" if found else f"no '{self.marker}'")


@dataclass(frozen=True, kw_only=True)
class Choice(TextRule, kind="choice"):
    """That the response is one of some options."""

    options: tuple[str, ...]
    """The options, in upper or lower case."""
    anywhere: bool = False
    """Whether other words may stand around it; then just one of the options must be there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.options) < 2 or not all(option.strip() for option in self.options):
            raise self.wrong("'options' needs two at least, none empty.")

    def look(self, text: str, prompt: str) -> Check:
        """Find the options chosen."""
        if self.anywhere:
            chosen = [option for option in self.options if occurrences(option, text)]
        else:
            said = _bare(text)
            chosen = [option for option in self.options if _bare(option) == said]
        return Check.of(len(chosen) == 1, f"chosen: {_listed(chosen)}")


def _bare(text: str) -> str:
    return " ".join(text.split()).strip(" .!\"'“”*").casefold()


@dataclass(frozen=True, kw_only=True)
class TwoResponses(TextRule, kind="two_responses"):
    """That there are two different responses, parted by a separator."""

    separator: str = "******"
    """What stands between them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.separator.strip():
            raise self.wrong("'separator' is empty; give what stands between the two.")

    def look(self, text: str, prompt: str) -> Check:
        """Split, and compare the two."""
        parts = paragraphs(text, self.separator)
        right = len(parts) == 2 and parts[0] != parts[1]
        same = len(parts) == 2 and not right
        return Check.of(right, f"{len(parts)} responses{', the same' if same else ''}")


@dataclass(frozen=True, kw_only=True)
class RepeatsPrompt(TextRule, kind="repeats_prompt"):
    """That the response first repeats the prompt, word for word, and then goes on."""

    prompt: str = ""
    """What must be repeated. Default: the last user message."""

    def look(self, text: str, prompt: str) -> Check:
        """Compare the beginning with the prompt; without one it cannot be checked."""
        asked = " ".join((self.prompt or prompt).split()).casefold()
        if not asked:
            return Check.unchecked("there is no prompt to repeat")
        said = " ".join(text.split()).casefold().lstrip('"“*')
        if not said.startswith(asked):
            return Check.of(False, "the prompt is not repeated first")
        more = re.search(r"\w", said[len(asked) :])
        return Check.of(more is not None, "repeated" if more else "nothing but the prompt")


@dataclass(frozen=True, kw_only=True)
class ParagraphStart(TextRule, kind="paragraph_start"):
    """That one of the paragraphs begins with a word."""

    paragraph: int
    """Which, from 1."""
    word: str
    """Its first word, in upper or lower case."""
    separator: str = ""
    """What parts paragraphs. Default: a blank line."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.paragraph < 1:
            raise self.wrong(f"'paragraph' is {self.paragraph}; the first is 1.")
        if len(words(self.word)) != 1:
            raise self.wrong(f"'word' must be one word, not '{self.word}'.")

    def look(self, text: str, prompt: str) -> Check:
        """Compare the paragraph's first word."""
        found = paragraphs(text, self.separator)
        if len(found) < self.paragraph:
            return Check.of(False, f"{len(found)} paragraphs")
        first = next(iter(words(found[self.paragraph - 1])), "")
        return Check.of(first.casefold() == words(self.word)[0].casefold(), f"begins: '{first}'")


def json_of(text: str) -> object:
    """The value of a text that is JSON, all of it or in its only fenced block.

    Raises:
        ValueError: If it is not; NaN and Infinity are not JSON.
    """
    blocks = fenced(text)
    content = blocks[0][1] if len(blocks) == 1 else text
    try:
        return json.loads(content, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True, kw_only=True)
class Json(TextRule, kind="json"):
    """That the response is JSON, fenced or not."""

    def look(self, text: str, prompt: str) -> Check:
        """Parse it."""
        try:
            json_of(text)
        except ValueError as error:
            return Check.of(False, f"not JSON: {error}")
        return Check.of(True, "JSON")


@dataclass(frozen=True, kw_only=True)
class Language(TextRule, kind="language"):
    """That the response is in a language, told by script and common words."""

    language: str
    """Its code of two letters, such as ``de``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.language not in NAMES:
            raise self.wrong(
                f"no language '{self.language}' is known; there are {', '.join(sorted(NAMES))}."
            )

    def look(self, text: str, prompt: str) -> Check:
        """Tell the language; where nothing tells it, it cannot be checked."""
        found = language_of(text)
        if found is None:
            return Check.unchecked("too little, or no known language, to tell by")
        return Check.of(found == self.language, f"language: {NAMES[found]}")
