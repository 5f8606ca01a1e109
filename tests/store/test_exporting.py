"""Round trips: what a format can hold comes back, and the report names what it cannot."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, update

from assay.data.pairs import PreferencePairs
from assay.errors import ConfigError
from assay.formats.files import read_rows
from assay.store import tables as t
from assay.store.exporting import Choices, export
from assay.store.ids import new_id
from assay.store.incoming import new_comparisons
from assay.store.people import add_annotator, set_role
from assay.store.presets import PRESETS
from assay.store.records import (
    Dimension,
    NewComparison,
    NewJudgment,
    NewResponse,
    ProjectSettings,
    Rubric,
)
from assay.store.rows_out import FORMATS
from assay.store.store import PreferenceStore
from assay.types import Message, as_messages


@pytest.fixture
def store() -> Iterator[PreferenceStore]:
    with PreferenceStore.open(":memory:") as opened:
        yield opened


def said(text: str) -> tuple[Message, ...]:
    return as_messages(text, "assistant")


def pair(answer: dict[str, Any] | None = None, **fields: Any) -> NewComparison:
    judgments = fields.pop("judgments", None)
    if judgments is None and answer is not None:
        judgments = (NewJudgment(answer, "ada", submitted=1_700_000_000_000, shown=(1, 0)),)
    sides = fields.pop("responses", (NewResponse(said("Four.")), NewResponse(said("Five."))))
    prompt = fields.pop("prompt", as_messages("2 + 2?", "user"))
    return NewComparison(prompt, sides, judgments=judgments or (), **fields)


def choice(side: int | None, strength: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"kind": "pair", "choice": side, "strength": strength, **more}


def filled(store: PreferenceStore, *comparisons: NewComparison, name: str = "p") -> str:
    project = store.create_project(name)
    store.add_comparisons(project, comparisons, source="a test")
    return project


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path)]


def again(
    store: PreferenceStore, path: Path, format: str, choices: Choices, out: Path
) -> tuple[list[dict[str, Any]], Any]:
    """Import a file into a new project, and export that in the same way."""
    project = store.create_project(f"again {new_id()}")
    reading = new_comparisons(path)
    store.add_comparisons(project, reading, source=str(path))
    report = export(store, project, out, format, choices=choices)
    return (rows_of(out) if out.suffix != ".csv" else list(csv.DictReader(out.open()))), report


# --- any project, every format --------------------------------------------------------------------

letters = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), min_size=1, max_size=8
)
texts = st.one_of(
    letters.filter(str.strip),
    st.sampled_from(
        ["مرحبا بالعالم", "Zeile eins\nZeile zwei", "=1+1", "'=x", '[{"role": "user"}]', "-3",
         'a,b;"c"', "\r\nx", "```py\nx\n```"]
    ),
)  # fmt: skip
TRIPS = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # every trial is a store of its own
    suppress_health_check=[HealthCheck.too_slow],
)
times = st.integers(0, 4_000_000_000_000)


@st.composite
def common(draw: st.DrawFn, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if draw(st.booleans()):
        found["rationale"] = draw(texts)
    if draw(st.booleans()):
        found["reasons"] = draw(st.lists(texts, min_size=1, max_size=2))
    if count > 1 and draw(st.booleans()):
        levels = st.sampled_from(["good", "ok", "bad"])
        found["acceptability"] = {i: draw(levels) for i in range(count)}
    if count > 1 and draw(st.booleans()):
        found["dimensions"] = {
            "safety": {"ratings": {i: draw(st.integers(1, 5)) for i in range(count)}}
        }
    return found


@st.composite
def answers(draw: st.DrawFn, kind: str, count: int, order: tuple[int, ...]) -> dict[str, Any]:
    if kind == "pair":
        point = draw(st.sampled_from(PRESETS["helpsteer"].points))
        side = None if point.side == 0 else order[0] if point.side < 0 else order[1]
        answer = choice(side, point.strength, preset="helpsteer", preset_version=1, raw=point.id)
        return answer | draw(common(count))
    if kind == "ranking":
        flat = draw(st.permutations(range(count)))
        kept = list(flat[: draw(st.integers(2, count))])
        cut = draw(st.integers(1, len(kept)))
        groups = [g for g in (kept[:cut], *([i] for i in kept[cut:])) if g]
        rest = [i for i in range(count) if i not in kept]
        return {"kind": kind, "groups": groups, "unranked": rest} | draw(common(count))
    raise AssertionError(kind)


@st.composite
def judged(draw: st.DrawFn, kind: str, count: int) -> tuple[NewJudgment, ...]:
    names = draw(st.lists(st.sampled_from(["ada", "Ünal", "عمر", "bob"]), unique=True, max_size=3))
    found = []
    for name in names:
        order = tuple(draw(st.permutations(range(count))))
        found.append(
            NewJudgment(
                draw(answers(kind, count, order)),
                name,
                shown=order,
                submitted=draw(times),
                active_ms=draw(st.integers(0, 10**6)),
                surplus=draw(st.booleans()),
                withdrawn=draw(st.none() | times),
            )
        )
    return tuple(found)


@st.composite
def solutions(draw: st.DrawFn) -> NewComparison:
    count = draw(st.integers(1, 3))
    others = [draw(st.lists(texts, max_size=2)) for _ in range(count)]
    steps = [{"text": draw(texts)} | ({"alternatives": other} if other else {}) for other in others]
    label = st.sampled_from([1, 0, -1, None])
    answer: dict[str, Any] = {
        "kind": "steps", "mode": "per-step", "labels": [draw(label) for _ in range(count)],
        "alternatives": [[draw(label) for _ in other] for other in others],
    }  # fmt: skip
    if all(x is None for x in answer["labels"]):
        answer["labels"][0] = 1
    if draw(st.booleans()):
        answer["written"] = {str(draw(st.integers(0, count - 1))): draw(texts)}
    if draw(st.booleans()):
        answer["flagged"] = [draw(st.booleans()) for _ in range(count)]
    text = "\n\n".join(step["text"] for step in steps)
    judgment = NewJudgment(answer, "ada", submitted=draw(times))
    return NewComparison(
        as_messages(draw(texts), "user"), (NewResponse(said(text), tuple(steps)),), kind="steps",
        judgments=(judgment,) if draw(st.booleans()) else (),
    )  # fmt: skip


@st.composite
def comparisons(draw: st.DrawFn) -> NewComparison:
    kind = draw(st.sampled_from(["pair", "ranking"]))
    count = 2 if kind == "pair" else draw(st.integers(2, 4))
    contents = draw(st.lists(texts, min_size=count, max_size=count, unique_by=str.strip))
    prompt = [{"role": "user", "content": draw(texts)}]
    if draw(st.booleans()):
        prompt += [
            {"role": "assistant", "content": draw(texts)},
            {"role": "user", "content": draw(texts)},
        ]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    model = st.none() | st.sampled_from(["m-one", "m-two"])
    extra: dict[str, Any] = {"id": draw(texts)} if draw(st.booleans()) else {}
    if draw(st.booleans()):
        extra |= {"subset": "s", "topic": {"a": [1, None]}, "kind": "a field of theirs"}
    return NewComparison(
        as_messages(prompt, "user"),
        tuple(NewResponse(said(c), model=draw(model)) for c in contents),
        kind=kind,
        extra=extra,
        tools=draw(st.none() | st.just(tools)),
        judgments=draw(judged(kind, count)),
        language=draw(st.none() | st.just("ar")),
    )


def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Labelled responses beside another one: an import counts the others as left out."""

    def key(row: dict[str, Any]) -> str:
        return json.dumps([row["id"], row["prompt"]])

    texts: dict[str, set[str]] = {}
    for row in rows:
        texts.setdefault(key(row), set()).add(json.dumps(row["completion"]))
    return [row for row in rows if len(texts[key(row)]) > 1]


MODES = [(name, per) for name in FORMATS for per in ("judgment", "comparison")
         if per == "judgment" or name in ("pairs", "trl-implicit", "openrlhf", "hh", "kto",
                                          "ultrafeedback", "helpsteer")]  # fmt: skip


@pytest.mark.medium
@given(found=st.lists(st.one_of(comparisons(), solutions()), min_size=1, max_size=4))
@settings(TRIPS, max_examples=6)
def test_every_format_comes_back_as_it_went(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trips")
    with PreferenceStore.open(":memory:") as store:
        project = filled(store, *found)
        for name, per in MODES:
            first, second = folder / f"{name}-{per}-1.jsonl", folder / f"{name}-{per}-2.jsonl"
            choices = Choices(per=per, surplus=True)
            report = export(store, project, first, name, choices=choices)
            wanted = rows_of(first) if name != "kto" else comparable(rows_of(first))
            if wanted:
                assert again(store, first, name, choices, second)[0] == wanted, name
            assert all(count > 0 for count in report.not_written.values())
        assert store.problems() == []


@pytest.mark.medium
@pytest.mark.parametrize("suffix", [".jsonl.gz", ".json", ".parquet"])
@given(found=st.lists(st.one_of(comparisons(), solutions()), min_size=1, max_size=3))
@settings(TRIPS, max_examples=4)
def test_the_own_form_is_lossless_in_every_kind_of_file(suffix, found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trips")
    with PreferenceStore.open(":memory:") as store:
        project = filled(store, *found)
        plain = folder / "plain.jsonl"
        export(store, project, plain)
        export(store, project, folder / f"a{suffix}")
        rows, _ = again(store, folder / f"a{suffix}", "assay", Choices(), folder / "b.jsonl")
        assert rows == rows_of(plain)


@pytest.mark.medium
@given(found=st.lists(comparisons(), min_size=1, max_size=3))
@settings(TRIPS, max_examples=6)
def test_the_table_comes_back_as_it_went(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trips")
    with PreferenceStore.open(":memory:") as store:
        project = filled(store, *found)
        report = export(store, project, folder / "a.csv", "csv", choices=Choices(surplus=True))
        if report.rows:
            again(store, folder / "a.csv", "csv", Choices(surplus=True), folder / "b.csv")
            assert (folder / "b.csv").read_bytes() == (folder / "a.csv").read_bytes()


# --- what a person would look at ------------------------------------------------------------------


def test_everything_the_site_stores_is_in_the_own_form(store, tmp_path):
    rubric = Rubric(dimensions=(Dimension(name="safety", scale="absolute"),), reasons=("short",))
    project = store.create_project("haiku", ProjectSettings(overlap=2), rubric)
    store.add_comparisons(project, [pair(extra={"id": "q1", "topic": "sums"})], source="x")
    ada = store.write(add_annotator, "ada")
    store.write(set_role, project, ada, "annotator")
    assignment = store.claim(project, ada)
    ids = [r.id for r in assignment.responses]
    answer = {
        "raw": "first-better", "acceptability": {ids[0]: "good"}, "reasons": ["short"],
        "dimensions": {"safety": dict.fromkeys(ids, 4)}, "rationale": "It is right.",
    }  # fmt: skip
    done = store.submit(ada, new_id(), assignment.comparison_id, answer, active_ms=1500)
    store.write(
        lambda c: c.execute(insert(t.flags).values(
            id=new_id(), comparison_id=assignment.comparison_id, annotator_id=ada, reason="odd",
            at=5,
        ))
    )  # fmt: skip
    export(store, project, tmp_path / "a.jsonl")
    (row,) = rows_of(tmp_path / "a.jsonl")
    (judgment,) = row["judgments"]
    assert (row["id"], row["topic"], row["overlap"]) == ("q1", "sums", 2)
    assert row["flags"][0]["reason"] == "odd"
    assert judgment["id"] == done.id
    assert judgment["annotator"].startswith("annotator-")
    assert judgment["rubric"] == 1
    assert judgment["active_ms"] == 1500
    assert judgment["raw"] == "first-better"
    assert judgment["strength"] == pytest.approx(2 / 3)
    assert judgment["choice"] == judgment["display_order"][0]
    assert judgment["dimensions"]["safety"]["ratings"] == [4, 4]
    assert judgment["acceptability"][judgment["display_order"][0]] == "good"
    rows, _ = again(store, tmp_path / "a.jsonl", "assay", Choices(), tmp_path / "b.jsonl")
    assert rows == [row]


def test_a_decision_stands_in_for_the_judgments_also_after_an_import(store, tmp_path):
    project = filled(store, pair(choice(0)))
    ids = store.read(lambda c: c.execute(t.comparison_responses.select()).all())
    ada = store.write(add_annotator, "judge judy")
    answer = {"kind": "pair", "choice": ids[1].response_id, "strength": 1.0}
    store.write(
        lambda c: c.execute(insert(t.decisions).values(
            comparison_id=ids[0].comparison_id, annotator_id=ada, answer=answer, note="sure",
            decided=9,
        ))
    )  # fmt: skip
    path = tmp_path / "a.jsonl"
    report = export(store, project, path, "pairs")
    assert rows_of(path)[0]["chosen"][0]["content"] == "Five."
    assert report.not_written["judgments that a decision stands in for"] == 1
    report = export(store, project, path, "pairs", choices=Choices(decisions="ignore"))
    assert rows_of(path)[0]["chosen"][0]["content"] == "Four."
    assert report.not_written["decisions"] == 1
    export(store, project, path)
    rows, _ = again(store, path, "assay", Choices(), tmp_path / "b.jsonl")
    assert rows == rows_of(path)
    assert rows[0]["decision"]["note"] == "sure"
    rows, _ = again(store, path, "pairs", Choices(), tmp_path / "c.jsonl")
    assert rows[0]["chosen"][0]["content"] == "Five."


def test_names_are_given_only_where_they_are_asked_for(store, tmp_path):
    judgments = (NewJudgment(choice(0), "ada lovelace"), NewJudgment(choice(1), "bob"))
    project = filled(store, pair(judgments=judgments), pair(choice(0) | {"rationale": "x"}))
    path = tmp_path / "a.jsonl"
    for name in FORMATS:
        export(store, project, path, name, choices=Choices(per="judgment"))
        assert "ada lovelace" not in path.read_text(), name
    export(store, project, path)
    first = path.read_text()
    export(store, project, path)
    assert path.read_text() == first  # the same pseudonyms every time
    assert len({j["annotator"] for row in rows_of(path) for j in row["judgments"]}) == 3
    export(store, project, path, choices=Choices(names=True))
    assert "ada lovelace" in path.read_text()
    other = filled(store, pair(judgments=judgments), name="other")
    export(store, other, tmp_path / "b.jsonl")
    pseudonyms = {j["annotator"] for row in rows_of(tmp_path / "b.jsonl") for j in row["judgments"]}
    assert not any(name in first for name in pseudonyms)  # and others in another project


def test_a_format_says_what_it_cannot_hold(store, tmp_path):
    tie = choice(None, 0.0, rationale="Both are right.")
    bad = choice(1, 2 / 3, acceptability={0: "bad", 1: "ok"})
    project = filled(
        store, pair(tie), pair(bad, extra={"topic": "x"}), pair(),
        pair(purpose="gold", expected={"choice": 0}),
    )  # fmt: skip
    report = export(store, project, tmp_path / "a.jsonl", "hh", choices=Choices(per="judgment"))
    assert (report.rows, report.comparisons, report.judgments) == (1, 1, 1)
    assert report.not_written == {
        "acceptability": 1, "annotators": 1, "comparisons without a judgment": 1,
        "display orders": 1, "gold items": 1, "other fields": 1, "strengths": 1, "ties": 1,
        "times": 1,
    }  # fmt: skip
    assert "1 ties" in str(report)
    report = export(store, project, tmp_path / "a.jsonl", "pairs", choices=Choices(per="judgment"))
    assert report.rows == 2
    assert report.not_written["rationales"] == 1
    assert "ties" not in report.not_written
    report = export(store, project, tmp_path / "a.jsonl", "pairs", choices=Choices(ties="drop"))
    assert report.not_written["ties"] == 1


def test_withdrawn_and_surplus_judgments_count_nowhere_but_are_kept_in_the_own_form(
    store, tmp_path
):
    judgments = (
        NewJudgment(choice(0), "ada"),
        NewJudgment(choice(1), "bob", surplus=True),
        NewJudgment(choice(1), "eve", withdrawn=7),
    )
    project = filled(store, pair(judgments=judgments))
    path = tmp_path / "a.jsonl"
    report = export(store, project, path, "pairs")
    assert rows_of(path)[0]["probability"] == 1
    assert report.not_written["withdrawn judgments"] == 1
    assert report.not_written["surplus judgments"] == 1
    export(store, project, path, "pairs", choices=Choices(surplus=True))
    assert rows_of(path)[0]["probability"] == 0.5
    export(store, project, path)
    (row,) = rows_of(path)
    assert sorted((bool(j.get("surplus")), bool(j.get("withdrawn"))) for j in row["judgments"]) == [
        (False, False), (False, True), (True, False),
    ]  # fmt: skip
    assert PreferencePairs.load(path)[0].probability == 1  # the reader for training minds them too


def test_soft_labels_are_the_mean_of_the_judgments(store, tmp_path):
    judgments = tuple(
        NewJudgment(a, f"a{i}")
        for i, a in enumerate((choice(0), choice(0, 1 / 3), choice(None, 0.0)))
    )
    project = filled(store, pair(judgments=judgments))
    export(store, project, tmp_path / "a.jsonl", "pairs")
    (row,) = rows_of(tmp_path / "a.jsonl")
    assert row["probability"] == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert row["margin"] == pytest.approx((1 + 1 / 3 + 0) / 3)


def test_prm800k_tells_null_from_neutral_and_keeps_the_written_step(store, tmp_path):
    steps = ({"text": "s1", "alternatives": ["a1"]}, {"text": "s2"}, {"text": "s3"})
    answer = {
        "kind": "steps", "mode": "per-step", "labels": [1, 0, None], "alternatives": [[-1], [], []],
        "chosen": [0, None, None], "written": {"1": "better"},
    }  # fmt: skip
    new = NewComparison(
        as_messages("2 + 2?", "user"), (NewResponse(said("s1\n\ns2\n\ns3"), steps),), kind="steps",
        judgments=(NewJudgment(answer, "ada"),),
    )  # fmt: skip
    export(store, filled(store, new), tmp_path / "a.jsonl", "prm800k")
    (row,) = rows_of(tmp_path / "a.jsonl")
    found = row["label"]["steps"]
    assert [[c["rating"] for c in step["completions"]] for step in found] == [[1, -1], [0], [None]]
    assert [step["chosen_completion"] for step in found] == [0, None, None]
    assert found[1]["human_completion"]["text"] == "better"


def test_a_table_runs_no_formula(store, tmp_path):
    evil = '=HYPERLINK("http://x","y")'
    sides = (NewResponse(said(evil)), NewResponse(said("@SUM(1)")))
    new = pair(choice(0, rationale="+1"), responses=sides, prompt=as_messages("\tcmd", "user"),
               extra={"id": "-1"})  # fmt: skip
    project = filled(store, new)
    export(store, project, tmp_path / "a.csv", "csv")
    cells = [cell for row in csv.reader((tmp_path / "a.csv").open(newline="")) for cell in row]
    assert f"'{evil}" in cells
    assert not [c for c in cells if c[:1] in ("=", "+", "-", "@", "\t", "\r") and c]
    export(store, project, tmp_path / "b.csv", "csv", choices=Choices(formulas="keep"))
    assert evil in [c for row in csv.reader((tmp_path / "b.csv").open(newline="")) for c in row]


def test_the_subset_is_what_ultrafeedback_calls_the_source(store, tmp_path):
    project = filled(store, pair(choice(0), extra={"subset": "sums", "id": "1"}))
    export(store, project, tmp_path / "a.jsonl", "ultrafeedback")
    (row,) = rows_of(tmp_path / "a.jsonl")
    assert row["source"] == "sums"
    (back,) = new_comparisons(tmp_path / "a.jsonl")
    assert back.extra == {"subset": "sums", "id": "1"}


def test_a_table_has_the_columns_that_its_rows_fill(store, tmp_path):
    sides = tuple(NewResponse(said(text)) for text in ("a", "b", "c"))
    unjudged = pair(responses=sides, kind="ranking")
    project = filled(store, pair(choice(0)), unjudged)
    export(store, project, tmp_path / "a.csv", "csv")
    (row,) = csv.DictReader((tmp_path / "a.csv").open())
    assert [key for key in row if key.startswith("response_")] == ["response_1", "response_2"]
    ranked = {"kind": "ranking", "groups": [[2], [0, 1]], "unranked": []}
    project = filled(store, pair(choice(0)), pair(ranked, responses=sides, kind="ranking"),
                     name="q")  # fmt: skip
    export(store, project, tmp_path / "a.csv", "csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [row["response_3"] for row in rows] == ["", "c"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv"]


@pytest.mark.parametrize("name", ["csv", "kto"])
def test_equal_comparisons_stay_apart_where_a_judgment_has_a_row(store, tmp_path, name):
    good = choice(0, acceptability={0: "good", 1: "bad"})
    same = pair(good, extra={"id": "1"})
    project = filled(store, same, same)
    path = tmp_path / ("a.csv" if name == "csv" else "a.jsonl")
    choices = Choices(per="judgment")
    export(store, project, path, name, choices=choices)
    found = list(new_comparisons(path))
    assert [len(new.judgments) for new in found] == [1, 1]
    _, report = again(store, path, name, choices, tmp_path / f"b{path.suffix}")
    assert report.comparisons == 2
    assert (tmp_path / f"b{path.suffix}").read_bytes() == path.read_bytes()


def test_labels_of_all_annotators_come_back_from_a_labelled_file(store, tmp_path):
    judgments = tuple(
        NewJudgment(choice(0, acceptability=dict(enumerate(said))), name)
        for name, said in (("ada", ("good", "bad")), ("bob", ("bad", "bad")), ("eve", ("ok", "ok")))
    )
    project = filled(store, pair(judgments=judgments))
    path, choices = tmp_path / "a.jsonl", Choices(per="judgment", names=True)
    export(store, project, path, "kto", choices=choices)
    first = [(row["annotator"], row["label"]) for row in rows_of(path)]
    assert first == [("ada", True), ("ada", False), ("bob", False), ("bob", False),
                     ("eve", True), ("eve", True)]  # fmt: skip
    rows, _ = again(store, path, "kto", choices, tmp_path / "b.jsonl")
    assert [(row["annotator"], row["label"]) for row in rows] == first
    rows, _ = again(store, path, "kto", Choices(), tmp_path / "c.jsonl")
    assert [row["label"] for row in rows] == [True, False]  # two of three
    for format in ("kto", "assay"):
        again(store, path, format, Choices(per="judgment"), tmp_path / "d.jsonl")
        assert "bob" not in (tmp_path / "d.jsonl").read_text()


def test_a_failed_export_leaves_the_old_file(store, tmp_path, monkeypatch):
    project = filled(store, pair(choice(0)), pair(choice(1)))
    path = tmp_path / "a.jsonl"
    path.write_text("old")

    def broken(*_: Any) -> Iterator[Any]:
        yield {"a": 1}
        raise RuntimeError("lightning")

    monkeypatch.setitem(FORMATS, "pairs", FORMATS["hh"].__class__("pairs", broken, ("pair",),
                                                                  frozenset()))  # fmt: skip
    with pytest.raises(RuntimeError):
        export(store, project, path, "pairs")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("name", "format", "says"),
    [
        ("a.jsonl", "nonsense", "format must be one of assay, pairs"),
        ("a.xlsx", "csv", "its name must end in .jsonl"),
        ("a.csv", "prm800k", "does not fit a table"),
    ],
)
def test_what_cannot_be_written_is_said_before(store, tmp_path, name, format, says):
    project = filled(store, pair(choice(0)))
    with pytest.raises(ConfigError, match=says):
        export(store, project, tmp_path / name, format)
    assert list(tmp_path.iterdir()) == []


def test_withdrawn_comparisons_are_not_written(store, tmp_path):
    project = filled(store, pair(choice(0)), pair(choice(1), prompt=as_messages("Q", "user")))
    store.write(
        lambda c: c.execute(
            update(t.comparisons).where(t.comparisons.c.number == 1).values(is_withdrawn=True)
        )
    )
    assert export(store, project, tmp_path / "a.jsonl").rows == 1


def test_empty_projects_and_arrays(store, tmp_path):
    project = store.create_project("empty")
    assert export(store, project, tmp_path / "a.json").rows == 0
    assert json.loads((tmp_path / "a.json").read_text()) == []
    filled_ = filled(store, pair(choice(0)), pair(choice(1), prompt=as_messages("Q", "user")))
    export(store, filled_, tmp_path / "a.json", "label-studio")
    assert len(json.loads((tmp_path / "a.json").read_text())) == 2
