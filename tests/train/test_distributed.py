"""Parity: two processes over gloo train what one does, though their shares differ in size."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file

from assay.configs import TrainReward
from assay.models.reward_model import RewardModel
from assay.score.verify import verify
from assay.train.encode import encode
from assay.train.plan import micro_batches, steps_of
from assay.train.reward import resolve
from assay.train.run import is_finished, load_data, run

pytestmark = pytest.mark.usefixtures("own_cache", "few_resamples", "no_pictures")


@pytest.fixture
def config(tiny_backbone, pairs_file, tmp_path):
    return TrainReward(
        data=(str(pairs_file),),
        backbone=str(tiny_backbone),
        out=tmp_path / "two",
        mode="full",
        lr=1e-3,
        batch_size=8,
        token_budget=150,
        max_length=256,
        eval_every=5,
        save_every=4,
        epochs=1,
        limit=100,
        threads=1,
    )


def command_line(config):
    words = ["train", "reward", "--data", *config.data, "--backbone", config.backbone]
    words += ["--out", str(config.out), "--mode", config.mode]
    for name in (
        "lr",
        "batch_size",
        "token_budget",
        "max_length",
        "eval_every",
        "save_every",
        "epochs",
        "limit",
        "threads",
    ):
        words += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    return words


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.fixture
def start_two(start_assay):
    """The same command as two processes, as ``accelerate launch`` or ``torchrun`` start them."""

    def start(arguments, before=""):
        port = free_port()
        return [
            start_assay(
                arguments,
                before,
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE="2",
                LOCAL_WORLD_SIZE="2",
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port,
                ACCELERATE_USE_CPU="true",
            )
            for rank in range(2)
        ]

    return start


def metrics(out):
    lines = (out / "metrics.jsonl").read_text().split("\n")[:-1]
    return [{k: v for k, v in json.loads(line).items() if "per_second" not in k} for line in lines]


def assert_same_run(two, one):
    assert [row.keys() for row in metrics(two)] == [row.keys() for row in metrics(one)]
    for got, wanted in zip(metrics(two), metrics(one), strict=True):
        assert got == pytest.approx(wanted, abs=1e-5, rel=1e-4)
    got, wanted = (load_file(out / "model.safetensors") for out in (two, one))
    for name, tensor in wanted.items():
        np.testing.assert_allclose(got[name], tensor, atol=1e-5, err_msg=name)
    rewards = [
        [json.loads(line)["reward"] for line in (out / "golden.jsonl").read_text().splitlines()]
        for out in (two, one)
    ]
    np.testing.assert_allclose(rewards[0], rewards[1], atol=1e-5)
    assert is_finished(two)
    verify(two)


def wait_for_two(commands):
    codes = [command.wait() for command in commands]
    assert codes == [0, 0], [command.output for command in commands]
    first, second = (command.output for command in commands)
    assert first.count("written to") == 1
    assert "written to" not in second


def test_the_two_shares_of_some_steps_differ(config):
    model = RewardModel.from_backbone(config.backbone, max_length=256)
    train, _ = load_data(config)
    examples, _ = encode(model.renderer, train.comparisons, range(len(train)), share=True)
    settings = resolve(config, examples)
    costs = [e.tree.num_tokens for e in examples]
    cuts = [
        micro_batches(step, costs, settings.token_budget, 1, 2)
        for step in steps_of(len(examples), settings)
    ]
    assert any(cut[-1] == [] for cut in cuts), "the second process never has less to do"
    assert any(cut[-1] != [] for cut in cuts), "the second process always has less to do"


@pytest.mark.medium
def test_two_processes_train_what_one_does(config, start_two, tmp_path):
    commands = start_two(command_line(config))
    one = run(replace(config, out=tmp_path / "one"))
    wait_for_two(commands)
    assert_same_run(config.out, one.directory)


@pytest.mark.medium
def test_two_processes_train_a_head_on_frozen_features(config, start_two, tmp_path):
    frozen = replace(config, mode="frozen", batch_size=32, epochs=10)
    # a cache of its own, so that the features are computed while the other process waits
    cache = f"import os; os.environ['ASSAY_CACHE'] = {str(tmp_path / 'cache')!r}"
    commands = start_two(command_line(frozen), cache)
    one = run(replace(frozen, out=tmp_path / "one"))
    wait_for_two(commands)
    assert_same_run(frozen.out, one.directory)


def judged(row, number):
    judgments = [
        {"annotator": name, "choice": (number + at) % 3 == 0} for at, name in enumerate("xyz")
    ]
    judgments = [{**j, "choice": int(j["choice"]), "first_shown": number % 2} for j in judgments]
    responses = [row["chosen"], row["rejected"]]
    return [{"prompt": row["prompt"], "responses": responses, "judgments": judgments}]


def rated(row, number):
    return [
        {
            "prompt": row["prompt"],
            "response": row[side],
            "helpfulness": score,
            "verbosity": number % 5,
        }
        for side, score in (("chosen", 4), ("rejected", number % 4))
    ]


@pytest.mark.parametrize(
    ("loss", "mode", "rows_of"), [("annotator", "lora", judged), ("regression", "full", rated)]
)
@pytest.mark.medium
def test_two_processes_train_an_objective(
    config, start_two, tmp_path, gold_pairs, loss, mode, rows_of
):
    # more passes than comparisons in some steps, so that parameters go without a gradient of theirs
    path = tmp_path / "rows.jsonl"
    rows = [row for number, pair in enumerate(gold_pairs(24)) for row in rows_of(pair, number)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = replace(config, data=(str(path),), loss=loss, mode=mode)
    commands = start_two([*command_line(own), "--loss", loss])
    one = run(replace(own, out=tmp_path / "one"))
    wait_for_two(commands)
    assert_same_run(own.out, one.directory)
    learnt = [json.loads((d / "objective.json").read_text()) for d in (own.out, one.directory)]
    for got, wanted in zip(*map(numbers, learnt), strict=True):
        assert got == pytest.approx(wanted, abs=1e-4)


def numbers(record):
    """All numbers of a record, in order."""
    if isinstance(record, dict | list):
        items = record.values() if isinstance(record, dict) else record
        return [x for item in items for x in numbers(item)]
    return [record] if isinstance(record, float) else []


SLOWLY = """
import time
import assay.train.updates as updates
quick = updates.micro_batches
updates.micro_batches = lambda *args: (time.sleep(0.05), quick(*args))[1]
"""


@pytest.mark.medium
def test_two_killed_processes_go_on_together(config, start_two, tmp_path):
    commands = start_two(command_line(config), SLOWLY)
    state = config.out / "resume" / "state.json"
    deadline = time.monotonic() + 60
    while not state.exists():
        assert time.monotonic() < deadline, [command.output for command in commands]
        time.sleep(0.005)
    for command in commands:
        os.kill(command.process.pid, signal.SIGKILL)
        assert command.wait() == -signal.SIGKILL
    assert not is_finished(config.out)
    wait_for_two(start_two([*command_line(config), "--resume"]))
    one = run(replace(config, out=tmp_path / "one"))
    assert_same_run(config.out, one.directory)


TWICE = """
import json
import torch
from assay.configs import RewardTraining
from assay.data.pairs import PreferencePairs
from assay.models.reward_model import RewardModel
from assay.train.reward import train_reward
torch.set_num_threads(1)
data, backbone, out = arguments
train, heldout = PreferencePairs.load(data, limit=20).split(heldout=0.5)
for seed in (0, 1):
    model = RewardModel.from_backbone(backbone, max_length=256, seed=seed)
    training = RewardTraining(mode="lora", batch_size=5, token_budget=150, seed=seed, lr=1e-3)
    result = train_reward(model, train, heldout, training)
    with open(f"{out}-{seed}-{os.environ['RANK']}.json", "w") as file:
        json.dump(result.heldout.gaps.tolist(), file)
sys.exit(0)
"""


@pytest.mark.medium
def test_a_process_group_serves_several_trainings(config, start_two, start_assay, tmp_path):
    arguments = [*config.data, config.backbone, str(tmp_path / "gaps")]
    for command in start_two(arguments, TWICE):
        assert command.wait() == 0, command.output
    alone = start_assay(
        [*arguments[:2], str(tmp_path / "alone")], "os.environ['RANK'] = '0'" + TWICE
    )
    assert alone.wait() == 0, alone.output

    def gaps(name):
        return json.loads((tmp_path / f"{name}.json").read_text())

    for seed in (0, 1):
        np.testing.assert_allclose(gaps(f"gaps-{seed}-0"), gaps(f"alone-{seed}-0"), atol=1e-4)
        # every process is left with the same model
        np.testing.assert_allclose(gaps(f"gaps-{seed}-1"), gaps(f"gaps-{seed}-0"), atol=1e-6)
    assert gaps("gaps-0-0") != gaps("gaps-1-0")


@pytest.mark.slow
def test_accelerate_launch_starts_them(config, tmp_path):
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", free_port(), "-m", "assay"]
    done = subprocess.run([*launch, *command_line(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to") == 1
    assert_same_run(config.out, run(replace(config, out=tmp_path / "one")).directory)
