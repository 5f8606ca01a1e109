"""The answer in words: what is shown, what overlaps, and what is in doubt."""

from __future__ import annotations

import pytest

from assay.evaluation.scaling_answer import answer, verdict
from assay.evaluation.scaling_curves import Bigger, Fit, HoldOut, ModelCurve, SizeFigures
from assay.types import Figure

HALF = Figure(0.5, 0.4, 0.6, 90)


def gain(value: float, half: float) -> Figure:
    return Figure(value, value - half, value + half, 90)


def curve(
    doubling: Figure | None,
    bigger: Figure | None = None,
    difference: Figure | None = None,
    error: Figure | None = None,
) -> ModelCurve:
    sizes = tuple(SizeFigures(n, float(n), HALF, HALF, HALF, 1.0) for n in (512, 1024))
    return ModelCurve(
        model="small",
        parameters=1,
        sizes=sizes,
        fit=Fit(() if doubling else ("the curve is flat",), doubling=doubling),
        holdout=HoldOut(4, 1024.0, HALF, HALF, error) if error else None,
        last_step=gain(0.01, 0.02),
        bigger=Bigger("big", bigger, difference) if bigger else None,
    )


@pytest.mark.parametrize(
    ("data", "model", "difference", "said"),
    [
        (gain(0.03, 0.01), gain(0.01, 0.005), gain(0.02, 0.01), "more data gives more"),
        (gain(0.01, 0.005), gain(0.03, 0.01), gain(-0.02, 0.01), "the bigger model gives more"),
        (gain(0.02, 0.01), gain(0.02, 0.01), gain(0.0, 0.02), "both help, and which gives more"),
        (gain(0.0, 0.01), gain(0.01, 0.02), gain(-0.01, 0.02), "neither is shown to help"),
        (gain(0.0, 0.01), gain(0.02, 0.01), gain(-0.02, 0.03), "only the bigger model is shown"),
        (gain(0.02, 0.01), gain(0.0, 0.01), gain(0.02, 0.03), "only more data is shown to help"),
        # the difference is clear because the model harms, not because data helps
        (gain(0.0, 0.01), gain(-0.04, 0.01), gain(0.04, 0.02), "neither is shown to help"),
        (None, gain(0.03, 0.01), None, "the bigger model helps, and what more data gives is not"),
        (None, gain(0.0, 0.01), None, "the bigger model is not shown to help, and what more"),
        (None, None, None, "what more data gives is not known"),
        (gain(0.02, 0.01), None, None, "more data is predicted to help"),
        (gain(0.01, 0.02), None, None, "more data is not shown to help"),
    ],
)
def test_the_verdict_claims_what_the_intervals_show(
    data: Figure | None, model: Figure | None, difference: Figure | None, said: str
) -> None:
    assert verdict(curve(data, model, difference)).startswith(said)


def test_the_answer_is_one_sentence_with_both_gains() -> None:
    found = answer(curve(gain(0.02, 0.01), gain(0.03, 0.01), gain(-0.01, 0.02)))
    assert found == (
        "small at 1,024 pairs: more data: doubling to 2,048 is predicted to give "
        "+0.020 [+0.010, +0.030], the last step, from 512 to 1,024, measured "
        "+0.010 [-0.010, +0.030]; bigger model: big measured +0.030 [+0.020, +0.040]; "
        "both help, and which gives more cannot be told."
    )
    alone = answer(curve(gain(0.02, 0.01)))
    assert "bigger model: none in this study; more data is predicted to help." in alone


def test_an_undetermined_prediction_says_why_and_falls_back_on_what_was_measured() -> None:
    found = answer(curve(None))
    assert "what doubling gives is undetermined (the curve is flat), the last step" in found


def test_a_missed_hold_out_puts_the_prediction_in_doubt() -> None:
    missed = answer(curve(gain(0.02, 0.01), error=gain(0.05, 0.02)))
    assert "(in doubt: predicted from the smaller sizes, the largest was missed by +0.050" in missed
    assert "in doubt" not in answer(curve(gain(0.02, 0.01), error=gain(0.01, 0.02)))
