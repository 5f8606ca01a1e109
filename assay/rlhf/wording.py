"""What a text looks like, as counts: the artefacts that a policy learns when a reward likes them.

Pure functions of one text. The phrases are English; a text in another language has none of them.
"""

from __future__ import annotations

import re
import zlib

_LIST = re.compile(r"^[ \t]*(?:[-*+•]|\d+[.)])[ \t]+\S", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} \S", re.MULTILINE)
_BOLD = re.compile(r"(\*\*|__)(?=\S).+?(?<=\S)\1")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_REFUSAL = re.compile(
    r"\b(?:I(?:'m| am) (?:sorry|unable|not able)|I (?:can(?:not|'t)|won't|will not|must decline)"
    r"|I apologi[sz]e|as an AI)\b",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(?:I(?:'m| am) not (?:entirely |completely |quite )?(?:sure|certain)|I could be wrong"
    r"|it (?:really )?depends|in general|generally speaking|perhaps|arguably|it seems"
    r"|it(?:'s| is) (?:important|worth) (?:to note|noting))\b",
    re.IGNORECASE,
)


def wording(text: str) -> dict[str, float]:
    """Counts of one response, and ``digits``, their share of its characters (0 of an empty text).

    ``fences`` counts the lines that open or close a code block; ``refusals`` and ``hedges`` are
    phrases.
    """
    plain = text.replace("’", "'")
    return {
        "list_lines": float(len(_LIST.findall(text))),
        "headings": float(len(_HEADING.findall(text))),
        "bold": float(len(_BOLD.findall(text))),
        "fences": float(len(_FENCE.findall(text))),
        "digits": sum(map(str.isdigit, text)) / max(len(text), 1),
        "refusals": float(len(_REFUSAL.findall(plain))),
        "hedges": float(len(_HEDGE.findall(plain))),
        "exclamations": float(text.count("!")),
        "questions": float(text.count("?")),
    }


WORDING = tuple(wording(""))
"""The names of the counts."""
SAID = {
    **{name: f"{name.replace('_', ' ')} a response" for name in WORDING},
    "bold": "bold passages a response",
    "fences": "lines of code fences a response",
    "digits": "share of digits",
}
"""The counts in words."""


def compression(text: str) -> float:
    """Bytes that zlib needs by those of the text: small where it repeats itself, nan where empty.

    Short texts give about 1 or more, for the header is counted.
    """
    raw = text.encode("utf-8", "surrogatepass")
    return len(zlib.compress(raw, 6)) / len(raw) if raw else float("nan")
