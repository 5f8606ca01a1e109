"""Draw the figures of the documentation: from the engine itself, and from benchmarks' records.

``tree.png`` shows the engine's packing, its positions and its mask; ``overoptimization.png`` what
``benchmarks/results/overoptimization.json`` holds, ``lets_verify.png`` and ``step_labels.png`` what
``benchmarks/results/lets_verify.json`` does, ``hacked_run.png`` what
``benchmarks/results/hacked_run.json`` does, and ``laboratory.png`` what
``benchmarks/results/overoptimization_rl.json`` and ``best_of_n_gold.json`` do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from assay.data.contract import Tokens
from assay.data.trees import PackedTrees, Tree, build_tree, pack
from assay.evaluation.best_of_n import best_of_n_kl
from assay.models.attention import TreeLayout

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures"
WORLDS = ROOT / "benchmarks" / "results" / "overoptimization.json"
CHAINS = ROOT / "benchmarks" / "results" / "lets_verify.json"
RUNS = ROOT / "benchmarks" / "results" / "hacked_run.json"
POLICIES = ROOT / "benchmarks" / "results" / "overoptimization_rl.json"
BEST_OF_N = ROOT / "benchmarks" / "results" / "best_of_n_gold.json"

TREES = (
    ("pair", 6, {"chosen": 4, "rejected": 3}),
    ("K = 4", 4, {"1st": 3, "2nd": 2, "3rd": 4, "4th": 2}),
)
"""Name, prompt tokens, and tokens of each response (with its end-of-response token)."""

PROMPTS = ("#9aa5b1", "#c3cbd3")
RESPONSES = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9", "#cc79a7")
PADDING = "#f4f4f4"


def main(arguments: list[str]) -> None:
    """Write the figures, into a directory given as the only argument or into docs/figures."""
    directory = Path(arguments[0]) if arguments else FIGURES
    directory.mkdir(parents=True, exist_ok=True)
    tree_figure().savefig(directory / "tree.png", dpi=120, facecolor="white")
    worlds = worlds_figure(json.loads(WORLDS.read_text(encoding="utf-8")))
    worlds.savefig(directory / "overoptimization.png", dpi=120, facecolor="white")
    if RUNS.exists():
        runs = runs_figure(json.loads(RUNS.read_text(encoding="utf-8")))
        runs.savefig(directory / "hacked_run.png", dpi=120, facecolor="white")
    if POLICIES.exists() and BEST_OF_N.exists():
        records = (json.loads(path.read_text(encoding="utf-8")) for path in (POLICIES, BEST_OF_N))
        laboratory_figure(*records).savefig(
            directory / "laboratory.png", dpi=120, facecolor="white"
        )
    if not CHAINS.exists():  # not measured yet
        return
    chains = json.loads(CHAINS.read_text(encoding="utf-8"))
    for name, figure in (("lets_verify", chains_figure), ("step_labels", labels_figure)):
        figure(chains).savefig(directory / f"{name}.png", dpi=120, facecolor="white")


def example_trees() -> list[Tree]:
    """The trees of ``TREES``, every token an id of its own."""
    trees, first = [], 0
    for _, prompt, responses in TREES:
        shared = np.arange(first, first + prompt, dtype=np.int32)
        first += prompt
        conversations = []
        for length in responses.values():
            own = np.arange(first, first + length, dtype=np.int32)
            first += length
            conversations.append(Tokens(np.concatenate([shared, own]), prompt))
        trees.append(build_tree(conversations))
    return trees


def attention_mask(packed: PackedTrees) -> NDArray[np.bool_]:
    """Which token (row) sees which (column), by the engine's own rule."""
    rule = TreeLayout.of(packed, causal=True).mask_mod(torch.device("cpu"), None)
    index, zero = torch.arange(packed.num_tokens), torch.tensor(0)
    seen: NDArray[np.bool_] = rule(zero, zero, index[:, None], index[None, :]).numpy()
    return seen


def token_colours(packed: PackedTrees) -> list[str]:
    """One colour a token: grey for prompts, a hue for each response."""
    colours: list[str] = []
    hues = iter(RESPONSES)
    prompts = iter(PROMPTS)
    for span in packed.spans:
        colours += [next(prompts if span.parent is None else hues)] * span.length
    return colours


def roots(packed: PackedTrees) -> list[int]:
    """Where each tree begins in the row."""
    return [span.start for span in packed.spans if span.parent is None]


def tree_figure() -> Figure:
    """The packed row, its attention mask, and the padded batch it stands for."""
    packed = pack(example_trees())
    colours = token_colours(packed)
    figure = Figure(figsize=(10, 7.6), layout="constrained")
    axes = figure.subplot_mosaic(
        [["row", "row"], ["mask", "padded"]], height_ratios=(1, 4.4), width_ratios=(1.5, 1)
    )
    draw_row(axes["row"], packed, colours)
    draw_mask(axes["mask"], packed, colours)
    draw_padded(axes["padded"], packed, colours)
    return figure


def draw_row(axes: Axes, packed: PackedTrees, colours: list[str]) -> None:
    """The packed row with the position of every token."""
    ends = set(packed.ends.tolist())
    for index, position in enumerate(packed.position_ids.tolist()):
        draw_token(axes, index, 0, colours[index], str(position), scored=index in ends)
    for (name, prompt, responses), start in zip(TREES, roots(packed), strict=True):
        label(axes, start, prompt, f"prompt, {name}")
        start += prompt
        for response, length in responses.items():
            label(axes, start, length, response)
            start += length
    axes.set_title(
        f"One packed row of {packed.num_tokens} tokens; numbers are positions, "
        "a black frame is a scored token",
        fontsize=11,
        loc="left",
    )
    frame(axes, packed.num_tokens, (-0.9, 1.1))


def draw_mask(axes: Axes, packed: PackedTrees, colours: list[str]) -> None:
    """Who sees whom: each row is a token, coloured squares are what it attends to."""
    seen = attention_mask(packed)
    for query, key in np.argwhere(seen).tolist():
        axes.add_patch(Rectangle((key, query), 1, 1, facecolor=colours[key], edgecolor="white"))
    for start in roots(packed)[1:]:
        axes.axhline(start, color="black", linewidth=0.8)
        axes.axvline(start, color="black", linewidth=0.8)
    axes.set_title("Attention: a row is a token, colours are what it sees", fontsize=11, loc="left")
    axes.set_xlabel("key (place in the packed row)")
    axes.set_ylabel("query (place in the packed row)")
    axes.set_xlim(0, packed.num_tokens)
    axes.set_ylim(packed.num_tokens, 0)
    axes.set_aspect("equal")
    axes.set_anchor("N")


def draw_padded(axes: Axes, packed: PackedTrees, colours: list[str]) -> None:
    """The same conversations as a padded batch: one row each."""
    paths = [path for tree in packed.trees for path in tree.paths()]
    longest = max(map(len, paths))
    ends = {int(packed.input_ids[end]) for end in packed.ends}
    for line, path in enumerate(paths):
        for column in range(longest):
            if column < len(path):
                token = int(path[column])
                draw_token(axes, column, line, colours[token], str(column), scored=token in ends)
            else:
                draw_token(axes, column, line, PADDING, "", scored=False)
    axes.set_title(
        f"The same as a padded batch: {len(paths)} × {longest} = {len(paths) * longest}",
        fontsize=11,
        loc="left",
    )
    frame(axes, longest, (len(paths), 0))
    axes.set_anchor("N")
    legend = [
        Patch(facecolor=PROMPTS[0], label="prompt tokens, repeated for every response"),
        Patch(facecolor=PADDING, edgecolor="#bbbbbb", label="padding"),
    ]
    axes.legend(handles=legend, loc="upper left", bbox_to_anchor=(0, -0.02), frameon=False)


def draw_token(axes: Axes, x: float, y: float, colour: str, text: str, *, scored: bool) -> None:
    """A square with a number; a black frame where the token is scored."""
    axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white"))
    if scored:
        inner = Rectangle(
            (x + 0.08, y + 0.08), 0.84, 0.84, fill=False, edgecolor="black", linewidth=1.8
        )
        axes.add_patch(inner)
    ink = "white" if colour == RESPONSES[0] else "black"
    axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=9, color=ink)


def label(axes: Axes, start: float, length: float, text: str) -> None:
    """A bracket under some tokens with a name."""
    axes.plot([start + 0.1, start + length - 0.1], [-0.15, -0.15], color="black", linewidth=1)
    axes.text(start + length / 2, -0.3, text, ha="center", va="top", fontsize=9)


def frame(axes: Axes, width: float, height: tuple[float, float]) -> None:
    """Limits around squares, without axes."""
    axes.set_xlim(0, width)
    axes.set_ylim(*height)
    axes.set_aspect("equal")
    axes.axis("off")


# --- over-optimisation ---------------------------------------------------------------------------

PANELS = (
    ("shift", "seeds alone", "Shift, members differ in their seed alone"),
    ("shift", "bootstraps", "Shift, bootstraps of the pairs"),
    ("shift", "halves of the features", "Shift, each member sees half the features"),
    ("shift", "halves, all with length", "Shift, halves that all have the length"),
    ("control", "seeds alone", "No shift, members differ in their seed alone"),
    ("control", "halves of the features", "No shift, each member sees half the features"),
)
"""Setting and ensemble of each panel, and its title; the two settings have an axis each."""

SELECTORS = {
    "single": ("one member", "#6b6b6b", "-", "o"),
    "mean": ("mean", "#0072b2", "--", "s"),
    "worst-case": ("worst case", "#d55e00", "-.", "^"),
    "mean-variance 1": ("mean − variance", "#009e73", ":", "D"),
}
"""What selects: its name, colour, line and mark, so that colour is not all that differs."""


def worlds_figure(record: Mapping[str, Any]) -> Figure:
    """Gold over the KL of best-of-n in each world, bands over the seeds."""
    figure = Figure(figsize=(10, 9.4), layout="constrained")
    axes = figure.subplots(3, 2, sharex=True).ravel()
    for ax, (setting, ensemble, title) in zip(axes, PANELS, strict=True):
        lines = {
            name: record["rows"][f"{setting} | {ensemble} | {name}"]["gold"] for name in SELECTORS
        }
        draw_world(ax, record["n"], lines, title)
    for ax in axes[1:4]:
        ax.sharey(axes[0])
    axes[5].sharey(axes[4])
    for ax in axes[::2]:
        ax.set_ylabel("gold, in standard deviations")
    for ax in axes[4:]:
        ax.set_xlabel("n, placed by KL = log n − (n − 1)/n nats")
    seeds = len(record["rows"]["shift | seeds alone | mean"]["end_by_seed"])
    figure.suptitle(
        f"Gold by best-of-n; means over {seeds} worlds with 95 % intervals", x=0.01, ha="left"
    )
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def draw_world(
    ax: Axes, n: Sequence[int], lines: Mapping[str, Mapping[str, Sequence[float]]], title: str
) -> None:
    """One world: a line a selector with its band over the seeds."""
    kl = [best_of_n_kl(k) for k in n]
    for name, line in lines.items():
        label, colour, style, mark = SELECTORS[name]
        ax.plot(kl, line["value"], style, color=colour, marker=mark, markersize=4, label=label)
        ax.fill_between(kl, line["low"], line["high"], color=colour, alpha=0.12, linewidth=0)
    ax.axhline(0, color="#9a9a9a", linewidth=0.8)
    ax.set_title(title, fontsize=11, loc="left")
    ax.set_xticks(kl[::2], [f"{k:,}" for k in n[::2]])
    ax.grid(axis="y", color="#e6e6e6")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


# --- process, outcome, majority -------------------------------------------------------------------

PICKED = {
    "PRM": ("process model, product", "#0072b2", "-", "o"),
    "ORM": ("outcome model", "#d55e00", "--", "s"),
    "majority": ("majority", "#009e73", "-.", "^"),
    "PRM weighted": ("majority weighted by the PRM", "#cc79a7", (0, (8, 2)), "D"),
    "ORM weighted": ("majority weighted by the ORM", "#e69f00", (0, (4, 1, 1, 1)), "v"),
    "pass": ("an oracle (pass@n)", "#6b6b6b", (0, (1, 1)), ""),
}
"""What picks a sample: its name, colour, line and mark."""

COMPLETERS = {
    "weak": ("early in its training", "#6b6b6b", ":", "v"),
    "policy": ("the policy itself", "#0072b2", "-", "o"),
    "careful": ("makes no slips", "#009e73", "-.", "^"),
    "rescuing": ("undoes the slip before it", "#d55e00", "--", "s"),
}


def chains_figure(record: Mapping[str, Any]) -> Figure:
    """Right answers above, sound reasoning below, over n; a column for each m."""
    by_m = record["selection"]
    figure = Figure(figsize=(10, 8.4), layout="constrained")
    axes = figure.subplots(2, len(by_m), sharex=True, sharey="row", squeeze=False)
    for (m, found), (upper, lower) in zip(by_m.items(), axes.T, strict=True):
        luck = found["samples"]["unsound_of_right"]["value"]
        draw_picks(upper, found["n"], found["curves"])
        upper.set_title(
            f"m = {m}: {luck:.0%} of right answers by wrong reasoning", fontsize=11, loc="left"
        )
        draw_picks(lower, found["n"], found["sound"]["curves"])
        lower.set_xlabel("n, samples of a problem (log scale)")
    axes[0, 0].set_ylabel("share of picks with the right answer")
    axes[1, 0].set_ylabel("share of picks without a wrong step")
    problems = next(iter(by_m.values()))["problems"]
    figure.suptitle(
        f"One of n samples, {problems} problems of {len(record['seconds'])} seeds, 95 % bands",
        x=0.01,
        ha="left",
    )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_picks(
    ax: Axes, n: Sequence[int], curves: Mapping[str, Sequence[Mapping[str, float]]]
) -> None:
    """A line with its band for each way of picking that these curves have."""
    for name, (label, colour, style, mark) in PICKED.items():
        if name in curves:
            draw_band(ax, n, curves[name], label, colour, style, mark)
    finish(ax, n)


def labels_figure(record: Mapping[str, Any]) -> Figure:
    """Precision and recall of "bad" over the number of rollouts, by who completes."""
    m, by = list(record["labels"].items())[-1]
    figure = Figure(figsize=(10, 8.4), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for row, (estimation, meaning) in zip(
        axes, (("hard", "any rollout is right"), ("soft", "half are right")), strict=True
    ):
        for ax, kind in zip(row, ("precision", "recall"), strict=True):
            for name, (label, colour, style, mark) in COMPLETERS.items():
                found = by[name]["by_rollouts"][estimation]
                kept = {int(n): f[f"bad_{kind}"] for n, f in found.items() if f[f"bad_{kind}"]}
                draw_band(ax, list(kept), list(kept.values()), label, colour, style, mark)
            finish(ax, [int(n) for n in by["policy"]["by_rollouts"][estimation]])
            ax.set_title(
                f'{kind} of "bad"; good where {meaning} ({estimation})', fontsize=11, loc="left"
            )
    for ax in axes[1]:
        ax.set_xlabel("rollouts after a step (log scale)")
    figure.suptitle(
        f"Step labels by rollouts against true first errors, m = {m}, 95 % bands", x=0.01, ha="left"
    )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def draw_band(
    ax: Axes,
    n: Sequence[int],
    figures: Sequence[Mapping[str, float]],
    label: str,
    colour: str,
    style: Any,
    mark: str,
) -> None:
    """Values over n with their intervals."""
    value, low, high = (np.array([f[key] for f in figures]) for key in ("value", "low", "high"))
    ax.fill_between(n, low, high, color=colour, alpha=0.1, linewidth=0)
    ax.plot(
        n, value, color=colour, linestyle=style, marker=mark, markersize=4, linewidth=1.8,
        label=label,
    )  # fmt: skip


def finish(ax: Axes, n: Sequence[int]) -> None:
    """A logarithmic axis of n and a light grid."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(n), [f"{count:,}" for count in n])
    ax.minorticks_off()
    ax.grid(axis="y", color="#e6e6e6")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


# --- runs that are watched -----------------------------------------------------------------------

RUN_PANELS = {
    "hacked": "RLOO, the proxy likes length",
    "ppo": "PPO, the proxy likes length",
    "learned": "RLOO, the proxy was learned from 1,000 pairs",
    "benign": "RLOO, the proxy is honest",
}
"""Kind of run to the title of its panel."""

REWARDS: dict[str, tuple[str, str, Any]] = {
    "proxy": ("proxy", "#d55e00", "--"),
    "audit": ("audit", "#0072b2", "-."),
    "gold": ("gold, which the monitor does not see", "#009e73", "-"),
}
"""Reward to its name, colour and line."""
SMOOTH = 5
"""Steps whose mean is drawn."""


def runs_figure(record: Mapping[str, Any]) -> Figure:
    """Proxy, audit and gold over √KL, a panel for each kind of run and a line for each seed."""
    kinds = [kind for kind in RUN_PANELS if record["runs"][kind]]
    figure = Figure(figsize=(10, 8.4), layout="constrained")
    axes = figure.subplots(-(-len(kinds) // 2), 2, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, kind in zip(axes, kinds, strict=False):
        runs = record["runs"][kind]
        for run in runs:
            draw_run(ax, run)
        ax.set_title(f"{RUN_PANELS[kind]}: {len(runs)} run{'s'[: len(runs) > 1]}", fontsize=11,
                     loc="left")  # fmt: skip
        ax.axhline(0, color="#9a9a9a", linewidth=0.8)
        ax.grid(axis="y", color="#e6e6e6")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[len(kinds) :]:
        ax.set_visible(False)
    for ax in axes[::2]:
        ax.set_ylabel("deviations of the reference's responses")
    for ax in axes[-2:]:
        ax.set_xlabel("√KL to the reference policy (KL in nats a response)")
    lines = [
        Line2D([], [], color=colour, linestyle=style, linewidth=1.8, label=label)
        for label, colour, style in REWARDS.values()
    ]
    alarm = Line2D([], [], color="black", marker="v", linestyle="", label="the monitor's alarm")
    figure.legend(
        handles=[*lines, alarm], loc="outside lower center", ncols=len(lines) + 1, frameon=False
    )
    figure.suptitle(
        f"Policies that are optimised on, past the alarm; means of {SMOOTH} steps", x=0.01,
        ha="left",
    )  # fmt: skip
    return figure


def draw_run(ax: Axes, run: Mapping[str, Any]) -> None:
    """One run's rewards, in the order of its steps, with its alarm on gold's line."""
    distance = np.sqrt(np.maximum(trailing(run["kl"]), 0))
    for name, (_, colour, style) in REWARDS.items():
        ax.plot(
            distance, trailing(run[name]), color=colour, linestyle=style, linewidth=1.3, alpha=0.85
        )
    if run["alarm"]:
        # the first mean is that of the first SMOOTH steps
        at = max(run["alarm"]["step"] - SMOOTH, 0)
        ax.plot(distance[at], trailing(run["gold"])[at], "v", color="black", markersize=8, zorder=3)


def trailing(values: Sequence[float]) -> NDArray[np.float64]:
    """Means of so many steps in a row."""
    found: NDArray[np.float64] = np.convolve(values, np.full(SMOOTH, 1 / SMOOTH), "valid")
    return found


# --- the laboratory -------------------------------------------------------------------------------

ARMS = {
    "weak": ("likes length, weak KL penalty", "#d55e00", "--", "s"),
    "strong": ("likes length, strong KL penalty", "#e69f00", (0, (4, 1, 1, 1)), "v"),
    "worst-case": ("worst case of three members", "#0072b2", "-.", "^"),
    "control": ("gold and noise", "#009e73", "-", "o"),
}
SIZES = (("#9aa5b1", ":", "v"), ("#0072b2", "-.", "^"), ("#009e73", "-", "o"))


def laboratory_figure(policies: Mapping[str, Any], candidates: Mapping[str, Any]) -> Figure:
    """Gold and proxy over √KL: policies of the small world, and the best of n of a real one."""
    figure = Figure(figsize=(10, 8.2), layout="constrained")
    axes = figure.subplots(2, 2, sharex="row", squeeze=False)
    for ax, line in zip(axes[0], ("gold", "proxy"), strict=True):
        for arm, (label, colour, style, mark) in ARMS.items():
            curve = policies["curves"][arm]
            draw_line(ax, curve["sqrt_kl"], curve["lines"][line], label, colour, style, mark)
        ax.set_title(f"RLOO in the small world: {line}", fontsize=11, loc="left")
    for ax, line in zip(axes[1], ("gold", "proxy"), strict=True):
        for (size, row), (colour, style, mark) in zip(
            candidates["proxies"].items(), SIZES, strict=True
        ):
            d = [best_of_n_kl(n) ** 0.5 for n in row["n"]]
            band = {key: [f[key] for f in row[line]] for key in ("value", "low", "high")}
            draw_line(ax, d, band, f"{size} pairs", colour, style, mark)
        ax.set_title(f"best of n of SmolLM2-135M: {line}", fontsize=11, loc="left")
    for ax in axes.ravel():
        ax.axhline(0, color="#9a9a9a", linewidth=0.8)
        ax.grid(axis="y", color="#e6e6e6")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlabel("√KL to the reference policy")
    for ax in axes[:, 0]:
        ax.set_ylabel("gain, in deviations")
        ax.legend(frameon=False, fontsize=9)
    return figure


def draw_line(
    ax: Axes, x: Sequence[float], line: Mapping[str, Sequence[float]], label: str,
    colour: str, style: Any, mark: str,
) -> None:  # fmt: skip
    """Means with their band."""
    ax.plot(x, line["value"], linestyle=style, color=colour, marker=mark, markersize=4, label=label)
    ax.fill_between(x, line["low"], line["high"], color=colour, alpha=0.12, linewidth=0)


if __name__ == "__main__":
    main(sys.argv[1:])
