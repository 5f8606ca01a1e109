"""Value and contract: which addresses may be asked, in every way they can be written."""

from __future__ import annotations

import ipaddress
from typing import Any, get_args

import pytest

from assay import addresses
from assay.addresses import AddressError, checked_target, checked_url, place_of
from assay.configs import Reach
from assay.errors import ConfigError

GOOD = "93.184.216.34"

LOOPBACK = [
    "http://127.0.0.1/v1", "http://127.1/v1", "http://127.0.1/v1", "http://2130706433/",
    "http://017700000001/", "http://0177.0.0.1/", "http://0x7f000001/", "http://0x7F.0x0.0x0.0x1/",
    "http://0x7f.1/", "http://127.255.255.254:8000/", "http://127.0.0.1./", "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/", "http://[0000::0001]:8000/v1", "http://[::ffff:127.0.0.1]/",
    "http://[::FFFF:7F00:1]/", "HTTP://127.0.0.1/",
]  # fmt: skip
LOCAL_NAMES = [
    "http://localhost/", "http://LocalHost:8000/", "http://localhost./", "http://a.localhost/",
    "http://printer.local/", "http://metadata.google.internal/",
]  # fmt: skip
PRIVATE = [
    "http://10.0.0.1/", "http://167772161/", "http://012.0.0.1/", "http://172.16.0.1/",
    "http://172.31.255.255/", "http://192.168.1.1/", "http://0xc0a80101/", "http://192.168.257/",
    "http://100.64.0.1/", "http://198.18.0.1/", "http://[fc00::1]/", "http://[fd12:3456::1]/",
    "http://[::ffff:10.0.0.1]/", "http://[::ffff:a00:1]/", "http://192.0.2.1/",
    "http://[2001:db8::1]/", "http://[64:ff9b::8.8.8.8]/",
]  # fmt: skip
NEVER = [
    "http://169.254.169.254/latest/meta-data/", "http://2852039166/", "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/", "http://169.254.43518/", "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/", "http://[fe80::1]/", "http://[febf::1]/",
    "http://[fd00:ec2::254]/", "http://100.100.100.200/", "http://168.63.129.16/",
    "http://192.0.0.192/", "http://0/", "http://0.0.0.0:8000/", "http://0.1.2.3/", "http://[::]/",
    "http://224.0.0.1/", "http://239.255.255.250/", "http://[ff02::1]/", "http://255.255.255.255/",
    "http://240.0.0.1/", "http://[::127.0.0.1]/", "http://[::a9fe:a9fe]/",
    "http://[64:ff9b::7f00:1]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b:1::a00:1]/",
    "http://[2002:7f00:1::]/", "http://[2002:a00:1::1]/", "http://[2002:a9fe:a9fe::]/",
    "http://[2001:0:7f00:1:0:0:f5ff:fffe]/",
]  # fmt: skip
NO_URL = [
    "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://example.org@127.0.0.1/",
    "http://user:pw@example.org/", "http://@example.org/", "http://127。0。0。1/",
    "http://①②⑦.0.0.1/", "http://\uff11\uff12\uff17.0.0.1/", "http://exämple.org/",
    "http://example.org\\@127.0.0.1/", "http://example.org\t/", "http://example.org\n.evil/",
    "http://exa%6dple.org/", "http://127.0.0.1%2f@example.org/", "file:///etc/passwd",
    "gopher://example.org/", "//example.org/", "example.org/v1", "http:///x", "http://",
    "http://example.org:0/", "http://example.org:99999/", "http://[::1", "http://example.org:x/",
]  # fmt: skip
ALL: list[Reach] = list(get_args(Reach))


def never_asked(host: str, port: int) -> list[str]:
    raise AssertionError(f"looked up {host}:{port}")


@pytest.mark.parametrize("url", LOOPBACK + LOCAL_NAMES + PRIVATE + NEVER + NO_URL)
def test_public_refuses_every_other_form_before_anything_is_looked_up(url: str) -> None:
    with pytest.raises(AddressError) as error:
        checked_url(url, "public")
    with pytest.raises(AddressError):
        checked_target(url, "public", never_asked)
    assert isinstance(error.value, ConfigError)
    assert "pw" not in str(error.value)


def test_the_corpus_is_large_enough() -> None:
    assert len(set(LOOPBACK + LOCAL_NAMES + PRIVATE + NEVER + NO_URL)) >= 40


@pytest.mark.parametrize("url", NEVER + NO_URL)
@pytest.mark.parametrize("reach", ALL)
def test_some_are_refused_whatever_the_reach(url: str, reach: Reach) -> None:
    with pytest.raises(AddressError):
        checked_target(url, reach, never_asked)


@pytest.mark.parametrize("url", LOOPBACK)
def test_loopback_is_reached_by_loopback_and_private(url: str) -> None:
    assert ipaddress.ip_address(checked_target(url, "loopback", never_asked).address)
    assert checked_url(url, "private")


@pytest.mark.parametrize("url", PRIVATE)
def test_private_networks_are_reached_by_private_alone(url: str) -> None:
    with pytest.raises(AddressError, match=r"a network that is not public \(private\); say so"):
        checked_url(url, "loopback", advice="say so")
    assert checked_target(url, "private", never_asked).host


@pytest.mark.parametrize("reach", ALL)
def test_public_addresses_are_reached_by_all(reach: Reach) -> None:
    for url in (f"https://{GOOD}/v1", "http://[2606:4700::1111]:8080/", "http://8.8.8.8/"):
        assert checked_target(url, reach, never_asked)
    target = checked_target("https://API.Example.org./v1?q", reach, lambda *_: [GOOD, "8.8.4.4"])
    assert (target.scheme, target.host, target.port) == ("https", "api.example.org", 443)
    assert (target.path, target.address, target.others) == ("/v1?q", GOOD, ("8.8.4.4",))


@pytest.mark.parametrize(
    "name", ["127.0.0.1.nip.io", "localtest.me", "0x7f000001.example.org", "metadata.example.org"]
)
@pytest.mark.parametrize(
    ("found", "reached"),
    [
        (["127.0.0.1"], ("loopback", "private")),
        (["::1"], ("loopback", "private")),
        (["::ffff:192.168.0.1"], ("private",)),
        (["10.1.2.3"], ("private",)),
        ([GOOD, "10.1.2.3"], ("private",)),  # one good address does not make up for it
        (["169.254.169.254"], ()),
        (["fe80::1%eth0"], ()),
        ([GOOD, "169.254.169.254"], ()),
        (["0.0.0.0"], ()),
        (["64:ff9b::a00:1"], ()),
    ],
)
def test_a_name_is_judged_by_what_it_resolves_to(
    name: str, found: list[str], reached: tuple[str, ...]
) -> None:
    for reach in ALL:
        if reach in reached:
            assert checked_target(f"http://{name}/", reach, lambda *_: found).address == found[0]
        else:
            with pytest.raises(AddressError):
                checked_target(f"http://{name}/", reach, lambda *_: found)


def test_a_name_without_address_is_said() -> None:
    def none(*_: Any) -> list[str]:
        raise OSError("no such host")

    with pytest.raises(addresses.UnknownHostError, match=r"'example\.org' has no address"):
        checked_target("https://example.org/", "public", none)
    assert "127.0.0.1" in addresses.resolved("localhost", 80)


def test_places_of_addresses() -> None:
    places = {
        "8.8.8.8": "public", "127.8.8.8": "loopback", "10.0.0.1": "private", "0.0.0.0": "never",
        "::ffff:8.8.8.8": "public", "2002:808:808::1": "public", "fec0::1": "private",
    }  # fmt: skip
    for text, place in places.items():
        assert place_of(ipaddress.ip_address(text)) == place, text
