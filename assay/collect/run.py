"""``assay collect``: open a store, fill it, and serve the site. Knows nothing of torch."""

from __future__ import annotations

import ipaddress
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.configs import Collect
from assay.errors import ConfigError, StoreUnavailableError, require_extra

if TYPE_CHECKING:
    from assay.collect.routes.oidc import OidcSettings
    from assay.store.store import PreferenceStore

PACKAGES = ("alembic", "argon2", "authlib", "fastapi", "markdown_it", "multipart", "nh3",
            "sqlalchemy", "uvicorn")  # fmt: skip
STOP_SECONDS = 10
"""How long requests that are under way may take to end."""


def run(config: Collect) -> None:
    """Serve until it is interrupted.

    Raises:
        AssayError: If the site cannot be opened as asked for.
    """
    require_extra("collect", "assay collect", PACKAGES)
    place = _bound(config.host, config.port)  # nobody is answered before the server listens
    try:
        with _opened(config) as store:
            _check_host(config.host, store)
            if config.import_ is not None:
                say(_imported(store, config, config.import_))
            token = None if _has_admin(store) else secrets.token_urlsafe(24)
            app = _app(store, config, token)
            with _ending_well():
                say(_link(config.host, place.getsockname()[1], token))
                _serve(app, place, config)
    finally:
        place.close()


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def _opened(config: Collect) -> PreferenceStore:
    from sqlalchemy import update

    from assay.store import tables as t
    from assay.store.store import PreferenceStore

    store = None
    try:
        store = PreferenceStore.open(config.db)
        store.write(lambda c: c.execute(update(t.chain).values(id=1)))  # whether it can be written
    except StoreUnavailableError as error:
        if store is not None:
            store.close()
        raise ConfigError(str(error)) from error
    return store


def _has_admin(store: PreferenceStore) -> bool:
    from assay.store import listing

    return store.read(listing.has_site_admin)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host's address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_host(host: str, store: PreferenceStore) -> None:
    """Whoever sets up a site that the network can reach must have done it before.

    Raises:
        ConfigError: If the site has no admin yet.
    """
    from assay.store import listing

    if not is_loopback(host) and not store.read(listing.has_site_admin, with_password=True):
        raise ConfigError(
            f"--host {host} opens the site to the network, but it has no admin with a password "
            "yet; start it on 127.0.0.1 once and make the admin by the printed link. Signing in is "
            "always needed."
        )


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port must be 0 to 65,535, not {port}; 0 takes any that is free.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"--host {host} names no address of this machine ({error}).") from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(0)  # a port that is served already is refused here, not at the first request
    except OSError as error:
        found.close()
        why = error.strerror or str(error)
        raise ConfigError(
            f"--port {port} of {host} cannot be served ({why}); another program may have it: "
            "choose another --port, or 0 for any that is free."
        ) from error
    return found


def _imported(store: PreferenceStore, config: Collect, source: str) -> str:
    """Import a file into a project made for it; what became of it.

    A project that has been imported into is left as it is, so that the command can be run again.
    """
    from assay.collect.exchange import import_file
    from assay.formats.files import shown_name
    from assay.store import listing
    from assay.store.records import ProjectSettings, Rubric

    called = shown_name(source)
    name = config.project or Path(called).name.split(".")[0] or "project"
    there = [p for p in store.projects() if p.name.lower() == name.lower()]
    if there and store.read(listing.imports, there[0].id).rows:
        return f"Project {name!r} is there already; {called} was not imported again."
    settings, rubric = ProjectSettings(overlap=config.overlap), Rubric(preset=config.preset)
    project_id = there[0].id if there else store.create_project(name, settings, rubric)
    found = import_file(
        store, project_id, source, source=called, format=config.format or "", overlap=None
    )
    return f"Project {name!r}: {found}."


def _link(host: str, port: int, token: str | None) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    address = f"http://{shown}:{port}/"
    if token is None:
        return f"Serving {address} (Ctrl-C ends it)"
    return (
        f"Serving {address} (Ctrl-C ends it)\n"
        f"Nobody has an account yet. Make the admin's, once, here:\n{address}setup?token={token}"
    )


def _app(store: PreferenceStore, config: Collect, token: str | None) -> Any:
    from assay.collect.app import CollectSettings, make_app

    settings = CollectSettings(
        setup_token=token, session_hours=config.session_hours, is_https=config.https,
        open_registration=config.open_registration, webhook_hosts=config.webhook_hosts,
        oidc=_oidc(config),
    )  # fmt: skip
    return make_app(store, settings)


def _oidc(config: Collect) -> OidcSettings | None:
    from assay.collect.routes.oidc import oidc_settings

    return oidc_settings(
        config.oidc_issuer, config.oidc_client, config.oidc_secret_file, config.oidc_name
    )


def _serve(app: Any, place: socket.socket, config: Collect) -> None:
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, ws="none",
            proxy_headers=config.behind_proxy,
            # the proxy is on this machine; what others say of themselves is not believed
            forwarded_allow_ips="127.0.0.1,::1", timeout_graceful_shutdown=STOP_SECONDS,
        )
    )  # fmt: skip
    server.run(sockets=[place])


@contextmanager
def _ending_well() -> Iterator[None]:
    """Ctrl-C is how it ends, and so is a service's stop."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
    print("Stopped.", file=sys.stderr)


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt
