"""Untrusted Python, tested in processes that can do nothing but compute.

Two processes are started for each run. The *worker* runs the code; the *examiner* runs the tests
and calls the worker through a channel of plain data. Both are walled in for good before they run
anything (:mod:`assay.feedback.jail`): an isolated interpreter without site packages, environment,
standard input or files of their own; limits of processor time, memory, open files and output; no
file opened for writing, none read but the standard library and shared libraries (Landlock); no
socket, process, thread, or signal to another process (seccomp); another user where Assay is root.
Where the kernel has no such walls, nothing is run.

What is guarded against: code that writes, prints, exits or raises what looks like success, patches
builtins or modules, overrides ``__eq__``, walks frames or memory for expected values, or changes
the tests. All of it happens in the worker; the expected values and the verdict are in the examiner,
which compares data it has built itself. An object that is no plain data stays in the worker, and
the tests can only call and iterate it, unless they are told to use such objects: what is then
*asked* of one (``len``, a method, ``bool``) the worker answers, so tests should compare values.
Code that knows the tests' arguments by heart can answer them alone: no sandbox can tell. What is
not guarded against: a fault of the kernel itself, what can be learnt from timing, and that a path
exists (``stat`` is not restricted). Tests are walled in too, but are trusted for what they say.

What tests cannot do: compare objects of the code's own classes by the code's own ``__eq__``, or use
packages beyond the standard library. Threads and ``asyncio`` do not work in the code.
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from assay.errors import AssayError, ConfigError
from assay.feedback.jail import NOBODY, missing_walls, readable_paths

Kind = Literal["passed", "failed", "timeout", "memory", "blocked", "crashed", "output"]
_KINDS: dict[str, Kind] = {
    "passed": "passed", "failed": "failed", "memory": "memory", "blocked": "blocked",
    "crashed": "crashed", "output": "output",
}  # fmt: skip
_START_SECONDS = 30.0
_LONGEST_VERDICT = 2**16


class SandboxError(AssayError, RuntimeError):
    """Untrusted code was not run, for it could not be walled in."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What code under test may use, and its tests again."""

    seconds: int | float = 10.0
    """On the clock, both together."""
    cpu_seconds: int = 10
    """Of the processor, each of the two."""
    memory_mib: int = 512
    """Of address space, each of the two."""
    output_bytes: int = 65536
    """Printed, by the code."""

    def __post_init__(self) -> None:
        for name, least in (("cpu_seconds", 1), ("memory_mib", 64), ("output_bytes", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if not (0 < self.seconds < math.inf):
            raise ConfigError(f"seconds is {self.seconds}; it must be more than 0.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    ``passed``: every test ran to its end. ``failed``: a test or the code raised an error.
    ``timeout`` and ``memory``: a limit. ``blocked``: it tried what is forbidden. ``crashed``: the
    process ended itself or broke. ``output``: it printed or returned too much.
    """

    kind: Kind
    detail: str
    stdout: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every test ran to its end."""
        return self.kind == "passed"


def is_isolated() -> bool:
    """Whether untrusted code can be walled in here: Linux with Landlock and seccomp."""
    return missing_walls() is None


def run_tests(
    code: str,
    tests: str,
    limits: Limits | None = None,
    *,
    redefined: Sequence[str] = (),
    objects: bool = False,
) -> Outcome:
    """Run untrusted code, and tests against what it defines.

    Tests are Python: ``assert add(2, 3) == 5``, or functions ``test_…`` without arguments. They see
    what the code defines by its name, or by ``from solution import add``. Lists, dicts and sets
    that the code changes in place are changed for them too, and it may call their functions.

    Args:
        limits: What may be used; by default :class:`Limits`.
        redefined: Names of Python's builtins that the tests mean to have from the code; all others
            are Python's own.
        objects: Whether the tests use objects of the code's own classes: attributes, methods,
            ``len``, ``bool``. Such an object answers for itself, so compare the values it gives.
            Without, the code's functions are called, and what they give is data or iterated.

    Raises:
        SandboxError: If the code cannot be walled in; it is then not run.
        ConfigError: If the tests are not Python, or say nothing.
    """
    limits = limits or Limits()
    _check_tests(tests)
    if missing := missing_walls():
        raise SandboxError(
            f"Untrusted code is run behind Landlock and seccomp only, and {missing}; run Assay on "
            "Linux 5.13 or newer, in a container that allows both, or leave tests of code out."
        )
    given = {
        "code": code,
        "tests": tests,
        "redefined": list(redefined),
        "objects": objects,
        "paths": readable_paths(),
        "parent": os.getpid(),
        "limits": {"cpu_seconds": limits.cpu_seconds, "memory_bytes": limits.memory_mib * 2**20},
    }
    with _Run(given, limits) as run:
        return run.outcome()


def _check_tests(tests: str) -> None:
    try:
        compile(tests, "tests", "exec")
        says_something = any(
            isinstance(node, ast.Assert | ast.Call | ast.Raise | ast.FunctionDef)
            for node in ast.walk(ast.parse(tests))
        )
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"the tests are not Python: {error}; fix them.") from error
    if not says_something:
        raise ConfigError("the tests are empty, and every code would pass them; add an assert.")


class _Run:
    """The two processes of one run, their pipes, and their end."""

    def __init__(self, given: dict[str, object], limits: Limits) -> None:
        self.given, self.limits = given, limits
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.statuses: dict[str, tuple[int, float]] = {}
        self.stack = contextlib.ExitStack()
        self.printed = b""

    def __enter__(self) -> _Run:
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="assay-sandbox-"))
            self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.stack.callback(self._end)
            if os.geteuid() == 0:
                os.chown(self.folder, NOBODY, NOBODY)
            ours, theirs = socket.socketpair()
            verdict, verdict_end = os.pipe()
            output, output_end = os.pipe()
            self.verdict = self.stack.enter_context(os.fdopen(verdict, "rb", 0))
            self.output = self.stack.enter_context(os.fdopen(output, "rb", 0))
            with contextlib.ExitStack() as theirs_alone:
                keep = theirs_alone.enter_context
                said, out = (
                    keep(os.fdopen(verdict_end, "wb", 0)),
                    keep(os.fdopen(output_end, "wb", 0)),
                )
                channels = keep(ours), keep(theirs)
                both = [
                    self._start("worker", {"code"}, channels[0], None, out),
                    self._start(
                        "examiner", {"tests", "redefined", "objects"}, channels[1], said, None
                    ),
                ]
            for told in both:  # side by side: most of a run is the start of two interpreters
                self._await(told)
            return self
        except BaseException:
            self.stack.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def _start(
        self,
        role: str,
        parts: set[str],
        channel: socket.socket,
        verdict: IO[bytes] | None,
        out: IO[bytes] | None,
    ) -> IO[bytes]:
        """Start one of the two, told only its own part; it will say whether its walls stand."""
        ready, ready_end = os.pipe()
        told = self.stack.enter_context(os.fdopen(ready, "rb", 0))
        with tempfile.TemporaryFile() as setup, os.fdopen(ready_end, "wb", 0) as tell:
            parts = parts | {"limits", "paths", "parent"}
            setup.write(json.dumps({k: v for k, v in self.given.items() if k in parts}).encode())
            setup.seek(0)
            numbers = [setup.fileno(), channel.fileno(), tell.fileno()]
            numbers += [verdict.fileno()] if verdict else []
            jail = Path(__file__).with_name("jail.py")
            self.processes[role] = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", "-B", "-u", "-X", "utf8", str(jail), role),
                    *map(str, numbers),
                    *([] if verdict else ["-1"]),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out or subprocess.DEVNULL,
                stderr=out or subprocess.DEVNULL,
                cwd=self.folder,
                env={},
                pass_fds=numbers,
                start_new_session=True,
            )
        return told

    def _await(self, told: IO[bytes]) -> None:
        text = b""
        while _readable([told], _START_SECONDS) and (more := told.read(4096)):
            text += more
        if text != b"ready":
            said = text.decode(errors="replace") or "it did not start"
            raise SandboxError(
                f"Untrusted code was not run, for a wall of the sandbox does not stand ({said}); "
                "allow Landlock and seccomp here, or leave tests of code out."
            )

    def outcome(self) -> Outcome:
        """Wait for the verdict, the end of a process, a limit."""
        start = time.monotonic()
        kind, detail = self._watch(start + self.limits.seconds)
        seconds = time.monotonic() - start
        return Outcome(kind, detail, self.printed.decode(errors="replace"), seconds)

    def _watch(self, end: float) -> tuple[Kind, str]:
        said = b""
        open_ends: list[IO[bytes]] = [self.verdict, self.output]
        while self.verdict in open_ends:
            left = end - time.monotonic()
            readable = _readable(open_ends, left) if left > 0 else []
            if not readable:
                return "timeout", f"not done after {self.limits.seconds:g} seconds"
            for file in readable:
                more = os.read(file.fileno(), 2**16)
                if not more:
                    open_ends.remove(file)
                elif file is self.verdict:
                    said += more
                else:
                    self.printed += more
            if len(self.printed) > self.limits.output_bytes:
                self.printed = self.printed[: self.limits.output_bytes]
                return "output", f"more than {self.limits.output_bytes:,} bytes printed"
            if len(said) > _LONGEST_VERDICT:
                return "crashed", "the tests wrote no verdict"
        return self._judged(said)

    def _judged(self, said: bytes) -> tuple[Kind, str]:
        """The examiner's verdict; where a process was ended by the kernel, why."""
        self._drain()
        try:
            kind, detail = json.loads(said)
            known = _KINDS[kind]
        except (ValueError, TypeError, KeyError):
            return self._ended("examiner", "the tests")
        return self._ended("worker", "the code") if known == "crashed" else (known, str(detail))

    def _drain(self) -> None:
        """What the code has printed before the verdict and nobody has read yet."""
        while _readable([self.output], 0.0):
            more = os.read(self.output.fileno(), 2**16)
            if not more or len(self.printed) >= self.limits.output_bytes:
                return
            self.printed = (self.printed + more)[: self.limits.output_bytes]

    def _ended(self, role: str, who: str) -> tuple[Kind, str]:
        """Why a process ended, by what the kernel says of it."""
        status, cpu = self._wait(role, 1.0)
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number == signal.SIGSYS:
                return "blocked", (
                    f"{who} tried a forbidden system call: a socket, a process or thread, a file "
                    "to write or change, another process, or the kernel"
                )
            if number == signal.SIGXCPU or (
                number == signal.SIGKILL and cpu >= self.limits.cpu_seconds - 0.5
            ):
                return "timeout", f"{who} used {self.limits.cpu_seconds} seconds of the processor"
            return "crashed", f"{who} ended by {signal.Signals(number).name}"
        return "crashed", f"{who} ended the process with status {os.WEXITSTATUS(status)}"

    def _wait(self, role: str, seconds: float) -> tuple[int, float]:
        """Status and processor time of a process, which is ended if it does not end by itself."""
        if role in self.statuses:
            return self.statuses[role]
        process = self.processes[role]
        end = time.monotonic() + seconds
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                os.kill(process.pid, signal.SIGKILL)
                _, status, used = os.wait4(process.pid, 0)
                break
            time.sleep(0.001)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.statuses[role] = status, used.ru_utime + used.ru_stime
        return self.statuses[role]

    def _end(self) -> None:
        """End what still runs: each process is alone in its group, for it can start no other."""
        for role, process in self.processes.items():
            if role not in self.statuses:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                self._wait(role, 0.0)


def _readable(files: Sequence[IO[bytes]], seconds: float) -> list[IO[bytes]]:
    """Those that have something to read, or ended; waits until one has."""
    poll = select.poll()  # select() knows no descriptor from 1024 on
    by_number = {file.fileno(): file for file in files}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(math.ceil(seconds * 1000))]
