"""Panels: who counts, what an even one is, weights from people, and what people are sent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from filled import make_site
from hypothesis import given
from hypothesis import strategies as st
from judged_made import certain, failure
from numpy.typing import NDArray

from assay.errors import ConfigError, DataError
from assay.feedback.judges.panel import (
    Panel,
    PanelItem,
    PanelJudgment,
    PanelMember,
    PanelWeights,
    calibrated_weights,
    fitted_weights,
    for_people,
    heldout_loss,
    panel_of,
)
from assay.feedback.judges.panel_queue import queue_for_people
from assay.store.incoming import new_comparisons
from assay.types import as_messages

Floats = NDArray[np.float64]
THREE = tuple(PanelMember(name) for name in "abc")


def judged(panel: Panel, **p: float | None) -> PanelJudgment:
    found = {k: failure("refused") if v is None else certain(v) for k, v in p.items()}
    return panel_of(found, panel)


def test_a_panel_is_the_weighted_mean_of_those_that_answered() -> None:
    panel = Panel((PanelMember("a", 3), PanelMember("b", 1), PanelMember("c", 0)), quorum=1)
    found = judged(panel, a=0.9, b=0.1, c=0.0)
    assert found.probability == pytest.approx(0.7)
    assert (found.outcome, found.choice, found.used) == ("verdict", 0, ("a", "b"))
    assert found.disagreement == pytest.approx((0.75 * 0.2**2 + 0.25 * 0.6**2) ** 0.5)
    assert found.is_divided
    alone = judged(panel, a=None, b=0.1)
    assert (alone.probability, alone.disagreement, alone.is_divided) == (0.1, 0.0, False)
    assert alone.left_out == {"a": "refused", "c": "not-asked"}
    assert alone.choice == 1


def test_without_a_quorum_there_is_no_verdict_and_no_tie() -> None:
    panel = Panel(THREE, quorum=2)
    found = judged(panel, a=0.5, b=None)
    assert (found.outcome, found.probability, found.disagreement) == ("no-quorum", None, None)
    assert found.choice is None
    assert found.left_out == {"b": "refused", "c": "not-asked"}
    assert judged(panel, a=0.5, b=0.5).outcome == "tie"
    split = judged(panel, a=0.9, b=0.1)
    assert (split.outcome, split.probability, split.choice) == ("split", 0.5, None)
    # a member of weight 0 makes no quorum
    silent = Panel((PanelMember("a"), PanelMember("b", 0)), quorum=2)
    assert judged(silent, a=0.9, b=0.9).outcome == "no-quorum"


def test_log_odds_are_pooled_by_hand_and_nobody_certain_decides_alone() -> None:
    panel = Panel((PanelMember("a", 2), PanelMember("b", 1)), 1, "log-odds", sharpness=1.5)
    mean = (2 * np.log(0.8 / 0.2) + np.log(0.3 / 0.7)) / 3
    assert judged(panel, a=0.8, b=0.3).probability == pytest.approx(1 / (1 + np.exp(-1.5 * mean)))
    three = Panel(THREE, 1, "log-odds")
    found = judged(three, a=1.0, b=0.01, c=0.01)
    assert found.probability is not None
    assert found.probability < 0.5


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.sampled_from(["probabilities", "log-odds"]),
)
def test_a_panel_is_between_its_members_and_swaps_with_the_sides(
    p: list[float], pooling: str
) -> None:
    panel = Panel(THREE, 1, pooling)  # type: ignore[arg-type]
    found = judged(panel, **dict(zip("abc", p, strict=True)))
    turned = judged(panel, **{k: 1 - v for k, v in zip("abc", p, strict=True)})
    assert found.probability is not None
    assert turned.probability == pytest.approx(1 - found.probability, abs=1e-9)
    assert turned.disagreement == pytest.approx(found.disagreement, abs=1e-9)
    kept = np.clip(p, 1 / (1 + np.exp(6)), 1 / (1 + np.exp(-6))) if pooling == "log-odds" else p
    assert min(kept) - 1e-9 <= found.probability <= max(kept) + 1e-9
    assert found.disagreement is not None
    assert 0 <= found.disagreement <= 0.5 + 1e-9


def test_a_panel_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="names each member once"):
        Panel((PanelMember("a"), PanelMember("a")), 1)
    with pytest.raises(ConfigError, match="quorum of 4 cannot be had of 3"):
        Panel(THREE, 4)
    with pytest.raises(ConfigError, match="weight above 0"):
        Panel((PanelMember("a", 0),), 1)
    for weight in (-1, float("nan")):
        with pytest.raises(ConfigError, match="a number of 0 or more"):
            PanelMember("a", weight)
    for judgments in ({}, {"z": certain(0.9)}):
        with pytest.raises(DataError, match="wanted its members' on one"):
            panel_of(judgments, Panel(THREE, 1))


def crowd(rng: np.random.Generator, n: int) -> tuple[dict[str, Floats], Floats]:
    """A good judge, its overconfident copy, another good one, one that knows nothing, one wrong."""
    gap = rng.normal(0, 1.5, n)
    q = (rng.random(n) < 1 / (1 + np.exp(-gap))).astype(float)
    first = gap + rng.normal(0, 1, n)
    odds = {
        "good": first,
        "copy": 3 * (first + rng.normal(0, 0.2, n)),
        "other": gap + rng.normal(0, 1, n),
        "noise": rng.normal(0, 2, n),
        "wrong": -gap + rng.normal(0, 1, n),
    }
    return {name: 1 / (1 + np.exp(-x)) for name, x in odds.items()}, q


def loss(p: Floats, q: Floats) -> float:
    return float(-np.mean(q * np.log(p) + (1 - q) * np.log(1 - p)))


def pooled(weights: PanelWeights, p: dict[str, Floats]) -> Floats:
    """The formula, many at once; the first is the panel's own."""
    odds = sum(
        m.weight * np.clip(np.log(p[m.name] / (1 - p[m.name])), -6, 6) for m in weights.members
    )
    found = 1 / (1 + np.exp(-weights.sharpness * np.asarray(odds)))
    own = panel_of({k: certain(float(v[0])) for k, v in p.items()}, weights.panel(1))
    assert own.probability == pytest.approx(found[0])
    return np.asarray(found, dtype=np.float64)


@pytest.mark.medium
def test_learnt_weights_beat_equal_ones_and_those_by_accuracy_on_held_out_labels() -> None:
    found: dict[str, list[float]] = {"learnt": [], "equal": [], "accuracy": [], "best": []}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        p, q = crowd(rng, 200)
        new, labels = crowd(rng, 600)
        weights = calibrated_weights(p, q.tolist(), [str(i) for i in range(200)])
        found["learnt"].append(loss(pooled(weights, new), labels))
        found["equal"].append(loss(np.mean(list(new.values()), axis=0), labels))
        right = {k: np.clip(np.mean((v > 0.5) == (q > 0.5)), 0.5, 0.99) for k, v in p.items()}
        own = {k: float(np.log(a / (1 - a))) for k, a in right.items()}
        votes = sum(w * np.sign(new[k] - 0.5) for k, w in own.items())
        found["accuracy"].append(loss(1 / (1 + np.exp(-np.asarray(votes))), labels))
        found["best"].append(loss(new["good"], labels))
    mean = {name: float(np.mean(values)) for name, values in found.items()}
    assert mean["learnt"] < mean["best"] - 0.01
    assert mean["learnt"] < mean["accuracy"] - 0.01
    assert mean["learnt"] < mean["equal"] - 0.05


def test_weights_are_of_a_sum_of_one_none_below_zero_and_swap_with_the_sides() -> None:
    p, q = crowd(np.random.default_rng(0), 600)
    prompt = [str(i // 2) for i in range(600)]
    found = calibrated_weights(p, q.tolist(), prompt)
    weights = {member.name: member.weight for member in found.members}
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["wrong"] == 0
    assert weights["noise"] < 0.1
    assert weights["other"] > 0.2
    assert (found.n, found.left_out) == (600, 0)
    assert found.heldout_nll < min(found.equal_nll, found.best_member_nll)
    turned = calibrated_weights({k: 1 - v for k, v in p.items()}, (1 - q).tolist(), prompt)
    assert turned.sharpness == pytest.approx(found.sharpness, rel=1e-4)
    json.dumps(found.to_dict())


def test_few_labels_leave_the_plain_mean_and_strong_l2_is_it() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4))
    q = np.random.default_rng(1).integers(0, 2, 50).astype(float)
    assert fitted_weights(x, q, 1e9) == pytest.approx(np.full(4, 0.25), abs=1e-5)
    assert fitted_weights(x, q, 1e-9) != pytest.approx(np.full(4, 0.25), abs=0.01)


def test_the_heldout_loss_is_of_weights_that_saw_the_other_half_alone() -> None:
    # people agree with the judge in one half of the prompts, and turn round in the other
    x = np.array([2.0, -2.0] * 10)[:, None]
    second = np.arange(20) >= 10
    q = np.where(second, x[:, 0] < 0, x[:, 0] > 0).astype(float)
    agreeing = fitted_weights(x[~second], q[~second], 0.01)
    turned = fitted_weights(x[second], q[second], 0.01)
    assert agreeing[0] > 1
    assert turned[0] == 0
    # with the agreeing weight in the turned half everything is wrong; with 0 nothing is told
    wrong, even = np.log1p(np.exp(2 * agreeing[0])), np.log(2)
    assert heldout_loss(x, q, second, 0.01) == pytest.approx((wrong + even) / 2)


def test_the_fit_is_the_optimum_of_its_formula() -> None:
    p, q = crowd(np.random.default_rng(2), 300)
    x = np.stack([np.log(v / (1 - v)) for v in p.values()], axis=1)
    best = fitted_weights(x, q, 2.0)

    def value(w: Floats) -> float:
        return float(np.sum(np.logaddexp(0, x @ w) - q * (x @ w)) + np.sum((w - 0.2) ** 2))

    rng = np.random.default_rng(0)
    for _ in range(200):
        other = np.maximum(best + rng.normal(0, 0.02, 5), 0)
        assert value(best) <= value(other) + 1e-3


def test_comparisons_that_not_all_judged_are_left_out_and_counted() -> None:
    p, q = crowd(np.random.default_rng(0), 40)
    p["good"][:4] = np.nan
    human = [None if i in (4, 5) else float(v) for i, v in enumerate(q)]
    found = calibrated_weights(p, human, [str(i) for i in range(40)])
    assert (found.n, found.left_out) == (34, 6)
    with pytest.raises(DataError, match="34 comparisons of 1 prompts were judged"):
        calibrated_weights(p, human, ["one"] * 40)
    with pytest.raises(DataError, match="one label and one prompt for each"):
        calibrated_weights(p, human[:3], ["one"] * 40)
    backwards = {"a": np.array([0.9, 0.1] * 200)}
    none = calibrated_weights(backwards, [0.0, 1.0] * 200, [str(i) for i in range(400)])
    assert none.members[0].weight == 1
    assert none.sharpness == 0
    assert judged(none.panel(1), a=0.9).probability == 0.5


def item(name: str, judgment: PanelJudgment) -> PanelItem:
    prompt = as_messages(f"What of {name}?", "user")
    first, second = (as_messages(f"{name}: {n}", "assistant") for n in ("one", "two"))
    return PanelItem(name, prompt, (first, second), judgment, ("m-1", None))


def divided() -> list[PanelItem]:
    panel = Panel(THREE, quorum=2)
    return [
        item("agreed", judged(panel, a=0.9, b=0.9, c=0.8)),
        item("mild", judged(panel, a=0.9, b=0.3, c=0.7)),
        item("sharp", judged(panel, a=1.0, b=0.0)),
        item("even", judged(panel, a=0.6, b=0.4)),
        item("unknown", judged(panel, a=0.9, b=None)),
        item("tied", judged(panel, a=0.5, b=0.5)),
    ]


def test_people_are_sent_what_the_panel_cannot_settle_most_urgent_first() -> None:
    found = for_people(divided())
    assert [(f.item.id, f.why) for f in found] == [
        ("sharp", "disagreement"),
        ("unknown", "no-quorum"),
        ("mild", "disagreement"),
        ("even", "split"),
    ]
    assert [f.priority for f in found] == sorted((f.priority for f in found), reverse=True)
    assert found[0].priority == 1.0
    assert [f.item.id for f in for_people(divided(), threshold=0.6)] == ["sharp", "unknown", "even"]


def test_rows_for_people_are_read_by_the_import(tmp_path: Path) -> None:
    wanted = for_people(divided())
    path = tmp_path / "people.jsonl"
    path.write_text("".join(json.dumps(w.to_row()) + "\n" for w in wanted), "utf-8")
    found = list(new_comparisons(path))
    assert [new.extra["id"] for new in found] == ["sharp", "unknown", "mild", "even"]
    assert [r.model for r in found[0].responses] == ["m-1", None]


def test_the_queue_gives_out_the_most_urgent_before_what_is_there() -> None:
    site = make_site(comparisons=2, overlap=1)
    wanted = for_people(divided())
    done = queue_for_people(site.store, site.project, wanted[2:], "panel")
    assert done.comparisons == 2
    asked = []
    for batch in range(6):
        if batch == 1:  # a second batch goes before what of the first is still waiting
            queue_for_people(site.store, site.project, wanted[:2], "panel")
        given_ = site.claimed()
        asked.append(given_.prompt[0].content)
        site.submit(given_)
    names = [text.removeprefix("What of ").rstrip("?") for text in asked[:4]]
    assert names == ["mild", "sharp", "unknown", "even"]
    assert not site.store.problems()
    with pytest.raises(DataError, match="nothing is queued"):
        queue_for_people(site.store, site.project, [], "panel")
