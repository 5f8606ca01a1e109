"""Value: what is wrong with a spec is said in one sentence that names it."""

from __future__ import annotations

import json

import pytest

from assay.errors import ConfigError
from assay.feedback.verifiers import load_verifiers, verifier_of, verifiers_of

WRONG = [
    ({"kind": "word_cout", "at_least": 3}, "did you mean 'word_count'"),
    ({"kind": "xyzzy"}, "there are all, weighted, word_count"),
    ({"at_least": 3}, "wanted as an object with 'kind'"),
    ({"kind": 3}, "wanted as an object with 'kind', not"),
    ({"kind": "word_count", "atleast": 3}, "no key 'atleast'; did you mean 'at_least'"),
    ({"kind": "word_count", "at_least": "3"}, "'at_least' must be a whole number, not \"3\""),
    ({"kind": "word_count", "at_least": True}, "must be a whole number, not true"),
    ({"kind": "word_count"}, "needs 'at_least', 'at_most' or 'exactly'"),
    ({"kind": "word_count", "exactly": 3, "at_most": 4}, "'exactly' goes without"),
    ({"kind": "word_count", "at_least": -1}, "below 0"),
    ({"kind": "word_count", "at_least": 5, "at_most": 4}, "at_least 5 is more than at_most 4"),
    ({"kind": "required_words"}, "needs 'words'"),
    ({"kind": "required_words", "words": "tea"}, "'words' must be a list of texts"),
    ({"kind": "required_words", "words": ["tea", 3]}, "must be a list of texts"),
    ({"kind": "required_words", "words": []}, "'words' is empty"),
    ({"kind": "forbidden_words", "words": [" "]}, "'words' is empty or has an empty one"),
    ({"kind": "forbidden_characters", "characters": ""}, "'characters' is empty"),
    ({"kind": "letter_frequency", "letter": "ab", "at_least": 1}, "must be one character"),
    ({"kind": "keyword_frequency", "keyword": " ", "at_least": 1}, "'keyword' is empty"),
    ({"kind": "section_count", "marker": "", "at_least": 1}, "'marker' is empty"),
    ({"kind": "starts_with", "phrase": ""}, "'phrase' is empty"),
    ({"kind": "postscript", "marker": ".."}, "'marker' has no letters"),
    ({"kind": "choice", "options": ["yes"]}, "'options' needs two"),
    ({"kind": "two_responses", "separator": " "}, "'separator' is empty"),
    ({"kind": "paragraph_start", "paragraph": 0, "word": "a"}, "the first is 1"),
    ({"kind": "paragraph_start", "paragraph": 1, "word": "a b"}, "must be one word"),
    ({"kind": "language", "language": "xx"}, "no language 'xx' is known; there are ar, de"),
    ({"kind": "regex", "pattern": "("}, "'(' is no regular expression"),
    ({"kind": "regex", "pattern": "a", "where": "here"}, "one of 'anywhere', 'start', 'whole'"),
    ({"kind": "regex", "pattern": "a", "seconds": 0}, "more than 0"),
    ({"kind": "regex", "pattern": "a", "seconds": "x"}, "'seconds' must be a number"),
    ({"kind": "json_schema", "schema": {"type": "text"}}, "is no JSON Schema"),
    ({"kind": "json_schema", "schema": []}, "'schema' must be an object"),
    ({"kind": "json_schema", "schema": {"allOf": [{"patternProperties": {}}]}}, "not supported"),
    ({"kind": "numeric_answer", "tolerance": -1}, "must be 0 or more"),
    ({"kind": "numeric_answer", "answer": [1]}, "'answer' must be text or a number"),
    ({"kind": "code_tests", "seconds": 0}, "must be more than 0"),
    ({"kind": "all", "verifiers": []}, "'verifiers' is empty"),
    ({"kind": "all", "verifiers": [{"kind": "no_comma"}]}, "did you mean 'no_commas'"),
    ({"kind": "all", "verifiers": ["no_commas"]}, "must be a list of verifiers"),
    ({"kind": "weighted", "verifiers": [{"kind": "json"}], "weights": []}, "0 weights for 1"),
    ({"kind": "weighted", "verifiers": [{"kind": "json"}], "weights": [0]}, "more than 0"),
    ({"kind": "weighted", "verifiers": [{"kind": "json"}], "weights": ["a"]}, "a list of numbers"),
]


@pytest.mark.parametrize(("spec", "said"), WRONG, ids=lambda value: json.dumps(value)[:60])
def test_what_is_wrong_is_said(spec, said):
    with pytest.raises(ConfigError) as error:
        verifier_of(spec)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_names_must_differ():
    specs = [{"kind": "no_commas"}, {"kind": "no_commas", "loose": True}]
    with pytest.raises(ConfigError, match="2 verifiers are called 'no_commas'; give each"):
        verifiers_of(specs)
    specs[1]["name"] = "loosely"
    assert [verifier.name for verifier in verifiers_of(specs)] == ["no_commas", "loosely"]


def test_a_file_of_specs_is_read(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text('\ufeff[{"kind": "word_count", "at_least": 2}, {"kind": "no_commas"}]', "utf-8")
    assert [v.to_dict() for v in load_verifiers(path)] == [
        {"kind": "word_count", "at_least": 2}, {"kind": "no_commas"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not a JSON file"),
        ('{"kind": "json"}', "must hold a list of verifiers"),
        ("[]", "must hold a list of verifiers, not []"),
        ('[{"kind": "jsn"}]', "did you mean 'json'"),
        ("[3]", "wanted as an object"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path, text, said):
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_verifiers(path)
    assert str(path) in str(error.value)
    assert said in str(error.value)


def test_a_value_may_be_given_as_python_has_it():
    inner = verifier_of({"kind": "no_commas"})
    assert verifier_of({"kind": "all", "verifiers": (inner,)}).verifiers == (inner,)
    assert verifier_of({"kind": "numeric_answer", "answer": None}).answer is None
