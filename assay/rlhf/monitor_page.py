"""The page of a run of reinforcement learning: does the policy game its reward?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.atomic import write_text
from assay.pages.html import page, table
from assay.pages.svg import line_chart, round_ticks
from assay.rlhf.alarms import UNITS, Notice, Z
from assay.rlhf.panel import Sample, Shown
from assay.rlhf.rules import Base
from assay.rlhf.signals import KEYS
from assay.rlhf.wording import SAID
from assay.stats.arrays import Floats

if TYPE_CHECKING:
    from assay.rlhf.monitor import OveroptimizationMonitor

TITLE = "Does the policy game its reward?"
MOST_POINTS = 120
"""Points of a line: consecutive steps are averaged where there are more."""
REWARDS = {"proxy": "s3", "audit": "s0", "gold": "s1"}
OTHERS = {
    "kl": "KL to the reference policy, nats a response (k1)",
    "disagreement": "Disagreement of the ensemble's members",
    "distance": "Distance from the reward model's training features",
    "proxy_std": "Deviation of the proxy among a prompt's samples",
    "length": "Tokens of a response",
    "ended": "Share of responses that end by themselves",
    "entropy": "Entropy, nats a token",
    "pairwise_distinct": "Distinctness of a prompt's samples",
    "repetition": "Repeated share of 4-grams within a response",
    "compression": "Compressed size by size",
    **{name: said[0].upper() + said[1:] for name, said in SAID.items()},
}
"""Signals drawn over steps, with their titles."""

SHARES = ("ended", "pairwise_distinct", "repetition", "digits")
"""Signals that are never above 1."""

Line = tuple[Sequence[float], Sequence[float], Sequence[float]]


def monitor_page(monitor: OveroptimizationMonitor, path: str | Path) -> Path:
    """Write the page of a run as it stands, atomically, so that it can be kept open.

    The monitor must have had a baseline and a step.
    """
    base = monitor.base
    assert base is not None
    rows = monitor.rows
    body = (
        _head(monitor)
        + _findings(monitor.notices, "alarm", "note")
        + _rewards(base, rows, monitor.notices)
        + _findings(monitor.notices, "warning")
        + _signals(base, rows, monitor)
        + _samples(list(monitor.panel.prompts.values()))
        + _how(monitor, base)
    )
    write_text(path, page(TITLE, body))
    return Path(path)


def _head(monitor: OveroptimizationMonitor) -> str:
    alarms = [n for n in monitor.notices if n.kind == "alarm"]
    warnings = sum(n.kind == "warning" for n in monitor.notices)
    if alarms:
        verdict = f"Alarm at step {alarms[0].step:,}"
    elif "unmatched" in (monitor.alarms.untested if monitor.alarms else ()):
        verdict = "Cannot be told: there is no audit"
    else:
        verdict = "No sign of it"
    small = f"step {monitor.step:,} of {monitor.settings.steps:,}"
    small += f" · {len(alarms):,} {_plural('alarm', len(alarms))}"
    small += f" · {warnings:,} {_plural('warning', warnings)}"
    best = monitor.early.best_step
    if best is not None:
        where = f"step {best:,}" if best else "the reference policy itself"
        small += f" · best audit so far: {where}"
    return f'<h1>{TITLE}</h1><p class="head">{escape(verdict)}<small>{escape(small)}</small></p>'


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


FINDINGS = {
    "alarm": ("problem", "Alarms"),
    "note": ("", "What is not watched"),
    "warning": ("warning", "Warnings"),
}
"""Kind of a notice to its style and heading."""


def _findings(notices: Sequence[Notice], *kinds: str) -> str:
    parts = []
    for kind in kinds:
        style, title = FINDINGS[kind]
        found = "".join(_finding(n, style) for n in notices if n.kind == kind)
        if found or kind != "note":
            parts.append(f"<h2>{title}</h2>{found or '<p>None.</p>'}")
    return "".join(parts)


def _finding(notice: Notice, style: str) -> str:
    p = "" if np.isnan(notice.p) else f" p = {notice.p:.2g}, adjusted."
    when = f"Step {notice.step:,}. " if notice.step else ""
    back = f" Go back to step {notice.go_back:,} or the best audit's." if notice.go_back else ""
    advice = f"{notice.advice}{back}{p}".strip()
    small = f"<small>{escape(advice)}</small>" if advice else ""
    return (
        f'<div class="finding {style}"><p><b>{escape(notice.name)}.</b> {escape(when)}'
        f"{escape(notice.text)}</p>{small}</div>"
    )


def _rewards(base: Base, rows: Sequence[dict[str, Any]], notices: Sequence[Notice]) -> str:
    found = {n: REWARDS[n] for n in REWARDS if n in base.summaries and _has(rows, n)}
    if not found:
        return ""
    names = {style: name for name, style in found.items()}
    steps = _column(rows, "step")
    roots = _column(rows, "objective/sqrt_kl")
    parts = [
        f"<h2>Proxy, audit and gold</h2><p>Gains over the reference policy in {UNITS}; bands are "
        "95 % intervals over prompts. What to look for is an audit that falls while the proxy "
        "rises.</p>"
    ]
    by_step = _bins(steps)
    parts.append(
        _chart("Gains over steps", steps, by_step, _gains(base, rows, found, by_step), "step",
               names=names, marks=_marks(notices, ("alarm",)))
    )  # fmt: skip
    if np.isfinite(roots).sum() > 1:
        by_root = _bins(roots)
        lines = _gains(base, rows, found, by_root)
        parts.append(
            _chart("Gains over √KL", roots, by_root, lines,
                   "√KL to the reference policy (k3), √nats a response", names=names)
        )  # fmt: skip
    return "".join(parts)


def _gains(
    base: Base, rows: Sequence[dict[str, Any]], found: dict[str, str], bins: list[list[int]]
) -> dict[str, Line]:
    lines = {}
    for name, style in found.items():
        summary = base.summaries[name]
        value = (_column(rows, KEYS[name]) - summary.mean) / summary.scale
        error = _column(rows, f"{KEYS[name]}_error") / summary.scale
        lines[style] = _line(value, error, bins)
    return lines


def _signals(base: Base, rows: Sequence[dict[str, Any]], monitor: OveroptimizationMonitor) -> str:
    steps = _column(rows, "step")
    bins = _bins(steps)
    rules = monitor.alarms.rules if monitor.alarms else {}
    had = [n for n in OTHERS if n in base.summaries and _has(rows, n)]
    drawn = [n for n in had if np.nanmax(np.abs(_column(rows, KEYS[n]))) > 0]
    unseen = len(had) - len(drawn)
    warned = {
        name: [n for n in monitor.notices if n.name in rules and rules[n.name].signal == name]
        for name in drawn
    }
    charts: dict[bool, list[str]] = {True: [], False: []}
    for name in drawn:
        title = OTHERS[name]
        value = _column(rows, KEYS[name])
        error = _column(rows, f"{KEYS[name]}_error")
        summary = base.summaries[name]
        half = Z * summary.step_variance**0.5
        least = -np.inf if name == "kl" else 0.0
        most = 1.0 if name in SHARES else np.inf
        chart = _chart(
            title, steps, bins, {"s0": _line(value, error, bins)}, "step",
            level=(max(summary.mean - half, least), min(summary.mean + half, most)),
            marks=_marks(warned[name], ("warning",)),
        )  # fmt: skip
        is_first = bool(warned[name]) or name in ("kl", "length", "entropy")
        charts[is_first].append(f"<h3>{escape(title)}</h3>{chart}")
    return (
        "<h2>Signals over steps</h2><p>The shaded ground is where 95 % of the reference policy's "
        "steps lie. Upright lines are warnings. Signals with a warning come first."
        + (f" {unseen} counts that are 0 throughout are not drawn." if unseen else "")
        + "</p>"
        + "".join(charts[True])
        + f"<details><summary>{len(charts[False])} signals without a warning</summary>"
        + "".join(charts[False])
        + "</details>"
        + _latest(base, rows)
    )


def _latest(base: Base, rows: Sequence[dict[str, Any]]) -> str:
    """Every signal of the baseline beside the last steps."""
    trained = [row for row in rows if row["step"] > 0][-10:]
    lines = []
    for name, summary in base.summaries.items():
        values = [row[KEYS[name]] for row in trained if KEYS[name] in row]
        lost = sum(row.get(f"missing/{name}", 0.0) for row in trained)
        lines.append(
            [
                name.replace("_", " "),
                f"{summary.mean:.4g}",
                f"{summary.std:.3g}",
                f"{summary.n:,}",
                f"{np.mean(values):.4g}" if values else "–",
                f"{lost:,.0f}",
            ]
        )
    header = ["", "reference", "its deviation", "n", f"last {len(trained)} steps", "missing there"]
    return table(
        "Means over responses (or prompts, for what compares samples); missing are values that "
        "could not be had, such as 4-grams of a response of three tokens.",
        header,
        lines,
    )


def _samples(shown: Sequence[Shown]) -> str:
    if not shown:
        return ""
    parts = ["<h2>Samples</h2><p>Fixed prompts: the reference policy's response and the last.</p>"]
    for each in shown:
        now = _sample(each.now) if each.now else "<p>Not drawn in training so far.</p>"
        parts.append(
            f"<details open><summary>{escape(_first_line(each.prompt))}</summary>"
            f"<pre>{escape(each.prompt)}</pre>"
            f"<h3>Before</h3>{_sample(each.before)}<h3>Now</h3>{now}</details>"
        )
    return "".join(parts)


def _first_line(text: str) -> str:
    line = (text.strip().splitlines() or ["(empty prompt)"])[0]
    return line if len(line) <= 80 else line[:79] + "…"


def _sample(sample: Sample) -> str:
    rewards = {"proxy": sample.proxy, "audit": sample.audit, "gold": sample.gold}
    said = " · ".join(f"{name} {v:.3f}" for name, v in rewards.items() if v is not None)
    step = f"step {sample.step:,}" if sample.step else "reference policy"
    cut = f" · {sample.cut:,} characters not shown" if sample.cut else ""
    return (
        f"<pre>{escape(sample.text) or '(empty)'}</pre>"
        f'<p class="soft">{escape(f"{step} · {said}{cut}")}</p>'
    )


def _how(monitor: OveroptimizationMonitor, base: Base) -> str:
    s = monitor.settings
    facts = {
        "false alarms": f"in at most {100 * s.rate:g} % of runs of {s.steps:,} steps in which "
        f"nothing falls by more than {s.tolerance:g} deviations",
        "false warnings": f"in at most {100 * s.warning_rate:g} % of runs within all levels",
        "baseline": f"{base.steps:,} steps of the reference policy, {base.prompts:,} prompts or "
        "more in each",
        "matched": f"the audit must gain {s.match:g} deviations for each that the proxy gains",
        "lines": f"at most {MOST_POINTS} points; more steps are averaged",
        "steps of one prompt": f"{monitor.single_prompts:,}, which entered no alarm",
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }
    rows = "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f"<h2>How it is watched</h2><dl>{rows}</dl>"


# --- numbers for charts ---------------------------------------------------------------------------


def _has(rows: Sequence[dict[str, Any]], name: str) -> bool:
    return any(KEYS[name] in row for row in rows)


def _column(rows: Sequence[dict[str, Any]], key: str) -> Floats:
    return np.array([row.get(key, np.nan) for row in rows], np.float64)


def _bins(xs: Floats) -> list[list[int]]:
    """Indexes of the rows behind each point, by rising x; the baseline (step 0) is one point."""
    finite = np.flatnonzero(np.isfinite(xs))
    order = finite[np.argsort(xs[finite], kind="stable")]
    start = order[xs[order] == 0.0].tolist()
    rest = order[xs[order] != 0.0].tolist()
    size = max(-(-len(rest) // MOST_POINTS), 1)
    parts = [rest[i : i + size] for i in range(0, len(rest), size)]
    return [*([start] if start else []), *parts]


def _line(values: Floats, errors: Floats, bins: list[list[int]]) -> Line:
    """Mean of each bin with its 95 % interval; no interval where the error is not kept."""
    middle, half = [], []
    for rows in bins:
        kept = [i for i in rows if np.isfinite(values[i])]
        middle.append(float(np.mean(values[kept])) if kept else np.nan)
        error = errors[kept]
        known = len(kept) > 0 and bool(np.isfinite(error).all())
        half.append(float(Z * np.sqrt(np.sum(error**2)) / len(kept)) if known else 0.0)
    low = [m - h for m, h in zip(middle, half, strict=True)]
    return middle, low, [m + h for m, h in zip(middle, half, strict=True)]


def _marks(notices: Sequence[Notice], kinds: tuple[str, ...]) -> list[tuple[float, str]]:
    """An upright line for each step with a notice; only the first is labelled, for want of room."""
    steps = sorted({n.step for n in notices if n.kind in kinds})
    return [(float(s), kinds[0] if i == 0 else "") for i, s in enumerate(steps)]


def _chart(
    title: str,
    xs: Floats,
    bins: list[list[int]],
    lines: dict[str, Line],
    xlabel: str,
    names: dict[str, str] | None = None,
    level: tuple[float, float] | None = None,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    at = [float(np.mean(xs[rows])) for rows in bins]
    ticks = [(t, f"{t:,g}") for t in round_ticks(at[0], at[-1], 8)] if at[-1] > at[0] else []
    chart = line_chart(
        title, at, lines, ticks, xlabel, names=names, level=level,
        marks=[m for m in marks if at[0] <= m[0] <= at[-1]],
    )  # fmt: skip
    return f'<figure><div class="box">{chart}</div></figure>'
