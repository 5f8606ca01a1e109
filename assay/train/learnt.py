"""What an objective learnt besides the reward, in a line and as a section of the model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
SHOWN = 5
"""Annotators that a line names; the card and ``objective.json`` have all."""


def line(record: Record) -> str:
    """What was learnt, for the terminal."""
    if "annotators" in record:
        rows = sorted(record["annotators"], key=lambda row: row["reliability"]["value"])
        named = ", ".join(
            f"{row['annotator']} {row['reliability']['value']:.2f} (n={row['reliability']['n']:,})"
            for row in rows[:SHOWN]
        )
        more = f", … {len(rows):,} in objective.json" if len(rows) > SHOWN else ""
        return f"reliability of annotators, lowest first: {named}{more}"
    if "tie_parameter" in record:
        share = record["tie_share_at_equal_rewards"]
        return f"tie parameter {_figure(record['tie_parameter'])}: equal rewards tie in {share:.0%}"
    if "attributes" in record:
        weights = ", ".join(f"{k} {v['weight']:.3f}" for k, v in record["attributes"].items())
        return f"reward per point of rating: {weights}"
    if "attribute" in record:
        return f"quantiles of '{record['attribute']}', reward their mean up to {record['tail']:g}"
    if "length_head_length_correlation" in record:
        figure = _figure(record["length_head_length_correlation"])
        return f"discarded head's correlation with length {figure}"
    ((name, value),) = ((k, v) for k, v in record.items() if k != "loss")
    return f"{name} {value:.3f}: responses are good above it"


def section(record: Record | None) -> str:
    """The same for the model card, in full; empty where nothing was learnt."""
    if record is None:
        return ""
    body = next((write(record) for key, write in _TABLES.items() if key in record), "")
    return f"## What the loss learnt besides\n\n{line(record).capitalize()}.\n{body}\n"


def _annotators(record: Record) -> str:
    terms = [term for term in ("position", "length") if term in record["annotators"][0]]
    rows = [
        [
            row["annotator"],
            f"{row['reliability']['n']:,}",
            *(_figure(row[key], count=False) for key in ("reliability", *terms)),
        ]
        for row in record["annotators"]
    ]
    unit = record["length_unit_tokens"]
    notes = [
        "Reliability is the probability of judging as the reward does; below 0.5 is against it.",
        "Intervals are 95 %, for the rewards as they are; with few judgments the prior decides "
        f"({record['prior'][0]:g} right, {record['prior'][1]:g} wrong).",
    ]
    if "position" in terms:
        notes.append("Position is the gap that being shown first is worth.")
    if "length" in terms:
        notes.append(f"Length is the gap that {unit:,.0f} more tokens are worth.")
    return _table(["annotator", "judgments", "reliability", *terms], rows) + "\n".join(notes) + "\n"


def _attributes(record: Record) -> str:
    rows = [
        [
            name,
            f"{found['weight']:.3f}",
            f"{found['training_ratings']:,}",
            _figure(found["heldout_squared_error"]),
        ]
        for name, found in record["attributes"].items()
    ]
    how = "learnt from the preferences" if record["learnt"] else "given"
    header = ["attribute", "weight", "training ratings", "held-out squared error"]
    return (
        _table(header, rows)
        + f"The weights were {how}. An error of 1 is what the training mean would have.\n"
    )


def _quantiles(record: Record) -> str:
    rows = [
        [tau, _figure(share)] for tau, share in record["share_of_heldout_ratings_below"].items()
    ]
    return _table(["quantile", "share of held-out ratings at or below it"], rows)


_TABLES: dict[str, Callable[[Record], str]] = {
    "annotators": _annotators,
    "attributes": _attributes,
    "attribute": _quantiles,
}


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n\n"


def _figure(figure: Mapping[str, Any], count: bool = True) -> str:
    if figure["value"] is None:
        return "not measured"
    text = f"{figure['value']:.3f}"
    if figure["low"] is not None:
        text += f" [{figure['low']:.3f}, {figure['high']:.3f}]"
    return text + (f", n={figure['n']:,}" if count else "")
