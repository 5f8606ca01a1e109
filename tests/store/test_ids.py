"""Value: identifiers sort by time, and only the usual form is taken."""

from __future__ import annotations

import time
import uuid

import pytest

from assay.errors import DataError
from assay.store.ids import checked_id, digest_id, new_id


def test_an_id_is_a_uuid_of_version_seven_with_its_time() -> None:
    before = time.time_ns() // 1_000_000
    found = uuid.UUID(new_id())
    after = time.time_ns() // 1_000_000
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert before <= found.int >> 80 <= after


def test_ids_differ_and_sort_by_time() -> None:
    ids = []
    for _ in range(3):
        ids.append(new_id())
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert len({new_id() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "x",
        "01A21556-4986-7788-99ee-9bf4c2a5b96a",
        "01a21556-4986-7788-99ee-9bf4c2a5b96a\n",
    ],
)
def test_what_is_no_id_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="'judgment' must be a UUID such as"):
        checked_id(value, "judgment")


def test_an_id_is_taken() -> None:
    assert checked_id(identity := new_id()) == identity


def test_a_text_has_one_id_of_its_own() -> None:
    found = digest_id("a")
    assert checked_id(found) == digest_id("a") != digest_id("b")
    assert (uuid.UUID(found).version, uuid.UUID(found).variant) == (8, uuid.RFC_4122)
