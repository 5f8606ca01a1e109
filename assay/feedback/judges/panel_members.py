"""Who is on a panel: local models by name, and TOML files with the flags of ``assay judge``."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from assay.configs import EndpointSettings, Judging, Panel
from assay.configs import Judge as JudgeConfig
from assay.errors import ConfigError, DataError
from assay.feedback.judges.panel import Panel as PanelRule
from assay.feedback.judges.panel import PanelMember
from assay.feedback.judges.run import check
from assay.formats.files import shown_name
from assay.toml import read_toml

OWN = frozenset(
    {f.name for f in fields(EndpointSettings)} - {"max_cost"}
    | {"judge", "pack", "means", "rationale", "samples", "temperature", "max_tokens"}
    | {"token_budget"}
)
"""Settings that a member's file may have: the others are the panel's."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A member: its name, and how it judges the panel's files, as ``assay judge`` would."""

    name: str
    judging: JudgeConfig

    def answers(self, out: Path) -> Path:
        """Where its answers are kept, beside the panel's output."""
        mark = re.sub(r"[^\w.-]+", "-", self.name)
        return out.with_name(f"{out.name}.{mark}.answers.sqlite")


def seats_of(config: Panel) -> list[Seat]:
    """The members in their order.

    A member's file gives it its name; a local model is called as its annotator would be.

    Raises:
        ConfigError: If there are fewer than two, two of one name, or one that cannot judge.
        DataError: If a member's file is not there.
    """
    if len(config.members) < 2:
        raise ConfigError(
            f"A panel of {len(config.members)} was asked for; name two members or more with "
            "--members, or use assay judge."
        )
    seats = [_seat(config, member) for member in config.members]
    twice = [name for name, n in Counter(seat.name for seat in seats).items() if n > 1]
    if twice:
        raise ConfigError(
            f"Two members are called {twice[0]!r}; a panel names each once, so give one a TOML "
            "file of another name."
        )
    return seats


def rule_of(config: Panel, seats: list[Seat]) -> PanelRule:
    """How the members become one, before weights are learnt.

    Raises:
        ConfigError: If weights or quorum do not fit the members.
    """
    if config.weights and config.calibrate:
        raise ConfigError(
            "--weights were given, and --calibrate learns them from people; leave one of the two "
            "out."
        )
    weights = config.weights or (1.0,) * len(seats)
    if len(weights) != len(seats):
        raise ConfigError(
            f"{len(weights)} weights were given for {len(seats)} members; give one for each."
        )
    quorum = len(seats) // 2 + 1 if config.quorum is None else config.quorum
    members = tuple(PanelMember(s.name, w) for s, w in zip(seats, weights, strict=True))
    return PanelRule(members, quorum)


def _seat(config: Panel, member: str) -> Seat:
    shared = {f.name: getattr(config, f.name) for f in fields(Judging)}
    shared |= {"files": config.files, "out": config.out, "task": config.task, "page": None}
    if not member.endswith(".toml"):
        return Seat(shown_name(member), _checked(member, {**shared, "judge": member}))
    path = Path(member)
    if not path.is_file():
        raise DataError(
            f"The member {member} is not a file; wanted a TOML file with the flags of assay judge "
            "that are its own, or the name of a local model."
        )
    own = read_toml(path, JudgeConfig)
    foreign = [name for name in own if name not in OWN]
    if foreign:
        raise ConfigError(
            f"{member}: {foreign[0]!r} is for the whole panel, not for one member; give it to "
            "assay panel."
        )
    return Seat(path.stem, _checked(member, {**shared, **own}))


def _checked(member: str, values: dict[str, Any]) -> JudgeConfig:
    judging = JudgeConfig(**values)
    try:
        # what the task would not heed is refused once, of the whole panel
        check(replace(judging, **_SHARED))
    except ConfigError as error:
        raise ConfigError(f"The member {member} cannot judge: {error}") from error
    return judging


_SHARED: dict[str, Any] = {f.name: f.default for f in fields(Judging) if f.name not in OWN}
