"""A line of text becomes the reward it says, or names the part that cannot be had."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import scripted_server

from assay.errors import AssayError, CheckpointError, ConfigError, TrainingError
from assay.rlhf.reward_specs import Term, load_reward, parse_reward
from assay.rlhf.rewards import fit_normalisation
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(
    ("spec", "terms"),
    [
        ("runs/a", [(1, "runs/a")]),
        ("0.7*runs/a+0.3*runs/b-2", [(0.7, "runs/a"), (0.3, "runs/b-2")]),
        (" 0.7 * runs/a + runs/b ", [(0.7, "runs/a"), (1, "runs/b")]),
        ("runs/a-0.5*f.py:longer", [(1, "runs/a"), (-0.5, "f.py:longer")]),
        ("runs/a - 0.5 * f.py:longer", [(1, "runs/a"), (-0.5, "f.py:longer")]),
        ("runs/a+-0.5*b", [(1, "runs/a"), (-0.5, "b")]),
        ("1e-3*runs/a+2e+1*b", [(1e-3, "runs/a"), (20, "b")]),
        ("-1*a", [(-1, "a")]),
        (".5*http://h:5000/get_reward+b", [(0.5, "http://h:5000/get_reward"), (1, "b")]),
    ],
)
def test_specifications_are_read(spec: str, terms: list[Any]) -> None:
    assert parse_reward(spec) == [Term(float(w), s) for w, s in terms]


@pytest.mark.parametrize(("spec", "number"), [("", 1), ("a++b", 2), ("0.5*", 1), ("a+", 2)])
def test_an_empty_part_is_named(spec: str, number: int) -> None:
    with pytest.raises(ConfigError, match=f"Part {number} of the reward .* is empty; wanted .*0.7"):
        parse_reward(spec)


def test_a_directory_with_a_plus_in_its_name_is_one_part(tmp_path: Path) -> None:
    odd = tmp_path / "a+b"
    odd.mkdir()
    assert parse_reward(str(odd)) == [Term(1.0, str(odd))]


sources = st.sampled_from(["runs/a", "b-c", "e", "http://h:80/classify", "x/f.py:e", "v-2e"])
weights = st.floats(-100, 100).filter(lambda w: w != 0)


@settings(max_examples=50)
@given(terms=st.lists(st.tuples(weights, sources), min_size=1, max_size=5))
def test_what_is_written_is_read(terms: list[tuple[float, str]]) -> None:
    spec = "+".join(f"{w!r}*{s}" for w, s in terms)
    assert parse_reward(spec) == [Term(w, s) for w, s in terms]


@pytest.fixture
def function(tmp_path: Path) -> str:
    path = tmp_path / "rules.py"
    path.write_text(
        "def length(prompts, responses):\n    return [float(len(r)) for r in responses]\n"
        "def broken(prompts, responses):\n    raise ValueError('no')\n"
        "number = 3\n"
    )
    return f"{path}:length"


def test_a_run_scores_as_it_does_by_itself(
    reward_run: Path, reward_scorer: Any, conversations: Any
) -> None:
    reward = load_reward(reward_run)
    np.testing.assert_allclose(
        reward.score(conversations).reward, reward_scorer.score(conversations).reward, atol=1e-6
    )
    assert reward.name == str(reward_run)
    in_a_thread = load_reward(reward_run, timeout_seconds=60.0, token_budget=64)
    np.testing.assert_allclose(
        in_a_thread.score(conversations).reward, reward.score(conversations).reward, atol=1e-5
    )


def test_runs_functions_and_servers_add_up(
    reward_run: Path, reward_scorer: Any, conversations: Any, function: str
) -> None:
    raw = reward_scorer.score(conversations).reward
    lengths = np.array([len(c.response_text) for c in conversations])
    with scripted_server() as server:
        url = server.url.removesuffix("/v1") + "/get_reward"
        server.script = [lambda body: {"rewards": [float(len(q)) for q in body["query"]]}]
        reward = load_reward(f"2*{reward_run}-0.5*{function}+0.25*{url}", contract=reward_run)
        found = reward.score(conversations).reward
        (query, *_) = server.bodies[0]["query"]
        sent = np.array([len(reward_scorer.model.renderer.render(c)) for c in conversations])
        reward.parts[2].scorer.close()  # type: ignore[attr-defined]
    np.testing.assert_allclose(found, 2 * raw - 0.5 * lengths + 0.25 * sent, atol=1e-4)
    assert query.endswith("<|im_end|>")
    fitted = fit_normalisation(load_reward(f"{reward_run}+{function}"), conversations)
    assert fitted.score(conversations).reward.mean() == pytest.approx(0, abs=1e-6)


def test_a_file_of_verifiers_is_the_share_that_passes(tmp_path: Path) -> None:
    specs = tmp_path / "form.json"
    specs.write_text('[{"kind": "no_commas"}, {"kind": "word_count", "at_most": 3}]')
    reward = load_reward(f"2*{specs}")
    asked = [
        Conversation.of("?", text) for text in ("one two", "one, two", "one, two, three, four")
    ]
    assert reward.score(asked).reward.tolist() == [2.0, 1.0, 0.0]
    with pytest.raises(ConfigError, match="wanted a JSON list of verifiers"):
        load_reward(str(tmp_path / "none.json"))


def test_what_cannot_be_had_is_named(reward_run: Path, function: str, tmp_path: Path) -> None:
    rules = function.removesuffix(":length")
    damaged = shutil.copytree(reward_run, tmp_path / "damaged")
    (damaged / "assay.json").write_text("{")
    bad = tmp_path / "bad.py"
    bad.write_text("import no_such_module_here\n")
    cases: list[tuple[str, type[AssayError], str]] = [
        (f"{reward_run}+runs/x/y", CheckpointError, r"runs/x/y does not exist; give a run"),
        (str(damaged), CheckpointError, "damaged"),
        (f"{tmp_path}/none.py:f", ConfigError, r"none\.py does not exist; a reward function is"),
        (f"{rules}:longer", ConfigError, "has no function 'longer'; it has broken, length"),
        (f"{rules}:number", ConfigError, "has no function 'number'"),
        (f"{bad}:f", ConfigError, r"bad\.py does not run \(ModuleNotFoundError: No module named"),
        ("http://h/score", ConfigError, "'http://h/score' cannot be loaded: The protocol of 'h'"),
        (
            "http://me:pw@h/get_reward",
            ConfigError,
            "'http://h/get_reward' cannot be loaded: .* 'h'",
        ),
        ("http://h/get_reward?key=pw", ConfigError, "'http://h/get_reward' cannot be loaded: The"),
        ("0*" + function, ConfigError, "has the weight 0; wanted a number other than 0"),
    ]
    for spec, kind, said in cases:
        with pytest.raises(kind, match=said) as error:
            load_reward(spec)
        assert "s3cret" not in str(error.value)
    broken = load_reward(f"{rules}:broken")
    with pytest.raises(TrainingError, match=r"rules\.py:broken' gave none for response 1 of 1"):
        broken.score([Conversation.of("a", "b")])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"aggregator": "mean"}, "has no ensemble among its parts, and an aggregator is for"),
        ({"strength": 1.0}, "has no ensemble among its parts, and a strength"),
        ({"reduction": "min"}, "has no process model among its parts, and a reduction"),
        ({"contract": "runs/a"}, "has no reward server among its parts, and a contract"),
        ({"key_variable": "KEY"}, "has no reward server among its parts, and a key_variable"),
        ({"penalty": "mean-std"}, "says its standard deviation, and the penalty mean-std needs"),
    ],
)
def test_settings_that_fit_no_part_are_refused(reward_run: Path, how: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_reward(reward_run, **how)


@pytest.mark.medium
def test_an_ensemble_has_an_aggregator_or_a_penalty(
    reward_run: Path, tiny_backbone: Path, conversations: Any, function: str, tmp_path: Path
) -> None:
    from assay.models.checkpoint import load_model
    from assay.models.ensemble_checkpoint import Ensemble, save_ensemble
    from assay.models.reward_model import RewardModel
    from assay.stats.aggregation import Aggregator, Standards

    members = [
        load_model(reward_run),
        RewardModel.from_backbone(str(tiny_backbone), max_length=512, seed=1),
    ]
    ensemble = Ensemble(
        parts=tuple(members),
        standards=Standards((0.0, 0.0), (1.0, 1.0)),
        aggregator=Aggregator("mean"),
    )
    run = save_ensemble(ensemble, tmp_path / "ensemble")
    plain = load_reward(run).score(conversations)
    assert plain.std is not None
    worst = load_reward(run, aggregator="worst-case").score(conversations)
    # of two members the lower one is mean - std
    penalised = load_reward(f"{run}+{function}", penalty="mean-std")
    lengths = np.array([len(c.response_text) for c in conversations])
    np.testing.assert_allclose(
        penalised.score(conversations).reward - lengths, worst.reward, atol=1e-5
    )
    np.testing.assert_allclose(plain.reward - plain.std, worst.reward, atol=1e-5)
    with pytest.raises(ConfigError, match="would take off its doubt twice"):
        load_reward(run, aggregator="worst-case", penalty="mean-std")
