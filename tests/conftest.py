"""What tests share, made in memory: a tiny backbone, and pairs labelled by a known gold reward."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny matrices: threads cost more than they give

# modules that tests share are imported by their names: tiny, families, fitting, scripted,
# plugins_shared, worlds, policy_logs, filled, servers
rooms = ("models", "data", "train", "feedback", "rlhf", "evaluation", "store")
sys.path += [str(Path(__file__).parent / room) for room in rooms]

hypothesis.settings.register_profile("assay", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("assay")

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

GOOD_WORDS = ("clear", "kind", "precise", "useful", "honest", "calm")
BAD_WORDS = ("rude", "vague", "wrong", "lazy", "loud", "bitter")
OTHER_WORDS = ("the", "a", "reply", "about", "tea", "maps", "rain", "and", "with", "some", "words")


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a 2-layer Llama and a byte-level tokenizer, as SmolLM2 has it: pad = EOS."""
    directory = tmp_path_factory.mktemp("backbone")
    tokenizer = _tiny_tokenizer()
    _tiny_llama(tokenizer).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _tiny_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = [*GOOD_WORDS, *BAD_WORDS, *OTHER_WORDS, "user", "assistant", "system"]
    core.train_from_iterator([" ".join(words)] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        model_max_length=2048,
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def _tiny_llama(tokenizer: Any) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


def _gold_reward(text: str) -> float:
    words = text.split()
    return float(sum(w in GOOD_WORDS for w in words) - sum(w in BAD_WORDS for w in words))


def _gold_pairs(n: int, seed: int = 0) -> list[dict[str, Any]]:
    source = random.Random(seed)
    vocabulary = [*GOOD_WORDS, *BAD_WORDS, *OTHER_WORDS]

    def response() -> str:
        return " ".join(source.choices(vocabulary, k=source.randint(3, 12)))

    rows: list[dict[str, Any]] = []
    while len(rows) < n:
        first, second = response(), response()
        if first == second:
            continue
        chance = 1 / (1 + math.exp(_gold_reward(second) - _gold_reward(first)))
        chosen, rejected = (first, second) if source.random() < chance else (second, first)
        topic = source.choice(OTHER_WORDS)
        prompt = f"Write {source.randint(1, max(1, n // 30))} words about {topic}"
        rows.append(
            {"id": str(len(rows)), "prompt": prompt, "chosen": chosen, "rejected": rejected}
        )
    return rows


def _gold_ordered_pairs(n: int, seed: int = 0) -> list[dict[str, Any]]:
    rows = []
    for row in _gold_pairs(n, seed):
        gap = _gold_reward(row["chosen"]) - _gold_reward(row["rejected"])
        if gap < 0:
            row = {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
        if gap:
            rows.append(row)
    return rows


@pytest.fixture(scope="session")
def gold_reward() -> Callable[[str], float]:
    """What ``gold_pairs`` really wants: +1 for every good word, −1 for every bad one."""
    return _gold_reward


@pytest.fixture(scope="session")
def gold_pairs() -> Callable[..., list[dict[str, Any]]]:
    """``gold_pairs(n, seed=0)``: rows with prompt, chosen and rejected, several to a prompt.

    Chosen by Bradley–Terry with the gold reward: P(chosen) = σ(gold of chosen − gold of rejected).
    """
    return _gold_pairs


@pytest.fixture(scope="session")
def gold_ordered_pairs() -> Callable[..., list[dict[str, Any]]]:
    """``gold_ordered_pairs(n, seed=0)``: the gold order itself, without noise; fewer for ties."""
    return _gold_ordered_pairs


@pytest.fixture(scope="session")
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the features and probe results of tests go."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def own_cache(cache_directory: Path) -> Iterator[Path]:
    """Keeps a module's tests out of the user's cache, in subprocesses too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE", str(cache_directory))
        yield cache_directory


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """Bootstrapped intervals from 10 resamples: they take most of a small training's time."""
    import assay.train.report as report

    with pytest.MonkeyPatch.context() as patch:
        for name in ("ece", "reward_length_correlation"):
            patch.setattr(report, name, partial(getattr(report, name), resamples=10))
        yield


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """Pictures are empty files: drawing takes most of a small run's time."""
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, path, **_: Path(path).write_bytes(b""))
        yield


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 gold pairs as JSON Lines."""
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in _gold_pairs(200)))
    return path


@pytest.fixture(scope="session")
def trained_run(
    tiny_backbone: Path,
    pairs_file: Path,
    cache_directory: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A finished frozen run on gold pairs, to read; copy it before changing anything."""
    from assay.configs import TrainReward
    from assay.train.run import run

    out = tmp_path_factory.mktemp("run") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE", str(cache_directory))
        run(
            TrainReward(
                data=(str(pairs_file),),
                backbone=str(tiny_backbone),
                out=out,
                epochs=5,
                max_length=256,
            )
        )
    return out


PRELOAD = (
    "accelerate",
    "assay.cli",
    "assay.data.pairs",
    "assay.models.checkpoint",
    "assay.train.reward",
    "assay.train.run",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "scipy.stats",
    "sklearn.linear_model",
    "transformers.models.llama.modeling_llama",
)
CHILD = """
import os, signal, sys
# a test run started in the background ignores Ctrl-C, and its children would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1)
os.dup2(log, 2)
os.environ.update(environment)
from functools import partial
import assay.train.report as report
report.ece = partial(report.ece, resamples=10)
report.reward_length_correlation = partial(report.reward_length_correlation, resamples=10)
from matplotlib.figure import Figure
Figure.savefig = lambda figure, path, **_: open(path, "wb").close()
exec(before)
from assay.cli import main
sys.exit(main(arguments))
"""


class StartedCommand:
    """An ``assay`` command in a process of its own."""

    def __init__(self, process: Any, output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def output(self) -> str:
        """What it wrote so far, to stdout and stderr."""
        return self._output.read_text() if self._output.exists() else ""

    def wait(self, seconds: float = 120.0) -> int:
        """Its exit code; minus the signal if one ended it."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"still running: {self.output}"
        return int(self.process.exitcode)


@pytest.fixture
def start_assay(tmp_path: Path, cache_directory: Path) -> Iterator[Callable[..., StartedCommand]]:
    """``start_assay(arguments, before="", **environment)``: the command line in a real process.

    Processes fork from a server that has imported the libraries once. ``before`` is code that runs
    first; what is still running at the end of the test is killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    started: list[StartedCommand] = []

    def start(arguments: list[str], before: str = "", **environment: str) -> StartedCommand:
        output = tmp_path / f"output-{len(started)}.txt"
        names = {
            "arguments": [str(a) for a in arguments],
            "before": before,
            "environment": {"ASSAY_CACHE": str(cache_directory), **environment},
            "output": str(output),
        }
        command = StartedCommand(context.Process(target=exec, args=(CHILD, names)), output)
        command.process.start()
        started.append(command)
        return command

    yield start
    for command in started:
        if command.process.is_alive():
            command.process.kill()
        command.process.join()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--allow-file-access-from-files",
)
# the measuring page, not the report, runs a script; it reads both frames once they are there
FRAMES = """<!doctype html><body>{frames}<pre id=out></pre><script>
addEventListener("load", () => {{
  const sizes = [...document.querySelectorAll("iframe")].map(f => {{
    const d = f.contentDocument.documentElement;
    const charts = [...f.contentDocument.querySelectorAll("svg.wide")];
    return d.scrollWidth + "/" + f.clientWidth + "/" + f.contentDocument.body.innerText.length
      + "/" + Math.min(...charts.map(c => c.getBoundingClientRect().width));
  }});
  document.getElementById("out").textContent = "sizes " + sizes.join(" ");
}});
</script></body>"""


def _measured(pages: list[Path], folder: Path) -> list[tuple[int, int, int, float]]:
    frames = "".join(
        f'<iframe src="{page.name}" width="{width}" height="900" style="border:0"></iframe>'
        for page in pages
        for width in (400, 1400)
    )
    (folder / "frames.html").write_text(FRAMES.format(frames=frames))
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=1500,1000",
         "--virtual-time-budget=5000", "--dump-dom", (folder / "frames.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r"sizes ([\d/. ]+)<", done.stdout)
    assert found is not None, done.stderr[-2000:]
    return [
        (int(a), int(b), int(c), float(d))
        for a, b, c, d in (entry.split("/") for entry in found.group(1).split())
    ]


@pytest.fixture(scope="session")
def measured_pages() -> Callable[[list[Path], Path], list[tuple[int, int, int, float]]]:
    """``measured_pages(pages, folder)``: each page in a narrow and a wide window of a browser.

    Width of the content, width of the window, letters on the page, and width of the narrowest wide
    chart.
    """
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    return _measured
