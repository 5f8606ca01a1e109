"""Signing in by an OpenID provider: authorization code with PKCE, state and nonce.

Only the provider that was configured is asked, at the addresses its own document names, over https
(or at this machine), without following redirects. People are known by issuer and subject, never by
a name or an e-mail address, which a provider may let anybody choose.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import Connection

from assay.collect.asked import limit, store_of
from assay.collect.routes.account import local_path, sign_in
from assay.collect.routing import Policy, RefusedError, Route
from assay.errors import ConfigError
from assay.store import people

log = logging.getLogger("assay.collect.oidc")

COOKIE = "assay_oidc"
FLOW_SECONDS = 600
MOST_FLOWS = 5000
MOST_BYTES = 1 << 20
WAIT_SECONDS = 10.0
DOCUMENT_SECONDS = 3600
LEEWAY_SECONDS = 60
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
              "EdDSA", "Ed25519"]  # fmt: skip
"""Signatures by a key pair; never none, and never one by the client's secret."""


@dataclass(frozen=True, kw_only=True)
class OidcSettings:
    """The provider, and this site's account with it."""

    issuer: str
    client: str
    secret: str = field(repr=False)
    name: str = "OpenID"
    """What the button calls the provider."""

    def __post_init__(self) -> None:
        if not _is_safe(self.issuer):
            raise ConfigError(
                f"--oidc-issuer must be an https address, not {self.issuer[:100]!r} (http only on "
                "this machine)."
            )


def oidc_settings(
    issuer: str | None, client: str | None, secret_file: Path | None, name: str
) -> OidcSettings | None:
    """The settings from flags, or else from the environment; None where no issuer is named.

    Raises:
        ConfigError: If the client or its secret is missing.
    """
    found = os.environ
    issuer = issuer or found.get("ASSAY_OIDC_ISSUER")
    client = client or found.get("ASSAY_OIDC_CLIENT")
    if not issuer:
        return None
    if not client:
        raise ConfigError("--oidc-issuer needs --oidc-client, the id of this site there.")
    place = secret_file or found.get("ASSAY_OIDC_SECRET_FILE")
    if place:
        try:
            secret = Path(place).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--oidc-secret-file {place} cannot be read.") from error
    else:
        secret = found.get("ASSAY_OIDC_SECRET", "").strip()
    if not secret:
        raise ConfigError(
            "--oidc-issuer needs the client's secret, in --oidc-secret-file or $ASSAY_OIDC_SECRET."
        )
    return OidcSettings(issuer=issuer, client=client, secret=secret, name=name)


def _is_safe(address: object) -> bool:
    """Whether an address is https, or on this machine."""
    if not isinstance(address, str):
        return False
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return False
    local = host in ("127.0.0.1", "::1", "localhost")
    return (
        bool(host)
        and not parts.username
        and (parts.scheme == "https" or (parts.scheme == "http" and local))
    )


class ProviderError(Exception):
    """The provider did not say what was wanted; why, for the log."""


@dataclass(frozen=True)
class Flow:
    """Somebody on their way to the provider and back."""

    browser: str
    """Digest of the cookie of the browser that went."""
    nonce: str
    verifier: str
    redirect: str
    to: str
    invite: str
    until: float


class Oidc:
    """A provider, what it said of itself, and who is on their way."""

    def __init__(self, settings: OidcSettings):
        self.settings = settings
        self._flows: OrderedDict[str, Flow] = OrderedDict()
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, Mapping[str, Any]]] = {}

    # --- there ---

    def begin(self, redirect: str, to: str, invite: str) -> tuple[str, str]:
        """Where to send somebody, and what their browser must bring back as a cookie."""
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        document = self.document()
        state, browser, nonce, verifier = (secrets.token_urlsafe(48) for _ in range(4))
        flow = Flow(
            _digest(browser), nonce, verifier, redirect, to, invite,
            time.monotonic() + FLOW_SECONDS,
        )  # fmt: skip
        with self._lock:
            self._flows[state] = flow
            while len(self._flows) > MOST_FLOWS:
                self._flows.popitem(last=False)
        address = prepare_grant_uri(
            document["authorization_endpoint"], self.settings.client, "code", redirect,
            "openid profile", state, nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier), code_challenge_method="S256",
        )  # fmt: skip
        return cast("str", address), browser

    # --- and back ---

    def flow(self, state: str, browser: str) -> Flow | None:
        """The flow of a state, once, where the same browser comes back in time."""
        with self._lock:
            found = self._flows.pop(state, None)
        if found is None or found.until < time.monotonic():
            return None
        return found if hmac.compare_digest(found.browser, _digest(browser)) else None

    def claims(self, flow: Flow, code: str) -> Mapping[str, Any]:
        """What the provider says of somebody, for the code they brought.

        Raises:
            ProviderError: If it says nothing, or what it says is not signed, not for us, or over.
        """
        document = self.document()
        answer = self._fetch(
            document["token_endpoint"],
            {"grant_type": "authorization_code", "code": code, "redirect_uri": flow.redirect,
             "code_verifier": flow.verifier},
            _by_post(document),
        )  # fmt: skip
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise ProviderError(f"no id_token but {answer.get('error') or sorted(answer)}")
        return self._checked(token, flow.nonce, document)

    def _checked(self, token: str, nonce: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        def decoded(keys: Mapping[str, Any]) -> Any:
            return jwt.decode(token, KeySet.import_key_set(cast("Any", keys)), ALGORITHMS)

        try:
            try:
                found = decoded(self._known(document["jwks_uri"]))
            except (JoseError, ValueError):  # the provider may have changed its keys
                found = decoded(self._known(document["jwks_uri"], fresh=True))
            claims = CodeIDToken(
                found.claims, found.header,
                {"iss": {"essential": True, "value": self.settings.issuer},
                 "aud": {"essential": True, "value": self.settings.client}},
                {"nonce": nonce, "client_id": self.settings.client},
            )  # fmt: skip
            claims.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise ProviderError(f"the id_token is not good: {error!r}") from error
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise ProviderError("the id_token names nobody")
        return cast("Mapping[str, Any]", claims)

    def document(self) -> Mapping[str, Any]:
        """What the provider says of itself.

        Raises:
            ProviderError: If it is of another issuer, or names addresses that are not safe.
        """
        issuer = self.settings.issuer
        found = self._known(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise ProviderError(f"the document is of the issuer {found.get('issuer')!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not _is_safe(found.get(name)):
                raise ProviderError(f"its {name} is no https address")
        return found

    def _known(self, address: str, fresh: bool = False) -> Mapping[str, Any]:
        at, found = self._kept.get(address, (0.0, {}))
        now = time.monotonic()
        if not found or now - at > DOCUMENT_SECONDS or (fresh and now - at > WAIT_SECONDS):
            found = self._fetch(address)
            self._kept[address] = (now, found)
        return found

    def _fetch(
        self, address: str, form: Mapping[str, str] | None = None, by_post: bool = False
    ) -> Mapping[str, Any]:
        import httpx2

        auth, body = None, dict(form or {})
        if form is not None and by_post:
            body |= {"client_id": self.settings.client, "client_secret": self.settings.secret}
        elif form is not None:
            auth = _basic(self.settings.client, self.settings.secret)
        try:
            with (
                httpx2.Client(
                    timeout=WAIT_SECONDS, follow_redirects=False, trust_env=False
                ) as http,
                http.stream(
                    "GET" if form is None else "POST", address, data=body or None,
                    headers={"Accept": "application/json", **(auth or {})},
                ) as answer,
            ):  # fmt: skip
                raw = b""
                for part in answer.iter_bytes():
                    raw += part
                    if len(raw) > MOST_BYTES:
                        raise ProviderError(f"{address} sends more than {MOST_BYTES:,} bytes")
                status = answer.status_code
        except httpx2.HTTPError as error:
            raise ProviderError(f"{address} does not answer: {type(error).__name__}") from error
        try:
            found = json.loads(raw)
        except ValueError:
            found = None
        if status != 200 or not isinstance(found, dict):
            said = found.get("error") if isinstance(found, dict) else None
            raise ProviderError(f"{address} answers {status} ({str(said)[:80]})")
        return found


def _by_post(document: Mapping[str, Any]) -> bool:
    """Whether the provider wants the client's secret in the body alone."""
    ways = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return "client_secret_basic" not in ways and "client_secret_post" in ways


def _basic(client: str, secret: str) -> dict[str, str]:
    from base64 import b64encode
    from urllib.parse import quote

    pair = f"{quote(client, safe='')}:{quote(secret, safe='')}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


# --- pages ----------------------------------------------------------------------------------------


def begin(request: Request) -> Response:
    """Go to the provider."""
    limit(request, "oidc", 30)
    provider = _provider(request)
    asked = request.query_params
    redirect = f"{str(request.base_url).rstrip('/')}/oidc/callback"
    try:
        address, browser = provider.begin(
            redirect, local_path(asked.get("next", "/")[:500]), asked.get("invite", "")[:200]
        )
    except ProviderError as error:
        raise _failed(error) from error
    response = RedirectResponse(address, 303)
    response.set_cookie(
        COOKIE, browser, max_age=FLOW_SECONDS, httponly=True, samesite="lax", path="/oidc",
        secure=request.app.state.settings.is_https,
    )  # fmt: skip
    return response


def callback(request: Request) -> Response:
    """Come back from the provider."""
    limit(request, "oidc", 30)
    provider, asked = _provider(request), request.query_params
    flow = provider.flow(asked.get("state", ""), request.cookies.get(COOKIE, ""))
    if flow is None:
        raise RefusedError(400, "oidc-state", "This way in is over; begin again at the first page.")
    if asked.get("iss") not in (None, provider.settings.issuer):
        raise RefusedError(400, "oidc-state", "The answer is another provider's; begin again.")
    if asked.get("error") or not asked.get("code"):
        raise RefusedError(403, "oidc-refused", "The provider did not let you in.")
    try:
        claims = provider.claims(flow, asked["code"])
    except ProviderError as error:
        raise _failed(error) from error
    settings, store = request.app.state.settings, store_of(request)
    subject = f"{provider.settings.issuer}|{claims['sub']}"
    identity = store.write(
        _annotator_of, subject, _name_in(claims), flow.invite, settings.open_registration
    )
    if identity is None:
        raise RefusedError(
            403, "oidc-unknown", "You have no account here; ask whoever runs the site for a link."
        )
    response = sign_in(request, identity, flow.to)
    response.delete_cookie(COOKIE, path="/oidc")
    return response


def _annotator_of(
    connection: Connection, subject: str, name: str, invite: str, may_join: bool
) -> str | None:
    """Who a subject is: known, invited by a link, or new where that is allowed; None: nobody."""
    known = people.by_subject(connection, subject)
    if known is not None:
        return known.id if known.is_active else None
    if invite:
        return people.accept_invite(connection, invite, {"subject": subject})
    if not may_join:
        return None
    for number in range(1, 1000):
        tried = name if number == 1 else f"{name[:70]} {number}"
        if people.credentials(connection, tried) is None:
            return people.add_annotator(connection, tried, subject=subject)
    return None


def _name_in(claims: Mapping[str, Any]) -> str:
    """What to call somebody; it lets nobody in."""
    for key in ("preferred_username", "name", "sub"):
        said = claims.get(key)
        if isinstance(said, str):
            name = "".join(c for c in said if c.isprintable()).strip()[: people.MOST_NAME].strip()
            if name:
                return name
    return "annotator"


def _provider(request: Request) -> Oidc:
    provider: Oidc | None = request.app.state.oidc
    if provider is None:
        raise RefusedError(404, "not-found", "This site has no OpenID provider.")
    return provider


def _failed(error: ProviderError) -> RefusedError:
    log.warning("OpenID: %s", error)
    return RefusedError(
        502, "oidc-provider", "The OpenID provider did not answer as it should; try again later."
    )


ROUTES: tuple[Route, ...] = (
    Route("GET", "/oidc/login", begin, Policy.PUBLIC),
    Route("GET", "/oidc/callback", callback, Policy.PUBLIC),
)
