"""The benchmarks of labels on small numbers: what they compare is what they say they compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(FOLDER)
    return import_module


# --- flipped labels -------------------------------------------------------------------------------


@pytest.mark.medium
def test_labellings_of_a_pair_are_weights_of_its_two_sides(
    script: Callable[[str], ModuleType],
) -> None:
    noise = script("label_noise")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    q = np.stack([np.ones(300), np.zeros(300), np.full(300, 0.5), np.ones(300)], axis=1)
    q[::2, 3] = np.nan
    settings = noise.fit_settings(300, lr=0.03, epochs=40)
    toward, away, undecided, half = noise.trained(x, q, 0.5, settings)
    assert away == pytest.approx(-toward, abs=0.02)
    assert np.abs(undecided).max() < 0.02
    # the optimum of the loss by itself: its gradient is 0
    for head, used in ((toward, x), (half, x[1::2])):
        p = 1 / (1 + np.exp(-used @ head))
        assert used.T @ (p - 1) / len(used) + 0.5 * head == pytest.approx(0, abs=0.02)
    (alone,) = noise.weighted_heads(
        x, {"all": np.ones(300)}, noise.World("w", lambda seed: None, 0.5, settings)
    ).values()
    assert alone == pytest.approx(toward, abs=0.02)


@pytest.mark.medium
def test_flips_are_injected_and_what_comes_back_is_counted(
    script: Callable[[str], ModuleType],
) -> None:
    noise = script("label_noise")
    world = noise.World(
        "small",
        lambda seed: noise.simulated(seed, width=6, pairs=400, gap=12.0),
        0.01,
        noise.fit_settings(400, epochs=15),
    )
    found = noise.recovery(world, 2)
    assert found["auc, round 2"]["value"] > 0.9
    assert found["rate, round 2"]["value"] == pytest.approx(noise.INJECTED, abs=0.08)
    assert found["clean"]["value"] > found["noisy"]["value"]
    assert found["bayes"]["value"] >= found["clean"]["value"]
    for run in found["runs"]:
        assert run["oracle drop"] == pytest.approx(run["clean"], abs=0.02)
    half = noise.share(np.array([0.9, 0.8]), np.array([0.7, 0.6]), np.array([0.8, 0.7]))
    assert half.value == pytest.approx(0.5)
    assert "small" in noise.recovery_table([found])


def test_what_cleaning_makes_of_labels_is_the_verbs_own(
    script: Callable[[str], ModuleType],
) -> None:
    from assay.configs import Cleaning
    from assay.stats import FlipModel
    from assay.train.cleaning import changed, suspects
    from assay.types import Preference

    noise = script("label_noise")
    flips = FlipModel(0.2, 1.0)
    gaps = np.array([-3.0, -1.0, 0.5, 4.0])
    wrong = flips.wrong(gaps)
    for action, said in noise.cleanings(flips, gaps).items():
        chosen = suspects(wrong, Cleaning(action=action))
        for is_suspect, w, value in zip(chosen, wrong, said, strict=True):
            new = changed(Preference(0, 1), action, float(w)) if is_suspect else Preference(0, 1)
            if new is None:
                assert np.isnan(value)
            elif action == "down-weight":
                assert value == pytest.approx(new.weight)
            else:
                q = new.probability if new.chosen == 0 else 1 - new.probability
                assert value == pytest.approx(q)


@pytest.mark.medium
def test_noisy_heads_are_accurate_and_badly_calibrated(
    script: Callable[[str], ModuleType],
) -> None:
    noise = script("label_noise")
    clean, flipped = (noise.noisy_head(600, rate, 0) for rate in (0.0, 0.3))
    assert clean[0] > flipped[0] > 0.7
    assert flipped[1] > clean[1] + 0.03
    assert flipped[2] < 0.03
    assert flipped[3] < 0.8 < clean[3]


# --- choosing what to label -----------------------------------------------------------------------


def test_every_method_is_compared_on_the_same_pools(
    script: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    active = script("active_selection")
    active.run(active.Settings(seeds=2, pool=150, rounds=2, batch=16, out=tmp_path))
    record = json.loads((tmp_path / "active_selection.json").read_text())
    assert set(record["worlds"]) == {"distinct", "copies", "topics"}
    for world in record["worlds"].values():
        assert list(world) == list(active.METHODS)
        firsts = [found["accuracy"][0]["value"] for found in world.values()]
        assert len(set(firsts)) == 1  # the first labels are the same
        assert all(len(found["accuracy"]) == 3 for found in world.values())
        assert all(d["value"] == 0 for d in world["random"]["over_random"])
    assert "d-optimal" in capsys.readouterr().out


def test_heads_of_the_simulation_are_optimal_and_copies_are_copies(
    script: Callable[[str], ModuleType],
) -> None:
    active = script("active_selection")
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(60, active.WIDTH)), rng.integers(0, 3, 60).astype(float)
    head = active.head(x, weights, np.zeros(active.WIDTH))
    p = 1 / (1 + np.exp(-x @ head))
    gradient = x.T @ (weights * (p - 1)) + active.PRECISION * head
    assert gradient == pytest.approx(0, abs=1e-4)
    pool = active.with_copies(rng, 200)
    apart = np.linalg.norm(pool.first[:, None] - pool.first[None], axis=2)
    assert ((apart < 0.1).sum(axis=1) > 1).sum() >= 95
    assert active.matching(np.array([0.5, 0.8, 0.9]), np.array([0.5, 0.6, 0.8]),
                           active.Settings()) == 64  # fmt: skip
