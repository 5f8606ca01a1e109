"""Contract of the doctor: each trap is found where it is, and not where it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import families
import pytest
import tiny
import torch

from assay.configs import Doctor
from assay.data.contract import Renderer, make_contract
from assay.doctor import Diagnosis, Finding, run, tokenizer_findings
from assay.errors import CheckpointError, ConfigError

pytestmark = pytest.mark.usefixtures("own_cache")


def levels(findings: tuple[Finding, ...] | list[Finding]) -> dict[str, str]:
    return {f.check: f.level for f in findings}


def text_of(diagnosis: Diagnosis, check: str) -> str:
    return next(f.text for f in diagnosis.findings if f.check == check)


def examine(family: str, template: str | None = None) -> list[Finding]:
    shipped, tokenizer = families.FAMILIES[family](), families.FAMILIES[family]()
    if template:
        shipped.chat_template = tokenizer.chat_template = template
    contract = make_contract(tokenizer, max_length=512)
    return list(tokenizer_findings(shipped, Renderer(contract, tokenizer)))


def write_pairs(path: Path, rows: list[tuple[Any, Any, Any]]) -> Path:
    keys = ("prompt", "chosen", "rejected")
    path.write_text("".join(json.dumps(dict(zip(keys, r, strict=True))) + "\n" for r in rows))
    return path


# --- tokenizers and templates -----------------------------------------------------------------


def test_what_each_family_s_tokenizer_does_is_named() -> None:
    found = {family: levels(examine(family)) for family in families.FAMILIES}
    pad = {f: c.get("pad = EOS", "none") for f, c in found.items()}
    assert pad == {
        "chatml": "handled",  # the trap itself
        "llama3": "none",
        "gemma": "ok",
        "mistral": "none",
        "phi3": "ok",
        "gpt2": "none",
        "bert": "ok",
        "between": "none",
        "merging": "none",
        "newlines": "none",
    }
    assert all(("pad token" in c) == (pad[f] == "none") for f, c in found.items())
    after = {f for f, c in found.items() if "text after the end" in c}
    assert after == {"chatml", "gemma", "phi3"}
    assert {f for f, c in found.items() if "missing EOS" in c} == {"between"}
    assert {f for f, c in found.items() if "chat template" in c} == {"gpt2", "bert"}
    dated = {f for f, c in found.items() if c["date in template"] == "handled"}
    assert dated == {"llama3"}
    doubled = {f for f, c in found.items() if c.get("double BOS") == "warning"}
    # their templates write a BOS, and the tokenizer adds one to every text
    assert doubled == {"llama3", "gemma", "mistral", "bert"}
    assert {f for f, c in found.items() if "system message" in c} == {"llama3"}


def test_the_default_of_several_templates_is_examined() -> None:
    several = {"default": families.CHATML, "tool_use": "{{ 'other' }}"}
    assert levels(examine("chatml", several)) == levels(examine("chatml"))


def test_tokens_that_plain_tokenising_adds_are_a_warning() -> None:
    bare = families.GEMMA.removeprefix("{{ bos_token }}")
    findings = examine("gemma", bare)
    assert levels(findings)["added tokens"] == "warning"


def test_a_backbone_is_examined_with_its_contract(tiny_backbone: Path) -> None:
    diagnosis = run(Doctor(backbone=str(tiny_backbone), max_length=77))
    assert levels(diagnosis.findings)["pad = EOS"] == "handled"
    assert diagnosis.contract["max_length"] == 77
    text = str(diagnosis)
    assert text.startswith(str(tiny_backbone))
    assert "pad_token '<|endoftext|>'" in text
    values = json.loads(json.dumps(diagnosis.to_dict()))
    assert values["counts"]["handled"] == sum(f["level"] == "handled" for f in values["findings"])


def test_nothing_to_look_at_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a reward-model directory, --backbone, or --data"):
        run(Doctor())


# --- data -------------------------------------------------------------------------------------


def test_clean_data_has_no_problems(pairs_file: Path, tiny_backbone: Path) -> None:
    diagnosis = run(Doctor(backbone=str(tiny_backbone), data=(str(pairs_file),)))
    assert [f for f in diagnosis.findings if f.level == "problem"] == []
    assert levels(diagnosis.findings)["length"] == "ok"
    alone = run(Doctor(data=(str(pairs_file),)))
    assert alone.contract == {}
    assert "length-only accuracy" in str(alone)


def test_each_trap_in_the_data_is_found(tmp_path: Path, tiny_backbone: Path) -> None:
    turn = {"role": "user", "content": "other question"}
    rows = [
        ("hello", "good", "bad one"),
        ("hello", "bad one", "good"),  # the opposite
        ("same", "equal", "equal"),  # identical sides
        ("stop", "ends<|im_end|>here", "fine"),  # holds the end of a response
        ("long", "word " * 200, "short"),  # its response alone is too long
        ("word " * 200, "long", "prompt"),
        (
            "two prompts",
            [{"role": "assistant", "content": "a"}, turn, {"role": "assistant", "content": "b"}],
            [{"role": "assistant", "content": "c"}],
        ),
    ]
    data = write_pairs(tmp_path / "pairs.jsonl", rows)
    evaluation = write_pairs(tmp_path / "evaluation.jsonl", [("hello", "yes", "no")])
    diagnosis = run(
        Doctor(
            backbone=str(tiny_backbone),
            data=(str(data),),
            evaluation=(str(evaluation),),
            max_length=100,
        )
    )
    found = levels(diagnosis.findings)
    assert found["contradictions"] == "warning"
    assert found["identical responses"] == "warning"
    assert "pairs.jsonl line 3" in text_of(diagnosis, "identical responses")
    assert found["refused by the contract"] == "problem"
    assert text_of(diagnosis, "refused by the contract").startswith("1 comparisons: ")
    assert found["length"] == "warning"
    assert text_of(diagnosis, "length").startswith("2 of 6 comparisons are longer")
    assert found["response truncated"] == "problem"
    assert text_of(diagnosis, "response truncated").startswith("1 have")
    assert found["prompt mismatch"] == "problem"
    assert found["evaluation leakage"] == "problem"
    assert text_of(diagnosis, "evaluation leakage").startswith("1 prompts are in both")


def test_sides_that_differ_in_text_but_not_in_tokens_are_a_problem(tmp_path: Path) -> None:
    """A lower-casing tokenizer sees no difference between these two."""
    tokenizer = families.wordpiece_tokenizer()
    backbone = tiny.save_backbone(tmp_path / "bert", "bert", tokenizer)
    data = write_pairs(tmp_path / "pairs.jsonl", [("q", "It is LATE", "it is late")])
    diagnosis = run(Doctor(backbone=str(backbone), data=(str(data),), max_length=100))
    assert levels(diagnosis.findings)["identical token ids"] == "problem"


def test_merges_across_the_boundary_are_counted(tmp_path: Path) -> None:
    backbone = tiny.save_backbone(tmp_path / "b", "llama", families.FAMILIES["merging"]())
    data = write_pairs(tmp_path / "pairs.jsonl", [("a question", "it is late", "maps and rain")])
    diagnosis = run(Doctor(backbone=str(backbone), data=(str(data),), max_length=100))
    assert levels(diagnosis.findings)["boundary merges"] == "handled"


@pytest.mark.parametrize(("longer_wins", "word"), [(True, "longer"), (False, "shorter")])
def test_data_that_length_alone_explains_is_a_warning(
    longer_wins: bool, word: str, tmp_path: Path
) -> None:
    texts = [("one two three four", f"one {n}") for n in range(40)]
    rows = [(f"prompt {n}", *(t if longer_wins else t[::-1])) for n, t in enumerate(texts)]
    diagnosis = run(Doctor(data=(str(write_pairs(tmp_path / "pairs.jsonl", rows)),)))
    assert levels(diagnosis.findings)["length-only accuracy"] == "warning"
    assert f"choosing the {word} response is right in 1.000" in text_of(
        diagnosis, "length-only accuracy"
    )


def test_only_so_many_comparisons_are_looked_at(pairs_file: Path) -> None:
    assert "10 pairs" in text_of(run(Doctor(data=(str(pairs_file),), limit=10)), "rows")


# --- reward models ----------------------------------------------------------------------------


@pytest.fixture
def foreign(trained_run: Path, tmp_path: Path) -> Path:
    """The trained run as somebody else would publish it."""
    directory = Path(shutil.copytree(trained_run, tmp_path / "foreign"))
    for name in ("assay.json", "manifest.json", "golden.jsonl"):
        (directory / name).unlink()
    return directory


def test_our_own_run_is_read_alike_by_plain_transformers(trained_run: Path) -> None:
    diagnosis = run(Doctor(model=str(trained_run)))
    assert levels(diagnosis.findings) == {"contract": "ok", "plain transformers": "ok"}
    assert diagnosis.contract["verified"] is True


def test_a_foreign_model_is_marked_unverified(foreign: Path) -> None:
    diagnosis = run(Doctor(model=str(foreign)))
    assert levels(diagnosis.findings) == {"contract": "warning", "plain transformers": "ok"}
    assert diagnosis.contract["verified"] is False
    assert "verified False" in str(diagnosis)


def test_a_foreign_model_that_pads_with_its_end_is_a_problem(foreign: Path) -> None:
    end = run(Doctor(model=str(foreign))).contract["end_of_response_id"]
    config = json.loads((foreign / "config.json").read_text())
    (foreign / "config.json").write_text(json.dumps({**config, "pad_token_id": end}))
    diagnosis = run(Doctor(model=str(foreign)))
    assert levels(diagnosis.findings)["plain transformers"] == "problem"
    assert "its pad token is the end-of-response token" in text_of(diagnosis, "plain transformers")


def test_a_foreign_model_without_a_pad_token_is_a_problem(foreign: Path) -> None:
    config = json.loads((foreign / "config.json").read_text())
    (foreign / "config.json").write_text(json.dumps({**config, "pad_token_id": None}))
    diagnosis = run(Doctor(model=str(foreign)))
    assert "names no pad token" in text_of(diagnosis, "plain transformers")


def test_a_model_that_reads_another_token_is_a_problem(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForSequenceClassification

    forward = LlamaForSequenceClassification.forward

    def shifted(self: Any, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        kwargs.pop("attention_mask", None)
        return forward(self, input_ids=input_ids.roll(1, dims=1), **kwargs)

    monkeypatch.setattr(LlamaForSequenceClassification, "forward", shifted)
    diagnosis = run(Doctor(model=str(foreign)))
    assert "it reads another token" in text_of(diagnosis, "plain transformers")


def test_a_model_with_another_pooling_is_said_to_be_ours_alone(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    from assay.models.reward_model import RewardModel

    model = RewardModel.from_backbone(str(tiny_backbone), max_length=512)
    model.set_pooling("mean")
    diagnosis = run(Doctor(model=str(model.save(tmp_path / "run"))))
    assert levels(diagnosis.findings) == {"contract": "ok", "pooling": "warning"}


def test_what_is_no_reward_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a run directory"):
        run(Doctor(model=str(tmp_path)))
