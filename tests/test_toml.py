"""Property: a configuration written as TOML reads back as itself. Value: what is wrong is named."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay import configs
from assay.errors import ConfigError
from assay.toml import default_toml, field_docs, ordered_fields, read_toml, resolved_toml

CONFIG_CLASSES = [
    value
    for value in vars(configs).values()
    if isinstance(value, type) and value.__module__ == configs.__name__
]


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base."""

    late: int = 1
    """Comes last."""


@dataclass(frozen=True, kw_only=True)
class Sample(Base):
    """One of everything."""

    data: tuple[str, ...]
    """Several."""
    from_run: str | None = field(default=None, metadata={"key": "from"})
    """Under
    another name."""
    mode: Literal["a", "b"] = "a"
    """A choice."""
    lr: float | None = None
    """A number."""
    path: Path = Path("x")
    """A path."""
    flag: bool = False
    """Yes or no."""


samples = st.builds(
    Sample,
    late=st.integers(-(2**63), 2**63 - 1),
    data=st.lists(st.text(st.characters(exclude_categories=["Cs"]))).map(tuple),
    from_run=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    mode=st.sampled_from(["a", "b"]),
    lr=st.none() | st.floats(allow_nan=False),
    path=st.text("abc /\\\"'\x7f\n", min_size=1).map(Path),
    flag=st.booleans(),
)


@given(samples)
def test_written_configuration_reads_back_as_itself(tmp_path_factory, sample):
    path = tmp_path_factory.mktemp("toml") / "config.toml"
    path.write_bytes(resolved_toml(sample).encode())
    assert replace(Sample(data=("gone",)), **read_toml(path, Sample)) == sample


def test_written_configuration_is_commented():
    assert resolved_toml(Sample(data=("a", "b"), lr=1e-5)) == (
        "# One of everything.\n\n"
        '# Several. Required.\ndata = ["a", "b"]\n\n'
        "# Under another name.\n#from =\n\n"
        '# A choice.\nmode = "a"\n\n'
        "# A number.\nlr = 1e-05\n\n"
        '# A path.\npath = "x"\n\n'
        "# Yes or no.\nflag = false\n\n"
        "# Comes last.\nlate = 1\n"
    )


def test_own_fields_come_before_inherited_ones():
    names = [f.name for f in ordered_fields(Sample)]
    assert names == ["data", "from_run", "mode", "lr", "path", "flag", "late"]


@pytest.mark.parametrize("config_class", CONFIG_CLASSES)
def test_defaults_of_every_configuration_class_read_back(config_class, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(default_toml(config_class), encoding="utf-8")
    assert tomllib.loads(path.read_text(encoding="utf-8")) is not None
    values = read_toml(path, config_class)
    for f in fields(config_class):
        assert values.get(f.name) == (None if f.default is MISSING else f.default)


@pytest.mark.parametrize("config_class", CONFIG_CLASSES)
def test_every_field_is_documented(config_class):
    docs = field_docs(config_class)
    assert [f.name for f in fields(config_class) if not docs.get(f.name)] == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lrr = 1", "'lrr' is not a key of Sample; did you mean 'lr'?"),
        ("from_run = 'x'", "'from_run' is not a key of Sample; did you mean 'from'?"),
        ("zzz = 1", "'zzz' is not a key of Sample; its keys are late, data, from, mode, lr, path"),
        ("lr = 'fast'", "'lr' must be a number, not \"fast\"."),
        ("late = 1.0", "'late' must be a whole number, not 1.0."),
        ("late = true", "'late' must be a whole number, not true."),
        ("flag = 1", "'flag' must be true or false, not 1."),
        ("path = []", "'path' must be a path, not []."),
        ("from = 1", "'from' must be text, not 1."),
        ("mode = 'c'", '\'mode\' must be one of "a", "b", not "c".'),
        ("data = 'x'", "'data' must be a list, each item text, not \"x\"."),
        ("data = ['x', 1]", "'data' must be a list, each item text, not [\"x\", 1]."),
        ("[lr]\nx = 2026-11-22", '\'lr\' must be a number, not {"x": "2026-11-22"}.'),
        ("lr = = 1", "is not a TOML file: Invalid value (at line 1, column 6)."),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, text, sentence):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_toml(path, Sample)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_whole_number_is_a_number(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("lr = 1")
    assert read_toml(path, Sample) == {"lr": 1.0}


def test_a_file_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not a TOML file"):
        read_toml(path, Sample)
