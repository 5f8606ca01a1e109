"""Contract: the quickstart trains, reports, verifies, scores, leaves a page, and trains once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from assay import bundled, quickstart
from assay.configs import Quickstart
from assay.formats.files import write_rows
from assay.score.scorer import load_scorer

pytestmark = pytest.mark.usefixtures("own_cache", "few_resamples")

UNSAFE = '<script>alert(1)</script> & "quoted"'


@pytest.fixture(scope="module")
def data(tmp_path_factory, gold_pairs, gold_reward):
    """Training pairs, and held-out rankings of four, one with HTML in prompt and reply."""
    directory = tmp_path_factory.mktemp("bundled")
    write_rows(directory / "train.jsonl.gz", gold_pairs(120))
    rows = []
    pairs = gold_pairs(24, seed=1)
    for i, (one, two) in enumerate(zip(pairs[::2], pairs[1::2], strict=True)):
        responses = [one["chosen"], one["rejected"], two["chosen"], two["rejected"]]
        order = sorted(range(4), key=lambda k, r=responses: -gold_reward(r[k]))
        if i == 0:
            responses[order[3]] = UNSAFE
        judgment = {"annotator": "gold", "kind": "verifier", "ranking": [[k] for k in order]}
        prompt = f"Heldout {i}" + (f" {UNSAFE}" if i == 0 else "")
        rows.append({"prompt": prompt, "responses": responses, "judgments": [judgment]})
    write_rows(directory / "heldout.jsonl.gz", rows)
    return directory


def use(data, patch):
    """Put the small data, and a short training, into the quickstart."""
    patch.setattr(quickstart, "TRAIN", data / "train.jsonl.gz")
    patch.setattr(quickstart, "HELDOUT", data / "heldout.jsonl.gz")
    train = quickstart.TrainReward
    patch.setattr(quickstart, "TrainReward", lambda **given: train(**given, epochs=3))


@pytest.fixture
def config(tiny_backbone, data, tmp_path, monkeypatch):
    use(data, monkeypatch)
    return Quickstart(backbone=str(tiny_backbone), out=tmp_path / "run")


@pytest.fixture(scope="module")
def finished(tiny_backbone, data, tmp_path_factory, own_cache, few_resamples):
    """The result of one quickstart, and its page."""
    with pytest.MonkeyPatch.context() as patch:
        use(data, patch)
        out = tmp_path_factory.mktemp("quickstart") / "run"
        return quickstart.run(Quickstart(backbone=str(tiny_backbone), out=out))


def test_the_result_says_accuracy_with_interval_baseline_and_what_next(finished):
    accuracy, length = finished.heldout["accuracy"], finished.heldout["length_only_accuracy"]
    text = str(finished)
    low, high = accuracy["low"], accuracy["high"]
    assert (
        f"held-out accuracy {accuracy['value']:.3f} [{low:.3f}, {high:.3f}], n=72 pairs of 12"
        in text
    )
    side = "below" if length["value"] < low else "NOT below"
    assert f"length-only baseline {length['value']:.3f}, {side} that interval; chance 0.500" in text
    assert "golden conversations replayed" in text
    assert all(reply in text for reply in quickstart.REPLIES)
    assert "assay train reward --data FILE --out RUN" in text


def test_a_baseline_inside_the_interval_is_not_hidden(finished):
    good = {**finished.heldout["accuracy"], "low": 0.6}
    for value, words in ((0.55, "0.550, below that"), (0.65, "0.650, NOT below that")):
        length = {**finished.heldout["length_only_accuracy"], "value": value}
        heldout = {**finished.heldout, "accuracy": good, "length_only_accuracy": length}
        assert words in str(replace(finished, heldout=heldout))


def test_the_json_result_has_the_replies_with_the_scorers_rewards(finished):
    said = json.loads(json.dumps(finished.to_dict(), allow_nan=False))
    assert [reply["text"] for reply in said["replies"]] == list(quickstart.REPLIES)
    conversations = [
        quickstart.Conversation.of(said["prompt"], reply["text"]) for reply in said["replies"]
    ]
    rewards = load_scorer(said["run"]).score(conversations).reward
    assert [reply["reward"] for reply in said["replies"]] == pytest.approx(rewards, abs=1e-5)


class Reader(HTMLParser):
    """Collects tags and text, and that every tag is closed."""

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_stands_alone_and_shows_texts_as_texts(finished):
    page = Path(finished.page).read_text()
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    names = [tag for tag, _ in reader.tags]
    assert "script" not in names
    assert names.count("h3") == quickstart.SHOWN
    (image,) = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert image["src"].startswith("data:image/png;base64,iVBOR")
    assert image["alt"]
    assert not any("http" in str(v) for _, attributes in reader.tags for v in attributes.values())
    text = " ".join(reader.text)
    assert text.count(UNSAFE) == 2
    assert text.count("★") == quickstart.SHOWN + 1  # and once where the page says what it means
    assert f"{finished.heldout['accuracy']['value']:.3f}" in text


def test_replies_stand_in_the_order_of_their_rewards(finished):
    page = Path(finished.page).read_text()
    for block in page.split("<h3>")[1:]:
        cells = [cell.split("<")[0] for cell in block.split("<td class=number>")[1:]]
        rewards = [float(cell) for cell in cells]
        assert len(rewards) == 4
        assert rewards == sorted(rewards, reverse=True)


def test_a_second_run_reuses_the_first(finished, config, capsys, monkeypatch):
    def never(**given):
        raise AssertionError("trained again")

    monkeypatch.setattr(quickstart, "TrainReward", never)
    again = quickstart.run(replace(config, out=Path(finished.run)))
    assert again.heldout == finished.heldout
    assert again.rewards == finished.rewards
    assert "holds a finished run; verifying and scoring it" in capsys.readouterr().err


@pytest.mark.medium
def test_an_interrupted_quickstart_goes_on(config, monkeypatch):
    import assay.train.resume

    def full(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(assay.train.resume, "clear_resume", full)
        with pytest.raises(KeyboardInterrupt):
            quickstart.run(config)
    assert (config.out / "resume").exists()
    result = quickstart.run(config)
    assert result.rewards
    assert not (config.out / "resume").exists()


def test_figures_that_could_not_be_measured_show_a_dash(finished, tmp_path):
    shutil.copytree(finished.run, tmp_path / "run")
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    row = quickstart._figure_row("gap, <b>", nothing)
    assert "–" in row
    assert "None" not in row
    assert "&lt;b&gt;" in row


def test_the_bundled_data_is_there_and_apart():
    from assay.data.pairs import PreferencePairs, overlap

    train, heldout = (PreferencePairs.load(str(p)) for p in (bundled.TRAIN, bundled.HELDOUT))
    assert len(train) + len(heldout) >= 1000
    assert len(set(train.prompt_keys()) | set(heldout.prompt_keys())) >= 300
    assert len(heldout) >= 240
    assert len(set(heldout.prompt_keys())) >= 80
    assert overlap(train, heldout) == 0
    assert any(len(c.responses) >= 4 and c.ranking for c in train.comparisons)
    assert bundled.TRAIN.stat().st_size + bundled.HELDOUT.stat().st_size <= 2**20
