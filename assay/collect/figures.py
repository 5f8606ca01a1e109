"""Figures of projects as they were last computed, and computing them anew beside the requests.

Few judgments are counted at once; many are counted in a thread, and until it is done pages show
what there was, with its time. A figure is never of a part.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from weakref import WeakKeyDictionary

from assay.collect.quality import Quality, computed, gathered
from assay.store import quality as counted
from assay.store.store import PreferenceStore

log = logging.getLogger("assay.collect")

SMALL = 5_000
"""Judgments up to which a page waits for its figures."""
PATIENCE_SECONDS = 20.0
IMPATIENCE_SECONDS = 0.05
AT_MOST_SHARE = 20
"""After figures took a second they are good for so many seconds."""
OLD_SECONDS = 60.0


class Figures:
    """The latest figures of each project of a store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Quality] = {}
        self._running: dict[str, Future[Quality]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="assay-figures")

    def of(self, store: PreferenceStore, project_id: str) -> Quality | None:
        """The figures of a project; None while they are computed for the first time."""
        stand = store.read(counted.stand, project_id)
        with self._lock:
            known = self._known.get(project_id)
            if known is not None and _is_good(known, stand):
                return known
            running = self._running.get(project_id)
            if running is None:
                running = self._pool.submit(self._compute, store, project_id)
                self._running[project_id] = running
        try:
            return running.result(PATIENCE_SECONDS if stand[0] <= SMALL else IMPATIENCE_SECONDS)
        except NotYetError:
            return known

    def is_running(self, project_id: str) -> bool:
        """Whether newer figures are being computed."""
        with self._lock:
            return project_id in self._running

    def _compute(self, store: PreferenceStore, project_id: str) -> Quality:
        try:
            found = computed(store.read(gathered, project_id))
            with self._lock:
                self._known[project_id] = found
            return found
        except Exception:
            log.exception("figures of project %s could not be computed", project_id)
            raise
        finally:
            with self._lock:
                self._running.pop(project_id, None)


def _is_good(known: Quality, stand: tuple[int, int]) -> bool:
    """Whether figures are of what there is now, or new enough for what they cost.

    What was taken back since does not show in ``stand``, so all figures are made anew at times.
    """
    age = time.time() - known.at / 1000
    if stand[0] > SMALL:
        return age < max(AT_MOST_SHARE * known.seconds, OLD_SECONDS if known.stand == stand else 0)
    return known.stand == stand and age < OLD_SECONDS


_FIGURES: WeakKeyDictionary[PreferenceStore, Figures] = WeakKeyDictionary()
_LOCK = threading.Lock()


def figures_of(store: PreferenceStore) -> Figures:
    """The one set of figures of a store in this process."""
    with _LOCK:
        if store not in _FIGURES:
            _FIGURES[store] = Figures()
        return _FIGURES[store]
