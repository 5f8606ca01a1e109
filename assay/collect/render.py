"""Texts of others as safe HTML: Markdown, code and formulas, and nothing that loads or runs.

Markdown without HTML goes through markdown-it, its HTML through nh3 with a short list of tags, and
LaTeX becomes MathML. There are no images, ids, styles, or addresses but http, https and mailto, and
a link shows where it leads. What takes too long or is too large is shown as it is, as plain text.
"""

from __future__ import annotations

import difflib
import hashlib
import html
import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html.parser import HTMLParser
from typing import Any
from xml.etree.ElementTree import Element

import nh3
from latex2mathml.converter import convert_to_element
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

from assay.types import Message

MOST_RENDERED = 64 * 1024
"""Bytes of a text that are laid out; a longer one is shown plain."""
MOST_SECONDS = 0.5
"""Time of the processor that one text may take."""
MOST_FORMULA = 2000
MOST_FORMULAS = 300
MOST_BRACES = 40
MOST_DIFF_WORDS = 1500
CACHED_BYTES = 32 * 1024 * 1024
SCHEMES = ("http", "https", "mailto")
_ADDRESS = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)

_MATH = {
    "math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "mfrac", "msqrt", "mroot", "msub",
    "msup", "msubsup", "munder", "mover", "munderover", "mmultiscripts", "mprescripts", "mtable",
    "mtr", "mtd", "mstyle", "mpadded", "mphantom", "menclose",
}  # fmt: skip
_MATH_ATTRIBUTES = {
    "display", "displaystyle", "scriptlevel", "stretchy", "fence", "form", "separator", "accent",
    "linethickness", "columnalign", "rowspacing", "columnspacing", "width", "mathvariant",
    "minsize", "maxsize", "movablelimits", "notation",
}  # fmt: skip
_MATH_VALUE = re.compile(r"[A-Za-z0-9.+\- %]{0,40}\Z")
_BLOCKS = ("p", "li", "blockquote", "td", "th", "ul", "ol", "table")
_TAGS = {
    *_BLOCKS, *_MATH, "thead", "tbody", "tr", "strong", "em", "s", "code", "pre", "br", "hr", "a",
    "mark",
}  # fmt: skip
_HEADINGS = {f"h{level}" for level in range(1, 7)}

_CLEANER = nh3.Cleaner(
    tags=_TAGS,
    clean_content_tags={"script", "style", "iframe", "object", "svg", "template", "noscript"},
    attributes={
        "*": set(),  # else lang and title
        "a": {"href"},
        **{tag: {"dir"} for tag in (*_BLOCKS, "pre")},
        "ol": {"dir", "start"},
        **dict.fromkeys(_MATH, _MATH_ATTRIBUTES),
    },
    set_tag_attribute_values={
        **{tag: {"dir": "auto"} for tag in _BLOCKS},
        "a": {"target": "_blank", "dir": "auto"},
        "pre": {"dir": "auto"},
    },
    allowed_classes={
        "p": _HEADINGS | {"formula"},
        "code": {"address", "source"},
        "pre": {"code", "plain"},
        "mark": {"differs"},
    },
    link_rel="noopener noreferrer nofollow",
    url_schemes=set(SCHEMES),
    strip_comments=True,
)  # fmt: skip


class _TooSlowError(Exception):
    pass


# --- Markdown -------------------------------------------------------------------------------------


def render(text: str) -> Markup:
    """A text as HTML that is safe to put into a page.

    Example:
        >>> print(render("So *good* <b>"))
        <p dir="auto">So <em>good</em> &lt;b&gt;</p>
    """
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    found = _CACHE.get(digest)
    if found is None:
        found = _rendered(text)
        _CACHE.put(digest, found)
    return Markup(found)  # the cleaner's own


def _rendered(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")
    if len(text.encode()) > MOST_RENDERED:
        return plain(text)
    try:
        return _CLEANER.clean(_markdown().render(text, {"until": _spent() + MOST_SECONDS})).strip()
    except (_TooSlowError, RecursionError):
        return plain(text)


def plain(text: str) -> str:
    """A text as it is, its line ends kept."""
    return f'<pre class="plain" dir="auto">{escape(text)}</pre>'


def _spent() -> float:
    # of this thread: a busy machine must not change what people see
    return time.thread_time()


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    found = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}, renderer_cls=_Renderer)
    found.enable(["table", "strikethrough"])
    found.disable(["html_block", "html_inline"])
    found.block.ruler.before("table", "clock", _block_clock)
    found.inline.ruler.before("text", "clock", _inline_clock)
    found.block.ruler.before("code", "formula", _block_formula,
                             {"alt": ["paragraph", "reference", "blockquote", "list"]})  # fmt: skip
    found.inline.ruler.before("escape", "formula", _inline_formula)
    found.validateLink = lambda url: bool(_ADDRESS.match(url))  # type: ignore[method-assign]
    return found


def _check_time(env: Mapping[str, Any]) -> None:
    if _spent() > env["until"]:
        raise _TooSlowError


def _block_clock(state: StateBlock, _start: int, _end: int, _silent: bool) -> bool:
    _check_time(state.env)
    return False


def _inline_clock(state: StateInline, _silent: bool) -> bool:
    _check_time(state.env)
    return False


class _Renderer(RendererHTML):
    """Headings as paragraphs (the page has its own outline), links with where they lead."""

    def heading_open(self, tokens: Sequence[Token], idx: int, _o: OptionsDict, _e: EnvType) -> str:
        """A paragraph of a heading's class."""
        return f'<p class="{tokens[idx].tag}"><strong>'

    def heading_close(self, _t: Sequence[Token], _i: int, _o: OptionsDict, _e: EnvType) -> str:
        """Its end."""
        return "</strong></p>\n"

    def image(self, tokens: Sequence[Token], idx: int, _o: OptionsDict, _e: EnvType) -> str:
        """The source of an image: what it would load is somebody's server."""
        token = tokens[idx]
        said = f"![{token.content}]({token.attrs.get('src', '')})"
        return f'<code class="source">{escape(said)}</code>'

    def link_close(self, tokens: Sequence[Token], idx: int, _o: OptionsDict, _e: EnvType) -> str:
        """The end of a link, with its address unless that is its text."""
        start = next(i for i in range(idx, -1, -1) if tokens[i].type == "link_open")
        address = str(tokens[start].attrs.get("href", ""))
        said = "".join(token.content for token in tokens[start + 1 : idx]).strip()
        if not said:
            return f"{escape(address)}</a>"
        if said in (address, address.removeprefix("mailto:")):
            return "</a>"
        return f'</a> <code class="address">({escape(address)})</code>'

    def fence(self, tokens: Sequence[Token], idx: int, _o: OptionsDict, _e: EnvType) -> str:
        """Code; what the info string says is left out."""
        return f'<pre class="code"><code>{escape(tokens[idx].content)}</code></pre>\n'

    def code_block(self, tokens: Sequence[Token], idx: int, o: OptionsDict, e: EnvType) -> str:
        """Indented code."""
        return self.fence(tokens, idx, o, e)

    def formula(self, tokens: Sequence[Token], idx: int, _o: OptionsDict, env: EnvType) -> str:
        """MathML, or the source."""
        _check_time(env)
        env["formulas"] = env.get("formulas", 0) + 1
        token = tokens[idx]
        shown = None
        if env["formulas"] <= MOST_FORMULAS:
            shown = formula(token.content, is_block=token.block or token.info == "block")
        if shown is None:
            shown = f'<code class="source">{escape(token.markup)}</code>'
        return f'<p class="formula">{shown}</p>\n' if token.block else shown


# --- formulas -------------------------------------------------------------------------------------

_PAIRS = (("$$", "$$"), (r"\[", r"\]"), (r"\(", r"\)"), ("$", "$"))


def _inline_formula(state: StateInline, silent: bool) -> bool:
    source, at = state.src, state.pos
    for opening, closing in _PAIRS:
        if not source.startswith(opening, at):
            continue
        start = at + len(opening)
        end = source.find(closing, start, min(state.posMax, start + MOST_FORMULA))
        body = source[start:end] if end >= 0 else ""
        if not body.strip() or (opening == "$" and not _is_formula(source, body, end)):
            continue
        if not silent:
            token = state.push("formula", "", 0)
            token.content, token.markup = body, source[at : end + len(closing)]
            token.info = "block" if opening in ("$$", r"\[") else ""
        state.pos = end + len(closing)
        return True
    return False


def _is_formula(source: str, body: str, end: int) -> bool:
    """Whether what stands between two dollars is one: "$5 and $6" is not."""
    after = source[end + 1 : end + 2]
    return not (body[0].isspace() or body[-1].isspace() or after.isdigit() or "\n\n" in body)


def _block_formula(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    line = _line(state, start)
    for opening, closing in _PAIRS[:2]:
        if not line.startswith(opening):
            continue
        for number in range(start, min(end, start + 200)):
            _check_time(state.env)
            rest = line[len(opening) :] if number == start else _line(state, number)
            if not rest.rstrip().endswith(closing):
                if number > start and state.isEmpty(number):
                    return False
                continue
            if silent:
                return True
            lines = [_line(state, n) for n in range(start, number + 1)]
            whole = "\n".join(lines).strip()
            token = state.push("formula", "", 0)
            token.block, token.map, token.markup = True, [start, number + 1], whole
            token.content = whole[len(opening) : -len(closing)]
            state.line = number + 1
            return True
    return False


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


def formula(latex: str, *, is_block: bool = False) -> str | None:
    """LaTeX as MathML; None where it is too long or not understood.

    Example:
        >>> formula("x^2")
        '<math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>'
    """
    deep = deepest = 0
    for character in latex:
        deep += (character == "{") - (character == "}")
        deepest = max(deepest, deep)
    if len(latex) > MOST_FORMULA or deepest > MOST_BRACES or not latex.strip():
        return None
    if re.search(r"\\(?:def|newcommand|let|require|input|include|csname)\b", latex):
        return None
    try:
        tree = convert_to_element(latex, display="block" if is_block else "inline")
    except Exception:  # its parser raises what it likes; the source is shown
        return None
    if any((part.text or "").startswith("\\") for part in tree.iter()):
        return None  # a command it does not know
    return _mathml(tree)


def _mathml(element: Element) -> str:
    """The element as HTML with known tags and attributes alone; of others their content."""
    inside = str(escape(html.unescape(element.text or "")))
    inside += "".join(
        _mathml(child) + str(escape(html.unescape(child.tail or ""))) for child in element
    )
    tag = element.tag.rpartition("}")[2]
    if tag not in _MATH:
        return inside
    attributes = "".join(
        f' {name}="{value}"'
        for name, value in element.attrib.items()
        if name in _MATH_ATTRIBUTES and _MATH_VALUE.match(value)
    )
    return f"<{tag}{attributes}>{inside}</{tag}>"


# --- messages -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    """A message as it is shown."""

    role: str
    html: Markup


def turns(messages: Sequence[Message]) -> list[Turn]:
    """Messages as HTML, with the calls of tools they make."""
    return [Turn(message.role, _message(message)) for message in messages]


def shown_steps(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Steps of a solution as they are shown: ``number`` from 1, ``html``, ``alternatives``."""
    return [
        {
            "number": number,
            "html": render(str(step["text"])),
            "alternatives": [render(str(other)) for other in step.get("alternatives") or ()],
        }
        for number, step in enumerate(steps, start=1)
    ]


def _message(message: Message) -> Markup:
    shown = render(message.content) if message.content else Markup("")
    calls = (message.extra or {}).get("tool_calls")
    if calls:
        shown += Markup('<pre class="code"><code>{}</code></pre>').format(_json(calls))
    return shown


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)[:MOST_RENDERED]


# --- words that differ ----------------------------------------------------------------------------


def with_differences(first: str, second: str) -> tuple[Markup, Markup]:
    """Two rendered texts with a mark around the words that the other has not.

    Long texts come back as they are: what differs would take too long to find.
    """
    parts = [_parts(first), _parts(second)]
    words = [[said for is_text, said in side if is_text and said.strip()] for side in parts]
    if max(map(len, words)) > MOST_DIFF_WORDS:
        return Markup(first), Markup(second)
    found = difflib.SequenceMatcher(None, words[0], words[1])
    same: list[set[int]] = [set(), set()]
    for a, b, size in found.get_matching_blocks():
        same[0].update(range(a, a + size))
        same[1].update(range(b, b + size))
    return _marked(parts[0], same[0]), _marked(parts[1], same[1])


def _marked(parts: Sequence[tuple[bool, str]], same: set[int]) -> Markup:
    shown, number = [], 0
    for is_text, said in parts:
        if is_text and said.strip():
            if number not in same:
                said = f'<mark class="differs">{said}</mark>'
            number += 1
        shown.append(said)
    return Markup("".join(shown))


class _Splitter(HTMLParser):
    """Splits the cleaner's HTML into tags and words, each as it was written."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.parts: list[tuple[bool, str]] = []
        self._text = ""
        self._in_math = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(self.get_starttag_text() or "")
        self._in_math += tag == "math"

    def handle_endtag(self, tag: str) -> None:
        self._tag(f"</{tag}>")
        self._in_math -= tag == "math"

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_entityref(self, name: str) -> None:
        self._text += f"&{name};"

    def handle_charref(self, name: str) -> None:
        self._text += f"&#{name};"

    def _tag(self, tag: str) -> None:
        self.flush()
        self.parts.append((False, tag))

    def flush(self) -> None:
        """Put what was read as words."""
        if self._in_math:
            self.parts.append((False, self._text))
        else:
            self.parts += [(True, word) for word in re.findall(r"\s+|\S+", self._text)]
        self._text = ""


def _parts(shown: str) -> list[tuple[bool, str]]:
    splitter = _Splitter()
    splitter.feed(str(shown))  # a Markup would be escaped as it is put together
    splitter.close()
    splitter.flush()
    return splitter.parts


# --- cache ----------------------------------------------------------------------------------------


class _Cache:
    """The latest results, by hash, up to a number of bytes."""

    def __init__(self, most: int):
        self.most, self.bytes = most, 0
        self._found: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> str | None:
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def put(self, key: bytes, value: str) -> None:
        with self._lock:
            if key in self._found:
                return
            self._found[key] = value
            self.bytes += len(value)
            while self.bytes > self.most:
                _, gone = self._found.popitem(last=False)
                self.bytes -= len(gone)


_CACHE = _Cache(CACHED_BYTES)
