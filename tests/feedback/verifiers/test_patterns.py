"""Property: no pattern and no schema can hold the run up, or fetch anything."""

from __future__ import annotations

import socket
import time

import pytest

from assay.errors import MissingExtraError
from assay.feedback.verifiers import verifier_of
from assay.types import Conversation

CATASTROPHE = "(a|aa)+$"


def check(spec, text):
    return verifier_of(spec).check(Conversation.of("q", text))


@pytest.mark.medium
def test_a_search_without_end_is_stopped_and_not_a_failure():
    start = time.monotonic()
    found = check({"kind": "regex", "pattern": CATASTROPHE, "seconds": 0.2}, "a" * 60 + "b")
    assert time.monotonic() - start < 20
    assert found.passed is None
    assert found.detail == "the search took more than 0.2 seconds"


@pytest.mark.parametrize(
    ("where", "text", "passed"),
    [
        ("anywhere", "x ab y", True),
        ("start", "ab y", True),
        ("start", "x ab", False),
        ("whole", " ab\n", True),
        ("whole", "ab y", False),
    ],
)
def test_where_a_pattern_matches(where, text, passed):
    assert check({"kind": "regex", "pattern": "ab", "where": where}, text).passed is passed


SCHEMA = {
    "$defs": {"cup": {"type": "integer", "minimum": 0}},
    "type": "object",
    "properties": {"cups": {"$ref": "#/$defs/cup"}, "code": {"type": "string", "pattern": "^a+$"}},
    "required": ["cups"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"cups": 3, "code": "aa"}', None),
        ('```json\n{"cups": 3}\n```', None),
        ('{"cups": -1}', "$.cups: -1 is less than the minimum"),
        ('{"cups": 3, "code": "ab"}', "$.code: 'ab' does not match '^a+$'"),
        ('{"cups": 3, "milk": true}', "'milk'"),
        ("{}", "'cups' is a required property"),
        ("[1, 2", "not JSON"),
        ('{"cups": Infinity}', "not JSON: Infinity is not JSON"),
        ("[" * 100_000, "not JSON: it is nested too deep"),
        ("1" * 10_000, "not JSON"),
    ],
)
def test_json_by_a_schema(text, said):
    found = check({"kind": "json_schema", "schema": SCHEMA}, text)
    assert found.passed is (said is None)
    assert said is None or said in found.detail


def test_nothing_is_fetched():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        found = check({"kind": "json_schema", "schema": {"$ref": address}}, "{}")
        assert found.passed is None
        assert "refers to what is not in it" in found.detail
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.medium
def test_a_pattern_of_a_schema_is_stopped_too():
    schema = {"type": "string", "pattern": CATASTROPHE}
    text = '"' + "a" * 60 + 'b"'
    found = check({"kind": "json_schema", "schema": schema}, text)
    assert found.passed is None
    assert "a pattern took more than" in found.detail


def test_a_value_too_deep_for_the_schema_fails():
    schema = {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}
    text = "[" * 600 + "]" * 600
    assert check({"kind": "json_schema", "schema": schema}, text).passed is False


def test_the_extra_is_asked_for(monkeypatch):
    monkeypatch.setattr("assay.errors.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'assay\[verify\]'"):
        verifier_of({"kind": "json_schema", "schema": {}})
