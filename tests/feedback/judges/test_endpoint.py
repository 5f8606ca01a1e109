"""A judge behind an endpoint that does what it is told, well and badly."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from assay.errors import ConfigError
from assay.feedback.client import AsyncClient, Endpoint
from assay.feedback.http import EndpointError
from assay.feedback.judges.endpoint import SHORT, Asking, EndpointJudge
from assay.feedback.judges.records import Question
from assay.types import as_messages

QUESTION = Question(as_messages("Which?", "user"), ("A", "B"))


async def _no_wait(_seconds: float) -> None: ...


def body(text: str, top: dict[str, float] | None = None, **more: Any) -> dict[str, Any]:
    """A good reply; with ``top``, probabilities of its first token."""
    choice: dict[str, Any] = {
        "message": {"role": "assistant", "content": text},
        "finish_reason": more.pop("finish", "stop"),
    }
    if top is not None:
        likely = [{"token": t, "logprob": math.log(p)} for t, p in top.items()]
        choice["logprobs"] = {
            "content": [{"token": text, "logprob": math.log(top[text]), "top_logprobs": likely}]
        }
    usage = {"prompt_tokens": 50, "completion_tokens": 2}
    return {"choices": [choice], "usage": usage, "model": "m-1", **more}


def refuse(field: str) -> tuple[int, dict[str, str], bytes]:
    return 400, {}, json.dumps({"error": {"message": f"unknown field {field}"}}).encode()


class Model:
    """Answers as an endpoint of such abilities does."""

    def __init__(self, *, logprobs: bool = True, schema: bool = True, seed: bool = True,
                 limit: str = "max_tokens", say: Any = None):  # fmt: skip
        self.abilities = {"logprobs": logprobs, "response_format": schema, "seed": seed}
        self.limit = limit
        self.say = say
        self.probes = 0

    def __call__(self, asked: dict[str, Any]) -> Any:
        for field, can in self.abilities.items():
            if field in asked and not can:
                return refuse(field)
        other = {"max_tokens", "max_completion_tokens"} - {self.limit}
        if other & set(asked):
            return refuse(next(iter(other)))
        if "letter comes first" not in asked["messages"][-1]["content"] and self.say:
            return self.say(asked)
        self.probes += 1
        if "response_format" in asked:
            return body('{"rationale": "B does", "verdict": "B"}')
        return body("B", {"B": 0.75, "A": 0.125} if asked.get("logprobs") else None)


def judge_of(
    server: Any, model: Any, asking: Asking | None = None, **settings: Any
) -> EndpointJudge:
    server.script = [model]
    endpoint = Endpoint(base_url=server.url, model="m", retries=1, **settings)
    return EndpointJudge(AsyncClient(endpoint, sleep=_no_wait), asking, in_flight=4)


def answer(server: Any, model: Any, asking: Asking | None = None) -> Any:
    (found,) = judge_of(server, model, asking).read([QUESTION])
    return found


def test_log_probabilities_are_used_where_there_are_some(server: Any) -> None:
    found = answer(server, Model(say=lambda _: body("B", {"B": 0.6, "A": 0.2})))
    assert (found.said, found.means) == ("answered", "log-probabilities")
    assert found.probabilities == pytest.approx((0.25, 0.75))
    assert found.mass == pytest.approx(0.8)
    assert server.bodies[-1]["max_tokens"] == SHORT
    assert server.bodies[-1]["top_logprobs"] == 20
    assert server.bodies[-1]["seed"] == 0


def test_the_best_that_is_left_is_used_and_said(server: Any) -> None:
    by_schema = Model(
        logprobs=False, say=lambda _: body('{"rationale": "shorter", "verdict": "A"}')
    )
    found = answer(server, by_schema)
    assert (found.means, found.probabilities, found.detail) == ("schema", (1.0, 0.0), "shorter")
    assert list(server.bodies[-1]["response_format"]["json_schema"]["schema"]["properties"]) == [
        "rationale", "verdict",
    ]  # fmt: skip
    plain = Model(logprobs=False, schema=False, seed=False, limit="max_completion_tokens",
                  say=lambda _: body("Verdict: B"))  # fmt: skip
    found = answer(server, plain)
    assert (found.means, found.probabilities) == ("text", (0.0, 1.0))
    assert "seed" not in server.bodies[-1]
    assert "max_tokens" not in server.bodies[-1]


def test_only_five_likely_tokens_are_asked_for_where_twenty_are_refused(server: Any) -> None:
    def say(asked: dict[str, Any]) -> Any:
        if asked.get("top_logprobs", 0) > 5:
            return refuse("top_logprobs")
        return body("A", {"A": 0.5, "B": 0.25} if asked.get("logprobs") else None)

    assert answer(server, say).probabilities == pytest.approx((2 / 3, 1 / 3))
    assert server.bodies[-1]["top_logprobs"] == 5


def test_null_log_probabilities_of_one_reply_are_a_hard_vote_and_said_so(server: Any) -> None:
    found = answer(server, Model(say=lambda _: body("A")))
    assert (found.means, found.probabilities, found.mass) == ("text", (1.0, 0.0), None)


def test_samples_are_shares(server: Any) -> None:
    said = iter(["A", "B", "A", "A"])
    model = Model(logprobs=False, schema=False, say=lambda _: body(next(said)))
    found = answer(server, model, Asking(samples=4, temperature=1.0))
    assert found.probabilities == (0.75, 0.25)
    assert found.samples == 4
    assert found.prompt_tokens == 200
    seeds = sorted(b["seed"] for b in server.bodies if b["messages"][-1]["content"] == "Which?")
    assert seeds == [0, 1, 2, 3]


def test_most_samples_must_name_an_option(server: Any) -> None:
    said = iter(["A", "hm", "B", "well"])
    model = Model(logprobs=False, schema=False, say=lambda _: body(next(said)))
    found = answer(server, model, Asking(samples=4, temperature=1.0))
    assert (found.said, found.probabilities) == ("unparsable", None)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (body("I can't compare these."), "refused"),
        (body("A", finish="content_filter"), "refused"),
        (body("Both are nice."), "unparsable"),
        (body(""), "unparsable"),
        ((500, {}, b"oops"), "http-error"),
        ((200, {}, b'{"error": {"message": "overloaded"}}'), "http-error"),
        ((200, {}, b"<html>bad gateway</html>"), "http-error"),
        ((200, {}, b'{"choices": [{"mess'), "http-error"),
        ((200, {}, b'{"choices": []}'), "http-error"),
        (None, "http-error"),
    ],
)
def test_every_failure_is_of_its_kind_and_no_tie(server: Any, reply: Any, said: str) -> None:
    judge = judge_of(server, Model(logprobs=False, schema=False, say=lambda _: reply))
    found, good = None, None
    judge.abilities()
    (found,) = judge.read([QUESTION])
    assert (found.said, found.probabilities) == (said, None)
    assert found.detail
    server.script = [body("B")]
    (good,) = judge.read([QUESTION])
    assert good.said == "answered"


def test_an_endpoint_that_is_away_ends_it_with_a_sentence(server: Any) -> None:
    server.script = [(401, {}, b'{"error": "no key"}')]
    with pytest.raises(EndpointError, match="401"):
        list(judge_of(server, (401, {}, b"no"), None).read([QUESTION]))
    with pytest.raises(EndpointError, match="not even a short one"):
        list(judge_of(server, refuse("messages")).read([QUESTION]))


def test_means_that_the_endpoint_has_not_are_refused(server: Any) -> None:
    with pytest.raises(ConfigError, match="by log-probabilities"):
        answer(server, Model(logprobs=False), Asking(means="log-probabilities"))
    with pytest.raises(ConfigError, match="by schema"):
        answer(server, Model(schema=False), Asking(means="schema"))
    for asking in (
        Asking(samples=3), Asking(samples=0), Asking(temperature=-1.0),
        Asking(rationale=True, means="log-probabilities"),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            asking.check()


def test_the_endpoint_is_asked_once_what_it_can_do(server: Any) -> None:
    model = Model(say=lambda _: body("A", {"A": 0.5, "B": 0.5}))
    judge = judge_of(server, model)
    list(judge.read([QUESTION] * 3))
    probes = model.probes
    list(judge.read([QUESTION] * 3))
    assert model.probes == probes
    assert str(judge.abilities()) == "log-probabilities of 20 tokens, JSON schema, seed"
    assert judge.models == {"m-1": 6}


def test_answers_come_in_the_order_of_the_questions(server: Any) -> None:
    def say(asked: dict[str, Any]) -> Any:
        number = int(asked["messages"][-1]["content"])
        return body("A", {"A": (number + 1) / 100, "B": 1 - (number + 1) / 100})

    judge = judge_of(server, Model(say=say))
    asked = [Question(as_messages(str(i), "user"), ("A", "B")) for i in range(40)]
    found = [a.probabilities[0] for a in judge.read(asked)]
    assert found == pytest.approx([(i + 1) / 100 for i in range(40)])


def test_two_equal_options_are_no_choice(server: Any) -> None:
    found = answer(server, Model(say=lambda _: body("A", {"A": 0.5, "B": 0.5})))
    assert found.choice is None
