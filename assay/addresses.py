"""Which addresses may be asked or told: a URL is checked, resolved once, and connected to as found.

A URL that somebody else wrote can make this machine ask its own services, its network's, or its
hosting company's metadata (server-side request forgery). So a host is resolved once, every address
that comes back is checked, and the connection goes to a checked one: a name that means another
address a moment later (rebinding) gains nothing.

Knows nothing of what is sent.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from assay.configs import Reach
from assay.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]
Place = Literal["public", "loopback", "private", "never"]

_REACHED: dict[Reach, tuple[Place, ...]] = {
    "public": ("public",),
    "loopback": ("public", "loopback"),
    "private": ("public", "loopback", "private"),
}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.ip_network("::/96")
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "168.63.129.16",  # Azure; looks public
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",  # Amazon
            "fd20:ce::254",  # Google
            "fd00:42::42",  # Scaleway
        ),
    )
)
"""The hosting company's own services, beside those at link-local addresses (169.254.169.254)."""


class AddressError(ConfigError):
    """An address is not one that may be asked or told."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, checked; ``host`` is what the URL calls it.

    ``others`` are further addresses of the host, checked as well.
    """

    scheme: str
    host: str
    port: int
    path: str
    address: str
    others: tuple[str, ...] = ()


def resolved(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system knows them.

    Raises:
        OSError: If it knows none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def place_of(address: Address) -> Place:
    """Where an address is.

    ``never``: link-local, metadata, multicast, unspecified, reserved, and whatever carries an
    older address that is not public (6to4, Teredo, NAT64, IPv4-compatible). An IPv4-mapped address
    is where its IPv4 address is.
    """
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return place_of(address.ipv4_mapped)
    if address.is_loopback:
        return "loopback"
    if address.is_unspecified or address.is_multicast or address.is_link_local:
        return "never"
    if address in _METADATA or address in _THIS_NETWORK:
        return "never"
    if any(place_of(part) != "public" for part in _carried(address)):
        return "never"
    if address in _NAT64:
        return "private"  # a public host behind the network's own translator
    if address.is_reserved:
        return "never"
    is_site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    is_near = is_site_local or address.is_private or not address.is_global
    return "private" if is_near else "public"


def _carried(address: Address) -> list[Address]:
    """The older addresses that an address carries, if any."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address] = [*(address.teredo or ())]
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address in _NAT64 or address in _LOCAL_NAT64 or address in _COMPATIBLE:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def checked_url(
    url: str, reach: Reach = "public", *, advice: str = "name a public one"
) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of a URL, where its form is good.

    An address written as a number, in any base, is checked here; a name is checked when it is
    connected to, for it may mean another address by then.

    Args:
        advice: What to do about a host that is too near, as the sentence ends.

    Raises:
        AddressError: If it is no http or https URL of a host within reach.
    """
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise AddressError(
            f"The address {_shown(url)} has characters that are not plain ASCII; write the host in "
            "its xn-- form, and %-encode the rest."
        )
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise AddressError(f"The address {_shown(url)} is no URL.") from None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        raise AddressError(
            f"The address {_shown(url)} cannot be used; wanted http://HOST/… or https://HOST/… "
            "without user and password."
        )
    if "%" in host:
        raise AddressError(f"The host {host[:80]!r} has a zone or an escape; write it plainly.")
    if port == 0:
        raise AddressError("Port 0 cannot be connected to.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    literal = _literal(host)
    if literal is not None:
        _check(literal, host, reach, advice)
    elif reach == "public" and _is_local_name(host):
        raise AddressError(_refusal(host, "this machine or its network", advice))
    return parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path


def checked_target(
    url: str,
    reach: Reach = "public",
    resolve: Resolver = resolved,
    *,
    advice: str = "name a public one",
) -> Target:
    """Where to connect for a URL: the very addresses that were checked.

    Raises:
        AddressError: If any address of the host is out of reach, or it has none.
    """
    scheme, host, port, path = checked_url(url, reach, advice=advice)
    literal = _literal(host)
    try:
        found = resolve(host, port) if literal is None else [str(literal)]
    except (OSError, UnicodeError):
        found = ()
    if not found:
        raise UnknownHostError(f"The host {host[:80]!r} has no address.")
    for address in found:
        _check(ipaddress.ip_address(address.partition("%")[0]), host, reach, advice)
    return Target(scheme, host, port, path, found[0], tuple(found[1:]))


class UnknownHostError(AddressError):
    """A host has no address, now at least."""


def _shown(url: str) -> str:
    """The beginning of a URL, without the user and password that may stand in it."""
    return repr(url.rpartition("@")[2][:80])


def _literal(host: str) -> Address | None:
    """The address that a host is when it is a number: dotted, decimal, octal, hex, or IPv6."""
    with suppress(ValueError):
        return ipaddress.ip_address(host)
    with suppress(OSError, UnicodeError):
        return ipaddress.ip_address(socket.inet_aton(host))
    return None


def _is_local_name(host: str) -> bool:
    return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))


def _check(address: Address, host: str, reach: Reach, advice: str) -> None:
    place = place_of(address)
    if place == "never":
        # whatever the reach: nobody's server lives there
        raise AddressError(f"The host {host[:80]!r} is {address}, which is never connected to.")
    if place not in _REACHED[reach]:
        raise AddressError(
            _refusal(host, f"{address}, of a network that is not public ({place})", advice)
        )


def _refusal(host: str, what: str, advice: str) -> str:
    return f"The host {host[:80]!r} is {what}; {advice}."
