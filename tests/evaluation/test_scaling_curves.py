"""Recovery: simulated studies of known curves; gains, extrapolation and ignorance are as made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from assay.evaluation.scaling_answer import answer, fit_lines, table_text, verdict
from assay.evaluation.scaling_curves import Measured, ModelCurve, curves
from assay.stats import accuracy, preference_nll

SIZES = (128, 256, 512, 1024, 2048)
LAW = (0.80, 1.4, 0.5)
PAIRS = 600
Simulated = Callable[..., Measured]


def law(n: float, a: float = LAW[0], b: float = LAW[1], c: float = LAW[2]) -> float:
    return a - b * n**-c


@pytest.fixture(scope="module")
def study(simulated: Simulated) -> list[ModelCurve]:
    return curves(simulated(law, lambda n: law(n) + 0.05), resamples=400)


def test_figures_of_a_size_are_means_over_seeds_and_pairs(
    study: list[ModelCurve], simulated: Simulated
) -> None:
    measured = simulated(law, lambda n: law(n) + 0.05)
    size = study[0].sizes[2]
    assert (size.size, size.pairs, size.seconds) == (512, 512.0, 1.0)
    right = (measured.gaps[0, 2] > 0).mean()
    assert size.accuracy.value == pytest.approx(right)
    assert size.accuracy.n == PAIRS
    losses = [preference_nll(g).value for g in measured.gaps[0, 2]]
    assert size.nll.value == pytest.approx(np.mean(losses))
    assert size.length_only_accuracy.value == 0.5
    # close to the interval over prompts of one seed, for seeds hardly differ
    one = accuracy(measured.gaps[0, 2, 0], clusters=measured.clusters)
    width = size.accuracy.high - size.accuracy.low
    assert 0.6 < width / (one.high - one.low) < 1.2


def test_the_last_step_and_the_bigger_model_are_paired(
    study: list[ModelCurve], simulated: Simulated
) -> None:
    small, big = study
    measured = simulated(law, lambda n: law(n) + 0.05)
    right = (measured.gaps > 0).mean(axis=(-1, -2))
    assert small.last_step.value == pytest.approx(right[0, -1] - right[0, -2])
    assert small.bigger is not None
    assert small.bigger.gain.value == pytest.approx(right[1, -1] - right[0, -1])
    assert small.bigger.gain.low < 0.05 < small.bigger.gain.high
    alone = small.sizes[-1].accuracy
    assert small.bigger.gain.high - small.bigger.gain.low < alone.high - alone.low
    assert small.bigger.model == big.model
    assert big.bigger is None


def test_models_stand_by_their_parameters(simulated: Simulated) -> None:
    measured = simulated(law, lambda n: law(n) + 0.05)
    turned = Measured(**{**vars_of(measured), "parameters": (9, 3)})
    first, second = curves(turned, resamples=50)
    assert (first.model, second.model) == ("model 1", "model 0")
    assert first.bigger is not None
    assert first.bigger.gain.value < 0


def vars_of(measured: Measured) -> dict[str, object]:
    return {name: getattr(measured, name) for name in measured.__dataclass_fields__}


def test_a_known_law_is_recovered_within_its_intervals(study: list[ModelCurve]) -> None:
    fit = study[0].fit
    assert fit.undetermined == ()
    assert fit.parameters is not None
    for figure, truth in zip(fit.parameters, LAW, strict=True):
        assert figure.low <= truth <= figure.high
    assert fit.r_squared > 0.9
    assert fit.doubling is not None
    assert fit.doubling.low < law(4096) - law(2048) < fit.doubling.high
    first, *_, last = fit.curve
    assert (first[0], last[0]) == pytest.approx((128, 4096))
    for n, value, low, high in fit.curve:
        assert low <= value <= high
        assert value == pytest.approx(law(n), abs=0.05)


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say(simulated: Simulated) -> None:
    trials, held = 200, {"a": 0, "c": 0, "doubling": 0, "error": 0, "gain": 0}
    for trial in range(trials):
        found = curves(simulated(law, lambda n: law(n) + 0.03, seed=trial), resamples=300)[0]
        assert found.fit.parameters
        assert found.holdout
        assert found.bigger
        a, _, c = found.fit.parameters
        held["a"] += a.low <= LAW[0] <= a.high
        held["c"] += c.low <= LAW[2] <= c.high
        doubling = found.fit.doubling
        held["doubling"] += doubling is not None and doubling.low <= law(4096) - law(2048) <= (
            doubling.high
        )
        held["error"] += not found.holdout.missed
        held["gain"] += found.bigger.gain.low <= 0.03 <= found.bigger.gain.high
    assert min(held.values()) >= 0.92 * trials, held


def test_the_hold_out_test_passes_on_a_power_law_and_fails_on_a_kink(simulated: Simulated) -> None:
    smooth = curves(simulated(law), resamples=300)[0].holdout
    assert smooth is not None
    assert smooth.sizes == 4
    assert smooth.error.value == pytest.approx(smooth.predicted.value - smooth.measured.value)
    assert smooth.error.low < 0 < smooth.error.high
    assert not smooth.missed

    def kink(n: float) -> float:
        return law(n) if n < 2048 else 0.62

    (broken,) = curves(simulated(kink), resamples=300)
    assert broken.holdout is not None
    assert broken.holdout.missed
    assert broken.holdout.error.low > 0.05
    assert "error +0." in fit_lines(broken)[-1]
    assert fit_lines(broken)[-1].endswith("more than noise")


def test_a_ceiling_that_is_not_in_sight_is_not_printed(simulated: Simulated) -> None:
    (found,) = curves(simulated(lambda n: 0.5 + 0.05 * (n / 128) ** 0.45), resamples=100)
    assert found.fit.no_ceiling
    assert found.fit.undetermined == ()
    assert found.fit.parameters is not None
    assert found.fit.parameters[0].value == 1.0
    assert found.fit.to_dict()["no_ceiling"] is True
    assert "a 1 (its bound), b" in fit_lines(found)[0]
    assert fit_lines(found)[0].endswith("; no ceiling in sight")
    assert found.doubling is not None
    assert found.doubling.low > 0


@pytest.mark.parametrize(
    ("truth", "sizes", "why"),
    [
        (lambda n: 0.7, SIZES, "the curve is flat"),
        (lambda n: 1.4 - law(n), SIZES, "the curve falls"),
        (law, SIZES[1:4], "3 sizes for 3 parameters"),
        (law, SIZES[::4], "2 sizes for 3 parameters"),
        (lambda n: 0.55 if n == 128 else 0.75, SIZES, "c is at its bound 2"),
    ],
    ids=["flat", "falling", "three sizes", "two sizes", "a step"],
)
def test_an_undetermined_fit_gives_no_number(
    simulated: Simulated, truth: Callable[[float], float], sizes: tuple[int, ...], why: str
) -> None:
    (found,) = curves(simulated(truth, sizes=sizes, seed=4), resamples=200)
    assert found.doubling is None
    assert why in found.fit.undetermined[0]
    assert (found.fit.parameters is None) == (len(sizes) < 3)
    assert (found.holdout is None) == (len(sizes) <= 3)
    text = "\n".join(fit_lines(found))
    assert "fit undetermined" in text
    assert "a - b" not in text
    assert "what doubling gives is undetermined" in answer(found)
    assert "measured" in answer(found)
    assert verdict(found) == "what more data gives is not known"
    assert found.to_dict()["doubling"] is None
    assert found.to_dict()["fit"]["undetermined"]


def test_one_seed_has_intervals_over_prompts(simulated: Simulated) -> None:
    (found,) = curves(simulated(law, seeds=1), resamples=200)
    assert found.sizes[0].accuracy.low < found.sizes[0].accuracy.high


def test_pairs_labelled_a_tie_have_no_right_side(simulated: Simulated) -> None:
    measured = simulated(law)
    probability = measured.probability.copy()
    probability[:100] = 0.5
    tied = Measured(**{**vars_of(measured), "probability": probability})
    (found,) = curves(tied, resamples=50)
    assert found.sizes[0].accuracy.n == PAIRS - 100
    assert found.sizes[0].nll.n == PAIRS
    right = (measured.gaps[0, 0, :, 100:] > 0).mean()
    assert found.sizes[0].accuracy.value == pytest.approx(right)


def test_a_model_that_is_always_right_has_an_interval(simulated: Simulated) -> None:
    measured = simulated(law)
    perfect = Measured(**{**vars_of(measured), "gaps": np.abs(measured.gaps)})
    (found,) = curves(perfect, resamples=50)
    figure = found.sizes[0].accuracy
    assert figure.value == 1.0
    assert 0.95 < figure.low < 1.0 == figure.high
    assert found.doubling is None


def test_the_text_has_every_size_and_one_answer_a_model(study: list[ModelCurve]) -> None:
    text = table_text(study)
    for curve in study:
        assert answer(curve) in text
        for size in curve.sizes:
            assert f"{size.accuracy.value:.3f} [{size.accuracy.low:.3f}" in text
    assert "accuracy(N) = a - b N^(-c)" in text
    assert "hold-out: 4 sizes predict" in text
