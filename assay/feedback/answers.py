"""The final answer of a solution, and whether two answers are the same.

Answers are compared as text, then as numbers, then by a computer algebra system in a process of its
own (``assay.feedback.symbolic``). Nothing is evaluated as code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Source = Literal["boxed", "hash", "sentence", "last number"]
Verdict = Literal["exact", "numeric", "symbolic", "different", "undecided"]

TOLERANCE = 1e-6
"""Two numbers are equal whose difference is at most this share of the larger."""

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_HASH = re.compile(r"^[ \t]*####[ \t]*(?P<answer>\S.*)$", re.MULTILINE)
_SENTENCE = re.compile(
    r"(?:\banswer\s*(?:is|are|:|=)\s*:?|^[ \t]*A:)[ \t*]*(?P<answer>\S.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"
_LAST_NUMBER = re.compile(rf"[-−]?\$?(?:{_NUMBER})(?:\s*/\s*\d+)?\s*%?")
_PLAIN_NUMBER = re.compile(
    rf"(?P<sign>[-+−]?)\s*(?P<digits>{_NUMBER})(?:[eE](?P<exponent>[-+]?\d{{1,3}}))?"
)
_FRACTION = re.compile(r"(?P<top>[-+−]?[^/]+?)\s*/\s*(?P<bottom>[^/]+)")
_MIXED = re.compile(r"(?P<whole>[-+−]?\d+)\s+(?P<top>\d+)\s*/\s*(?P<bottom>\d+)")
_LATEX_FRACTION = re.compile(
    r"\\[dtc]?frac\s*(?:\{(?P<a>[^{}]+)\}\s*\{(?P<b>[^{}]+)\}|(?P<c>\d)\s*(?P<d>\d))"
)
_NO_UNIT = r"(?!(?:pi|infinity|sqrt|sin|cos|tan|log|ln|mod|or|and|to)\b)"
_SHORT_UNIT = r"(?:[kcm]?m|ft|in|yd|mi|[km]?g|lbs?|oz|m?[lL]|h|hrs?|min|s|secs?|mph)"
_UNIT = re.compile(
    rf"(?<=[\d%)])(?:\s*°\s*[CF]?|\s*{_SHORT_UNIT}(?![a-zA-Z])|\s+{_NO_UNIT}[a-zA-Z]{{2,}})"
    r"(?:\s*\^\s*\{?[23]\}?|[²³])?(?:\s*/\s*[a-zA-Z]+|\s+[a-zA-Z]+)*\.?$"
)
_MATHEMATICS = re.compile(r"[\\^_=+*/<>{}()\[\]√π∞]|\d\s*[a-zA-Z]|[a-zA-Z]\s*\d|\w\s*-\s*\w|\w!")


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer as it was written, and how it was found; ``last number`` is a guess."""

    text: str
    source: Source

    @property
    def is_stated(self) -> bool:
        """Whether the text itself says that this is its answer."""
        return self.source != "last number"


def final_answer(text: str) -> Answer | None:
    r"""The last stated answer of a text; failing that its last number; None without either.

    Stated is, in this order: ``\boxed{…}``, ``#### …`` (GSM8K), "the answer is …" or ``A: …``.
    """
    if (boxed := _last_boxed(text)) is not None:
        return Answer(boxed, "boxed")
    if lines := _HASH.findall(text):
        return Answer(lines[-1].strip(), "hash")
    if sentences := _SENTENCE.findall(text):
        return Answer(_end_of_sentence(sentences[-1]), "sentence")
    if numbers := _LAST_NUMBER.findall(text):
        return Answer(numbers[-1].strip(), "last number")
    return None


def _last_boxed(text: str) -> str | None:
    r"""Contents of the last ``\boxed`` whose braces close."""
    for match in reversed(list(_BOXED.finditer(text))):
        depth = 1
        for at in range(match.end(), len(text)):
            escaped = text[at - 1] == "\\" and text[at - 2 : at] != "\\\\"
            depth += 0 if escaped else {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                return text[match.end() : at].strip()
    return None


def _end_of_sentence(text: str) -> str:
    """Up to the sentence's end; a full stop within a number ends nothing."""
    return re.split(r"\.(?:\s|$)|[;!?](?:\s|$)", text.strip(), maxsplit=1)[0].strip(" *:")


def answers_equal(a: str, b: str, *, tolerance: float = TOLERANCE, seconds: float = 5.0) -> bool:
    """Whether two answers are the same; False where that could not be decided in time.

    Raises:
        MissingExtraError: If it takes algebra to tell, and the extra ``math`` is not installed.
    """
    return compare_answers(a, b, tolerance=tolerance, seconds=seconds) in (
        "exact",
        "numeric",
        "symbolic",
    )


def compare_answers(
    a: str, b: str, *, symbolic: bool = True, tolerance: float = TOLERANCE, seconds: float = 5.0
) -> Verdict:
    """How two answers are the same, or that they differ, or that nobody knows.

    Two numbers differ or not by their values, and a percentage is its share or its number: 50% is
    0.5 and is 50. Two texts without mathematics differ by their letters. The rest is
    algebra's: ``undecided`` where it takes too long, cannot read an answer, or is left out.

    Args:
        symbolic: Ask algebra; without it what it would decide is ``undecided``.
        tolerance: Largest relative difference of two equal numbers.
        seconds: Longest time for algebra.

    Raises:
        MissingExtraError: If algebra is needed, and the extra ``math`` is not installed.
    """
    one, other = normalised(a), normalised(b)
    if one == other:
        return "exact" if one else "different"
    numbers = number_of(one), number_of(other)
    if numbers[0] is not None and numbers[1] is not None:
        scales = [Fraction(1)]
        if _is_percentage(one) != _is_percentage(other):
            scales.append(Fraction(100) if _is_percentage(one) else Fraction(1, 100))
        same = any(_close(scale * numbers[0], numbers[1], tolerance) for scale in scales)
        return "numeric" if same else "different"
    if not (_MATHEMATICS.search(one) or _MATHEMATICS.search(other)):
        return "exact" if one.casefold() == other.casefold() else "different"
    if not symbolic:
        return "undecided"
    from assay.feedback.symbolic import equal

    verdict = equal(one, other, seconds)
    return "undecided" if verdict is None else "symbolic" if verdict else "different"


def normalised(answer: str) -> str:
    r"""An answer without what says nothing: dollar signs, ``\text``, spacing, a final full stop."""
    text = answer.strip()
    text = re.sub(r"^\\[(\[]|\\[)\]]$", "", text.strip("$ \t\n*"))
    text = re.sub(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"\\(?:left|right|displaystyle|[!,;: ])(?![a-zA-Z])", "", text)
    text = text.replace("\\$", "").replace("$", "").replace("\\%", "%").replace("{,}", ",")
    text = text.replace("−", "-").replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?|\\degree", "°", text)
    return re.sub(r"\s+", " ", text).strip(" .:*")


def number_of(answer: str) -> Fraction | None:
    r"""The value of an answer that is one number: with commas, a fraction, a percentage, a unit.

    ``1,234`` · ``3/4`` · ``1 1/2`` · ``\frac{3}{4}`` · ``25%`` · ``$5.00`` · ``12 apples`` ·
    ``1.2e3``. A letter equals a number only after ``=``: ``x = 5`` is 5.
    """
    text = normalised(answer)
    text = re.sub(r"^[a-zA-Z]\w*\s*=\s*", "", text)
    text = _LATEX_FRACTION.sub(_plain_fraction, text)
    text = _UNIT.sub("", text)
    percent = text.endswith("%")
    value = _rational(text.rstrip("% "))
    return value / 100 if percent and value is not None else value


def _is_percentage(text: str) -> bool:
    return _UNIT.sub("", text).endswith("%")


def _plain_fraction(match: re.Match[str]) -> str:
    top, bottom = match["a"] or match["c"], match["b"] or match["d"]
    return f" {top}/{bottom}"


def _rational(text: str) -> Fraction | None:
    text = text.strip()
    if match := _MIXED.fullmatch(text):
        whole, part = int(match["whole"].replace("−", "-")), _over(match["top"], match["bottom"])
        if part is None:
            return None
        return whole - part if match["whole"].startswith("-") else whole + part
    if match := _FRACTION.fullmatch(text):
        return _over(match["top"], match["bottom"])
    return _decimal(text)


def _over(top: str, bottom: str) -> Fraction | None:
    a, b = _decimal(top.strip("() ")), _decimal(bottom.strip("() "))
    return None if a is None or not b else a / b


def _decimal(text: str) -> Fraction | None:
    match = _PLAIN_NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    value = Fraction(match["digits"].replace(",", "")) * Fraction(10) ** int(match["exponent"] or 0)
    return -value if match["sign"] in ("-", "−") else value


def _close(a: Fraction, b: Fraction, tolerance: float) -> bool:
    return abs(a - b) <= Fraction(tolerance) * max(abs(a), abs(b))
