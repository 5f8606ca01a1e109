"""Value: what is read out of answers, and that what is odd in them is None and no error."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.feedback.replies import TokenLogprobs, UnreadableError, reply_of


def chat(logprobs: Any, **message: Any) -> Any:
    said = {"role": "assistant", "content": "A", **message}
    return {"choices": [{"message": said, "finish_reason": "stop", "logprobs": logprobs}]}


def test_a_chats_logprobs_are_read() -> None:
    token = {
        "token": "A", "logprob": -0.1, "bytes": [65],
        "top_logprobs": [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -9999.0}],
    }  # fmt: skip
    (choice,) = reply_of(chat({"content": [token]})).choices
    assert choice.logprobs == (TokenLogprobs("A", -0.1, {"A": -0.1, "B": -9999.0}),)
    bare = {"token": "A", "logprob": -1}
    (choice,) = reply_of(chat({"content": [bare]})).choices
    assert choice.logprobs == (TokenLogprobs("A", -1.0, {}),)


def test_a_plain_completions_logprobs_are_read() -> None:
    logprobs = {
        "tokens": ["A", "."], "token_logprobs": [-0.5, -0.25],
        "top_logprobs": [{"A": -0.5, "B": -1.0}, None], "text_offset": [0, 1],
    }  # fmt: skip
    (choice,) = reply_of({"choices": [{"text": "A.", "logprobs": logprobs}]}).choices
    assert choice.logprobs == (
        TokenLogprobs("A", -0.5, {"A": -0.5, "B": -1.0}),
        TokenLogprobs(".", -0.25, {}),
    )
    del logprobs["top_logprobs"]
    (choice,) = reply_of({"choices": [{"text": "A.", "logprobs": logprobs}]}).choices
    assert choice.logprobs is not None
    assert choice.logprobs[0].top == {}


def test_tokens_that_are_written_alike_are_added_up_and_rounding_is_forgiven() -> None:
    tops = [{"token": "�", "logprob": math.log(0.2)}, {"token": "�", "logprob": math.log(0.3)}]
    token = {"token": "�", "logprob": 1e-7, "top_logprobs": tops}
    (choice,) = reply_of(chat({"content": [token]})).choices
    assert choice.logprobs is not None
    assert choice.logprobs[0].logprob == 0.0
    assert choice.logprobs[0].top == {"�": pytest.approx(math.log(0.5))}


@pytest.mark.parametrize(
    "logprobs",
    [
        None, 3, [], {}, {"content": None}, {"content": [None]}, {"content": [{}]},
        {"content": [{"token": "A"}]}, {"content": [{"token": 1, "logprob": -1}]},
        {"content": [{"token": "A", "logprob": None}]},
        {"content": [{"token": "A", "logprob": float("nan")}]},
        {"content": [{"token": "A", "logprob": 0.5}]},
        {"content": [{"token": "A", "logprob": -(10**400)}]},
        {"content": [{"token": "A", "logprob": True}]},
        {"content": [{"token": "A", "logprob": -1, "top_logprobs": [3]}]},
        {"content": [{"token": "A", "logprob": -1, "top_logprobs": 3}]},
        {"tokens": ["A"]}, {"tokens": ["A"], "token_logprobs": [None]},
        {"tokens": ["A", "B"], "token_logprobs": [-1.0]},
        {"tokens": ["A"], "token_logprobs": [-1.0], "top_logprobs": [[1]]},
        {"tokens": ["A"], "token_logprobs": [-1.0], "top_logprobs": [{"A": "x"}]},
    ],
)  # fmt: skip
def test_logprobs_that_are_none_or_malformed_are_none(logprobs: Any) -> None:
    (choice,) = reply_of(chat(logprobs)).choices
    assert choice.logprobs is None
    assert choice.text == "A"


def test_refusals_model_and_tokens_are_read() -> None:
    usage = {
        "prompt_tokens": 9, "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }  # fmt: skip
    reply = reply_of(chat(None, content=None, refusal="I cannot") | {"model": "m2", "usage": usage})
    assert (reply.choices[0].text, reply.choices[0].refusal) == ("", "I cannot")
    assert (reply.model, reply.cached) == ("m2", False)
    assert (reply.prompt_tokens, reply.response_tokens) == (9, 7)
    assert (reply.cached_tokens, reply.reasoning_tokens) == (4, 3)
    assert reply.as_cached().cached
    odd = reply_of(
        chat(None) | {"model": 3, "usage": {"prompt_tokens": -1, "completion_tokens": True}}
    )
    assert (odd.model, odd.prompt_tokens, odd.response_tokens) == (None, None, None)


@given(st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["choices", "message", "content", "text", "logprobs", "tokens", "token",
                         "usage", "logprob", "top_logprobs", "token_logprobs"]), inner, max_size=4),
    max_leaves=20,
))  # fmt: skip
def test_any_json_is_a_reply_or_unreadable(value: Any) -> None:
    try:
        reply = reply_of(value)
    except UnreadableError:
        return
    assert reply.choices
