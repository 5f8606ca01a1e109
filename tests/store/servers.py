"""A PostgreSQL of the tests' own, in a folder of its own, that can be stopped hard."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Server:
    """A cluster with one database, ``assay``."""

    def __init__(self, folder: Path, programs: Path, user: dict[str, Any]):
        self.folder, self.programs, self.user = folder, programs, user
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://assay@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self.programs / program), *arguments], check=True, cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self.user,
        )  # fmt: skip

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        # a busy machine recovers slowly, and pg_ctl waits a minute unless told
        self.run("pg_ctl", "-D", "data", "-w", "-t", "600", "-l", "log", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "-D", "data", "-w", "-m", mode, "stop")


def programs() -> Path | None:
    """Where PostgreSQL's programs are."""
    config = shutil.which("pg_config")
    if config is None:
        return None
    said = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True)
    folder = Path(said.stdout.strip())
    return folder if (folder / "initdb").exists() and (folder / "pg_ctl").exists() else None


@contextmanager
def postgres() -> Iterator[Server]:
    """A server that runs; the test is skipped where there is none to run, or nobody to run it."""
    found = programs()
    if found is None:
        pytest.skip("no PostgreSQL server is installed")
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to be run by root
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("there is no user postgres to run a server")
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="assay-pg-"))
    try:
        if user:
            shutil.chown(folder, "postgres", "postgres")
        server = Server(folder, found, user)
        server.run("initdb", "-D", "data", "-U", "assay", "-A", "trust", "-E", "UTF8",
                   "--locale=C.UTF-8", "--no-sync")  # fmt: skip
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
