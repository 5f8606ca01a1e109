"""HTML pages that need nothing else and run no script, and the tables on them.

All text is escaped, and a page forbids everything but its own style sheet. Knows nothing of what is
reported.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from assay.types import Figure

CSS = """
:root{--ink:#1c2024;--soft:#5b6470;--line:#e3e6ea;--back:#fff;--panel:#f6f7f9;--model:#0072b2;
--length:#d55e00;--text:#009e73;--grey:#8a9099;--third:#aa4499;--fourth:#8c6d00;--bad:#b3261e;
color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a3abb5;--line:#33383f;--back:#15181c;
--panel:#1d2126;--model:#56b4e9;--length:#f0894a;--text:#3fc79f;--grey:#868d97;
--third:#e08fd3;--fourth:#d8b64a;--bad:#f28b82}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.55 system-ui,sans-serif;
overflow-wrap:anywhere}
main{max-width:1000px;margin:0 auto;padding:32px 20px 80px}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 4px}
h2{font-size:1.15rem;margin:52px 0 8px}
p{margin:8px 0 16px;max-width:68ch}
.soft,figcaption,caption{color:var(--soft)}
.head{font-size:2.6rem;font-weight:650;letter-spacing:-.02em;margin:20px 0 0;line-height:1.15}
.head small{font-size:1rem;font-weight:400;color:var(--soft);letter-spacing:0;display:block}
.partial{border-left:4px solid var(--length);padding:8px 14px;background:var(--panel)}
.finding{border-left:4px solid var(--line);padding:2px 14px;margin:12px 0}
.finding p{margin:2px 0}.finding small{color:var(--soft);display:block}
.finding.problem{border-color:var(--bad)}.finding.warning{border-color:var(--length)}
.finding.ok{border-color:var(--text)}
figure{margin:16px 0}
.box{overflow-x:auto}.box+.box{margin-top:18px}
svg{max-width:100%;height:auto;display:block}
svg.wide{min-width:600px}svg.square{min-width:300px}
svg text{fill:var(--ink);font:12px system-ui,sans-serif}
.grid{stroke:var(--line)}.chance{stroke:var(--grey);stroke-dasharray:4 4}
.bar{stroke-width:2}.model,.gold{stroke:var(--model);fill:var(--model)}
.length,.random{stroke:var(--length);fill:var(--length)}
.text,.oracle{stroke:var(--text);fill:var(--text)}
.majority{stroke:var(--grey);fill:var(--grey)}
.s0{stroke:var(--model);fill:var(--model)}.s1{stroke:var(--text);fill:var(--text)}
.s2{stroke:var(--third);fill:var(--third)}.s3{stroke:var(--fourth);fill:var(--fourth)}
.s4{stroke:var(--soft);fill:var(--soft)}.s5{stroke:var(--ink);fill:var(--ink)}
.dot{stroke:var(--back);stroke-width:1}
.dot.open{fill:var(--back);stroke-width:2}
.dot.open.s0{stroke:var(--model)}.dot.open.s1{stroke:var(--text)}.dot.open.s2{stroke:var(--third)}
.dot.open.s3{stroke:var(--fourth)}.dot.open.s4{stroke:var(--soft)}.dot.open.s5{stroke:var(--ink)}
.curve{fill:none;stroke-width:2}
.curve.oracle,.curve.s1{stroke-dasharray:7 3}.curve.random,.curve.length{stroke-dasharray:2 3}
.curve.s2{stroke-dasharray:10 3 2 3}.curve.s3{stroke-dasharray:4 4}.curve.s4{stroke-dasharray:14 4}
.curve.s5{stroke-dasharray:1 4}
.band{stroke:none;opacity:.15}
.beyond{fill:var(--panel)}.usual{fill:var(--grey);opacity:.2}
.mark{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:2 2}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem;min-width:100%}
caption{text-align:left;padding:6px 0;font-size:.85rem;max-width:min(100%,calc(100vw - 40px))}
th,td{text-align:right;padding:5px 12px 5px 0;border-bottom:1px solid var(--line);
white-space:nowrap;vertical-align:top}
th:first-child,td:first-child{text-align:left}
tbody th{font-weight:400}
.words{white-space:normal;min-width:9em;text-align:left}
thead th{color:var(--soft);font-weight:500}
tr.section th,tr.section td{font-weight:600}
.key{display:flex;flex-wrap:wrap;gap:4px 20px;font-size:.85rem;color:var(--soft);margin:8px 0}
.key svg{display:inline-block;vertical-align:-2px;margin-right:6px}
details{border-top:1px solid var(--line);padding:8px 0}
summary{cursor:pointer}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--panel);padding:10px 12px;
font:13px/1.5 ui-monospace,monospace;margin:6px 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;font-size:.9rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media (max-width:560px){main{padding:20px 14px 60px}.head{font-size:2rem}
tbody th{white-space:normal;min-width:8em}dl{display:block}
dd{margin:0 0 8px}}
"""


def page(title: str, body: str) -> str:
    """A whole HTML page that allows its own style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def table(
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    bold: Sequence[int] = (),
    words: Sequence[int] = (),
) -> str:
    """A table in a box that scrolls by itself; cells are escaped.

    Args:
        bold: Numbers of the rows that stand out.
        words: Numbers of the columns that hold text, which wraps, and not figures.
    """

    def cell(number: int, text: str) -> str:
        kind = ' class="words"' if number in words else ""
        return f"<td{kind}>{escape(text)}</td>"

    head = "".join(
        f'<th scope="col"{" class=words" if i in words else ""}>{escape(name)}</th>'
        for i, name in enumerate(header)
    )
    lines = []
    for number, row in enumerate(rows):
        first, *rest = row
        cells = "".join(cell(i, text) for i, text in enumerate(rest, start=1))
        kind = ' class="section"' if number in bold else ""
        lines.append(f'<tr{kind}><th scope="row">{escape(first)}</th>{cells}</tr>')
    return (
        f'<div class="box"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr>'
        f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def shown(figure: Mapping[str, Any] | None, signed: bool = False, interval: bool = True) -> str:
    """A figure as text: value, interval."""
    if not figure or figure["value"] is None:
        return "–"
    form = "+.3f" if signed else ".3f"
    text = format(figure["value"], form)
    if not interval or figure["low"] is None or figure["high"] is None:
        return text
    return f"{text} [{figure['low']:{form}}, {figure['high']:{form}}]"


def plain(figure: Figure) -> str:
    """Value and interval."""
    return shown(figure.to_dict())


def signed(figure: Figure) -> str:
    """Value and interval with their signs."""
    return shown(figure.to_dict(), signed=True)


def legend(items: Sequence[tuple[str, str]]) -> str:
    """Labels, each after its symbol in a square of 12."""
    entries = "".join(
        '<span><svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">'
        f"{shape}</svg>{escape(label)}</span>"
        for label, shape in items
    )
    return f'<div class="key">{entries}</div>'
