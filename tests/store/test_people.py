"""Contract: people, roles, sessions and tokens; secrets are kept as digests alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from filled import Clock, Site, clock_set, make_site
from sqlalchemy import select

from assay.errors import ConfigError, StoreError
from assay.store import people
from assay.store import tables as t
from assay.store.ids import new_id


@pytest.fixture
def clock() -> Iterator[Clock]:
    with clock_set() as found:
        yield found


@pytest.fixture
def site(clock: Clock) -> Site:
    return make_site(comparisons=0, people_count=0)


def test_names_are_found_whatever_their_case_in_every_alphabet(site: Site) -> None:
    write, read = site.store.write, site.store.read
    ids = {name: write(people.add_annotator, name) for name in ("Ärmel", "Sæther", "ليلى", "Bo")}
    for name in ("ärmel", "ÄRMEL", "SÆTHER", "ليلى", " bo "):
        found = read(people.credentials, name)
        assert found is not None
        assert found[0].id in ids.values()
    with pytest.raises(ConfigError, match="There is an annotator 'äRMEL' already"):
        write(people.add_annotator, "äRMEL")
    assert read(people.credentials, "nobody") is None


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, "a\nb", "a\x00"])
def test_names_that_cannot_be_are_refused(site: Site, name: str) -> None:
    with pytest.raises(ConfigError, match="must have 1 to 80 printable characters"):
        site.store.write(people.add_annotator, name)


def test_a_new_name_must_be_free_too(site: Site) -> None:
    one, _ = (site.store.write(people.add_annotator, name) for name in ("one", "two"))
    with pytest.raises(ConfigError, match="already"):
        site.store.write(people.change_annotator, one, {"name": "TWO"})
    site.store.write(people.change_annotator, one, {"name": " ONE "})
    found = site.store.read(people.annotator, one)
    assert found is not None
    assert found.name == "ONE"
    assert [person.name for person in site.store.read(people.annotators)] == ["ONE", "two"]


def test_a_subject_is_one_persons_and_a_clash_is_a_sentence(site: Site) -> None:
    one = site.store.write(people.add_annotator, "one", subject="https://id.example 7")
    found = site.store.read(people.by_subject, "https://id.example 7")
    assert found is not None
    assert found.id == one
    with pytest.raises(StoreError, match="There is one like it already"):
        site.store.write(people.add_annotator, "two", subject="https://id.example 7")
    assert site.store.read(people.credentials, "two") is None
    assert site.store.read(people.by_subject, "other") is None


def test_the_last_site_admin_stays(site: Site) -> None:
    one = site.store.write(people.add_annotator, "one", is_site_admin=True)
    for values in ({"is_active": False}, {"is_site_admin": False}):
        with pytest.raises(StoreError, match="the last site admin"):
            site.store.write(people.change_annotator, one, values)
    two = site.store.write(people.add_annotator, "two", is_site_admin=True)
    site.store.write(people.change_annotator, one, {"is_site_admin": False})
    with pytest.raises(StoreError, match="the last site admin"):
        site.store.write(people.change_annotator, two, {"is_active": False})
    with pytest.raises(StoreError, match="no such annotator"):
        site.store.write(people.change_annotator, new_id(), {"settings": {}})


def test_roles_come_change_and_go(site: Site) -> None:
    one = site.store.write(people.add_annotator, "one")
    for role in ("annotator", "reviewer"):
        site.store.write(people.set_role, site.project, one, role)
        assert site.store.read(people.role_of, site.project, one) == role
    site.store.write(people.set_state, site.project, one, "blocked", None)
    assert site.store.read(people.members, site.project) == [
        people.Member(one, "one", "reviewer", "blocked")
    ]
    site.store.write(people.set_role, site.project, one, None)
    assert site.store.read(people.role_of, site.project, one) is None
    with pytest.raises(StoreError, match="not in the store"):
        site.store.write(people.set_role, new_id(), one, "annotator")


def test_a_session_lasts_its_hours_and_is_stored_as_a_digest(site: Site, clock: Clock) -> None:
    one = site.store.write(people.add_annotator, "one")
    secret, csrf = site.store.write(people.open_session, one, 1.0)
    found = site.store.read(people.session, secret)
    assert found is not None
    assert (found.annotator.id, found.csrf) == (one, csrf)
    (row,) = site.rows(t.sessions)
    assert secret not in map(str, row)
    clock.forward(61)
    assert site.store.read(people.session, secret) is None
    other, _ = site.store.write(people.open_session, one)  # sweeps the old one away
    assert len(site.rows(t.sessions)) == 1
    site.store.write(people.close_session, other)
    assert site.store.read(people.session, other) is None


def test_a_new_password_or_an_end_logs_out(site: Site) -> None:
    one = site.store.write(people.add_annotator, "one")
    for values in ({"password_hash": "x"}, {"is_active": False}):
        secret, _ = site.store.write(people.open_session, one)
        site.store.write(people.change_annotator, one, values)
        assert site.store.read(people.session, secret) is None


def test_tokens_are_shown_once_and_can_be_taken_back(site: Site, clock: Clock) -> None:
    one, two = (site.store.write(people.add_annotator, name) for name in ("one", "two"))
    identity, secret = site.store.write(people.add_token, one, "laptop", 1)
    found = site.store.read(people.token_owner, secret)
    assert found is not None
    assert found.id == one
    assert [row.name for row in site.store.read(people.tokens, one)] == ["laptop"]
    digests = site.store.read(lambda c: list(c.scalars(select(t.api_tokens.c.digest))))
    assert digests == [people.digest_of(secret)]
    assert not site.store.write(people.revoke_token, two, identity)
    clock.forward(24 * 60 + 1)
    assert site.store.read(people.token_owner, secret) is None
    _, lasting = site.store.write(people.add_token, one, "server", None)
    clock.forward(10**6)
    assert site.store.read(people.token_owner, lasting) is not None
    assert site.store.write(people.revoke_token, one, identity)
    site.store.write(people.change_annotator, one, {"is_active": False})
    assert site.store.read(people.token_owner, lasting) is None
