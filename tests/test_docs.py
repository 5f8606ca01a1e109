"""Contract: pages made from the code are current, and the Python in the documentation runs."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [page for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))] if page.exists()]
LINKED = [*PAGES, *sorted(ROOT.glob("docs/decisions/*.md")), ROOT / "CONTRIBUTING.md"]


@pytest.fixture(scope="session")
def make_docs():
    return runpy.run_path(str(ROOT / "scripts" / "make_docs.py"))


def python_blocks(text: str) -> list[tuple[int, str]]:
    """Line number and code of every block fenced as exactly ```python."""
    blocks, start, code = [], 0, []
    for number, line in enumerate(text.splitlines(), 1):
        if line.rstrip() == "```python":
            start, code = number, []
        elif start and line.startswith("```"):
            blocks.append((start, "\n".join(code)))
            start = 0
        elif start:
            code.append(line)
    return blocks


def test_blocks_are_found_with_their_lines_and_no_run_is_left_out():
    text = "A\n```python\nx = 1\n\ny = 2\n```\n```python no-run\nz\n```\n```toml\nx = 1\n```\n"
    assert python_blocks(text) == [(2, "x = 1\n\ny = 2")]


def test_made_pages_are_current(make_docs):
    assert make_docs["main"](["--check"]) is None


def test_check_names_a_page_that_is_stale(make_docs, tmp_path, monkeypatch):
    monkeypatch.setitem(make_docs["main"].__globals__, "DOCS", tmp_path)
    assert make_docs["main"](["--check"]) == "not current: cli.md, config.md; run 'make docs'."
    assert make_docs["main"]([]) is None
    assert make_docs["main"](["--check"]) is None
    (tmp_path / "cli.md").write_text("old")
    assert make_docs["main"](["--check"]) == "not current: cli.md; run 'make docs'."


@pytest.fixture
def documented_directory(tmp_path, monkeypatch, gold_pairs, tiny_backbone):
    """A directory with pairs.jsonl and solutions.jsonl, where smollm2-135m is the tiny backbone."""
    rows = "".join(json.dumps(row) + "\n" for row in gold_pairs(60))
    (tmp_path / "pairs.jsonl").write_text(rows)
    solutions = [
        {
            "prompt": f"Problem {n}",
            "steps": ["a kind step", f"a {word} step"],
            "labels": [1, label],
            "correct": label == 1,
        }
        for n in range(20)
        for word, label in (("rude", -1), ("clear", 1))
    ]
    (tmp_path / "solutions.jsonl").write_text("\n".join(map(json.dumps, solutions)))
    backbones = tmp_path / "cache" / "backbones"
    backbones.mkdir(parents=True)
    (backbones / "smollm2-135m").symlink_to(tiny_backbone)
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("documented_directory")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_documentation_runs(page):
    """Blocks of a page share one namespace."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, code in python_blocks(page.read_text(encoding="utf-8")):
        # blank lines in front: a traceback then shows the page's own line number
        exec(compile("\n" * line + code, str(page), "exec"), namespace)


def heading_anchor(heading: str) -> str:
    """The anchor GitHub gives a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_links_in_documentation_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        headings = (
            re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M) if anchor else []
        )
        assert not anchor or anchor in map(heading_anchor, headings), f"{page.name} links to {link}"


def test_the_tree_figure_is_drawn_from_the_engine(tmp_path):
    figures = runpy.run_path(str(ROOT / "scripts" / "make_figures.py"))
    packed = figures["pack"](figures["example_trees"]())
    seen = figures["attention_mask"](packed)
    # every token sees as many tokens as its own conversation has up to it
    assert seen.sum(axis=1).tolist() == (packed.position_ids + 1).tolist()
    figures["main"]([str(tmp_path)])
    assert (tmp_path / "tree.png").read_bytes().startswith(b"\x89PNG")
