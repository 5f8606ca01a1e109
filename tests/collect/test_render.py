"""Texts of others as HTML: what is shown, what never comes through, and how long it may take."""

import json
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.collect import render as module
from assay.collect.render import formula, render, turns, with_differences
from assay.types import Message

XSS = json.loads((Path(__file__).parent / "xss.json").read_text("utf-8"))
TAGS = module._TAGS
ATTRIBUTES = {"dir", "href", "rel", "target", "start", "class", *module._MATH_ATTRIBUTES}
CLASSES = {"h1", "h2", "h3", "h4", "h5", "h6", "formula", "address", "source", "code", "plain",
           "differs"}  # fmt: skip


class Reader(HTMLParser):
    """Collects what a page would be made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(str(html))
    reader.close()
    return reader


def check_safe(html: str) -> None:
    for tag, attributes in read(html).tags:
        assert tag in TAGS
        assert set(attributes) <= ATTRIBUTES
        assert attributes.get("dir", "auto") == "auto"
        assert set((attributes.get("class") or "").split()) <= CLASSES
        if tag == "a":
            assert attributes["rel"] == "noopener noreferrer nofollow"
            address = attributes.get("href", "http://").lower()  # none: it leads nowhere
            assert address.startswith(("http://", "https://", "mailto:"))
        else:
            assert "href" not in attributes


def test_the_corpus_is_as_large_as_it_says() -> None:
    assert len(set(XSS)) == len(XSS) >= 200


@pytest.mark.parametrize("payload", XSS, ids=range(len(XSS)))
def test_a_payload_is_text_and_no_more(payload: str) -> None:
    check_safe(render(payload))
    check_safe(render(f"Before {payload} after.\n\n> {payload}\n\n- {payload}\n"))
    marked = with_differences(render(payload), render("something else"))
    for html in marked:
        check_safe(html)


def test_the_check_finds_what_is_not_safe() -> None:
    for bad in ("<script>x</script>", "<a href='//x' rel=''>x</a>", "<p onclick=x>", "<p id=x>"):
        with pytest.raises((AssertionError, KeyError)):
            check_safe(bad)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["<", ">", "[", "](", ")", "`", "$", "$$", "\\(", "\\)", "*", "_",
                                 "&", '"', "'", "\n", "\n\n", "> ", "- ", "|", "javascript:",
                                 "http://a.b", "x", " ", "=", "#", "&#", ";", "\\", "{", "}", "!",
                                 "script", "\u202e", "\x00"]), max_size=60)
       .map("".join))  # fmt: skip
def test_any_mixture_is_safe(text: str) -> None:
    check_safe(module._rendered(text))


def test_markdown_is_laid_out() -> None:
    html = render("# Title\n\n**bold** *soft* `code`\n\n1. a\n2. b\n\n|h|\n|-|\n|c|\n\n> q")
    said = {tag for tag, _ in read(html).tags}
    assert {"strong", "em", "code", "ol", "li", "table", "th", "td", "blockquote"} <= said
    assert '<p class="h1" dir="auto"><strong>Title</strong></p>' in html
    assert 'dir="auto"' in html


def test_html_is_shown_as_it_was_written() -> None:
    assert read(render("a <b>bold</b> word")).text == "a <b>bold</b> word"


def test_a_link_shows_where_it_leads() -> None:
    html = render("[here](https://example.org/a?b=1&c) <https://x.y> [](http://z.w)")
    assert html.count("<a ") == 3
    assert "(https://example.org/a?b=1&amp;c)" in html
    assert html.count("https://x.y") == 2  # the address and the text, which is the address
    assert ">http://z.w</a>" in html


@pytest.mark.parametrize("to", ["//evil.example", "/logout", "#x", "javascript:x", "ftp://a.b"])
def test_other_addresses_are_no_links(to: str) -> None:
    assert "<a " not in render(f"[x]({to})")


def test_an_image_is_its_source() -> None:
    html = render("![a cat](http://example.org/cat.png)")
    assert "<img" not in html
    assert "![a cat](http://example.org/cat.png)" in html


def test_code_is_kept_to_the_letter() -> None:
    code = "if a < b and c:\n\tprint('&amp;')"
    assert read(render(f"```python\n{code}\n```")).text == code + "\n"
    assert "python" not in render(f"```python\n{code}\n```")


@pytest.mark.parametrize("source", ["$x^2$", r"\(x^2\)"])
def test_formulas_in_lines(source: str) -> None:
    html = render(f"so {source} is")
    assert '<math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>' in html


@pytest.mark.parametrize(
    "source", ["$$x$$", r"\[x\]", "$$\nx\n$$", "\\[\nx\n\\]", "text\n$$\nx\n$$\nmore"]
)
def test_formulas_of_their_own(source: str) -> None:
    assert '<math display="block"><mrow><mi>x</mi></mrow></math>' in render(source)


def test_a_formula_may_hold_what_markdown_would_take() -> None:
    html = render("$$\na\n= b\n- c_1 * d_2 * e\n$$")
    assert "<li" not in html
    assert "<em" not in html
    assert html.count("<math") == 1


def test_money_is_no_formula() -> None:
    assert read(render("It costs $5 and then $6, or $ 7 $.")).text == (
        "It costs $5 and then $6, or $ 7 $."
    )
    assert "<math" not in render(r"\$x\$ and `$x$`")


def test_a_formula_that_is_not_understood_is_its_source() -> None:
    for source in (r"\unknown{x}", r"\frac{a}", r"\def\a{\a\a}\a", "x" * 3000, "{" * 60 + "}" * 60):
        assert formula(source) is None or "\\" not in read(formula(source) or "").text
    assert r'<code class="source">$\unknown{x}$</code>' in render(r"$\unknown{x}$")


def test_a_formula_has_no_attributes_of_others() -> None:
    for source in (r"\href{javascript:x}{y}", r"\style{color:red}{y}", r"\class{a}{y}"):
        assert "y" in (formula(source) or "")
        check_safe(formula(source) or "")


def test_a_text_that_is_too_long_is_plain() -> None:
    text = "**a** <b>\n" * 7000
    html = render(text)
    assert html.startswith('<pre class="plain"')
    assert read(html).text == text
    assert render("**a** " * 100).startswith("<p")


LONG = 60_000


def _filled(piece: str) -> str:
    return (piece * (LONG // len(piece) + 1))[:LONG]


COSTLY = [
    *("[" * 40_000, "**a " * 10_000, "![" * 20_000, "> " * 20_000, "`a" * 20_000),
    *(_filled(piece) for piece in ("$x", "$x$ ", "[a](", "[a](http://b) ", "\\[\n", "$$\n",
                                   "_*a", "~~a", "[x]: y\n", "- a\n", "|a", "\\(", "<a ",
                                   "&amp;", "1. a\n")),
    "|a|b|\n|-|-|\n" + _filled("|x|y|\n"),
    "\n".join(">" * i + "a" for i in range(300)),
    "\n".join("  " * i + "- a" for i in range(240)),
    _filled("$" + "{" * 30 + "x" + "}" * 30 + "$ "),
    _filled("$" + r"\frac{a}{b}" * 100 + "$ "),
]  # fmt: skip


def check_cost(text: str) -> None:
    before = time.thread_time()
    html = module._rendered(text)
    # the limit, and what the step under way, cleaning and this machine add
    assert time.thread_time() - before < 4 * module.MOST_SECONDS
    check_safe(html)


@pytest.mark.medium
@pytest.mark.parametrize("text", COSTLY[:5], ids=lambda text: repr(text[:12]))
def test_no_text_takes_long(text: str) -> None:
    check_cost(text)


@pytest.mark.slow
@pytest.mark.parametrize("text", COSTLY[5:], ids=lambda text: repr(text[:12]))
def test_no_other_text_takes_long(text: str) -> None:
    check_cost(text)


def test_what_takes_too_long_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SECONDS", -1.0)
    assert module._rendered("**a**") == '<pre class="plain" dir="auto">**a**</pre>'


def test_the_cache_gives_the_same_and_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = module._Cache(100)
    monkeypatch.setattr(module, "_CACHE", cache)
    first = render("some words")
    monkeypatch.setattr(module, "_rendered", lambda text: f"new {text}")
    assert render("some words") == first
    for number in range(50):
        render(f"text {number}")
    assert cache.bytes <= 100
    assert cache.bytes == sum(map(len, cache._found.values()))
    assert render("some words") == "new some words"
    cache.put(b"x", "once")
    cache.put(b"x", "twice")
    assert cache.get(b"x") == "once"


def test_half_a_surrogate_does_no_harm() -> None:
    assert read(render("a\ud800b\x00c")).text == "a?b\ufffdc"


def test_words_that_differ_are_marked() -> None:
    a, b = with_differences(render("The *quick* fox & I"), render("The *slow* fox & I"))
    assert '<em><mark class="differs">quick</mark></em>' in a
    assert '<em><mark class="differs">slow</mark></em>' in b
    assert a.count("<mark") == b.count("<mark") == 1
    assert read(a).text == "The quick fox & I"


def test_no_marks_in_formulas_or_long_texts() -> None:
    a, _ = with_differences(render("$x$ one"), render("$y$ two"))
    assert a.count("<mark") == 1
    assert "<mi>x</mi>" in a
    long = render("word " * 2000)
    assert with_differences(long, render("other")) == (long, render("other"))


def test_turns_show_their_calls_of_tools() -> None:
    call = [{"function": {"name": "add", "arguments": "<1>"}}]
    shown = turns([Message("user", "Hi"), Message("assistant", "", {"tool_calls": call})])
    assert [turn.role for turn in shown] == ["user", "assistant"]
    assert "&lt;1&gt;" in shown[1].html
    assert "add" in shown[1].html
    check_safe(shown[1].html)
