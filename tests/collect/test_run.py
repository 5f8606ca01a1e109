"""``assay collect`` as a command: the printed link, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from assay.cli import main, parse
from assay.collect import run as verb
from assay.collect.passwords import hashed
from assay.configs import Collect
from assay.store import people
from assay.store.store import PreferenceStore

pytestmark = pytest.mark.medium

ROWS = "".join(
    json.dumps({"prompt": f"Tea {i}?", "chosen": "Yes.", "rejected": "No."}) + "\n"
    for i in range(3)
)


@contextmanager
def served(*flags: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The command in a process of its own, and what it printed by the time it serves."""
    process = subprocess.Popen(
        [sys.executable, "-m", "assay", "collect", "--port", "0", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    lines: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip())
            if line.startswith("Serving") and "Nobody" not in line:
                break
        yield process, lines
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def get(address: str) -> tuple[int, str]:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.status, answer.read().decode()


def test_a_site_opens_with_a_link_and_ends_with_ctrl_c(tmp_path):
    (tmp_path / "pairs.jsonl").write_text(ROWS)
    db = tmp_path / "prefs.db"
    flags = ("--db", str(db), "--import", str(tmp_path / "pairs.jsonl"), "--overlap", "2")
    with served(*flags) as (process, lines):
        assert lines[0] == "Project 'pairs': 3 comparisons with 6 responses and 3 judgments."
        address = re.search(r"http://127\.0\.0\.1:\d+/", lines[1])
        assert address
        assert process.stdout is not None
        process.stdout.readline()
        link = process.stdout.readline().strip()
        assert link.startswith(f"{address[0]}setup?token=")
        status, page = get(link)
        assert (status, "Set up this site" in page) == (200, True)
        maps = Path(f"/proc/{process.pid}/maps")
        if maps.exists():
            loaded = maps.read_text()
            assert "torch" not in loaded
            status_of = Path(f"/proc/{process.pid}/status").read_text()
            resident = re.search(r"VmRSS:\s+(\d+) kB", status_of)
            assert resident
            assert int(resident[1]) < 160_000
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read().strip() == "Stopped."
    with PreferenceStore.open(db) as store:
        assert store.project_named("pairs").settings.overlap == 2
        assert store.problems() == []
    with served(*flags) as (process, lines):  # again: nothing comes in twice
        assert lines[0] == "Project 'pairs' is there already; pairs.jsonl was not imported again."
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def refused(*flags: str, capsys: Any) -> str:
    """The one sentence of a command that does not start."""
    assert main(["collect", *flags]) == 2
    out, err = capsys.readouterr()
    assert "Serving" not in out
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return str(err)


def test_a_port_in_use_is_said(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("--db", str(tmp_path / "a.db"), "--port", str(port), capsys=capsys)
    assert f"--port {port}" in said
    assert "choose another --port" in said
    assert not (tmp_path / "a.db").exists()
    assert "0 to 65,535" in refused("--port", "70000", capsys=capsys)
    assert "names no address" in refused("--host", "no.such.host.invalid", capsys=capsys)


def test_the_network_is_refused_until_there_is_an_admin(tmp_path, capsys, monkeypatch):
    db = str(tmp_path / "a.db")
    said = refused("--db", db, "--host", "0.0.0.0", "--port", "0", capsys=capsys)
    assert "no admin with a password" in said
    assert "Signing in is always needed" in said
    with PreferenceStore.open(db) as store:
        store.write(people.add_annotator, "root", is_site_admin=True, subject="x|y")
    assert "no admin" in refused("--db", db, "--host", "0.0.0.0", "--port", "0", capsys=capsys)
    with PreferenceStore.open(db) as store:
        secret = hashed("a long password")
        store.write(people.add_annotator, "r2", is_site_admin=True, password_hash=secret)
    seen: list[Any] = []
    monkeypatch.setattr(verb, "_serve", lambda *parts: seen.append(parts))
    assert main(["collect", "--db", db, "--host", "0.0.0.0", "--port", "0"]) == 0
    out = capsys.readouterr().out
    assert re.fullmatch(r"Serving http://127\.0\.0\.1:\d+/ \(Ctrl-C ends it\)\n", out)
    assert seen[0][0].state.settings.setup_token is None


@pytest.mark.parametrize(("host", "local"), [
    ("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True),
    ("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("example.org", False),
])  # fmt: skip
def test_what_only_this_machine_can_reach(host, local):
    assert verb.is_loopback(host) == local


def test_a_newer_or_strange_or_read_only_database_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    db = tmp_path / "a.db"
    PreferenceStore.open(db).close()
    read_only = "sqlite:///file:a.db?mode=ro&uri=true"  # root may write whatever has no w
    assert "read-only" in refused("--db", read_only, "--port", "0", capsys=capsys)
    with sqlite3.connect(db) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "has schema 9999" in refused("--db", str(db), "--port", "0", capsys=capsys)
    (tmp_path / "b.db").write_text("this is no database, whatever its name says" * 30)
    assert "no SQLite database" in refused(
        "--db", str(tmp_path / "b.db"), "--port", "0", capsys=capsys
    )
    missing = str(tmp_path / "none" / "a.db")
    assert "does not exist" in refused("--db", missing, "--port", "0", capsys=capsys)


def test_a_missing_extra_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(verb, "PACKAGES", ("fastapi", "no_such_package"))
    said = refused("--db", str(tmp_path / "a.db"), capsys=capsys)
    assert "pip install 'assay[collect]'" in said


def test_an_import_that_fails_is_tried_again_the_next_time(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verb, "_serve", lambda *parts: None)
    file, db = tmp_path / "pairs.jsonl", str(tmp_path / "a.db")
    file.write_text(ROWS + "{")
    flags = ("--db", db, "--import", str(file), "--project", "Tea", "--port", "0")
    assert "line 4" in refused(*flags, capsys=capsys)
    file.write_text(ROWS)
    assert main(["collect", *flags]) == 0
    assert "Project 'Tea': 3 comparisons" in capsys.readouterr().out
    assert "preset" in refused("--db", db, "--import", str(file), "--project", "B", "--preset", "x",
                               "--port", "0", capsys=capsys)  # fmt: skip


def test_an_oidc_provider_without_a_secret_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("ASSAY_OIDC_SECRET", raising=False)
    said = refused("--db", str(tmp_path / "a.db"), "--port", "0", "--oidc-issuer",
                   "https://id.example", "--oidc-client", "assay", capsys=capsys)  # fmt: skip
    assert "client's secret" in said


def test_links_are_of_an_address_one_can_open():
    assert verb._link("0.0.0.0", 1, None).startswith("Serving http://127.0.0.1:1/ ")
    assert verb._link("::", 1, None).startswith("Serving http://[::1]:1/ ")
    assert verb._link("::1", 1, None).startswith("Serving http://[::1]:1/ ")
    assert verb._link("127.0.0.1", 1, "t").endswith("http://127.0.0.1:1/setup?token=t")


def test_flags_are_those_of_the_configuration():
    assert parse("collect", []) == Collect()
    found = parse("collect", ["--import", "a.jsonl", "--https", "--behind-proxy", "--db", "x.db"])
    assert (found.import_, found.https, found.behind_proxy) == ("a.jsonl", True, True)


def test_it_starts_quickly(tmp_path):
    """In seconds of a processor: of a machine of its own it is the time to the link."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with served("--db", str(tmp_path / "a.db")) as (_, lines):
        assert lines
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 4  # 1.4 s where it was measured
