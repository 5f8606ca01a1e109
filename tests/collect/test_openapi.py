"""Contract: the OpenAPI document is valid and is what the routes are; no request makes a 5xx."""

from __future__ import annotations

import json
import random
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.collect.app import ROUTES, document
from assay.collect.routes import api
from assay.store import people
from assay.store.store import PreferenceStore

pytestmark = pytest.mark.filterwarnings("ignore")
ROLES = ("site", "site", "admin", "admin", "admin", "reviewer", "ada", "outsider", None)


def test_the_document_is_valid_openapi(site):
    from jsonschema_rs import validator_for
    from schemathesis import openapi

    said = json.loads(document(site.app))
    assert said["openapi"].startswith("3.1")
    openapi.from_dict(said).validate()
    for name, schema in said["components"]["schemas"].items():
        validator_for({**schema, "components": said["components"]}), name


def test_the_document_is_what_the_routes_are(site):
    said = site.app.openapi()["paths"]
    listed = {(path, method.upper()) for path, methods in said.items() for method in methods}
    assert listed == {(r.path, r.method) for r in ROUTES if r.path.startswith("/api/")}
    assert site.as_("ada").get("/api/openapi.json").json() == json.loads(document(site.app))


def test_every_operation_says_what_it_is_and_how_it_fails(site):
    document = site.app.openapi()
    ids = []
    for route in api.ROUTES:
        said = document["paths"][route.path][route.method.lower()]
        ids.append(said["operationId"])
        assert said["summary"]
        assert said["tags"]
        assert "422" in said["responses"]
        for status, answer in said["responses"].items():
            assert answer["description"]
            if int(status) >= 400:
                assert answer["content"]["application/json"]["schema"]["$ref"].endswith("ErrorOut")
        is_public = route.path.endswith("/health")
        assert (said["security"] == []) is is_public
        assert ("401" in said["responses"]) is not is_public
    assert len(set(ids)) == len(ids)


# --- fuzzing --------------------------------------------------------------------------------------

SLOWEST = 100
"""Cases of the one body that takes the generator seconds: comparisons nest six deep."""


@asynccontextmanager
async def _quiet(_app):
    yield


def _known(site) -> dict[str, list[str]]:
    """Values of path parameters that are there, and of another project."""
    from assay.store import webhooks

    token = site.store.write(people.add_token, site.people["ada"], "spare", 1)[0]
    hook = site.store.write(webhooks.add_webhook, site.project, "https://example.org/")[0]
    made = site.judge("ada")
    site.judge("bob")
    return {
        "project_id": [site.project, site.project, site.project, site.other],
        "comparison_id": [*site.ids(), made["comparison_id"], site.ids(site.other)[0]],
        "annotator_id": [site.people["bob"], site.people["outsider"]],
        "token_id": [token],
        "webhook_id": [hook],
        "judgment_id": [made["id"]],
    }


def fuzz(site_of, folder, cases: int, only=lambda path: True) -> int:
    """Ask every operation with what it takes, and with what it does not; the number of requests.

    Every answer has a status below 500; of the interface for programs also one that the document
    names, with the content it names.
    """
    from schemathesis import GenerationMode, openapi
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    ours = {r.path for r in api.ROUTES}
    with PreferenceStore.open(folder / "first.db") as store:
        routes = [r for r in ROUTES if r.path.startswith("/api/") and only(r.path)]
        document = site_of(store).app.openapi()
    asked = 0
    for number, route in enumerate(routes):
        with PreferenceStore.open(folder / f"{number}.db") as store:
            site = site_of(store)
            site.app.router.lifespan_context = _quiet  # nothing is sent to anybody
            known = _known(site)
            schema = openapi.from_dict(document)
            schema.app = site.app
            operation = schema[route.path][route.method]
            checks = [not_a_server_error]
            if route.path in ours:
                checks += [
                    status_code_conformance, content_type_conformance, response_schema_conformance
                ]  # fmt: skip
            has_input = bool(operation.body) or any(
                True for group in (operation.path_parameters, operation.query) for _ in group
            )
            modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE] if has_input else [
                GenerationMode.POSITIVE
            ]  # fmt: skip
            for mode in modes:
                most = max(1, cases // len(routes) // len(modes))
                if route.endpoint is api.add_comparisons:
                    most = min(most, SLOWEST)
                asked += _ask(operation, mode, most, site, known, checks)
    return asked


def _ask(operation, mode, most, site, known, checks) -> int:
    """One operation with drawn cases of a mode."""
    asked = 0

    @settings(
        max_examples=most, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(
        case=operation.as_strategy(generation_mode=mode), role=st.sampled_from(ROLES),
        seed=st.integers(0, 999),
    )  # fmt: skip
    def ask(case, role, seed):
        nonlocal asked
        drawn = random.Random(seed)
        for name in case.path_parameters or {}:
            if name in known and drawn.random() < 0.8:
                case.path_parameters[name] = drawn.choice(known[name])
        headers = {"Authorization": f"Bearer {site.tokens[role]}"} if role is not None else {}
        if case.method == "PATCH" and drawn.random() < 0.7:
            headers["If-Match"] = "*"
        asked += 1
        case.validate_response(case.call(headers=headers), checks=checks)

    ask()
    return asked


@pytest.mark.medium
def test_no_request_makes_a_server_error(site_of, tmp_path):
    assert fuzz(site_of, tmp_path, 500) >= 300


@pytest.mark.slow
def test_twenty_thousand_requests_make_no_server_error(site_of, tmp_path):
    asked = fuzz(site_of, tmp_path, 30_000)
    print(f"{asked:,} requests")
    assert asked >= 20_000
