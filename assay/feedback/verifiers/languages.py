"""The language of a text, by its script and its commonest words.

A small guess without a model: scripts that one language uses are told by their letters, languages
in Latin script by function words. It does not know languages beyond :data:`NAMES`, nor can it tell
short or mixed texts: it then says nothing.
"""

from __future__ import annotations

import re
from collections import Counter

NAMES = {
    "ar": "Arabic", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "fa": "Persian", "fr": "French", "he": "Hebrew", "hi": "Hindi", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese",
    "ru": "Russian", "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian",
    "zh": "Chinese",
}  # fmt: skip
"""Languages by their code in ISO 639-1."""

_SCRIPTS = {
    "latin": "A-Za-zÀ-ÖØ-öø-ɏ", "cyrillic": "Ѐ-ӿ", "greek": "Ͱ-Ͽ", "hebrew": "֐-׿",
    "arabic": "؀-ۿ", "devanagari": "ऀ-ॿ", "thai": "ก-๛", "hangul": "가-힣", "kana": "ぁ-ヿ",
    "han": "一-鿿",
}  # fmt: skip
_LETTERS = {name: re.compile(f"[{letters}]") for name, letters in _SCRIPTS.items()}
_ONE_LANGUAGE = {"greek": "el", "hebrew": "he", "devanagari": "hi", "thai": "th", "hangul": "ko"}
_PERSIAN = re.compile("[پچژگکی]")
_UKRAINIAN = re.compile("[іїєґІЇЄҐ]")
_RUSSIAN = re.compile("[ыэъёЫЭЪЁ]")

_COMMON = {
    "de": (
        "der die das und ist nicht ein eine einen einem ich zu den dem mit sich auf für von "
        "es im auch wie wir sie er aber oder als nach bei wird sind war hat haben dass kann "
        "über zum zur "
    ),
    "en": (
        "the of and to in is that it for was on are with as be at this have from or by not "
        "but what all were we when your can there an which their will if do would about he "
        "she they you his "
    ),
    "es": (
        "el la los las de que y en un una por con para es no se su lo como más pero sus al "
        "del fue ha son está este esta también muy sin sobre hay cuando ser todo nos yo "
    ),
    "fr": (
        "le la les des et est un une dans que qui pour pas sur avec ce il elle au aux du ne "
        "se par plus sont nous vous mais ou cette être ont été fait comme leur tout je à "
    ),
    "it": (
        "il lo la gli le di che è e un una per non con sono del della nel dei alla più anche "
        "come ma da si al questo questa ha ho nella delle era loro essere molto io "
    ),
    "nl": (
        "de het een en van is dat niet in op te zijn met voor aan er maar om ook als dan bij "
        "nog naar hij zij wij je ik wordt door over worden heeft hebben was deze die uit kan "
    ),
    "pl": (
        "nie się na jest to że w i z do jak ale o po co tak za od przez jego być są tylko dla "
        "już który która które oraz może czy był była bardzo ten ta "
    ),
    "pt": (
        "o os as de que e do da em um uma para com não no na se por mais dos das como mas ao "
        "foi ele ela são está seu sua ou quando muito nos já também eu pelo pela é "
    ),
    "sv": (
        "och att det som en på är av för med den till inte om ett har de jag han var men sig "
        "vi så kan från när också eller hon skulle alla mycket detta under efter blir "
    ),
    "tr": (
        "ve bir bu da de için ile çok ne daha gibi olarak en kadar ama olan var sonra ben o "
        "değil her mi ya şey ki biz onun olduğu bunu göre "
    ),
}
_LISTS = {language: frozenset(text.split()) for language, text in _COMMON.items()}
_FEWEST_LETTERS = 10
_FEWEST_HITS = 2


def language_of(text: str) -> str | None:
    """The code of a text's language; None where it has too little to tell by."""
    counts = Counter({name: len(found.findall(text)) for name, found in _LETTERS.items()})
    letters = counts.total()
    if counts["kana"] and counts["kana"] + counts["han"] > letters / 2:
        return "ja" if letters >= 5 else None
    script, most = counts.most_common(1)[0]
    if script == "han":
        return "zh" if most >= 5 and most > letters / 2 else None
    if most < _FEWEST_LETTERS or most <= letters / 2:
        return None
    if script in _ONE_LANGUAGE:
        return _ONE_LANGUAGE[script]
    if script == "arabic":
        return "fa" if len(_PERSIAN.findall(text)) > most / 50 else "ar"
    if script == "cyrillic":
        ukrainian, russian = len(_UKRAINIAN.findall(text)), len(_RUSSIAN.findall(text))
        return None if ukrainian == russian else "uk" if ukrainian > russian else "ru"
    return _latin(text)


def _latin(text: str) -> str | None:
    """By function words; a word of several languages counts for each."""
    found = re.findall(r"[^\W\d_]+", text.casefold())
    hits = Counter({name: sum(word in known for word in found) for name, known in _LISTS.items()})
    (first, most), (_, second) = hits.most_common(2)
    return first if most >= _FEWEST_HITS and most > second else None
