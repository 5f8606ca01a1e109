"""The site for judgments by people, and its files in and out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from assay.configs.common import OnBadRow


@dataclass(frozen=True, kw_only=True)
class Collect:
    """Serve the annotation site over a preference store; a link is printed."""

    db: str = "prefs.db"
    """The store: a path (SQLite) or postgresql://user@host/name. It is made when missing."""
    import_: str | None = field(default=None, metadata={"key": "import"})
    """Comparisons to import into a project made for them: a file, a directory, or a hub name. A
    project that was imported into before is left as it is."""
    project: str | None = None
    """The name of that project. Default: the file's."""
    format: str | None = None
    """The format of the file. Default: found out."""
    overlap: int = 1
    """Judgments wanted of each comparison, of different annotators."""
    preset: str = "helpsteer"
    """The scale on which one of two responses is called better: binary, llama2, helpsteer, bai8,
    arena, arena6 or slider."""
    host: str = "127.0.0.1"
    """The address to serve at. Any but this machine's own needs an admin with a password."""
    port: int = 8420
    """The port to serve at; 0: any that is free."""
    https: bool = False
    """Whether people reach it by https, through a proxy: cookies are then for https alone."""
    behind_proxy: bool = False
    """Believe what a proxy on this machine says of who asks (X-Forwarded-For, -Proto)."""
    session_hours: float = 12.0
    """How long one stays signed in."""
    open_registration: bool = False
    """Whether whoever the OpenID provider vouches for gets an account, without a role anywhere."""
    oidc_issuer: str | None = None
    """The address of an OpenID provider to sign in by. Default: $ASSAY_OIDC_ISSUER, or none."""
    oidc_client: str | None = None
    """This site's client id there. Default: $ASSAY_OIDC_CLIENT."""
    oidc_secret_file: Path | None = None
    """A file with its secret. Default: $ASSAY_OIDC_SECRET_FILE, or the secret itself in
    $ASSAY_OIDC_SECRET."""
    oidc_name: str = "OpenID"
    """What the button calls the provider."""
    webhook_hosts: tuple[str, ...] = ()
    """Hosts of your own network that webhooks may name; all others must be public."""


@dataclass(frozen=True, kw_only=True)
class Import:
    """Take comparisons from a file into a project of the preference store, all or none."""

    file: str = field(metadata={"positional": True})
    """A file (.jsonl, .json, .csv, .tsv, also with .gz; .parquet; .zip of one of them), a
    directory, or a hub name."""
    db: str = "prefs.db"
    """The store: a path (SQLite) or postgresql://user@host/name."""
    project: str | None = None
    """The project's name. Default: the only one."""
    create: bool = False
    """Make the store and the project where they are not there."""
    kind: Literal["auto", "pair", "ranking", "steps"] = "auto"
    """auto takes two responses as a pair, more as a ranking, steps as a solution; ranking also
    ranks two."""
    format: str = "auto"
    """The format of the rows, where their keys say another; docs/formats.md names them."""
    overlap: int | None = None
    """Judgments wanted of each comparison. Default: the row's, or the project's."""
    purpose: Literal["work", "screening", "training", "gold", "attention"] = "work"
    """Of items with a known answer: from the field expected, or the row's own preference."""
    language: str | None = None
    """Of comparisons whose row says none, such as en."""
    without_judgments: bool = False
    """Leave preferences in the rows out, so that all is judged anew."""
    shuffle_seed: int | None = None
    """Draws the order that responses are numbered in. Default: as in the file; what is shown first
    is drawn in any case."""
    on_bad_row: OnBadRow = "error"
    """error stops at the first bad row, and nothing is kept; skip counts it and goes on."""
    limit: int | None = None
    """Take only the first so many comparisons."""
    json: bool = False
    """Print what came of it as JSON."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the judgments of a project of the preference store to a file."""

    output: Path
    """The new file: .jsonl, .jsonl.gz, .json (one array), .parquet, .csv or .tsv."""
    db: str = "prefs.db"
    """The store: a path (SQLite) or postgresql://user@host/name."""
    project: str | None = None
    """The project's name. Default: the only one."""
    format: str = "assay"
    """assay (everything), pairs, trl-implicit, openrlhf, hh, kto, ultrafeedback, helpsteer, arena,
    trl-stepwise, prm800k, argilla, label-studio or csv; docs/formats.md says what each holds."""
    per: Literal["comparison", "judgment"] = "comparison"
    """A row for the mean of a comparison's judgments, or for each judgment, where a format lets
    choose."""
    ties: Literal["keep", "drop"] = "keep"
    """keep writes ties with probability 0.5 where a format has one; drop counts them."""
    decisions: Literal["win", "ignore"] = "win"
    """Whether an adjudicated answer stands in for the judgments of its comparison."""
    surplus: bool = False
    """Count judgments beyond those wanted, too."""
    items: Literal["work", "all"] = "work"
    """all: gold, attention, screening and training items too."""
    unjudged: bool | None = None
    """Whether comparisons without a judgment are written. Default: in the form assay only."""
    names: bool = False
    """Give annotators' names. Default: pseudonyms, which stay the same within a project."""
    formulas: Literal["guard", "keep"] = "guard"
    """guard: a cell of a table that a spreadsheet would run as a formula gets an apostrophe."""
    json: bool = False
    """Print what was written, and what was not, as JSON."""
