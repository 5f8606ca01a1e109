"""Contamination: every rule finds what it should, on both sides, and clean data are clean."""

from __future__ import annotations

import random

import pytest

from assay.data.audit.contamination import Contamination, contamination
from assay.data.audit.reading import load_evidence
from assay.errors import DataError

source = random.Random(0)
VOCABULARY = [f"word{i}" for i in range(3000)]


def text(count: int) -> str:
    return " ".join(source.choices(VOCABULARY, k=count))


OWN = [text(30) for _ in range(200)]


def held(prompts: list[str | None], own: list[str] = OWN, threshold: float = 0.8) -> Contamination:
    rows = [{"prompt": p, "chosen": "a", "rejected": "b"} for p in own]
    return contamination(load_evidence(rows), {"suite": prompts}, threshold)


def test_clean_data_are_clean() -> None:
    found = held([text(30) for _ in range(100)])
    (overlap,) = found.overlaps
    assert overlap.contaminated.value == 0
    assert (overlap.prompts, overlap.to_drop, overlap.examples) == (100, 0, ())
    assert len(found.flagged) == 0


def test_each_rule_finds_what_it_is_for() -> None:
    words = OWN[3].split()
    planted = {
        "exact": [f"  {OWN[0].upper()} "],
        "13-gram": [f"{text(40)} {' '.join(words[5:18])} {text(40)}"],
        "MinHash": [f"{OWN[7]} please"],
    }  # fmt: skip
    (overlap,) = held([p for group in planted.values() for p in group] + [text(30)]).overlaps
    assert overlap.found["exact"] == 1
    assert overlap.found["13-gram"] == 3  # the exact and the near one share them too
    assert overlap.found["MinHash"] == 2
    assert overlap.contaminated.value == pytest.approx(3 / 4)
    assert overlap.to_drop == 3


def test_half_of_the_8_grams_without_a_13_gram() -> None:
    original = text(60).split()
    edited = " ".join(w if i % 12 != 11 else f"new{i}" for i, w in enumerate(original))
    # blocks of eleven equal words: in each begin four 8-grams of twelve, too few, and no 13-gram
    (overlap,) = held([edited], own=[" ".join(original)]).overlaps
    assert (overlap.found["13-gram"], overlap.found["8-grams"]) == (0, 0)
    edited = " ".join(w if i % 30 != 29 else f"new{i}" for i, w in enumerate(original))
    (overlap,) = held([edited], own=[" ".join(original)]).overlaps
    assert overlap.found["8-grams"] == 1


def test_the_comparisons_to_drop_are_named() -> None:
    found = held([OWN[5], OWN[9] + " now"], own=[*OWN, OWN[5]])
    assert found.flagged.tolist() == [5, 9, 200]
    (overlap,) = found.overlaps
    assert [example[3] for example in overlap.examples] == [6, 10, 201]
    assert overlap.examples[0][1] == "exact, 13-gram, 8-grams, MinHash"
    assert overlap.to_dict()["examples"][0]["source"] == "the given data"
    assert found.to_dict()["comparisons_to_drop"] == 3


def test_a_long_prompt_that_holds_an_evaluations_is_found() -> None:
    question = text(20)
    found = held([question], own=[f"{text(200)} {question} {text(200)}"])
    assert found.overlaps[0].found == {"exact": 0, "13-gram": 1, "8-grams": 1, "MinHash": 0}
    assert found.flagged.tolist() == [0]


def test_prompts_that_were_found_are_not_looked_at_again() -> None:
    found = held([OWN[5], f"{OWN[5]} now"], own=[OWN[5], f"{OWN[5]} then", OWN[6]])
    assert found.overlaps[0].found["MinHash"] == 2
    assert found.flagged.tolist() == [0, 1]


def test_short_prompts_are_compared_as_a_whole() -> None:
    found = held(["What is 2 + 2?", "Why?", None], own=["what is 2 + 2?", "Why not?"])
    (overlap,) = found.overlaps
    assert (overlap.short, overlap.unread, overlap.prompts) == (2, 1, 2)
    assert overlap.found == {"exact": 1, "13-gram": 0, "8-grams": 0, "MinHash": 0}
    assert found.flagged.tolist() == [0]


def test_several_evaluations_are_held_apart() -> None:
    rows = [{"prompt": p, "chosen": "a", "rejected": "b"} for p in OWN]
    evidence = load_evidence(rows)
    found = contamination(evidence, {"one": [OWN[0]], "two": [OWN[1], text(30)]}, 0.8)
    assert [o.contaminated.value for o in found.overlaps] == [1.0, 0.5]
    assert found.flagged.tolist() == [0, 1]


def test_an_evaluation_without_prompts_is_refused() -> None:
    with pytest.raises(DataError, match="suite has no prompts to hold the data against"):
        held([None])


def test_votes_without_texts_have_nothing_to_hold() -> None:
    row = {"judge": "j", "model_a": "m", "model_b": "n", "question_id": 1, "winner": "tie"}
    with pytest.raises(DataError, match=r"no prompts, only votes, .*; leave out --against"):
        contamination(load_evidence([row]), {"suite": ["Why?"]}, 0.8)


def test_progress_is_reported() -> None:
    seen: list[str] = []
    rows = [{"prompt": p, "chosen": "a", "rejected": "b"} for p in OWN]
    contamination(load_evidence(rows), {"s": ["x"]}, 0.8, lambda stage, *_: seen.append(stage))
    assert set(seen) == {"minhash of prompts", "n-grams"}
