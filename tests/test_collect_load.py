"""The load on the running site, small: it meets quotas, loses nothing, and would say if it did."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(FOLDER)
    return import_module


@pytest.mark.medium
def test_the_site_under_load_meets_its_quotas_and_knows_what_it_was_sent_twice(
    script: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load = script("collect_load")
    load.run(load.Settings(
        annotators=3, comparisons=8, overlap=2, think_seconds=0.05, lease_seconds=0.6,
        abandon=0.1, slow=0.1, lost=0.5, most_seconds=60.0, out=tmp_path,
    ))  # fmt: skip
    found = json.loads((tmp_path / "collect_load.json").read_text())["stores"]["SQLite"]
    assert found["exact"]
    assert (found["lost"], found["server_errors"], found["statuses"]) == (0, 0, {})
    assert found["judgments"] - found["surplus"] == 16
    assert found["count"]["submit_ms"] == found["judgments"]
    assert found["cut"] >= found["repeats"]
    assert found["cut"] > 0
    assert 0 < found["next_ms"]["p50"] <= found["next_ms"]["p95"] <= found["next_ms"]["p99"]
    assert 20 < found["peak_mb"] < 1000
    assert "| exact  |" in capsys.readouterr().out


class Site:
    """Answers as the site does, but the first submits fail."""

    def __init__(self, failing: list[int]):
        self.failing, self.bodies, self.headers = failing, [], []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/session"):
            return httpx2.Response(200, json={"csrf": "sealed"})
        self.headers.append(request.headers)
        body = json.loads(request.content)
        if request.url.path.endswith("/claim"):
            task = {"comparison_id": f"c{len(self.bodies)}", "shown": ["a", "b"], "rubric_id": "r"}
            return httpx2.Response(200, json={"assignment": task, "reason": None})
        self.bodies.append(body)
        if self.failing:
            return httpx2.Response(self.failing.pop(0), json={})
        return httpx2.Response(200, json={"surplus": False, "is_repeat": False})


def visit(load: ModuleType, site: Site, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Any:
    """One annotator at a made-up site until two judgments count; what they met."""
    made = httpx2.AsyncClient
    monkeypatch.setattr(
        load.httpx2, "AsyncClient",
        lambda **given: made(transport=httpx2.MockTransport(site), base_url=given["base_url"]),
    )  # fmt: skip
    monkeypatch.setattr(load, "AGAIN_SECONDS", 0.001)
    settings = load.Settings(
        annotators=1, comparisons=2, overlap=1, think_seconds=0.0, abandon=0.0, slow=0.0, **more
    )
    (met,), _ = asyncio.run(load.visited("http://site", "p", ["secret"], settings))
    return met


def test_what_fails_is_sent_again_with_its_id_and_counted_once(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    load, site = script("collect_load"), Site([503, 500])
    met = visit(load, site, monkeypatch, lost=0.0)
    assert met.statuses == {"503": 1, "500": 1}
    assert [body["id"] for body in site.bodies[:3]] == [site.bodies[0]["id"]] * 3
    assert met.acknowledged[0] == site.bodies[0]["id"]
    assert len(met.acknowledged) == len(met.submit_ms) == met.counted >= 2
    assert len(set(met.acknowledged)) == len(met.acknowledged)
    sent = site.headers[0]
    assert (sent["cookie"], sent["x-csrf-token"]) == ("assay_session=secret", "sealed")
    assert sent["sec-fetch-site"] == "same-origin"


def test_what_is_refused_is_not_sent_again_and_not_acknowledged(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    load, site = script("collect_load"), Site([422])
    met = visit(load, site, monkeypatch, lost=0.0)
    assert met.statuses == {"422": 1}
    assert site.bodies[0]["id"] not in met.acknowledged
    assert site.bodies[1]["id"] in met.acknowledged


def test_a_lost_answer_is_sent_a_second_time(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    load, site = script("collect_load"), Site([])
    met = visit(load, site, monkeypatch, lost=1.0)
    assert met.cut == len(met.acknowledged) > 0
    assert site.bodies[-1]["id"] == site.bodies[-2]["id"]


def test_a_thought_has_a_mean_and_an_end(script: Callable[[str], ModuleType]) -> None:
    load = script("collect_load")
    one = load._Annotator(
        httpx2.AsyncClient(), "p", "c", load.Settings(think_seconds=2.0), 0, load.Visits(),
        asyncio.Event(),
    )  # fmt: skip
    thoughts = [one._thought() for _ in range(4000)]
    assert max(thoughts) <= 10
    assert sum(thoughts) / 4000 == pytest.approx(2.0, rel=0.06)  # 0.7 % less than the mean


def test_a_server_that_does_not_start_is_one_sentence(
    script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    load = script("collect_load")
    with (
        pytest.raises(load.StoreError, match="must say where it serves"),
        load.served(str(tmp_path / "no" / "prefs.db")),
    ):
        pass
