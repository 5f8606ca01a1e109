"""Signing in by a provider, against one that runs in the test and can be told to lie."""

from __future__ import annotations

import json
import re
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from managed import Managed, managed_site

from assay.collect.app import CollectSettings
from assay.collect.routes import oidc
from assay.collect.routes.oidc import OidcSettings, oidc_settings
from assay.errors import ConfigError
from assay.store import people

pytestmark = pytest.mark.medium

SECRET = "canary secret/with signs"


@dataclass
class Provider:
    """What the provider knows, and how it errs."""

    issuer: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    claims: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    token: Any = None
    """In place of an answer with a good token."""
    asked: list[str] = field(default_factory=list)

    def authorise(self, address: str) -> str:
        """What a person does there; where the provider sends them back to."""
        parts = urlsplit(address)
        given = {k: v[0] for k, v in parse_qs(parts.query).items()}
        assert given["response_type"] == "code"
        assert given["code_challenge_method"] == "S256"
        code = f"code{len(self.codes)}"
        self.codes[code] = given
        return f"{given['redirect_uri']}?code={code}&state={given['state']}"

    def exchange(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        pair = b64decode(authorization.removeprefix("Basic ")).decode()
        client, secret = (unquote(part) for part in pair.split(":"))
        given = self.codes.pop(form["code"], None)
        proof = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if given is None or secret != SECRET or proof.decode() != given["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        if form["redirect_uri"] != given["redirect_uri"] or client != given["client_id"]:
            return 400, {"error": "invalid_grant"}
        if self.token is not None:
            return 200, self.token
        now = int(time.time())
        said = {"iss": self.issuer, "aud": client, "sub": "s-1", "nonce": given["nonce"],
                "iat": now, "exp": now + 60, **self.claims}  # fmt: skip
        said = {k: v for k, v in said.items() if v is not None}
        return 200, {"id_token": jwt.encode({"alg": "RS256", "kid": self.key.kid}, said, self.key)}


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, value: Any) -> None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            made.asked.append(self.path)
            if self.path == "/.well-known/openid-configuration":
                self.answer(200, {
                    "issuer": made.issuer, "authorization_endpoint": f"{made.issuer}/authorize",
                    "token_endpoint": f"{made.issuer}/token", "jwks_uri": f"{made.issuer}/keys",
                    **made.document,
                })  # fmt: skip
            elif self.path == "/keys":
                self.answer(200, {"keys": [made.key.as_dict(private=False)]})
            else:
                self.answer(404, {})

        def do_POST(self) -> None:
            made.asked.append(self.path)
            length = int(self.headers["Content-Length"])
            form = {k: v[0] for k, v in parse_qs(self.rfile.read(length).decode()).items()}
            self.answer(*made.exchange(form, self.headers.get("Authorization", "")))

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.issuer = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def open_site(provider: Provider, tmp_path: Any, **more: Any) -> Managed:
    settings = OidcSettings(issuer=provider.issuer, client="assay", secret=SECRET, name="The Lab")
    return managed_site(str(tmp_path / "prefs.db"), CollectSettings(oidc=settings, **more))


def come_in(site: Managed, provider: Provider, query: str = "", browser: Any = None) -> Any:
    browser = browser or site.browser()
    there = browser.get(f"/oidc/login{query}")
    assert there.status_code == 303, there.text
    return browser.get(provider.authorise(there.headers["location"]))


def name_of(site: Managed, answer: Any) -> str:
    secret = re.search(r"assay_session=([^;]+)", answer.headers["set-cookie"])
    assert secret
    found = site.store.read(people.session, secret[1])
    assert found is not None
    return found.annotator.name


def test_a_known_subject_comes_in_and_nobody_else(provider, tmp_path, caplog):
    site = open_site(provider, tmp_path)
    assert "The Lab" in site.browser().get("/login").text
    refused = come_in(site, provider)
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers
    subject = {"subject": f"{provider.issuer}|s-1"}
    site.store.write(people.change_annotator, site.people["second"], subject)
    answer = come_in(site, provider, "?next=/profile")
    assert answer.headers["location"] == "/profile"
    assert name_of(site, answer) == "second person"
    site.store.write(people.change_annotator, site.people["second"], {"is_active": False})
    assert come_in(site, provider).status_code == 403
    assert SECRET not in caplog.text
    assert SECRET not in repr(site.app.state.settings)
    site.store.close()


def test_a_name_or_address_lets_nobody_in(provider, tmp_path):
    site = open_site(provider, tmp_path, open_registration=True)
    provider.claims = {"preferred_username": "site person", "email": "site@example.org"}
    answer = come_in(site, provider)
    assert name_of(site, answer) == "site person 2"
    made = next(a for a in site.store.read(people.annotators) if a.name == "site person 2")
    assert not made.is_site_admin
    assert name_of(site, come_in(site, provider)) == "site person 2"  # the same one again
    provider.claims = {"sub": "s-2", "preferred_username": "\x07\n"}
    assert name_of(site, come_in(site, provider)) == "s-2"
    site.store.close()


def test_an_invitation_can_be_taken_by_the_provider_once(provider, tmp_path):
    site = open_site(provider, tmp_path)
    link = site.store.write(people.invite, site.people["annotator"], 1.0)
    assert f"/oidc/login?invite={link}" in site.browser().get(f"/invite/{link}").text
    assert name_of(site, come_in(site, provider, f"?invite={link}")) == "annotator person"
    assert name_of(site, come_in(site, provider)) == "annotator person"
    provider.claims = {"sub": "s-2"}
    assert come_in(site, provider, f"?invite={link}").status_code == 403
    site.store.close()


LIES = {
    "another issuer": {"iss": "https://evil.example"},
    "another site": {"aud": "another"},
    "over": {"exp": 1_000_000},
    "not yet": {"nbf": 99_999_999_999},
    "an old nonce": {"nonce": "old"},
    "no nonce": {"nonce": None},
    "nobody": {"sub": ""},
    "no subject": {"sub": None},
    "no issuer": {"iss": None},
    "no end": {"exp": None},
    "two sites": {"aud": ["assay", "b"], "azp": "b"},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_token_that_is_not_for_this_is_refused(provider, tmp_path, lie):
    site = open_site(provider, tmp_path, open_registration=True)
    provider.claims = LIES[lie]
    answer = come_in(site, provider)
    assert answer.status_code == 502
    assert "assay_session" not in answer.headers.get("set-cookie", "")
    site.store.close()


def test_a_token_by_another_key_or_none_is_refused(provider, tmp_path):
    site = open_site(provider, tmp_path, open_registration=True)
    now = int(time.time())
    said = {"iss": provider.issuer, "aud": "assay", "sub": "s", "iat": now, "exp": now + 60}
    other = RSAKey.generate_key(2048, {"kid": "one"})
    plain = ".".join(
        urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "none"}, said)
    )
    from joserfc.jwk import OctKey

    shared = OctKey.import_key(SECRET.encode().ljust(64, b"x"))
    for token in (
        jwt.encode({"alg": "RS256", "kid": "one"}, said, other), f"{plain}.",
        jwt.encode({"alg": "HS256"}, said, shared), "no.token.atall", "",
    ):  # fmt: skip
        provider.token = {"id_token": token}
        assert come_in(site, provider).status_code == 502
    for strange in ({"error": "x"}, {"id_token": 1}, [1], b"<html>", b"x" * 2_000_000):
        provider.token = strange
        assert come_in(site, provider).status_code == 502
    site.store.close()


def test_new_keys_of_the_provider_are_fetched(provider, tmp_path, monkeypatch):
    monkeypatch.setattr(oidc, "WAIT_SECONDS", 0.0001)
    monkeypatch.setattr(oidc.Oidc, "_fetch", _patient(oidc.Oidc._fetch))
    site = open_site(provider, tmp_path, open_registration=True)
    assert come_in(site, provider).status_code == 303
    provider.key = RSAKey.generate_key(2048, {"kid": "two"})
    time.sleep(0.01)
    assert come_in(site, provider).status_code == 303
    assert provider.asked.count("/keys") == 2
    site.store.close()


def _patient(fetch: Any) -> Any:
    def waiting(self: Any, *arguments: Any) -> Any:
        kept, oidc.WAIT_SECONDS = oidc.WAIT_SECONDS, 10.0
        try:
            return fetch(self, *arguments)
        finally:
            oidc.WAIT_SECONDS = kept

    return waiting


def test_the_way_back_is_of_the_same_browser_once_and_in_time(provider, tmp_path, monkeypatch):
    site = open_site(provider, tmp_path, open_registration=True)
    mine, another = site.browser(), site.browser()
    back = provider.authorise(mine.get("/oidc/login").headers["location"])
    another.get("/oidc/login")
    assert another.get(back).status_code == 400  # somebody else's way in, put under one's own
    assert mine.get(back).status_code == 400  # and used up by the attempt
    assert mine.get("/oidc/callback?code=x&state=guess").status_code == 400
    there = mine.get("/oidc/login").headers["location"]
    back = provider.authorise(there)
    assert mine.get(f"{back}&iss=https://evil.example").status_code == 400
    back = provider.authorise(mine.get("/oidc/login").headers["location"])
    assert mine.get(back.split("?")[0] + "?error=access_denied&" + back.split("&")[1]
                    ).status_code == 403  # fmt: skip
    back = provider.authorise(mine.get("/oidc/login").headers["location"])
    later = time.monotonic() + 3600
    monkeypatch.setattr(oidc.time, "monotonic", lambda: later)
    assert mine.get(back).status_code == 400
    site.store.close()


@pytest.mark.parametrize("document", [
    {"issuer": "https://evil.example"}, {"token_endpoint": "http://evil.example/token"},
    {"jwks_uri": None}, {"authorization_endpoint": "javascript:alert(1)"},
    {"token_endpoint": "file:///etc/passwd"}, {"jwks_uri": "https://a@b.example/"},
])  # fmt: skip
def test_a_document_that_leads_elsewhere_is_refused(provider, tmp_path, document):
    site = open_site(provider, tmp_path)
    provider.document = document
    assert site.browser().get("/oidc/login").status_code == 502
    assert set(provider.asked) == {"/.well-known/openid-configuration"}
    site.store.close()


def test_a_provider_that_is_away_is_said(provider, tmp_path):
    site = open_site(provider, tmp_path)
    site.app.state.oidc = oidc.Oidc(
        OidcSettings(issuer="http://127.0.0.1:9", client="assay", secret="x")
    )
    answer = site.browser().get("/oidc/login")
    assert answer.status_code == 502
    assert "provider did not answer" in answer.text
    site.app.state.oidc = None
    assert site.browser().get("/oidc/login").status_code == 404
    site.store.close()


def test_the_settings_are_of_flags_or_the_environment(monkeypatch, tmp_path):
    for name in ("ISSUER", "CLIENT", "SECRET", "SECRET_FILE"):
        monkeypatch.delenv(f"ASSAY_OIDC_{name}", raising=False)
    assert oidc_settings(None, None, None, "OpenID") is None
    with pytest.raises(ConfigError, match="needs --oidc-client"):
        oidc_settings("https://id.example", None, None, "OpenID")
    with pytest.raises(ConfigError, match="client's secret"):
        oidc_settings("https://id.example", "assay", None, "OpenID")
    with pytest.raises(ConfigError, match="cannot be read"):
        oidc_settings("https://id.example", "assay", tmp_path / "none", "OpenID")
    (tmp_path / "secret").write_text("from a file\n")
    found = oidc_settings("https://id.example", "assay", tmp_path / "secret", "OpenID")
    assert found is not None
    assert found.secret == "from a file"
    monkeypatch.setenv("ASSAY_OIDC_ISSUER", "https://id.example")
    monkeypatch.setenv("ASSAY_OIDC_CLIENT", "assay")
    monkeypatch.setenv("ASSAY_OIDC_SECRET", "from outside")
    found = oidc_settings(None, None, None, "OpenID")
    assert found is not None
    assert (found.client, found.secret) == ("assay", "from outside")
    assert "from outside" not in repr(found)
    for address in ("http://id.example", "ftp://id.example", "https://", "https://a:b@id.example",
                    "https://[bad"):  # fmt: skip
        with pytest.raises(ConfigError, match="must be an https address"):
            OidcSettings(issuer=address, client="assay", secret="x")
