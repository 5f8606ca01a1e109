"""Pages from templates, in the viewer's language and theme; what they hold is always escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from assay.collect import locale
from assay.collect.routing import Policy, Viewer

THEMES = ("auto", "light", "dark")


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates of this room."""
    found = Environment(
        loader=PackageLoader("assay.collect"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["date"] = _date
    found.filters["duration"] = _duration
    found.globals["Policy"] = Policy
    return found


def _date(milliseconds: int | None) -> Markup:
    if milliseconds is None:
        return Markup("–")
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return Markup('<time dir="ltr" datetime="{}">{}</time>').format(
        at.isoformat(timespec="seconds"), at.strftime("%Y-%m-%d %H:%M")
    )


def _duration(milliseconds: int | float | None) -> str:
    """Minutes and seconds."""
    if milliseconds is None:
        return "–"
    seconds = round(milliseconds / 1000)
    hours, rest = divmod(seconds, 3600)
    if hours:
        return f"{hours:,} h {rest // 60} min"
    return f"{rest // 60} min {rest % 60} s" if rest >= 60 else f"{rest} s"


class Words:
    """``t("key", n=3)``: a phrase of a language, its values escaped."""

    def __init__(self, code: str):
        self.code = code
        self._words = locale.catalogue(code)

    def __call__(self, key: str, **values: Any) -> Markup:
        """The phrase. A count ``n`` of 1 takes ``key.one`` where there is one."""
        if values.get("n") == 1 and f"{key}.one" in self._words:
            key = f"{key}.one"
        said = self._words.get(key, key)
        shown = {k: f"{v:,}" if isinstance(v, int) else v for k, v in values.items()}
        return Markup(said).format(**shown) if values else Markup(said)

    def __contains__(self, key: str) -> bool:
        return key in self._words

    def starting(self, prefix: str) -> list[str]:
        """Keys that begin so."""
        return [key for key in self._words if key.startswith(prefix)]


def words_for(request: Request) -> Words:
    """The words of the viewer's language."""
    viewer = getattr(request.state, "viewer", Viewer())
    settings = viewer.annotator.settings if viewer.annotator else {}
    accepted = request.headers.get("accept-language", "")
    return Words(locale.chosen(settings.get("locale"), accepted))


def told(request: Request, code: str, message: str) -> str:
    """What somebody reads of an error: the sentence of its code in their language.

    In English that is the error's own, which is the more exact one; programs, by their tokens,
    read it in every language, and so does who meets a code that no annotator's page can.
    """
    viewer: Viewer = getattr(request.state, "viewer", Viewer())
    words, key = words_for(request), f"said.{code}"
    if viewer.by_token or words.code == locale.DEFAULT or key not in words:
        return message
    return words(key, message=message).unescape()


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A whole page."""
    return HTMLResponse(fragment(request, template, **values), status_code=status)


def fragment(request: Request, template: str, **values: Any) -> str:
    """What a template gives."""
    viewer: Viewer = getattr(request.state, "viewer", Viewer())
    settings = viewer.annotator.settings if viewer.annotator else {}
    words = words_for(request)
    shared = {
        "t": words,
        "locale": words.code,
        "direction": locale.direction(words.code),
        "theme": settings.get("theme", "auto"),
        "viewer": viewer,
        "csrf": viewer.csrf,
        "request": request,
        "version": request.app.version,
    }
    return environment().get_template(template).render({**shared, **values})
