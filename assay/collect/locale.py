"""The words of the pages in every language that has a folder in ``locales``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files

DEFAULT = "en"
RIGHT_TO_LEFT = ("ar", "he", "fa", "ur")


@lru_cache(maxsize=1)
def languages() -> dict[str, str]:
    """Codes of the languages there are, with what each calls itself."""
    places = files("assay.collect").joinpath("locales").iterdir()
    codes = sorted(place.name for place in places if place.is_dir())
    return {code: catalogue(code)["language"] for code in codes}


@lru_cache(maxsize=64)
def catalogue(code: str) -> Mapping[str, str]:
    """All words of a language; what it lacks is English."""
    own = {} if code == DEFAULT else dict(catalogue(DEFAULT))
    for file in files("assay.collect").joinpath("locales", code).iterdir():
        if file.name.endswith(".json"):
            own |= json.loads(file.read_text("utf-8"))
    return own


def chosen(setting: str | None, accepted: str) -> str:
    """The language of a page: the annotator's setting, or the first the browser accepts."""
    known = languages()
    if setting in known:
        return str(setting)
    for code in _accepted(accepted):
        if code in known:
            return code
        if code.split("-")[0] in known:
            return code.split("-")[0]
    return DEFAULT


def _accepted(header: str) -> Sequence[str]:
    """Codes of an Accept-Language header, the most wanted first."""
    parts = []
    for place, part in enumerate(header[:500].split(",")):
        code, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            weight = 0.0
        parts.append((-weight, place, code.strip().lower()))
    return [code for _, _, code in sorted(parts)]


def direction(code: str) -> str:
    """Right to left (``rtl``) or left to right (``ltr``)."""
    return "rtl" if code.split("-")[0] in RIGHT_TO_LEFT else "ltr"
