"""Write docs/cli.md and docs/config.md from the code; with --check, fail if they are stale."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from assay import cli
from assay.configs import ShowConfig

DOCS = Path(__file__).parent.parent / "docs"


def main(arguments: list[str]) -> str | None:
    """Write or check both pages; returns what is wrong."""
    pages = {DOCS / "cli.md": cli_page(), DOCS / "config.md": config_page()}
    if arguments == ["--check"]:
        stale = [page.name for page, text in pages.items() if not is_current(page, text)]
        return f"not current: {', '.join(stale)}; run 'make docs'." if stale else None
    for page, text in pages.items():
        page.write_text(text, encoding="utf-8")
    return None


def is_current(page: Path, text: str) -> bool:
    """Whether the page exists and says the same."""
    return page.exists() and page.read_text(encoding="utf-8") == text


def cli_page() -> str:
    """The help of every verb."""
    page = "# Command line\n\nMade by `make docs` from the code.\n"
    for name in ("", *cli.VERBS):
        page += f"\n## assay{name and f' {name}'}\n\n```text\n{_help_of(name)}\n```\n"
    return page


def config_page() -> str:
    """All defaults of every verb as commented TOML."""
    page = (
        "# Configuration\n\nMade by `make docs` from the code. A TOML file is flags written down: "
    )
    page += (
        "`assay VERB FILE.toml --flag value`, and flags win.\nA key that is commented out has no "
    )
    page += "value: it is required, or its comment says what it becomes.\n"
    for name in cli.VERBS:
        if name != "config":
            text = cli.show_config(ShowConfig(verb=tuple(name.split())))
            page += f"\n## assay {name}\n\n```toml\n{text}\n```\n"
    return page


def _help_of(name: str) -> str:
    output = StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with redirect_stdout(output):
            cli.main([*name.split(), "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return "\n".join(line.rstrip() for line in output.getvalue().strip().splitlines())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
