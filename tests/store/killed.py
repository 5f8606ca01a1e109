"""Processes that work on a store until they are killed, and log what was acknowledged.

``python killed.py URL FOLDER`` makes one process for each line ``MODE NUMBER`` of its input, and
answers with its id. It does so by forking before anything is open, for to import takes seconds.
Every acknowledged id is written to ``FOLDER/log``, and flushed to the disk, only after the store
returned. What goes wrong is written to ``FOLDER/errors``.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from filled import pair

from assay.errors import StoreError
from assay.store import drafts, importing, undoing
from assay.store.ids import new_id
from assay.store.people import members
from assay.store.store import PreferenceStore


class Log:
    """Lines that are on the disk when ``write`` returns."""

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def write(self, *words: str) -> None:
        os.write(self._file, (" ".join(words) + "\n").encode())
        os.fdatasync(self._file)


def judge(store: PreferenceStore, project: str, person: str, log: Log, draw: random.Random) -> None:
    """Claim, autosave, submit, and now and then repeat, undo, skip or leave, for ever."""
    left: list[str] = []
    while True:
        given = store.claim(project, person, left)
        if given is None:
            left.clear()
            continue
        comparison = given.comparison_id
        for revision in range(1, draw.randrange(1, 4)):
            draft = {"raw": "tie", "rationale": "word " * revision}
            store.write(drafts.save_draft, person, comparison, draft, revision)
            log.write("draft", comparison, person, str(revision))
        kind = draw.random()
        if kind < 0.1:
            left.append(comparison)
            continue
        identity = new_id()
        shown = [response.id for response in given.responses]
        said: dict[str, Any] = {"raw": draw.choice(["tie", "first-much", "second-better"])}
        for _ in range(2 if kind > 0.8 else 1):
            store.submit(person, identity, comparison, said, shown=shown)
            log.write("judgment", identity, comparison, person)
        if kind > 0.95:
            store.write(undoing.undo, person, identity)
            log.write("undone", identity, comparison, person)


def fill(store: PreferenceStore, project: str, log: Log, number: int) -> None:
    """Imports of 60 comparisons, in three batches each."""
    while True:
        number += 1
        try:
            store.add_comparisons(
                project,
                (pair(i, overlap=1, extra={"import": number}) for i in range(60)),
                source="killed",
            )
        except StoreError:  # the one that was killed last is not yet taken for dead
            continue
        log.write("imported", str(number))


def work(url: str, folder: Path, mode: str, number: int) -> None:
    """Until killed."""
    log, draw = Log(folder / "log"), random.Random(number)
    if mode == "migrate":
        migrate(folder, log, number)
    importing.BATCH = 20
    importing.STALE_MS = 0  # who was killed is dead at once; two imports at a time are not tested
    store = PreferenceStore.open(url)
    project = store.projects()[0].id
    if mode == "import":
        fill(store, project, log, number * 1000)
    people = sorted(member.annotator_id for member in store.read(members, project))
    judge(store, project, people[number % 3], log, draw)


def migrate(folder: Path, log: Log, number: int) -> None:
    """New databases."""
    made = 0
    while True:
        made += 1
        path = str(folder / f"new-{number}-{made}.db")
        log.write("opening", path)
        PreferenceStore.open(path).close()
        log.write("opened", path)


def main() -> None:
    """Fork."""
    url, folder = sys.argv[1], Path(sys.argv[2])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        mode, number = line.split()
        process = os.fork()
        if process == 0:
            try:
                work(url, folder, mode, int(number))
            except BaseException:
                with (folder / "errors").open("a") as file:
                    traceback.print_exc(file=file)
            os._exit(1)
        print(process, flush=True)


if __name__ == "__main__":
    main()
