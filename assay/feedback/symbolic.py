"""Whether two mathematical expressions are equal: math-verify in a process that can be stopped.

Answers are written by models, and some keep a computer algebra system busy for ever or fill the
memory; the process that reads them has a limit on both and is started again after it. Only its
parser of LaTeX is used, which builds expressions from a grammar and evaluates no code.
"""

from __future__ import annotations

import atexit
import json
import logging
import re
import select
import subprocess
import sys
import threading
from importlib import import_module
from typing import Any

from assay.errors import MissingExtraError, require_extra

MEMORY = 4 * 2**30
"""Most bytes of address space the process may take."""
START_SECONDS = 120.0
"""Longest time for the process to import its libraries."""
LONGEST = 2_000
"""Characters of the longest expression that is read."""

_lock = threading.Lock()
_worker: subprocess.Popen[str] | None = None


def equal(a: str, b: str, seconds: float) -> bool | None:
    """Whether two expressions in LaTeX are equal; None if they cannot be read, or not in time.

    Raises:
        MissingExtraError: If math-verify is not installed, or cannot be started.
    """
    require_extra("math", "To compare answers by algebra, Assay", ["math_verify"])
    if max(len(a), len(b)) > LONGEST:
        return None
    with _lock:
        worker = _running()
        try:
            line = _asked(worker, [a, b], seconds)
        except BaseException:
            _stop()  # half an exchange must not answer the next
            raise
        if line is None:
            _stop()
            return None
    verdict: bool | None = json.loads(line)[0]
    return verdict


def _running() -> subprocess.Popen[str]:
    global _worker
    if _worker is not None and _worker.poll() is not None:
        _stop()
    if _worker is None:
        _worker = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if _line(_worker, START_SECONDS) is None:
            _stop()
            raise MissingExtraError(
                "math-verify is installed but could not be started; "
                "repair it with: pip install --force-reinstall 'assay[math]'"
            )
    return _worker


def _asked(worker: subprocess.Popen[str], pair: list[str], seconds: float) -> str | None:
    assert worker.stdin is not None
    try:
        worker.stdin.write(json.dumps(pair) + "\n")
        worker.stdin.flush()
    except BrokenPipeError:
        return None
    return _line(worker, seconds)


def _line(worker: subprocess.Popen[str], seconds: float) -> str | None:
    assert worker.stdout is not None
    ready, _, _ = select.select([worker.stdout], [], [], seconds)
    return worker.stdout.readline() or None if ready else None


@atexit.register
def _stop() -> None:
    global _worker
    if _worker is not None:
        _worker.kill()
        _worker.communicate()
        _worker = None


def _latex(text: str) -> str:
    """Plain spellings as LaTeX has them: sqrt(2), pi, >=."""
    text = re.sub(r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"√\s*\(?(\w+)\)?", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])|π", r"\\pi ", text)
    text = text.replace("**", "^").replace("*", r"\cdot ")
    text = text.replace(">=", r"\geq ").replace("<=", r"\leq ").replace("∞", r"\infty ")
    return f"${text}$"


def _verdict(a: str, b: str) -> bool | None:
    library: Any = import_module("math_verify")
    latex = [library.LatexExtractionConfig()]
    one, other = (
        library.parse(_latex(x), latex, fallback_mode="no_fallback", parsing_timeout=0)
        for x in (a, b)
    )
    if not one or not other:
        return None
    # math-verify looks from the reference at the answer; equality here has no direction
    verify = library.verify
    return bool(verify(one, other, timeout_seconds=0) or verify(other, one, timeout_seconds=0))


def _serve() -> None:
    import_module("math_verify")  # before the memory is limited and the first question waits
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        pass  # no such limit on this system; the time is limited all the same
    logging.disable(logging.CRITICAL)
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        a, b = json.loads(line)
        try:
            verdict = _verdict(a, b)
        except (Exception, RecursionError, MemoryError):
            verdict = None
        print(json.dumps([verdict]), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
