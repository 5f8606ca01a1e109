"""First errors: where labels say they are, and baselines by hand, against draws, in corners."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.errors import DataError
from assay.stats.first_errors import (
    SOUND,
    UNKNOWN,
    FirstErrors,
    check_labels,
    check_neutral,
    first_error_baselines,
    labelled_first_errors,
)


def test_the_first_error_is_known_where_all_before_it_is_judged() -> None:
    labels = [
        (1, 1),
        (1, 0, -1, 1),
        (1, -1, None),  # annotators stopped there
        (-1,),
        (1, None),
        (None, -1),
        (0, 0),
    ]
    wanted = [SOUND, 2, 1, 0, UNKNOWN, UNKNOWN, SOUND]
    assert labelled_first_errors(labels).tolist() == wanted
    assert labelled_first_errors(labels, "skip").tolist() == wanted
    assert labelled_first_errors(labels, "bad").tolist() == [-1, 1, 1, 0, -2, -2, 0]


def test_figures_by_hand() -> None:
    # of three with an error one is named, of two sound ones one is passed
    wrong = np.array([True, True, True, False, False])
    found = FirstErrors(wrong, np.array([1.0, 0, 0, 1, 0])).figures()
    assert found.error_accuracy.value == pytest.approx(1 / 3)
    assert found.sound_accuracy.value == pytest.approx(1 / 2)
    assert found.f1.value == pytest.approx(0.4)
    assert found.accuracy.value == pytest.approx(2 / 5)
    counts = (found.error_accuracy.n, found.sound_accuracy.n, found.f1.n, found.accuracy.n)
    assert counts == (3, 2, 5, 5)
    assert set(found.to_dict()) == {"error_accuracy", "sound_accuracy", "f1", "accuracy"}


def test_solutions_of_one_kind_have_no_f1() -> None:
    found = FirstErrors(np.array([True, True]), np.array([1.0, 0.0])).figures()
    assert math.isnan(found.f1.value)
    assert (found.f1.n, found.sound_accuracy.n, found.error_accuracy.value) == (0, 0, 0.5)


def test_baselines_by_hand() -> None:
    first, steps = [0, 3, 1, SOUND], [4, 4, 2, 5]
    found = {name: f.figures() for name, f in first_error_baselines(first, steps).items()}
    named = {name: f.error_accuracy.value for name, f in found.items()}
    passed = {name: f.sound_accuracy.value for name, f in found.items()}
    assert named == pytest.approx(
        {
            "never": 0,
            "always-first": 1 / 3,
            "always-last": 2 / 3,
            "random-step": (1 / 4 + 1 / 4 + 1 / 2) / 3,
            "random": (1 / 5 + 1 / 5 + 1 / 3) / 3,
        }
    )
    assert passed == pytest.approx(
        {"never": 1, "always-first": 0, "always-last": 0, "random-step": 0, "random": 1 / 6}
    )
    assert found["never"].f1.value == 0
    a, b = named["random"], 1 / 6
    assert found["random"].f1.value == pytest.approx(2 * a * b / (a + b))


def test_random_is_what_drawing_gives_on_average() -> None:
    rng = np.random.default_rng(0)
    steps = rng.integers(1, 9, size=200)
    first = np.array([rng.integers(-1, s) for s in steps])
    exact = first_error_baselines(first, steps)
    draws = 4000
    step = (rng.random((draws, 200)) * steps).astype(int)
    place = (rng.random((draws, 200)) * (steps + 1)).astype(int) - 1
    for name, said in (("random-step", step), ("random", place)):
        assert exact[name].match.mean() == pytest.approx((said == first).mean(), abs=0.002)


def test_intervals_are_over_problems() -> None:
    rng = np.random.default_rng(1)
    wrong, match = rng.random(40) < 0.5, (rng.random(40) < 0.6).astype(float)
    alone = FirstErrors(wrong, match).figures()
    copies = FirstErrors(np.tile(wrong, 3), np.tile(match, 3), np.tile(np.arange(40), 3)).figures()
    assert (copies.f1.low, copies.f1.high) == pytest.approx((alone.f1.low, alone.f1.high))
    assert copies.f1.n == 120


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: check_labels((1, 2), 4), "Step 2 of solution 5 has label 2"),
        (lambda: check_neutral("ignore"), "count as 'ignore'; wanted one of good, bad, skip"),
        (lambda: first_error_baselines([0, 1], [2]), "one of each"),
    ],
)
def test_what_is_no_label_is_said(call, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        call()
