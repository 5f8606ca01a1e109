"""Property: what the code under test sends can be wrong in every way and still prove nothing.

Both ends in one process, without walls: those are the sandbox's tests.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.feedback import jail_peer
from assay.feedback.jail_peer import LONGEST_MESSAGE, Gone, Peer, verdict_of, work


@pytest.fixture(autouse=True)
def _no_solution_stays():
    yield
    sys.modules.pop("solution", None)


def ends():
    one, other = socket.socketpair()
    return one, other


def examined(code, tests, redefined=(), objects=False):
    """The verdict of tests on code that runs in a thread beside them."""
    here, there = ends()
    with here, there:
        worker = threading.Thread(target=work, args=(code, there.fileno()), daemon=True)
        worker.start()
        found = verdict_of(
            Peer(here.fileno(), trusting=False, objects=objects), tests, list(redefined)
        )
        here.shutdown(socket.SHUT_RDWR)
        worker.join(5)
        assert not worker.is_alive()
    return found


def sent(tests, *lines):
    """The verdict of tests when the code's side just says these lines."""
    here, there = ends()
    with here, there:
        for line in lines:
            there.sendall(line + b"\n")
        there.shutdown(socket.SHUT_WR)
        return verdict_of(Peer(here.fileno(), trusting=False), tests, [])


PASSING = [
    ("def f(x): return x + 1", "assert f(1) == 2"),
    ("def f(x): return x + 1", "from solution import f\nassert f(1) == 2"),
    ("class C:\n    def __init__(self): self.n = 1\n    def __len__(self): return 3\n"
     "    def __str__(self): return 'c'\n    def __repr__(self): return 'r'\n"
     "    def __getitem__(self, i): return i\n    def __setitem__(self, i, x): self.n = (i, x)\n"
     "    def __bool__(self): return False",
     "c = C()\nassert (c.n, len(c), str(c), repr(c), c[5], bool(c)) == (1, 3, 'c', 'r', 5, False)\n"
     "c[1] = 2\nassert c.n == (1, 2)\nc.n = 7\nassert c.n == 7\n"
     "assert not hasattr(c, '__add__')\nassert c == c and C is C"),
    ("def f():\n    yield 1\n    yield 2", "assert list(f()) == [1, 2]"),
    ("def f(c): return c", "class_of = type\ndef g(): return 1\nassert f(g)() == 1"),
    ("class E(ValueError): pass\ndef f(): raise E('no')",
     "try: f()\nexcept E as e: assert isinstance(e, ValueError) and str(e) == 'no'\nelse: 1 / 0"),
    ("def f(): raise UnicodeDecodeError('a', b'', 0, 1, 'b')",
     "try: f()\nexcept ValueError: pass\nelse: 1 / 0"),
    ("class E(BaseException): pass\ndef f(): raise E",
     "try: f()\nexcept E: pass\nelse: 1 / 0"),
    ("def f(x, y, z):\n    x.append(1)\n    y[1] = 2\n    z.extend(b'a')",
     "x, y, z = [], {}, bytearray()\nf(x, y, z)\nassert (x, y, z) == ([1], {1: 2}, b'a')"),
    ("import math\ndef f(): return 1.0", "assert math.isclose(f(), 1)"),
    ("def sorted(x): return [3]", "assert sorted([2, 1]) == [1, 2]"),
    ("x = 3", "def test_x(): assert x == 3"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "tests"), PASSING)
def test_right_code_passes(code, tests):
    assert examined(code, tests, objects="class C:" in code) == ("passed", "")


FAILING = [
    ("def f(x): return x", "assert f(1) == 2", "failed", "AssertionError at line 1 of the tests"),
    ("x = (", "assert 1", "failed", "SyntaxError (line 1)"),
    ("\n1 / 0", "assert 1", "failed", "ZeroDivisionError (line 2)"),
    ("raise MemoryError", "assert 1", "memory", "MemoryError"),
    ("def f(): raise PermissionError('no')", "f()", "blocked", "PermissionError: no"),
    ("def f(): raise SystemExit(0)", "f()", "failed", "SystemExit"),
    ("def f(g): return g.x", "f(len)", "failed", "can be called, and nothing else"),
    ("def f(x): return x", "f(object())", "failed", "plain data and functions"),
    ("class A:\n    def __eq__(self, o): return True\n    __hash__ = None\ndef f(): return A()",
     "assert f() == 3", "failed", "AssertionError"),
    ("class E(Exception):\n    def __str__(self): return 1 / 0\ndef f(): raise E", "f()",
     "failed", "E at line 1"),
    ("class A:\n    def __len__(self): return 3\ndef f(): return A()", "assert 3 in f()",
     "failed", "TypeError"),
    ("class A: pass\ndef f(): return A()", "list(f())", "failed", "not iterable"),
    ("class A: startswith = lambda *a: True\ndef f(): return A()", "assert f().startswith('x')",
     "failed", "need 'objects'"),
    ("def f(): return lambda: 1", "assert f()", "failed", "need 'objects'"),
    ("class A: __len__ = lambda s: 3\ndef f(): return A()", "assert len(f()) == 3",
     "failed", "need 'objects'"),
    ("class A: __getitem__ = lambda s, i: 3\ndef f(): return A()", "assert f()[0] == 3",
     "failed", "need 'objects'"),
    ("class A: __str__ = lambda s: '3'\ndef f(): return A()", "assert str(f()) == '3'",
     "failed", "need 'objects'"),
    ("def sorted(x): return [3]", "assert solution_sorted([1]) == [1]", "failed", "NameError"),
    ("def f(): return f", "f()()()\nassert False", "failed", "line 2"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "tests", "kind", "said"), FAILING)
def test_wrong_code_fails(code, tests, kind, said):
    found = examined(code, tests)
    assert found[0] == kind
    assert said in found[1]


def test_a_builtin_is_the_codes_own_where_told():
    assert (
        examined("def sorted(x): return [3]", "assert sorted([1]) == [3]", ["sorted"])[0]
        == "passed"
    )


DEFINED = b'["defined", [["f", "value", {"h": 0}]]]'
LIES = [
    [],
    [b"not json"],
    [b"[]"],
    [b"3"],
    [b'["passed", ""]'],
    [b'["defined", 3]'],
    [b'["defined", [3]]'],
    [b'["defined", [["f", "value", {"q": 1}]]]'],
    [b'["defined", [["f", "error", 3]]]'],
    [DEFINED],
    [DEFINED, b'["passed", ""]'],
    [DEFINED, b'["value", {"q": 1}, []]'],
    [DEFINED, b'["value", {"d": [[{"l": []}, 1]]}, []]'],
    [DEFINED, b'["value", {"o": 99}, []]'],
    [DEFINED, b'["value", {"i": "zz"}, []]'],
    [DEFINED, b'["value", {"f": "1e"}, []]'],
    [DEFINED, b'["value", 42, [[7, 1]]]'],
    [DEFINED, b'["value", 42, [[0, 3]]]'],
    [DEFINED, b'["value", 42, 3]'],
    [DEFINED, b'["raise", 3, 4]'],
    [DEFINED, b'["raise", ["Nothing"], "x"]'],
    [DEFINED, b'["raise", ["GeneratorExit"], ""]'],
    [DEFINED, b'["ask", 0, "call", null, [], {}]', b'["value", 41, []]'],
    [DEFINED, b'["ask"]', b'["value", 41, []]'],
    [DEFINED, b"[" * 200_000],
    [b'["failed", "E", "no", "x"]'],
]


@pytest.mark.parametrize("lines", LIES, ids=lambda lines: b" ".join(lines)[:60].decode())
def test_no_lie_passes(lines):
    assert sent("assert f([1]) == 42", *lines)[0] in ("failed", "crashed")


@given(lines=st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b), max_size=4))
def test_no_noise_passes(lines):
    assert sent("assert f([1]) == 42", DEFINED, *lines)[0] in ("failed", "crashed")


def test_the_truth_would_pass():
    # what the lies above lack: the right value
    assert sent("assert f([1]) == 42", DEFINED, b'["value", 42, []]') == ("passed", "")


def test_a_swallowed_end_is_remembered():
    tests = "for _ in range(2):\n    try: f()\n    except BaseException: pass"
    assert sent(tests, DEFINED)[0] == "crashed"
    assert sent(f"{tests}\nassert False", DEFINED)[0] == "crashed"


def test_a_message_too_long_is_refused():
    here, there = ends()
    with here, there:
        peer = Peer(here.fileno(), trusting=False)
        writer = threading.Thread(
            target=lambda: there.sendall(b"x" * (LONGEST_MESSAGE + 1)), daemon=True
        )
        writer.start()
        with pytest.raises(Gone) as gone:
            peer.receive()
        assert gone.value.kind == "output"
        here.shutdown(socket.SHUT_RDWR)


def test_a_peer_that_is_away_is_noticed_when_it_is_asked():
    here, there = ends()
    peer = Peer(here.fileno(), trusting=False)
    there.close()
    with here, pytest.raises(Gone, match="ended its process"):
        peer.ask(0, "call", None, (), {})
    with pytest.raises(Gone):
        Peer(here.fileno(), trusting=False).receive()  # a channel that is closed here


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.complex_numbers(allow_nan=False) | st.fractions() | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@given(value=PLAIN)
def test_plain_data_comes_back_as_it_was(value):
    peer = Peer(0, trusting=True)
    message = json.loads(json.dumps(peer.encode(value)))
    back = peer.decode(message)
    assert back == value
    assert type(back) is type(value)
    assert peer.objects == {}


def test_what_is_not_plain_is_handed_over_by_number_and_back():
    worker, examiner = Peer(0, trusting=True), Peer(0, trusting=False)
    thing = object()
    handle = examiner.decode(worker.encode(thing))
    assert worker.decode(examiner.encode(handle)) is thing
    assert worker.encode(thing) == worker.encode(thing)
    with pytest.raises(TypeError, match="nothing one can do"):
        worker._done(thing, "eat", None, [], {})


def test_the_verdict_goes_through_its_own_pipe():
    here, there = ends()
    read, write = os.pipe()
    with here, there, os.fdopen(read) as verdict:
        there.sendall(DEFINED + b'\n["value", 1, []]\n')
        jail_peer.examine("assert f() == 2", [], False, here.fileno(), write)
        assert json.loads(verdict.read())[0] == "failed"
