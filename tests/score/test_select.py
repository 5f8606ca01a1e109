"""The verb select: rows chosen by an ensemble, a posterior or a plain run, and by hand."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.cli import main
from assay.configs import Select, TrainEnsemble, TrainReward
from assay.errors import DataError
from assay.models.ensemble_checkpoint import load_ensemble
from assay.models.laplace import load_laplace
from assay.models.reading import Reading
from assay.models.scoring import score_conversations
from assay.score.ensemble import EnsembleScorer
from assay.score.scorer import load_scorer
from assay.score.select import Candidates, Read, candidates_of, choose, read_responses, run
from assay.stats import LastLayerLaplace, bald, gaussian_members, prediction_std
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache", "few_resamples", "no_pictures")


def say_nothing(stage: str, done: int, total: int, tokens: int) -> None:
    """No progress."""


def config(method: str, count: int = 3, **changes: Any) -> Select:
    given = {"run": "r", "input": Path("i"), "output": Path("o"), **changes}
    return Select(method=method, count=count, **given)  # type: ignore[arg-type]


# --- choosing, by hand ----------------------------------------------------------------------------


def conversations(*sizes: int) -> list[list[Conversation]]:
    return [
        [Conversation.of(f"p{n}", f"r{k}") for k in range(size)] for n, size in enumerate(sizes)
    ]


def test_candidates_are_pairs_of_different_responses_of_one_row() -> None:
    groups = conversations(2, 3)
    groups.append([Conversation.of("p", "same"), Conversation.of("p", "same")])
    found = candidates_of(groups)
    assert found.row.tolist() == [0, 1, 1, 1]
    assert found.place.tolist() == [[0, 1], [0, 1], [0, 2], [1, 2]]
    assert found.response.tolist() == [[0, 1], [2, 3], [2, 4], [3, 4]]
    usable = np.array([True, False, True, False, True, True, True])
    assert candidates_of(groups, usable).response.tolist() == [[2, 4]]
    assert found.of(np.arange(7.0) ** 2).tolist() == [-1, -5, -12, -7]


@pytest.fixture
def read() -> Read:
    """Three rows of 2, 3 and 2 responses; members agree on the first, split on the others."""
    rewards = np.array([[2.0, 2.0], [0.0, 0.0], [0.0, 0.0], [1.0, -1.0], [3.0, -3.0],
                        [0.5, -0.5], [0.0, 0.0]])  # fmt: skip
    features = np.random.default_rng(0).normal(size=(7, 3))
    return Read(rewards, features)


def test_each_row_gives_its_most_informative_pair(read: Read) -> None:
    candidates = candidates_of(conversations(2, 3, 2))
    gaps = candidates.of(read.rewards)
    for method, measure in (("bald", bald), ("disagreement", prediction_std)):
        one, picks = choose(config(method), candidates, read)
        order = one.row[picks.indexes]
        assert order.tolist() == [1, 2, 0]
        # of the second row the responses 0 and 2, which members set 3 apart either way
        assert one.place[picks.indexes].tolist() == [[0, 2], [0, 1], [0, 1]]
        assert picks.scores[0] == pytest.approx(measure(gaps).max())
        assert picks.scores[2] == 0


def test_diversity_takes_the_unlike_row_before_the_copy() -> None:
    rewards = np.array([[3.0, -3.0], [0.0, 0.0]] * 2 + [[1.0, -1.0], [0.0, 0.0]])
    features = np.array([[5.0, 0.0], [4.0, 0.0]] * 2 + [[-9.0, 1.0], [-8.0, 2.0]])
    candidates, read = candidates_of(conversations(2, 2, 2)), Read(rewards, features)
    orders = [
        (lambda one, picks: one.row[picks.indexes].tolist())(*choose(c, candidates, read))
        for c in (config("bald"), config("bald-diverse"), config("bald-diverse", diversity=0.0))
    ]
    assert orders == [[0, 1, 2], [0, 2, 1], [0, 1, 2]]


def test_d_optimal_uses_the_posterior_or_a_prior_of_unit_variance(read: Read) -> None:
    candidates = candidates_of(conversations(2, 3, 2))
    delta = candidates.of(read.features)
    p = 1 / (1 + np.exp(-candidates.of(read.rewards).mean(axis=1)))
    prior = np.mean((delta**2).sum(axis=1)) * np.eye(3)
    root = np.linalg.cholesky(np.diag([50.0, 0.1, 50.0]))
    for posterior, hessian in ((None, prior), (LastLayerLaplace(root, np.zeros(3)), root @ root.T)):
        left, picks = choose(config("d-optimal", 9), candidates, Read(read.rewards, read.features,
                                                                      posterior))  # fmt: skip
        assert left.row[picks.indexes].shape == (3,)
        assert sorted(left.row[picks.indexes].tolist()) == [0, 1, 2]
        gains = [
            np.linalg.slogdet(hessian + c * np.outer(d, d))[1] - np.linalg.slogdet(hessian)[1]
            for c, d in zip(p * (1 - p), delta, strict=True)
        ]
        assert picks.indexes[0] == np.argmax(gains)
        assert picks.scores[0] == pytest.approx(max(gains))


def test_random_is_seeded_and_takes_pairs_of_a_row_alike() -> None:
    candidates = candidates_of(conversations(*[3] * 300))
    (one, first), (_, second), (_, third) = (
        choose(config("random", 300, seed=s), candidates, None) for s in (0, 0, 1)
    )
    assert first.indexes.tolist() == second.indexes.tolist() != third.indexes.tolist()
    assert sorted(one.row.tolist()) == list(range(300))
    places = [tuple(p) for p in one.place.tolist()]
    for pair in combinations(range(3), 2):
        assert 70 < places.count(pair) < 130


def test_constant_features_and_a_posterior_in_one_model() -> None:
    candidates = candidates_of(conversations(2, 2))
    flat = Read(np.zeros((4, 1)), np.ones((4, 3)))
    with pytest.raises(DataError, match="features of all responses are the same"):
        choose(config("d-optimal"), candidates, flat)
    one = Read(
        np.array([[1.0], [0.0], [0.2], [0.0]]),
        np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 3.0], [0.0, 0.0]]),
        LastLayerLaplace(np.eye(2), np.zeros(2)),
    )
    chosen, picks = choose(config("bald"), candidates, one)
    assert chosen.row[picks.indexes].tolist() == [1, 0]
    assert picks.scores == pytest.approx(bald(*gaussian_members([0.2, 1.0], [9.0, 1.0])))


# --- through a backbone ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(
    tiny_backbone: Path, pairs_file: Path, own_cache: Path, tmp_path_factory: Any
) -> dict[str, Path]:
    """An ensemble of each structure, a run with a posterior, and a plain one."""
    from assay.train.ensemble_run import run as train_ensemble
    from assay.train.run import run as train_reward

    folder = tmp_path_factory.mktemp("runs")
    data, quick = (str(pairs_file),), {"epochs": 2, "max_length": 256, "limit": 60}
    for kind in ("layers", "lora"):
        mode = "lora" if kind == "lora" else "frozen"
        views = ("2:last+mean", "1") if kind == "layers" else ()
        train_ensemble(
            TrainEnsemble(
                data=data, out=folder / kind, backbone=(str(tiny_backbone),), members=2, mode=mode,
                diversity=kind, views=views, shared_layers=0.5, **quick,  # type: ignore[arg-type]
            )
        )  # fmt: skip
    for name in ("posterior", "plain"):
        train_reward(
            TrainReward(data=data, out=folder / name, backbone=str(tiny_backbone),
                        laplace=name == "posterior", **quick)  # type: ignore[arg-type]
        )  # fmt: skip
    return {p.name: p for p in folder.iterdir()}


@pytest.fixture(scope="module")
def pool(gold_pairs: Any, tmp_path_factory: Any) -> Path:
    """Twelve rows of two or three responses, one of two that are the same."""
    rows: list[dict[str, Any]] = [
        {"id": r["id"], "prompt": r["prompt"], "responses": [r["chosen"], r["rejected"]]}
        for r in gold_pairs(11, seed=5)
    ]
    rows[3]["responses"].append("calm and kind tea")
    rows.append({"prompt": "same", "responses": ["yes", "yes"]})
    path = tmp_path_factory.mktemp("pool") / "pool.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def chosen(
    pool: Path, tmp_path: Path, run_: Path, method: str, *words: str
) -> list[dict[str, Any]]:
    out = tmp_path / f"{run_.name}-{method}.jsonl"
    flags = ["--input", pool, "--output", out, "--method", method, "--count", 4, "--threads", 1]
    assert main(["select", *map(str, [run_, *flags]), *words]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_rows_come_out_in_order_with_what_was_chosen(
    runs: dict[str, Path], pool: Path, tmp_path: Path, capsys: Any
) -> None:
    given = [json.loads(line) for line in pool.read_text().splitlines()]
    for name, methods in {
        "layers": ("disagreement", "bald", "bald-diverse", "d-optimal", "random"),
        "posterior": ("disagreement", "bald", "bald-diverse", "d-optimal"),
        "plain": ("d-optimal", "random"),
        "lora": ("bald", "bald-diverse"),
    }.items():
        for method in methods:
            rows = chosen(pool, tmp_path, runs[name], method)
            said = capsys.readouterr().out
            assert f"4 of 12 rows chosen by {method}" in said
            assert "without two different responses that fit: 1" in said
            selections = [r.pop("selection") for r in rows]
            assert all(r in given for r in rows)
            assert len({json.dumps(r) for r in rows}) == 4
            assert [s["rank"] for s in selections] == [1, 2, 3, 4]
            assert {s["method"] for s in selections} == {method}
            scores = [s["score"] for s in selections]
            if method == "random":
                assert scores == [None] * 4
            elif method != "bald-diverse":
                assert scores == sorted(scores, reverse=True)
                assert scores[0] > 0


def test_bald_is_that_of_the_members_rewards(
    runs: dict[str, Path], pool: Path, tmp_path: Path
) -> None:
    rows = chosen(pool, tmp_path, runs["layers"], "bald")
    scorer = load_scorer(runs["layers"])
    assert isinstance(scorer, EnsembleScorer)
    found = []
    for line in pool.read_text().splitlines()[:11]:
        row = json.loads(line)
        rewards, _ = scorer.member_rewards(
            [Conversation.of(row["prompt"], r) for r in row["responses"]]
        )
        pairs = list(combinations(range(len(rewards)), 2))
        scores = [bald([rewards[i] - rewards[j]])[0] for i, j in pairs]
        best = int(np.argmax(scores))
        found.append((scores[best], row["id"], list(pairs[best])))
    found.sort(key=lambda entry: -entry[0])
    for row, (score, name, pair) in zip(rows, found, strict=False):
        assert (row["id"], row["selection"]["pair"]) == (name, pair)
        assert row["selection"]["score"] == pytest.approx(score, rel=1e-3)


def test_rewards_and_features_are_those_of_the_run(runs: dict[str, Path]) -> None:
    texts = [Conversation.of("Tea?", t) for t in ("calm and kind", "rude", "so so")]
    for name in ("layers", "lora"):
        (part,) = load_ensemble(runs[name]).parts
        reading = Reading(part)
        table = score_conversations(reading, texts).rewards
        assert table[:, :2] == pytest.approx(score_conversations(part, texts).rewards, abs=1e-5)
        first = table[:, 2:] @ part.trunk.head.weight[0].detach().double().numpy()
        assert first == pytest.approx(table[:, 0], abs=1e-4)
    read = read_responses(config("bald", run=str(runs["posterior"])), texts, say_nothing)
    scores = load_scorer(runs["posterior"]).score(texts)
    assert read.rewards[:, 0] == pytest.approx(scores.reward, abs=1e-5)
    assert read.features is not None
    laplace = load_laplace(runs["posterior"])
    assert laplace.std(read.features) == pytest.approx(scores.std, rel=1e-3)


def test_more_than_there_are_takes_all_and_says_so(
    runs: dict[str, Path], pool: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "all.parquet"
    words = ["--input", str(pool), "--output", str(out), "--method", "d-optimal", "--count", "99"]
    assert main(["select", str(runs["plain"]), *words]) == 0
    assert "(99 were asked for: these are all that can be)" in capsys.readouterr().out
    assert main(["select", str(runs["plain"]), *words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["rows"], record["chosen"], record["wanted"]) == (12, 11, 99)
    assert record["without_pair"] == 1


def test_long_responses_are_dropped_and_counted(
    runs: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [{"prompt": "a", "responses": ["b", "c " * 400]},
            {"prompt": "a", "responses": ["b", "c", "d " * 400]}]  # fmt: skip
    source.write_text("".join(json.dumps(r) + "\n" for r in rows))
    words = ["--input", str(source), "--output", str(out), "--method", "bald", "--count", "5"]
    assert main(["select", str(runs["layers"]), *words]) == 2
    assert "in.jsonl line 1" in capsys.readouterr().err
    assert not out.exists()
    assert main(["select", str(runs["layers"]), *words, "--truncation", "drop"]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 rows" in said
    assert "responses dropped: 2 too long" in said
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert row["selection"]["pair"] == [0, 1]


# --- what is refused ------------------------------------------------------------------------------


def test_what_cannot_be_selected_is_one_sentence_and_writes_nothing(
    runs: dict[str, Path], pool: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out.jsonl"
    empty, single, alike = (tmp_path / f"{n}.jsonl" for n in ("empty", "single", "alike"))
    empty.write_text("")
    single.write_text(json.dumps({"prompt": "a", "responses": ["b"]}) + "\n")
    alike.write_text(json.dumps({"prompt": "a", "responses": ["b", "b"]}) + "\n")
    plain, layers = runs["plain"], runs["layers"]
    cases = [
        (plain, pool, out, "bald", 3, "is one model, and bald asks how far several are apart"),
        (plain, pool, out, "disagreement", 3, "use an ensemble, a run trained with --laplace"),
        (layers, pool, pool, "bald", 3, "are the same file"),
        (layers, pool, out, "bald", 0, "count is 0; it is at least 1"),
        (layers, empty, out, "bald", 3, "holds no rows; there is nothing to choose from"),
        (layers, single, out, "bald", 3, "line 1: one response is nothing to compare"),
        (layers, alike, out, "random", 3, "has two different responses that fit"),
        (layers, tmp_path / "no.jsonl", out, "bald", 3, "no.jsonl does not exist"),
        (layers, pool, tmp_path / "x.csv", "random", 3, "must end in .jsonl, .jsonl.gz or"),
        (tmp_path / "none", pool, out, "bald", 3, "none does not exist"),
    ]
    for run_, source, target, method, count, sentence in cases:
        words = ["--input", source, "--output", target, "--method", method, "--count", count]
        before = pool.read_text()
        assert main(["select", *map(str, [run_, *words])]) == 2
        captured = capsys.readouterr()
        assert sentence in captured.err
        assert "Traceback" not in captured.err
        assert captured.out == ""
        assert pool.read_text() == before
    words = ["--input", str(pool), "--output", str(out), "--method", "bald-diverse", "--count", "2"]
    assert main(["select", str(layers), *words, "--diversity", "-1"]) == 2
    assert "diversity is -1.0" in capsys.readouterr().err
    assert not out.exists()


def test_the_record_of_a_selection(runs: dict[str, Path], pool: Path, tmp_path: Path) -> None:
    result = run(config("random", 2, run=str(runs["plain"]), input=pool,
                        output=tmp_path / "o.jsonl"))  # fmt: skip
    assert result.to_dict()["method"] == "random"
    assert isinstance(candidates_of(conversations(2)), Candidates)
