import json
import random
import subprocess
import sys

import numpy as np
import pandas
import pytest

from assay.data import pairs as module
from assay.data.pairs import PreferencePairs, overlap, prompt_key
from assay.errors import ConfigError, DataError
from assay.formats import storage
from assay.formats.files import write_rows
from assay.types import Message


def row(prompt="Q", chosen="a", rejected="b", **fields):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **fields}


def many(count=50, per_prompt=2):
    return [row(f"Question {i // per_prompt}?", f"yes {i}", f"no {i}") for i in range(count)]


RANKED = {
    "prompt": "R",
    "responses": ["a", "b", "c"],
    "judgments": [{"ranking": [[1], [0], [2]]}],
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- sources


def test_all_sources_give_the_same_pairs(tmp_path):
    import datasets

    rows = many(6)
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet"):
        write_rows(tmp_path / name, rows)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    dataset = datasets.Dataset.from_list(rows)
    sources = [
        *(tmp_path / name for name in ("a.jsonl", "a.jsonl.gz", "a.parquet", "a.json")),
        str(tmp_path / "a.jsonl"),
        rows,
        iter(rows),
        dataset,
        pandas.DataFrame(rows),
        pandas.read_parquet(tmp_path / "a.parquet"),
    ]
    digests = {PreferencePairs.load(source).digest for source in sources}
    assert len(digests) == 1


def test_frame_with_message_arrays_and_gaps(tmp_path):
    rows = [
        row([{"role": "user", "content": "Q"}], annotator="ada"),
        row([{"role": "user", "content": "R"}]),
    ]
    pandas.DataFrame(rows).to_parquet(tmp_path / "a.parquet")  # read back, lists are arrays
    pairs = PreferencePairs.load(pandas.read_parquet(tmp_path / "a.parquet"))
    assert [p.annotator for p in pairs] == ["ada", None]
    assert pairs[1].prompt == (Message("user", "R"),)


def test_several_files_are_one_set_and_keep_their_own_formats(tmp_path):
    write_rows(tmp_path / "a.jsonl", many(4))
    write_rows(tmp_path / "b.parquet", [RANKED])
    pairs = PreferencePairs.load([tmp_path / "a.jsonl", str(tmp_path / "b.parquet")])
    assert (len(pairs), len(pairs.comparisons)) == (7, 5)
    assert pairs.report.formats == {"pair with prompt": 4, "Assay comparison": 1}
    assert str(pairs.report) == "5 rows gave 7 pairs in 5 comparisons; dropped: none"


def test_mapping_of_splits_is_refused():
    with pytest.raises(DataError, match="a mapping of 'train', 'test' came; choose one"):
        list(module._checked({"train": [], "test": []}))


def test_rows_that_are_no_mappings_are_refused():
    with pytest.raises(DataError, match="rows are mappings with named fields, not int"):
        PreferencePairs.load(iter([1, 2]))
    with pytest.raises(DataError, match=r"the given data is empty; .* in each row\."):
        PreferencePairs.load([])


def test_broken_line_stops_or_is_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(row()) + '\n{"prompt": \n')
    with pytest.raises(
        DataError,
        match=r"a\.jsonl line 2 is not JSON: .* Fix the line or pass --on-bad-row skip\.$",
    ):
        PreferencePairs.load(tmp_path / "a.jsonl")
    report = PreferencePairs.load(tmp_path / "a.jsonl", on_bad_row="skip").report
    assert (report.rows, report.pairs) == (2, 1)
    assert report.dropped == {"not a JSON object": 1}
    assert report.examples[0].where.endswith("a.jsonl line 2")


def test_nothing_left_is_an_error_with_the_reasons():
    with pytest.raises(
        DataError,
        match=r"none of the 2 rows gave a pair; dropped: 1 identical responses, 1 empty text",
    ):
        PreferencePairs.load([row("Q", "a", "a"), row("Q", "", "a")], on_bad_row="skip")


def test_limit_counts_comparisons_kept():
    pairs = PreferencePairs.load([row(), row(), row("R"), row("S")], limit=2)
    assert [c.prompt[0].content for c in pairs.comparisons] == ["Q", "R"]
    assert pairs.report.dropped == {"duplicate": 1}
    with pytest.raises(ConfigError, match="limit must be at least 1, not 0"):
        PreferencePairs.load([row()], limit=0)


# --- duplicates and contradictions


def test_exact_repetitions_are_dropped_and_counted():
    rows = [row(), row(), row(id="other id"), row(probability=1.0)]
    pairs = PreferencePairs.load(rows)
    assert len(pairs) == 1
    assert pairs.report.dropped == {"duplicate": 3}
    assert len(PreferencePairs.load(rows, deduplicate=False)) == 4


@pytest.mark.parametrize(
    "other",
    [
        row("q"),
        row(chosen="A"),
        row(probability=0.9),
        row(margin=1),
        row(weight=2),
        row(annotator="ada"),  # a second judgment of the same pair is no repetition
    ],
)
def test_what_differs_is_kept(other):
    assert len(PreferencePairs.load([row(), other])) == 2


def test_repetition_in_another_order_of_responses_is_found():
    again = {**RANKED, "responses": ["b", "c", "a"], "judgments": [{"ranking": [[0], [2], [1]]}]}
    tie, eit = row("T", tie=True), row("T", "b", "a", tie=True)
    pairs = PreferencePairs.load([RANKED, again])
    assert pairs.report.dropped == {"duplicate": 1}
    assert PreferencePairs.load([tie, eit]).report.dropped == {"duplicate": 1}


def test_opposite_label_is_kept_and_counted():
    pairs = PreferencePairs.load([row(), row("Q", "b", "a"), row("R", "b", "a")])
    assert len(pairs) == 3
    assert pairs.report.contradictions == 1
    assert "1 contradict an earlier pair" in str(pairs.report)


def test_ties_are_counted_and_contradict_nothing():
    report = PreferencePairs.load([row(), row("Q", "b", "a", tie=True)]).report
    assert (report.ties, report.contradictions) == (1, 0)
    assert "(1 ties)" in str(report)


# --- the sequence


def test_pairs_follow_the_comparisons():
    pairs = PreferencePairs.load([RANKED]).comparisons[0].pairs()
    loaded = PreferencePairs.from_comparisons(
        [*PreferencePairs.load([row()]).comparisons, *PreferencePairs.load([RANKED]).comparisons]
    )
    assert len(loaded) == 4
    assert list(loaded) == list(loaded.pairs())
    assert [loaded[i] for i in range(4)] == list(loaded)
    assert loaded[1:] == pairs
    assert loaded[-1] == pairs[-1]
    assert repr(loaded) == "PreferencePairs(4 pairs in 2 comparisons)"
    for index in (4, -5):
        with pytest.raises(IndexError):
            loaded[index]


def several(prompts=40):
    """One to four pairs a prompt, prompts mixed."""
    rows = [
        row(f"Q{i}", f"good {j}", f"bad {j}")
        for j in range(4)
        for i in range(prompts)
        if j <= i % 4
    ]
    return PreferencePairs.load(rows)


def test_nested_subsets_lie_within_each_other_and_take_prompts_whole():
    pairs = several()
    counts = dict(zip(*np.unique(pairs.prompt_keys(), return_counts=True), strict=True))
    before: set[str] = set()
    for size in (1, 5, 17, 50, len(pairs)):
        subset = pairs.nested(size, seed=3)
        keys, kept = np.unique(subset.prompt_keys(), return_counts=True)
        assert before <= set(keys)
        assert all(counts[key] == n for key, n in zip(keys, kept, strict=True))
        assert size <= len(subset) < size + 4
        before = set(keys)
    assert list(pairs.nested(len(pairs), seed=3)) == list(pairs)


def test_nested_subsets_depend_on_the_seed_and_not_on_the_order_of_rows():
    pairs = several()
    turned = pairs.select(np.arange(len(pairs.comparisons))[::-1])
    first = pairs.nested(30, seed=1)
    assert first.digest == pairs.nested(30, seed=1).digest
    assert sorted(map(str, first)) == sorted(map(str, turned.nested(30, seed=1)))
    assert set(first.prompt_keys()) != set(pairs.nested(30, seed=2).prompt_keys())
    places = [list(pairs).index(pair) for pair in first]
    assert places == sorted(places)


@pytest.mark.parametrize("size", [0, -1, 101])
def test_a_nested_subset_of_no_or_too_many_pairs_is_refused(size):
    with pytest.raises(ConfigError, match=f"{size} pairs were asked for, and there are 100; ask"):
        several().nested(size)


def test_no_comparisons_are_no_pairs():
    empty = PreferencePairs.from_comparisons([])
    assert len(empty) == 0
    assert list(empty) == []
    assert empty.prompt_groups().shape == (0,)


def test_groups_number_the_prompt_of_each_pair():
    first, second = PreferencePairs.load([row()]), PreferencePairs.load([RANKED])
    third = PreferencePairs.load([row(" q\n", "c", "d")])
    pairs = PreferencePairs.from_comparisons(
        [*first.comparisons, *second.comparisons, *third.comparisons]
    )
    np.testing.assert_array_equal(pairs.prompt_groups(), [0, 1, 1, 1, 0])


def test_prompt_key_ignores_case_and_white_space_only():
    key = prompt_key((Message("user", "What is\n it?"),))
    assert key == prompt_key((Message("user", " what IS it?  "),))
    assert key != prompt_key((Message("user", "what is it"),))
    assert key != prompt_key((Message("system", "what is it?"),))
    assert key != prompt_key((Message("user", "What is it?"), Message("assistant", "This.")))


def test_digest_follows_content_and_order():
    one, two = many(4), many(4)[::-1]
    assert PreferencePairs.load(one).digest == PreferencePairs.load(one).digest
    assert PreferencePairs.load(one).digest != PreferencePairs.load(two).digest
    changed = [*one[:3], {**one[3], "margin": 0.5}]
    assert PreferencePairs.load(one).digest != PreferencePairs.load(changed).digest


# --- splitting


def prompts(pairs):
    return set(pairs.prompt_keys())


def test_split_keeps_prompts_together():
    pairs = PreferencePairs.load(many(60, per_prompt=3))
    train, heldout = pairs.split(heldout=0.25, seed=3)
    assert (len(prompts(train)), len(prompts(heldout))) == (15, 5)
    assert (len(train), len(heldout)) == (45, 15)
    assert overlap(train, heldout) == 0
    assert overlap(train, pairs) == 15
    assert train.report is pairs.report


def test_split_ignores_the_order_of_rows_and_repetitions():
    rows = many(60)
    shuffled = random.Random(0).sample(rows * 2, 120)
    sides = [PreferencePairs.load(r).split(seed=1) for r in (rows, shuffled)]
    assert prompts(sides[0][1]) == prompts(sides[1][1])
    assert prompts(sides[0][1]) != prompts(PreferencePairs.load(rows).split(seed=2)[1])


def test_split_is_the_documented_rule():
    import hashlib

    pairs = PreferencePairs.load(many(20, per_prompt=1))
    keys = pairs.prompt_keys()
    ranked = sorted(keys, key=lambda key: hashlib.sha256(f"7:{key}".encode()).hexdigest())
    _, heldout = pairs.split(heldout=0.3, seed=7)
    assert prompts(heldout) == set(ranked[:6])
    assert heldout.prompt_keys() == [key for key in keys if key in ranked[:6]]


def test_split_leaves_both_sides_something():
    pairs = PreferencePairs.load(many(3, per_prompt=1))
    assert [len(side) for side in pairs.split(heldout=0.01)] == [2, 1]
    assert [len(side) for side in pairs.split(heldout=0.99)] == [1, 2]


def test_impossible_splits_are_refused():
    pairs = PreferencePairs.load(many(4))
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="heldout must be a share between 0 and 1"):
            pairs.split(heldout=share)
    with pytest.raises(DataError, match="two or more different prompts; there is 1"):
        PreferencePairs.load(many(2)).split()


def test_selection_keeps_order_and_index():
    pairs = PreferencePairs.load(many(10))
    some = pairs.select([7, 2])
    assert list(some.comparisons) == [pairs.comparisons[7], pairs.comparisons[2]]
    assert some.prompt_keys() == [pairs.prompt_keys()[7], pairs.prompt_keys()[2]]


# --- larger than memory


def test_stored_pairs_equal_pairs_in_memory(cache):
    held = PreferencePairs.load(many(40))
    stored = PreferencePairs.load(many(40), in_memory=False)
    assert isinstance(stored.comparisons, storage.StoredComparisons)
    assert stored.digest == held.digest
    assert stored.report == held.report
    assert list(stored) == list(held)
    for mine, theirs in zip(stored.split(seed=4), held.split(seed=4), strict=True):
        assert mine.digest == theirs.digest
    assert [p.name for p in (cache / "comparisons").iterdir()] == [f"{held.digest}.arrow"]


def test_stored_pairs_are_decoded_when_asked_for(cache, monkeypatch):
    decoded = []
    decode = storage.decode
    monkeypatch.setattr(storage, "decode", lambda data: decoded.append(data) or decode(data))
    stored = PreferencePairs.load(many(400), in_memory=False)
    _, heldout = stored.split()
    assert (len(heldout), heldout.prompt_groups().size) == (80, 80)
    assert heldout[5].prompt
    # one is what was asked for; the tests' type checker looks at one item of each sequence it sees
    assert 1 <= len(decoded) < 40


def test_text_over_the_limit_goes_to_disk(cache, monkeypatch):
    monkeypatch.setattr(module, "MEMORY_LIMIT", 100)
    pairs = PreferencePairs.load(many(40))
    assert isinstance(pairs.comparisons, storage.StoredComparisons)
    monkeypatch.setattr(module, "MEMORY_LIMIT", 10**6)
    assert pairs.digest == PreferencePairs.load(many(40)).digest
    assert isinstance(PreferencePairs.load(many(40)).comparisons, tuple)


def test_loading_needs_no_torch():
    code = (
        "import sys; from assay.data.pairs import PreferencePairs as P;"
        "P.load([{'prompt': 'Q', 'chosen': 'a', 'rejected': 'b'}]);"
        "assert not {'torch', 'datasets', 'pyarrow', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
