"""Value, property and recovery: the loop on a problem whose loss and gradient are known by hand."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from fitting import SMALL
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from assay.errors import ConfigError, TrainingError
from assay.train.fit import fit
from assay.train.plan import (
    learning_rate,
    micro_batches,
    parameter_groups,
    steps_of,
)
from assay.train.resume import clear_resume

WANTED = torch.tensor([1.0, -2.0, 0.5])


class Regression:
    """Find three numbers by squared error, from examples of various costs and weights."""

    def __init__(self, count=20, weights=None, costs=None, heldout=None):
        generator = torch.Generator().manual_seed(1)
        self.inputs = torch.randn(count, 3, generator=generator)
        self.targets = self.inputs @ WANTED
        self.module = nn.Linear(3, 1, bias=False)
        nn.init.zeros_(self.module.weight)
        self.costs = costs or [1 + (7 * i) % 11 for i in range(count)]
        self.weights = weights or [1.0] * count
        self.passes = []
        self.heldout = iter(heldout) if heldout else None

    def losses(self, module, indexes):
        self.passes.append(list(indexes))
        return (module(self.inputs[indexes]).squeeze(-1) - self.targets[indexes]) ** 2

    def evaluate(self, module, share, shares):
        if self.heldout is not None:
            return [next(self.heldout)]
        return [float((module.weight.detach()[0] - WANTED).square().sum())]

    def summarise(self, results):
        return {"heldout/loss": results[0], "heldout/accuracy": 0.5, "heldout/gap": 0.0}


def run(task=None, directory=None, on_step=None, resume=False, fingerprint=None, **changes):
    task = task or Regression()
    settings = replace(SMALL, **changes)
    return task, fit(
        task,
        task.module,
        settings,
        directory=directory,
        on_step=on_step,
        resume=resume,
        fingerprint=fingerprint or {"seed": settings.seed},
    )


def losses_of(result):
    return [row["train/loss"] for row in result.rows if "train/loss" in row]


# --- the plan -------------------------------------------------------------------------------------


@given(st.integers(1, 50), st.integers(1, 12), st.integers(1, 4), st.integers(0, 5))
def test_every_epoch_sees_every_example_once(count, batch_size, epochs, seed):
    settings = replace(SMALL, batch_size=batch_size, epochs=epochs, seed=seed)
    plan = steps_of(count, settings)
    assert all(1 <= len(step) <= batch_size for step in plan)
    seen = [i for step in plan for i in step]
    for epoch in range(epochs):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))
    assert plan == steps_of(count, settings)


def test_epochs_and_seeds_are_in_other_orders():
    plan = steps_of(30, replace(SMALL, batch_size=30))
    assert plan[0] != plan[1]
    assert plan[0] != steps_of(30, replace(SMALL, batch_size=30, seed=1))[0]


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(40, 90), st.integers(1, 5)
)
def test_the_cut_into_forward_passes_is_the_same_on_any_number_of_processes(costs, budget, world):
    examples = list(range(len(costs)))
    alone = micro_batches(examples, costs, budget, 0, 1)
    shares = [micro_batches(examples, costs, budget, rank, world) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    together = [group for share in shares for group in share if group]
    assert sorted(map(sorted, together)) == sorted(map(sorted, alone))
    assert Counter(i for group in together for i in group) == Counter(examples)
    assert all(sum(costs[i] for i in group) <= budget for group in together)


def test_the_learning_rate_rises_from_zero_and_falls_back():
    def factors(schedule, warmup=0.25):
        settings = replace(SMALL, schedule=schedule, warmup_fraction=warmup)
        return [learning_rate(step, 8, settings) for step in range(8)]

    assert factors("linear") == pytest.approx([0.5, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    cosine = [0.5 * (1 + math.cos(math.pi * k / 6)) for k in range(6)]
    assert factors("cosine") == pytest.approx([0.5, 1, *cosine])
    assert factors("constant") == pytest.approx([0.5, *[1.0] * 7])
    assert factors("linear", warmup=0.0)[0] == 1.0


def test_the_head_learns_faster_and_vectors_do_not_decay():
    module = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 1, bias=False))
    module[1].bias.requires_grad_(False)
    settings = replace(SMALL, lr=0.1, head_lr_multiplier=10.0, weight_decay=0.3)
    rates = {
        id(p): (group["lr"], group["weight_decay"])
        for group in parameter_groups(module, module[2], settings)
        for p in group["params"]
    }
    assert rates == {
        id(module[0].weight): (0.1, 0.3),
        id(module[0].bias): (0.1, 0.0),
        id(module[1].weight): (0.1, 0.0),
        id(module[2].weight): (1.0, 0.3),
    }


# --- a step ---------------------------------------------------------------------------------------


def test_losses_and_weights_do_not_depend_on_the_token_budget():
    weights = [0.5 + i % 3 for i in range(20)]
    whole, one = run(Regression(weights=weights), token_budget=10_000)
    cut, many = run(Regression(weights=weights), token_budget=12)
    assert len(whole.passes) == one.steps == 6
    assert len(cut.passes) > 2 * one.steps
    assert losses_of(many) == pytest.approx(losses_of(one), rel=1e-6)
    torch.testing.assert_close(cut.module.weight, whole.module.weight, rtol=1e-6, atol=1e-6)


def gradient_of_first_step(task):
    seen = {}

    def keep(optimizer, *_):
        seen.setdefault("gradient", task.module.weight.grad.clone())

    hook = register_optimizer_step_pre_hook(keep)
    try:
        run(task, epochs=1, batch_size=len(task.costs), max_grad_norm=0.0)
    finally:
        hook.remove()
    return seen["gradient"]


def test_the_step_is_the_weighted_mean_of_its_losses():
    weights = [1.0, 3.0, 0.5, 0.0]
    task = Regression(4, weights=weights)
    wanted = nn.Parameter(torch.zeros(1, 3))
    errors = (task.inputs @ wanted[0] - task.targets) ** 2
    ((errors * torch.tensor(weights)).sum() / 4.5).backward()
    torch.testing.assert_close(gradient_of_first_step(task), wanted.grad)


def test_weight_two_is_the_same_example_twice():
    heavy = Regression(3, weights=[2.0, 1.0, 1.0])
    twice = Regression(4)
    twice.inputs = heavy.inputs[[0, 0, 1, 2]]
    twice.targets = heavy.targets[[0, 0, 1, 2]]
    torch.testing.assert_close(gradient_of_first_step(heavy), gradient_of_first_step(twice))


def test_a_step_whose_weights_are_all_zero_changes_nothing():
    task, result = run(Regression(4, weights=[0.0] * 4))
    assert losses_of(result) == [0.0] * result.steps
    assert task.module.weight.abs().max() == 0


def test_gradients_are_clipped_to_the_norm_and_the_whole_norm_is_logged():
    norms = []

    def keep(optimizer, *_):
        norms.append(max(p.grad.norm().item() for g in optimizer.param_groups for p in g["params"]))

    hook = register_optimizer_step_pre_hook(keep)
    try:
        _, clipped = run(max_grad_norm=0.1, epochs=1)
        assert norms == pytest.approx([0.1] * clipped.steps, rel=1e-4)
        logged = [row["train/gradient_norm"] for row in clipped.rows if "train/loss" in row]
        assert min(logged) > 0.1
        norms.clear()
        run(max_grad_norm=0.0, epochs=1)
        assert max(norms) > 0.1
    finally:
        hook.remove()


def test_the_problem_is_solved_and_the_first_loss_is_known():
    task, result = run(epochs=40, lr=0.2)
    first = task.targets[steps_of(20, SMALL)[0]].square().mean()
    assert losses_of(result)[0] == pytest.approx(first.item(), rel=1e-6)
    torch.testing.assert_close(task.module.weight[0], WANTED, atol=0.02, rtol=0)
    assert result.final_loss == losses_of(result)[-1] < 1e-3


def test_bf16_runs_matrix_products_in_bf16_and_keeps_the_weights_in_fp32():
    class Noticing(Regression):
        def losses(self, module, indexes):
            self.dtype = module(self.inputs[indexes]).dtype
            return super().losses(module, indexes).float()

    task, result = run(Noticing(), precision="bf16")
    assert task.dtype == torch.bfloat16
    assert task.module.weight.dtype == torch.float32
    assert all(math.isfinite(loss) for loss in losses_of(result))


# --- what is kept ---------------------------------------------------------------------------------


def test_metrics_say_where_the_run_stood(tmp_path):
    seen = []
    task, result = run(directory=tmp_path, on_step=lambda *args: seen.append(args))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == result.rows
    evaluated = [row["step"] for row in rows if "heldout/loss" in row]
    trained = [row for row in rows if "train/loss" in row]
    assert evaluated == [0, 3, 6]
    assert [row["step"] for row in trained] == [1, 2, 3, 4, 5, 6]
    assert [row["epoch"] for row in trained] == pytest.approx(
        [1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2], abs=1e-4
    )
    assert trained[0]["train/lr"] == pytest.approx(0.025)
    assert {"train/pairs_per_second", "train/tokens_per_second"} < trained[0].keys()
    assert [(step, total) for step, total, _, _ in seen] == [(i, 6) for i in range(1, 7)]
    assert sum(examples for _, _, examples, _ in seen) == 40
    assert sum(tokens for _, _, _, tokens in seen) == 2 * sum(task.costs)


@pytest.mark.parametrize("keep", [True, False])
def test_the_best_heldout_state_is_left_in_the_module(tmp_path, keep):
    weights = []

    class Watching(Regression):
        def evaluate(self, module, share, shares):
            weights.append(module.weight.detach().clone())
            return super().evaluate(module, share, shares)

    task, result = run(Watching(heldout=[0.9, 0.3, 0.5]), directory=tmp_path if keep else None)
    assert (result.best_step, result.best["heldout/loss"]) == (3, 0.3)
    torch.testing.assert_close(task.module.weight.detach(), weights[1], rtol=0, atol=0)
    assert not torch.equal(weights[1], weights[2])


def test_a_loss_that_is_not_a_number_stops_the_run_before_it_touches_a_weight(tmp_path):
    task = Regression()
    good = task.losses
    steps = []

    def broken(module, indexes):
        losses = good(module, indexes)
        return losses * math.nan if len(steps) == 4 else losses

    task.losses = broken
    with pytest.raises(TrainingError, match=r"loss became nan .* at step 5 of 6; lower --lr"):
        run(task, directory=tmp_path, on_step=lambda *args: steps.append(args))
    assert task.module.weight.isfinite().all()
    state = json.loads((tmp_path / "resume" / "state.json").read_text())
    assert state["step"] == 4
    assert {p.name for p in (tmp_path / "resume").iterdir()} == {
        "state.json",
        "step-4.safetensors",
        "best.safetensors",
    }


def test_an_infinite_gradient_stops_the_run():
    task = Regression()
    task.losses = lambda module, indexes: (
        module(task.inputs[indexes]).squeeze(-1).clamp(min=0).sqrt()
    )
    with pytest.raises(TrainingError, match="gradient norm"):
        run(task)


def test_a_heldout_loss_that_is_never_a_number_leaves_the_last_state():
    task, result = run(Regression(heldout=[math.nan] * 3))
    assert result.best == {}
    assert task.module.weight.abs().max() > 0


# --- going on -------------------------------------------------------------------------------------


class Stop(Exception):
    pass


def stop_after(step):
    def on_step(now, *_):
        if now == step:
            raise Stop

    return on_step


@pytest.mark.parametrize("last", [1, 2, 3, 5])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, last):
    whole, wanted = run(directory=tmp_path / "whole")
    with pytest.raises(Stop):
        run(directory=tmp_path / "cut", on_step=stop_after(last))
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "train/lo')  # killed while writing
    torch.manual_seed(last)  # whatever happened in between
    task, got = run(directory=tmp_path / "cut", resume=True)
    torch.testing.assert_close(task.module.weight, whole.module.weight, rtol=0, atol=0)
    assert (got.final_loss, got.best_step, got.best) == (
        wanted.final_loss,
        wanted.best_step,
        wanted.best,
    )

    def timeless(rows):
        return [{k: v for k, v in row.items() if "per_second" not in k} for row in rows]

    assert timeless(got.rows) == timeless(wanted.rows)
    kept = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in kept] == got.rows


def test_resume_without_a_resume_point_starts_at_the_beginning(tmp_path):
    whole, _ = run()
    task, result = run(directory=tmp_path, resume=True)
    assert result.rows[0]["step"] == 0
    torch.testing.assert_close(task.module.weight, whole.module.weight, rtol=0, atol=0)


def test_resume_of_a_finished_fit_changes_nothing(tmp_path):
    whole, wanted = run(directory=tmp_path)
    task, got = run(directory=tmp_path, resume=True)
    assert task.passes == []
    assert got.final_loss == wanted.final_loss
    torch.testing.assert_close(task.module.weight, whole.module.weight, rtol=0, atol=0)


def test_resume_with_other_settings_is_refused(tmp_path):
    run(directory=tmp_path, fingerprint={"lr": 0.1, "data": "abc"})
    with pytest.raises(ConfigError, match=r"made with lr = 0\.1 and this run has 0\.2"):
        run(directory=tmp_path, fingerprint={"lr": 0.2, "data": "abc"}, resume=True)
    with pytest.raises(ConfigError, match="made with data = 'abc' and this run has None"):
        run(directory=tmp_path, fingerprint={"lr": 0.1}, resume=True)


def test_a_failed_save_leaves_the_resume_point_before_it(tmp_path, monkeypatch):
    import assay.train.resume as module

    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(Stop):
        run(directory=tmp_path, on_step=stop_after(3))
    before = (tmp_path / "resume" / "state.json").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(module, "save_file", full)
        with pytest.raises(OSError, match="No space left"):
            run(directory=tmp_path, resume=True)
    assert (tmp_path / "resume" / "state.json").read_text() == before
    assert not list((tmp_path / "resume").glob(".*"))
    whole, _ = run()
    task, _ = run(directory=tmp_path, resume=True)
    torch.testing.assert_close(task.module.weight, whole.module.weight, rtol=0, atol=0)


def test_resume_points_hold_no_pickles_and_go_when_the_run_is_done(tmp_path):
    run(directory=tmp_path)
    names = {p.name for p in (tmp_path / "resume").iterdir()}
    assert names == {"state.json", "step-6.safetensors", "best.safetensors"}
    clear_resume(tmp_path)
    assert not (tmp_path / "resume").exists()


# --- trackers -------------------------------------------------------------------------------------


def test_trackers_get_every_row(monkeypatch):
    import accelerate.tracking
    from accelerate.tracking import GeneralTracker

    logged, ended = [], []

    class Listening(GeneralTracker):
        name = "listening"
        requires_logging_directory = False

        def __init__(self, run_name, **kwargs):
            super().__init__()

        @property
        def tracker(self):
            return self

        def store_init_configuration(self, values):
            pass

        def log(self, values, step, **kwargs):
            logged.append({"step": step, **values})

        def finish(self):
            ended.append(True)

    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "listening", Listening)
    _, result = run(trackers=("listening",))
    assert [row["step"] for row in logged] == [row["step"] for row in result.rows]
    assert logged[1]["train/loss"] == result.rows[1]["train/loss"]
    assert ended == [True]


def test_a_tracker_that_is_unknown_or_missing_is_named(monkeypatch):
    with pytest.raises(ConfigError, match="trackers tensorbord cannot be used"):
        run(trackers=("tensorbord",))
    import accelerate.tracking

    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", list)
    with pytest.raises(ConfigError, match="tracker 'wandb' is not installed"):
        run(trackers=("wandb",))
