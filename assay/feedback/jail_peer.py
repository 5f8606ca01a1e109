"""Two walled-in processes that call each other: one has the code under test, one has the tests.

The worker runs untrusted code and answers calls. The examiner runs the tests and has only values
that it built itself from plain data: what the worker sends is JSON, never pickles, so no ``__eq__``
of its own takes part in a comparison, no frame of its own holds an expected value, and nothing it
prints or patches reaches the verdict, which goes through a pipe that the worker does not have.

Loaded by :mod:`assay.feedback.jail`, so it imports the standard library alone.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from typing import Any

LONGEST_MESSAGE = 2**23
"""Bytes of the longest message one process takes from the other."""
LONGEST_DETAIL = 500
_SAFE = 2**53
_CALLS = (("call", None), ("iter", None), ("call", "__next__"))
_CONTAINERS = (list, dict, set, bytearray)


class Gone(BaseException):
    """The other process ended, or sent what is no message: no test can catch this as an error."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail


class Remote:
    """An object that lives in the other process. Equal to itself alone."""

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the object gives when it is called there."""
        return self._ask("call", None, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, (value,))

    def __len__(self) -> int:
        return int(self._ask("len", None))

    def __iter__(self) -> Iterator[Any]:
        made = self._ask("iter", None)
        return made if isinstance(made, Remote) else iter(())

    def __next__(self) -> Any:
        return self._ask("call", "__next__")

    def __getitem__(self, key: Any) -> Any:
        return self._ask("call", "__getitem__", (key,))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("call", "__setitem__", (key, value))

    def __bool__(self) -> bool:
        return self._ask("bool", None) is True

    def __str__(self) -> str:
        return str(self._ask("call", "__str__"))

    def __repr__(self) -> str:
        return str(self._ask("call", "__repr__"))

    def _ask(
        self,
        what: str,
        name: str | None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self._peer.ask(self._number, what, name, args, kwargs or {})


class Peer:
    """One end of the channel: asks, and answers while it waits.

    Args:
        trusting: Whether the other may do anything with our objects (the worker's end). The
            examiner's lets the other call what it was handed, and nothing more.
        objects: Whether more may be done with the other's objects than call and iterate them. What
            they then answer is the other's word.
    """

    def __init__(self, channel: int, *, trusting: bool, objects: bool = False) -> None:
        self.channel, self.trusting, self.may_ask = channel, trusting, objects or trusting
        self.objects: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}
        self.errors: dict[str, type[BaseException]] = {}
        self.gone: Gone | None = None
        self._buffer = b""

    # values

    def encode(self, value: Any) -> Any:
        """A value as JSON; what is not plain data stays here and is sent as a number."""
        match value:
            case None | bool() | str():
                return value if value is None or isinstance(value, bool) else str(value)
            case int():
                number = int(value)
                return number if -_SAFE < number < _SAFE else {"i": hex(number)}
            case float():
                return {"f": float(value).hex()}
            case complex():
                return {"c": [value.real.hex(), value.imag.hex()]}
            case bytes() | bytearray():
                return {"b": bytes(value).hex(), "m": isinstance(value, bytearray)}
            case Fraction() | Decimal():
                return {"n": [type(value).__name__, str(value)]}
            case list() | tuple() | set() | frozenset():
                kind = next(k for k, t in _SEQUENCES.items() if isinstance(value, t))
                return {kind: [self.encode(item) for item in value]}
            case dict():
                return {"d": [[self.encode(k), self.encode(v)] for k, v in value.items()]}
        if isinstance(value, Remote) and value._peer is self:
            return {"o": value._number}
        if not (self.trusting or callable(value)):
            raise TypeError(
                f"a test can hand the code plain data and functions, not {type(value).__name__}"
            )
        return {"h": self._kept(value)}

    def decode(self, value: Any) -> Any:
        """The value a message stands for, built here."""
        match value:
            case None | bool() | int() | str():
                return value
            case {"i": str(text)}:
                return int(text, 16)
            case {"f": str(text)}:
                return float.fromhex(text)
            case {"c": [str(real), str(imaginary)]}:
                return complex(float.fromhex(real), float.fromhex(imaginary))
            case {"b": str(text), "m": mutable}:
                return bytearray.fromhex(text) if mutable else bytes.fromhex(text)
            case {"n": ["Fraction" | "Decimal" as name, str(text)]}:
                return (Fraction if name == "Fraction" else Decimal)(text)
            case {"d": list(pairs)}:
                return {self.decode(k): self.decode(v) for k, v in pairs}
            case {"o": int(number)}:
                return self.objects[number]
            case {"h": int(number)}:
                return Remote(self, number)
            case dict() if len(value) == 1 and (kind := next(iter(value))) in _SEQUENCES:
                return _SEQUENCES[kind](self.decode(item) for item in value[kind])
        raise ValueError("no such value")

    def _kept(self, value: Any) -> int:
        number = self.numbers.setdefault(id(value), len(self.numbers))
        self.objects[number] = value  # also keeps it alive, so that its id stays its own
        return number

    # messages

    def send(self, *message: Any) -> None:
        """Write one message, a line of JSON."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self.channel, data) :]
        except OSError as error:
            raise self._is_gone("crashed", "the code ended its process") from error

    def receive(self) -> list[Any]:
        """Read one message."""
        while b"\n" not in self._buffer:
            try:
                more = os.read(self.channel, 2**16)
            except OSError:
                more = b""
            if not more:
                raise self._is_gone("crashed", "the code ended its process")
            self._buffer += more
            if len(self._buffer) > LONGEST_MESSAGE:
                raise self._is_gone("output", f"a value of more than {LONGEST_MESSAGE:,} bytes")
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line)
            if isinstance(message, list) and message and isinstance(message[0], str):
                return message
        except (ValueError, RecursionError):
            pass
        raise self._is_gone("failed", "the code sent what is no message")

    def _is_gone(self, kind: str, detail: str) -> Gone:
        self.gone = self.gone or Gone(kind, detail)
        return self.gone

    def ask(
        self,
        number: int,
        what: str,
        name: str | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Have the other do something with one of its objects; the value, or its error raised."""
        if self.gone is not None:
            raise self.gone
        if not self.may_ask and (what, name) not in _CALLS:
            raise TypeError(
                "the code gave an object of its own where data was wanted; tests that use objects "
                "of the code's classes need 'objects'"
            )
        sent = [self.encode(value) for value in args]
        self.send("ask", number, what, name, sent, {k: self.encode(v) for k, v in kwargs.items()})
        while True:
            message = self.receive()
            if message[0] == "ask":
                self.answer(message)
                continue
            try:
                return self._outcome(message, args)
            except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
                if getattr(error, "__sent__", False):
                    raise
                raise self._is_gone("failed", "the code sent what is no value") from None

    def _outcome(self, message: list[Any], args: tuple[Any, ...]) -> Any:
        match message:
            case ["value", value, after]:
                result = self.decode(value)
                for place, changed in after or ():
                    _become(args[place], self.decode(changed))
                return result
            case ["raise", list(names), str(text)]:
                error = self._error(names, text)
                error.__sent__ = True  # type: ignore[attr-defined]
                raise error
        raise ValueError("no such message")

    def _error(self, names: list[Any], text: str) -> BaseException:
        """An error of the nearest class that is known here."""
        for name in names:
            found = self.errors.get(str(name)) or getattr(builtins, str(name), None)
            if isinstance(found, type) and issubclass(found, BaseException):
                try:
                    return found(text)
                except TypeError:  # UnicodeDecodeError and its kind want more than a text
                    continue
        return RuntimeError(text)

    def answer(self, message: list[Any]) -> None:
        """Do what the other asks, and send the value or the error."""
        try:
            _, number, what, name, sent, named = message
            args = [self.decode(value) for value in sent]
            kwargs = {str(k): self.decode(v) for k, v in named.items()}
            before = [json.dumps(s) if isinstance(a, _CONTAINERS) else None
                      for a, s in zip(args, sent, strict=True)]  # fmt: skip
            value = self.encode(self._done(self.objects[number], what, name, args, kwargs))
            after = []
            for place, (argument, was) in enumerate(zip(args, before, strict=True)):
                if self.trusting and was is not None:
                    now = self.encode(argument)
                    if json.dumps(now) != was:
                        after.append([place, now])
        except Gone:
            raise
        except BaseException as error:
            names = [kind.__name__ for kind in type(error).__mro__]
            try:
                text = str(error)
            except BaseException:
                text = ""
            self.send("raise", names, text[:LONGEST_DETAIL])
            return
        self.send("value", value, after)

    def _done(
        self, thing: Any, what: str, name: str | None, args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        if not self.trusting:
            if what != "call" or name is not None:
                raise TypeError("a function of the tests can be called, and nothing else")
            return thing(*args, **kwargs)
        match what:
            case "call":
                return (thing if name is None else getattr(thing, name))(*args, **kwargs)
            case "get":
                return getattr(thing, str(name))
            case "set":
                return setattr(thing, str(name), args[0])
            case "iter":
                return iter(thing)
            case "len":
                return len(thing)
            case "bool":
                return bool(thing)
        raise TypeError(f"'{what}' is nothing one can do")


_SEQUENCES: dict[str, type[Any]] = {"l": list, "t": tuple, "s": set, "z": frozenset}


def _become(argument: Any, changed: Any) -> None:
    """Give a list, dict, set or bytearray of the tests what the code made of its copy."""
    if type(argument) is not type(changed):
        raise ValueError("an argument changed its type")
    argument.clear()
    if isinstance(argument, dict | set):
        argument.update(changed)
    else:
        argument.extend(changed)


# --- the worker -----------------------------------------------------------------------------------


def work(code: str, channel: int) -> None:
    """Run untrusted code, then answer calls of what it defined until the end."""
    peer = Peer(channel, trusting=True)
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    try:
        exec(compile(code, "solution", "exec"), module.__dict__)
    except BaseException as error:
        where = _line_of(error, "solution")
        peer.send("failed", type(error).__name__, f"{error}"[:LONGEST_DETAIL], where)
        return
    peer.send("defined", [_export(peer, k, v) for k, v in list(module.__dict__.items())
                          if not k.startswith("__")])  # fmt: skip
    with suppress(Gone):  # the examiner is done
        while True:
            peer.answer(peer.receive())


def _export(peer: Peer, name: str, value: Any) -> list[Any]:
    if isinstance(value, type) and issubclass(value, BaseException):
        return [name, "error", [kind.__name__ for kind in value.__mro__[1:]]]
    return [name, "value", peer.encode(value)]


def _line_of(error: BaseException, filename: str) -> int | None:
    """The last line of a file that an error passed through."""
    if isinstance(error, SyntaxError) and error.filename == filename:
        return error.lineno
    found, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


# --- the examiner ---------------------------------------------------------------------------------


def examine(tests: str, redefined: list[str], objects: bool, channel: int, verdict: int) -> None:
    """Run the tests against the worker, and write the verdict: kind and detail, as JSON."""
    peer = Peer(channel, trusting=False, objects=objects)
    kind, detail = verdict_of(peer, tests, redefined)
    text = json.dumps([kind, detail[:LONGEST_DETAIL]]).encode()
    os.write(verdict, text)
    os.close(verdict)


def verdict_of(peer: Peer, tests: str, redefined: list[str]) -> tuple[str, str]:
    """What the tests say: they ran to their end, or how they did not."""
    try:
        tree = ast.parse(tests, "tests")
        namespace = _namespace(peer, peer.receive(), tree, redefined)
        exec(compile(tree, "tests", "exec"), namespace)
        for name, function in list(namespace.items()):
            if name.startswith("test_") and isinstance(function, types.FunctionType):
                function()
    except Gone as gone:
        return gone.kind, gone.detail
    except BaseException as error:
        if peer.gone is None:
            return _failure(error, tests)
    if peer.gone is not None:  # the tests may have caught it
        return peer.gone.kind, peer.gone.detail
    return "passed", ""


def _namespace(
    peer: Peer, message: list[Any], tree: ast.Module, redefined: list[str]
) -> dict[str, Any]:
    """What the tests see: what the code defined, but no name of Python's own unless told."""
    match message:
        case ["failed", str(name), str(text), line]:
            where = f" (line {line})" if isinstance(line, int) else ""
            raise Gone(_KINDS.get(name, "failed"), f"the code raised {name}{where}: {text}")
        case ["defined", list(exports)]:
            pass
        case _:
            raise Gone("failed", "the code sent what is no message")
    looked_into = {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    modules = looked_into & sys.stdlib_module_names
    solution = types.ModuleType("solution")
    for export in exports:
        match export:
            case [str(name), str(kind), value]:
                pass
            case _:
                raise Gone("failed", "the code sent what is no message")
        if name in modules or (hasattr(builtins, name) and name not in redefined):
            continue
        try:
            made = peer.decode(value) if kind == "value" else _error_class(peer, name, value)
        except Exception:
            raise Gone("failed", "the code sent what is no value") from None
        setattr(solution, name, made)
    sys.modules["solution"] = solution
    # a module that the code imported is not taken from the code
    own = {name: import_module(name) for name in sorted(modules)}
    return {**vars(solution), **own, "__name__": "tests"}


def _error_class(peer: Peer, name: str, bases: Any) -> type[BaseException]:
    nearest = type(peer._error(list(bases), ""))
    peer.errors[name] = made = type(name, (nearest,), {"__init__": BaseException.__init__})
    return made


_KINDS = {"MemoryError": "memory", "PermissionError": "blocked"}


def _failure(error: BaseException, tests: str) -> tuple[str, str]:
    """An error of the tests, or one that the code raised and the tests did not expect."""
    line = _line_of(error, "tests")
    lines = tests.splitlines()
    source = lines[line - 1].strip() if line and line <= len(lines) else ""
    where = f" at line {line} of the tests: {source}" if line else ""
    said = f"{error}"
    text = f"{type(error).__name__}{f': {said}' if said else ''}{where}"
    return _KINDS.get(type(error).__name__, "failed"), text
