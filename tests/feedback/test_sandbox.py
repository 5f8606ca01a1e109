"""Property: no hostile program gets out, and each is reported. Value: the filter, call by call."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from assay.errors import ConfigError
from assay.feedback import jail, sandbox
from assay.feedback.jail import MACHINES, NOBODY, filter_program
from assay.feedback.sandbox import Limits, SandboxError, is_isolated, run_tests

HOSTILE = sorted((Path(__file__).parent / "hostile").glob("*.py"))
# by the processor's clock, so that a busy machine changes nothing
SMALL = Limits(seconds=60, cpu_seconds=1, memory_mib=128)
SHORT = Limits(seconds=0.5)

walled = pytest.mark.skipif(not is_isolated(), reason="this kernel has no Landlock or no seccomp")
pytestmark = pytest.mark.medium


class Outside:
    """What a hostile program would touch: a secret, a marker's place, listeners, a process."""

    def __init__(self, folder: Path) -> None:
        # as open as permissions can be, so that it is not they that hold
        folder.chmod(0o777)
        self.folder, self.secret, self.marker = folder, folder / "secret", folder / "marker"
        self.secret.write_text("a secret of the outside")
        self.secret.chmod(0o666)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.abstract = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path, self.name = f"{folder}/socket", f"assay-{os.getpid()}-{folder.name}"
        self.unix.bind(self.path)
        Path(self.path).chmod(0o777)
        self.abstract.bind(f"\0{self.name}")
        for listener in (self.unix, self.abstract):
            listener.listen()
        for listener in (self.tcp, self.udp, self.unix, self.abstract):
            listener.setblocking(False)
        user = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
        self.victim = subprocess.Popen(["sleep", "60"], **user)
        self.before = self.secret.stat()

    def program(self, text: str) -> str:
        places = {
            "secret": self.secret, "marker": self.marker, "port": self.port, "socket": self.path,
            "abstract": self.name, "parent": os.getpid(), "victim": self.victim.pid,
            "source": sandbox.__file__, "machine": platform.machine(),
        }  # fmt: skip
        return re.sub(r"\{(" + "|".join(places) + r")\}", lambda match: str(places[match[1]]), text)

    def touched(self) -> list[str]:
        """What happened outside; nothing, if the walls hold."""
        seen = []
        for name in ("tcp", "unix", "abstract"):
            try:
                getattr(self, name).accept()
            except BlockingIOError:
                continue
            seen.append(f"a connection to {name}")
        try:
            self.udp.recv(100)
            seen.append("a datagram")
        except BlockingIOError:
            pass
        left = sorted(path.name for path in self.folder.iterdir())
        if left != ["secret", "socket"]:
            seen.append(f"files: {left}")
        now = self.secret.stat()
        if self.secret.read_text() != "a secret of the outside" or any(
            getattr(now, name) != getattr(self.before, name)
            for name in ("st_mode", "st_uid", "st_mtime_ns", "st_nlink")
        ):
            seen.append("the secret changed")
        if self.victim.poll() is not None:
            seen.append("the victim died")
        return seen

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        for name in ("tcp", "udp", "unix", "datagrams", "abstract"):
            getattr(self, name).close()


@pytest.fixture
def outside(tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o777)
    (tmp_path / "open").mkdir()
    place = Outside(tmp_path / "open")
    yield place
    place.close()


def processes_of_nobody() -> set[int]:
    return {
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdigit() and path.stat().st_uid == NOBODY
    }


@walled
@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.stem)
def test_hostile_program_is_stopped_reported_and_touches_nothing(path, outside):
    text = path.read_text()
    limits = SHORT if path.stem == "sleep" else SMALL
    outcome = run_tests(outside.program(text), "assert attack() == 42", limits)
    expected = text.splitlines()[0].removeprefix("# kind: ")
    assert (outcome.kind, outside.touched()) == (expected, []), outcome
    assert "secret of the outside" not in outcome.stdout
    assert "root:" not in outcome.stdout
    assert len(outcome.stdout) <= SMALL.output_bytes
    assert outcome.seconds < limits.seconds + 1


def test_there_are_enough_hostile_programs_and_each_is_python():
    assert len(HOSTILE) >= 30
    for path in HOSTILE:
        compile(path.read_text(), path.name, "exec")


@walled
def test_the_watch_sees_what_an_unwalled_program_does(outside):
    # that the corpus's checks can fail: the same programs, run as they are
    for name in ("write_marker", "tcp_connect", "udp_send", "unix_socket_abstract", "kill_victim"):
        text = (Path(__file__).parent / "hostile" / f"{name}.py").read_text()
        code = outside.program(text) + "\nattack()\n"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        time.sleep(0.05)
    seen = outside.touched()
    assert seen == [
        "a connection to tcp", "a connection to abstract", "a datagram",
        "files: ['marker', 'secret', 'socket']", "the victim died",
    ]  # fmt: skip


@walled
def test_nothing_is_left_running_and_no_folder_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))
    before = processes_of_nobody()
    run_tests("def f():\n    while True: pass", "f()", Limits(seconds=0.2))
    run_tests("import os\nos.fork()", "f()", SMALL)
    assert list(tmp_path.iterdir()) == []
    if os.geteuid() == 0:
        assert processes_of_nobody() <= before


@walled
def test_nothing_outlives_assay(tmp_path):
    # the sleeper uses no processor time, so no limit of the kernel ends it
    code = "import time\ntime.sleep(600)"
    run = f"run_tests({code!r}, 'f()', Limits(seconds=500))"
    program = f"from assay.feedback.sandbox import *; {run}"
    before = set(jailed())
    runner = subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(sandbox.__file__).parents[2]
    )
    until(lambda: len(set(jailed()) - before) == 2)
    mine = set(jailed()) - before
    until(lambda: all(map(is_walled, mine)))
    runner.kill()
    runner.wait()
    until(lambda: not mine & set(jailed()))


def jailed() -> list[int]:
    """Processes of the sandbox, anybody's."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"jail.py" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def is_walled(pid: int) -> bool:
    return "\nSeccomp:\t2\n" in Path(f"/proc/{pid}/status").read_text()


def until(come_true, seconds=60.0) -> None:
    end = time.monotonic() + seconds
    while not come_true():
        assert time.monotonic() < end
        time.sleep(0.05)


@walled
def test_many_open_files_are_no_hindrance():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 3000:
        pytest.skip("this many files may not be opened here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, before[1]))
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(1500)]
    try:
        assert run_tests("def f(): return 1", "assert f() == 1", SMALL).passed
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@walled
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody to try it")
def test_an_ordinary_user_has_the_same_walls(tmp_path):
    python = next(
        (
            place for name in ("python3.14", "python3.13", "python3.12", "python3.11", "python3")
            if (place := shutil.which(name, path="/usr/bin:/usr/local/bin"))
            and jail._others_may_read(Path(place))
            and subprocess.run([place, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"],
                               check=False).returncode == 0
        ),
        None,
    )  # fmt: skip
    if python is None:
        pytest.skip("no Python of the system that everybody may run")
    root = Path(tempfile.gettempdir()).resolve()
    for folder in (tmp_path, *tmp_path.parents):
        if root in folder.resolve().parents:
            folder.chmod(0o755)
    package = Path(sandbox.__file__).parents[1]
    for name in ("__init__", "errors", "feedback/__init__", "feedback/jail", "feedback/jail_peer",
                 "feedback/sandbox"):  # fmt: skip
        target = tmp_path / "assay" / f"{name}.py"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(package / f"{name}.py", target)
    program = r"""
import os
from assay.feedback.sandbox import run_tests
for code in ("def f(): return os.getuid()", "import socket\nsocket.socket()", "os.fork()",
             "open('/etc/passwd')", "os.kill(os.getppid(), 9)", "os.chmod('/tmp', 0)"):
    print(run_tests("import os\n" + code, f"assert f() == {os.getuid()}").kind)
"""
    found = subprocess.run(
        [python, "-c", program], cwd=tmp_path, user=NOBODY, group=NOBODY, capture_output=True,
        text=True, check=False, extra_groups=[],
    )  # fmt: skip
    assert found.stdout.split() == ["passed", *["blocked"] * 5], found.stderr


PASSING = {
    "a value": ("def add(a, b): return a + b", "assert add(2, 3) == 5"),
    "an import": ("def add(a, b): return a + b", "from solution import add\nassert add(2, 3) == 5"),
    "every kind of data": (
        "def same(x): return x",
        "from fractions import Fraction\nfrom decimal import Decimal\n"
        "for x in (None, True, 2**80, -1.5, 1j, 'é', b'x', [1, (2,)], {1: {2}}, frozenset({3}),"
        " Fraction(1, 3), Decimal('0.10'), bytearray(b'y')):\n"
        "    assert same(x) == x and type(same(x)) is type(x), x\n"
        "assert same(float('inf')) == float('inf') and same(float('nan')) != same(float('nan'))",
    ),
    "a change in place": (
        "def f(a, b, c):\n    a.sort()\n    b['k'] = a\n    c.add(4)",
        "a, b, c = [2, 1], {}, {3}\nf(a, b, c)\n"
        "assert (a, b, c) == ([1, 2], {'k': [1, 2]}, {3, 4})",
    ),
    "a function of the tests": (
        "def apply(f, xs): return [f(x) for x in xs]",
        "def double(x): return 2 * x\nassert apply(double, [1, 2]) == [2, 4]",
    ),
    "a class": (
        "class Stack:\n    def __init__(self): self.items = []\n"
        "    def push(self, x): self.items.append(x)\n    def pop(self): return self.items.pop()\n"
        "    def __len__(self): return len(self.items)\n"
        "    def __getitem__(self, i): return self.items[i]\n"
        "    def __setitem__(self, i, x): self.items[i] = x\n    def __str__(self): return 'stack'",
        "s = Stack()\ns.push(4)\ns.push(5)\nassert (len(s), s[0], s.items) == (2, 4, [4, 5])\n"
        "s[0] = 7\nassert (s.pop(), s.pop(), bool(s), str(s)) == (5, 7, False, 'stack')\n"
        "s.items = [1]\nassert list(s) == [1] and 1 in s and 2 not in s",
    ),
    "a generator": ("def count(n):\n    yield from range(n)", "assert list(count(3)) == [0, 1, 2]"),
    "a built-in error": (
        "def f(): raise ValueError('no')",
        "try: f()\nexcept ValueError as e: assert str(e) == 'no'\nelse: assert False",
    ),
    "an error of its own": (
        "class Odd(KeyError): pass\ndef f(): raise Odd('no')",
        "try: f()\nexcept Odd as e: assert isinstance(e, KeyError)\nelse: assert False",
    ),
    "test functions": (
        "def add(a, b): return a + b",
        "def test_one(): assert add(1, 1) == 2",
    ),
    "its own imports": (
        "import math, collections, re, heapq, datetime, random, statistics, itertools\n"
        "def root(x): return math.sqrt(x)",
        "assert math.isclose(root(2), 1.41421356, rel_tol=1e-6)",
    ),
}  # fmt: skip


@walled
@pytest.mark.parametrize("name", PASSING)
def test_right_code_passes(name):
    outcome = run_tests(*PASSING[name], SMALL, objects=name == "a class")
    assert outcome.passed, outcome


FAILING = {
    "a wrong value": ("def f(): return 4", "x = 1\nassert f() == 5", "line 2 of the tests: assert"),
    "no such name": ("", "assert f() == 5", "NameError"),
    "no Python": ("def f(:", "assert f() == 5", "the code raised SyntaxError (line 1)"),
    "an error of the code": ("def f(): return 1 / 0", "f()", "ZeroDivisionError"),
    "an error at the start": ("x = 1\n1 / 0", "f()", "ZeroDivisionError (line 2)"),
    "a wrong test function": (
        "def f(): return 4", "def test_f(): assert f() == 5", "AssertionError"),
    "tests that catch everything": (
        "import os\ndef f(): os._exit(0)", "try: f()\nexcept BaseException: pass", "status 0"),
    "asking a dead process": (
        "import os\ndef f(): os._exit(3)",
        "for _ in range(2):\n    try: f()\n    except BaseException: pass", "status 3"),
    "a module of its own": (
        "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef f(): return 3",
        "assert math.isclose(f(), 4)", "AssertionError"),
    "a builtin of its own": (
        "def all(xs): return True\ndef f(): return 3", "assert all([f() == 4])", "AssertionError"),
    "objects handed over": ("def f(x): return x", "f(object())", "plain data and functions"),
}  # fmt: skip


@walled
@pytest.mark.parametrize("name", FAILING)
def test_wrong_code_fails_and_says_where(name):
    code, tests, said = FAILING[name]
    outcome = run_tests(code, tests, SMALL)
    assert outcome.kind in ("failed", "crashed")
    assert not outcome.passed
    assert said in outcome.detail


@walled
def test_a_redefined_builtin_is_taken_from_the_code_when_told():
    code = "def sum(xs): return 0"
    assert run_tests(
        code, "assert sum([1, 2]) == 3", SMALL
    ).passed  # Python's own: told in the docs
    assert run_tests(code, "assert sum([1, 2]) == 3", SMALL, redefined=["sum"]).kind == "failed"


@walled
def test_the_tests_cannot_be_reached_through_a_function_they_hand_over():
    code = "def f(g): return g.__globals__['answer']"
    outcome = run_tests(code, "answer = 42\nassert f(lambda: 0) == 42", SMALL)
    assert outcome.kind == "failed"
    code = "def f(g): return g.real_name"
    assert "can be called, and nothing else" in run_tests(code, "f(print)", SMALL).detail


@walled
def test_tests_are_walled_in_too():
    assert run_tests("", "import socket\nsocket.socket()", SMALL).kind == "blocked"
    assert run_tests("", "import os\nos._exit(0)", SMALL).kind == "crashed"
    scribble = (
        "import os\nfor number in range(3, 32):\n"
        "    try: os.write(number, b'[3, 4] no verdict\\n')\n    except OSError: pass"
    )
    assert run_tests("", scribble, SMALL).kind in ("crashed", "failed")
    outcome = run_tests("", "while True: abs(1)", Limits(seconds=30, cpu_seconds=1))
    assert (outcome.kind, "processor" in outcome.detail) == ("timeout", True)


@walled
def test_what_is_printed_is_kept():
    assert run_tests("print('hello')", "assert 1", SMALL).stdout == "hello\n"


@walled
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_root_becomes_nobody():
    code = "import os\ndef who(): return [*os.getresuid(), *os.getresgid(), *os.getgroups()]"
    assert run_tests(code, f"assert who() == [{NOBODY}] * 6", SMALL).passed


@walled
def test_the_code_may_call_the_tests_for_ever_and_the_clock_still_runs():
    code = "def f(g):\n    while True: g(1)"
    outcome = run_tests(code, "f(lambda x: x)", Limits(seconds=0.5))
    assert outcome.kind == "timeout"


def test_without_walls_nothing_is_run(monkeypatch):
    monkeypatch.setattr(sandbox, "missing_walls", lambda: "the kernel has no Landlock")
    started = []
    monkeypatch.setattr(sandbox.subprocess, "Popen", lambda *a, **k: started.append(a))
    assert not is_isolated()
    with pytest.raises(SandboxError, match="the kernel has no Landlock; run Assay on"):
        run_tests("x = 1", "assert x", SMALL)
    assert started == []


@walled
def test_a_wall_that_does_not_stand_is_said_and_nothing_is_run(monkeypatch):
    monkeypatch.setattr(sandbox, "readable_paths", lambda: ["/no/such/place"])
    with pytest.raises(SandboxError, match="a wall of the sandbox does not stand"):
        run_tests("print('ran')", "assert 1", SMALL)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("platform", "darwin", "not Linux"),
        ("machine", "riscv64", "no table of system calls"),
        ("landlock", -1, "no Landlock"),
        ("seccomp", -1, "no seccomp"),
    ],
)
def test_what_is_missing_is_named(monkeypatch, name, value, said):
    monkeypatch.setattr(jail, "_landlock_version", lambda: value if name == "landlock" else 3)
    if name == "platform":
        monkeypatch.setattr(jail.sys, "platform", value)
    if name == "machine":
        monkeypatch.setattr(jail.platform, "machine", lambda: value)
    if name == "seccomp":
        monkeypatch.setattr(jail.Path, "is_dir", lambda self: False)
        library = type("Library", (), {"prctl": lambda *_: -1})
        monkeypatch.setattr(jail, "_libc", library)
    assert said in (jail.missing_walls() or "")


@pytest.mark.parametrize(
    ("tests", "said"), [("", "empty"), ("# nothing\nx = 1", "empty"), ("assert (", "not Python")]
)
def test_tests_that_say_nothing_are_refused(tests, said):
    with pytest.raises(ConfigError, match=said):
        run_tests("x = 1", tests, SMALL)


@pytest.mark.parametrize(
    "wrong", [{"seconds": 0}, {"cpu_seconds": 0}, {"memory_mib": 1}, {"output_bytes": 0}]
)
def test_limits_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigError, match="must be"):
        Limits(**wrong)


# --- the filter -----------------------------------------------------------------------------------


def run_filter(program, machine, number, arguments=(), tag=None):
    """What the filter says of a system call: an interpreter of classic BPF's few instructions."""
    arguments = [*arguments, *[0] * (6 - len(arguments))]
    memory = {0: number, 4: machine.tag if tag is None else tag}
    for place, value in enumerate(arguments):
        memory[16 + 8 * place], memory[20 + 8 * place] = value & 0xFFFFFFFF, value >> 32
    held, at = 0, 0
    while True:
        code, yes, no, constant = program[at]
        at += 1
        match code:
            case 0x20:
                held = memory[constant]
            case 0x06:
                return constant
            case 0x15:
                at += yes if held == constant else no
            case 0x35:
                at += yes if held >= constant else no
            case 0x45:
                at += yes if held & constant else no


@pytest.mark.parametrize("name", MACHINES)
def test_the_filter_allows_what_is_listed_and_refuses_the_rest(name):
    machine = MACHINES[name]
    program = filter_program(machine, pid=77)
    assert all(yes < 256 and no < 256 for _, yes, no, _ in program)
    assert len(program) < 4096
    by_number = {number: call for call, number in machine.calls.items()}
    assert len(by_number) == len(machine.calls)
    conditional = {"open", "openat", "openat2", "kill", "tkill", "tgkill", "fcntl", "ioctl",
                   "prlimit64"}  # fmt: skip
    for number in range(600):
        call = by_number.get(number)
        if call in conditional:
            continue
        wanted = jail.ERRNO | jail.EPERM
        if call in jail.ALLOWED:
            wanted = jail.ALLOW
        elif call in jail.FATAL:
            wanted = jail.KILL
        assert run_filter(program, machine, number) == wanted, call
    assert set(machine.calls) <= {*jail.ALLOWED, *jail.FATAL, *conditional}


@pytest.mark.parametrize("name", MACHINES)
def test_the_filter_looks_at_arguments(name):
    machine = MACHINES[name]
    program = filter_program(machine, pid=77)

    def says(call, *arguments):
        return run_filter(program, machine, machine.calls[call], arguments)

    refused = jail.ERRNO | jail.EPERM
    assert says("openat", 3, 0, os.O_RDONLY | os.O_CLOEXEC) == jail.ALLOW
    for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND):
        assert says("openat", 3, 0, flag) == jail.KILL
    assert says("openat2") == jail.ERRNO | jail.ENOSYS
    for call in ("kill", "tkill", "tgkill"):
        assert says(call, 77, 9) == jail.ALLOW
        for other in (0, 1, 78, 2**32 - 1):
            assert says(call, other, 9) == jail.KILL
    assert says("fcntl", 3, 1) == jail.ALLOW
    assert says("fcntl", 3, 8) == refused  # F_SETOWN
    assert says("ioctl", 0, 0x5401) == jail.ALLOW
    assert says("ioctl", 0, 0x5412) == jail.ERRNO | jail.ENOTTY  # TIOCSTI
    assert says("prlimit64", 0, 7, 0, 4096) == jail.ALLOW
    assert says("prlimit64", 0, 7, 4096, 0) == refused
    assert says("prlimit64", 0, 7, 1 << 32, 0) == refused
    assert says("prlimit64", 78, 7, 0, 4096) == refused


def test_another_architecture_is_killed():
    machine = MACHINES["x86_64"]
    program = filter_program(machine, pid=77)
    assert run_filter(program, machine, 0, tag=0x40000003) == jail.KILL
    assert run_filter(program, machine, 0x40000000 + 39) == jail.KILL


@pytest.mark.skipif(platform.machine() not in MACHINES, reason="no table of this processor")
def test_numbers_of_system_calls_are_those_of_the_system_headers():
    headers = ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm-generic/unistd.h")
    read = 0
    for header, name in zip(headers, MACHINES, strict=True):
        if not Path(header).exists():
            continue
        text = Path(header).read_text()
        known = {
            call: int(number)
            for call, number in re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", text, re.M)
        }
        calls = MACHINES[name].calls
        # the generic table names these by what they are on 32 bits
        renamed = {"newfstatat": "fstatat"}
        for call, number in calls.items():
            found = known.get(call, known.get(renamed.get(call, "")))
            assert found in (number, None), call
            read += found is not None
    if not read:
        pytest.skip("no headers of the kernel here")
    assert read > 100
