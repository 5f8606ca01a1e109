"""Contract: the examples of deployment parse, and name a verb and flags that there are."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path

import yaml

from assay.cli import VERBS
from assay.configs import Collect

EXAMPLES = Path(__file__).parents[2] / "examples" / "collect"


def _flags() -> set[str]:
    from dataclasses import fields

    names = (field.metadata.get("key", field.name) for field in fields(Collect))
    return {f"--{name.replace('_', '-')}" for name in names}


def _check(arguments: list[str]) -> None:
    assert "collect" in VERBS
    used = {word for word in arguments if word.startswith("--")}
    assert used
    assert used <= _flags()


def _containerfile() -> list[tuple[str, str]]:
    text = (EXAMPLES / "Containerfile").read_text("utf-8")
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.M))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def test_the_service_starts_the_site_as_nobody_in_particular():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    assert parser.read(EXAMPLES / "assay-collect.service")
    service = parser["Service"]
    command = shlex.split(service["ExecStart"])
    assert (Path(command[0]).name, command[1]) == ("assay", "collect")
    _check(command)
    assert service["DynamicUser"] == service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    # what it writes is where it may write
    assert command[command.index("--db") + 1].startswith(f"/var/lib/{service['StateDirectory']}/")


def test_the_image_runs_as_a_user_and_asks_for_its_health_at_a_route_that_there_is():
    from assay.collect.routes.api import ROUTES

    said = dict(_containerfile())
    assert json.loads(said["ENTRYPOINT"]) == ["assay", "collect"]
    _check(json.loads(said["CMD"]))
    assert said["USER"] not in ("root", "0")
    assert f":{Collect().port}/api/v1/health'" in said["HEALTHCHECK"]
    assert "/api/v1/health" in {route.path for route in ROUTES}
    assert said["EXPOSE"] == str(Collect().port)
    assert json.loads(said["CMD"])[1].startswith(said["VOLUME"] + "/")


def test_the_services_of_compose_name_flags_and_each_other():
    found = yaml.safe_load((EXAMPLES / "compose.yaml").read_text("utf-8"))
    services = found["services"]
    collect = services["collect"]
    _check(collect["command"])
    assert "assay collect" in collect["entrypoint"][2]
    assert set(collect["depends_on"]) <= set(services)
    assert collect["network_mode"] == "service:proxy"
    assert set(collect["secrets"]) | set(services["db"]["secrets"]) == set(found["secrets"])
    assert collect["command"][1] == "postgresql://assay@db/assay"
    port = collect["command"][collect["command"].index("--port") + 1]
    assert services["proxy"]["command"].endswith(f"127.0.0.1:{port}")
    named = {v.partition(":")[0] for s in services.values() for v in s.get("volumes", ())}
    assert named == set(found["volumes"])
    assert "password" not in str(collect["command"]).lower()
