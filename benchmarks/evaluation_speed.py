"""How fast is a suite scored, against a padded transformers loop and RewardBench's way of batching?

300 pairs whose sections have RewardBench's shares and, as its own texts are not at hand, the texts
of public sets of the same kind (its code, a solution and the same with one fault, is Python's own
library with one operator turned). All systems score the same token ids in one process, in turns.
"""

import ast
import gzip
import importlib
import inspect
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Recorded, cores, find_data, main, shown, spread, table, write_record
from numpy.typing import NDArray

from assay.configs import TOKEN_BUDGET
from assay.data.contract import Tokens
from assay.errors import TrainingError
from assay.models.backbone_model import pad_right
from assay.models.reward_model import RewardModel
from assay.models.scoring import score_conversations
from assay.types import Conversation

TOLERANCE = 1e-4
SHARES = {"chat": 358, "chat hard": 456, "safety": 740, "math": 447, "code": 984}
"""RewardBench's items by section, its reasoning in two."""
REWARDBENCH_BYTES = 4_849_207 / 2_985
"""Size of a row of RewardBench's filtered split, by its data card; a row is mostly text."""

Rewards = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Pairs per second of the engine and of padded loops on a mix like RewardBench's."""

    data: Path | None = None
    """The directory with the data files. Default: ASSAY_DATA."""
    backbone: str = "smollm2-135m"
    """A backbone name or directory; its head is drawn at random."""
    pairs: int = 300
    """How many pairs."""
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    """Conversations a batch that the sorted padded loop may use; the best on a sample is used."""
    sample: int = 20
    """Pairs in the sample that chooses the batch size."""
    token_budget: int = TOKEN_BUDGET
    """Assay's token budget, its default."""
    repeats: int = 2
    """Timed runs of each system."""
    threads: int = cores()
    """CPU threads. Default: all cores."""


def run(settings: Settings) -> None:
    """Time all systems in turns, compare their rewards, print the table and write the record."""
    torch.set_num_threads(settings.threads)
    pairs = mix(settings)
    model = RewardModel.from_backbone(settings.backbone, max_length=2048)
    flat = [side for pair in pairs for side in pair]
    network = plain(model)

    def assay() -> Rewards:
        return score_conversations(
            model, flat, token_budget=settings.token_budget, truncation="truncate-left"
        ).rewards

    def rewardbench() -> Rewards:
        # its loop: batches of 8 pairs in file order, chosen and rejected one after the other
        tokens = tokenised(model, flat)
        rewards = np.empty(len(tokens))
        for start in range(0, len(tokens), 16):
            for side in (0, 1):
                batch = list(range(start + side, min(start + 16, len(tokens)), 2))
                rewards[batch] = padded(network, [tokens[i] for i in batch], model.pad_token_id)
        return rewards

    def sorted_loop(size: int, conversations: Sequence[Conversation]) -> Callable[[], Rewards]:
        def score() -> Rewards:
            tokens = tokenised(model, conversations)
            order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i].ids))
            rewards = np.empty(len(tokens))
            for start in range(0, len(order), size):
                batch = order[start : start + size]
                rewards[batch] = padded(network, [tokens[i] for i in batch], model.pad_token_id)
            return rewards

        return score

    step = max(1, len(pairs) // settings.sample)
    sample = [side for pair in pairs[::step] for side in pair]
    tried, _ = in_turns(
        {str(size): sorted_loop(size, sample) for size in settings.batch_sizes}, repeats=2
    )
    best = min(tried, key=lambda size: min(tried[size]))
    systems: dict[str, Callable[[], Rewards]] = {
        "assay": assay,
        "sorted": sorted_loop(int(best), flat),
        "rewardbench": rewardbench,
    }
    seconds, rewards = in_turns(systems, settings.repeats)
    check(rewards)
    ratios = {
        name: [theirs / ours for theirs, ours in zip(seconds[name], seconds["assay"], strict=True)]
        for name in systems
    }
    rows = [
        (name, shown([len(pairs) / s for s in seconds[name]], 2), shown(ratios[name], 2, "×"))
        for name in systems
    ]
    print(table(("system", "pairs/s", "time over Assay's"), rows))
    lengths = np.array([len(t.ids) for t in tokenised(model, flat)])
    texts = [[pair[0].prompt[-1].content, *(c.response_text for c in pair)] for pair in pairs]
    record = {
        "sorted_batch_size": int(best),
        "seconds_by_batch_size_on_the_sample": tried,
        "pairs_per_second": {n: [len(pairs) / s for s in seconds[n]] for n in systems},
        "ratios": {n: {"repeats": r, **spread(r)} for n, r in ratios.items()},
        "bytes_per_pair": float(np.mean([sum(len(t.encode()) for t in row) for row in texts])),
        "bytes_per_row_of_rewardbench": REWARDBENCH_BYTES,
        "tokens": {q: float(np.quantile(lengths, q / 100)) for q in (5, 25, 50, 75, 95)},
    }
    write_record("evaluation_speed", settings, record)


def plain(model: RewardModel) -> Any:
    """The same weights as transformers loads them, with its fastest attention."""
    from transformers import AutoModelForSequenceClassification

    with tempfile.TemporaryDirectory() as directory:
        model.save(directory)
        return AutoModelForSequenceClassification.from_pretrained(directory).eval()


def in_turns(
    systems: dict[str, Callable[[], Rewards]], repeats: int
) -> tuple[dict[str, list[float]], dict[str, Rewards]]:
    """Seconds of every repeat and the rewards, by system."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    rewards: dict[str, Rewards] = {}
    for _ in range(repeats):
        for name, score in systems.items():
            started = time.perf_counter()
            rewards[name] = score()
            seconds[name].append(time.perf_counter() - started)
    return seconds, rewards


def tokenised(model: RewardModel, conversations: Sequence[Conversation]) -> list[Tokens]:
    """Token ids of all conversations, cut to the contract's length."""
    fitted = [
        model.renderer.fit(t, "truncate-left") for t in model.renderer.tokenise(conversations)
    ]
    return [t for t in fitted if t is not None]


def padded(network: Any, tokens: Sequence[Tokens], pad: int) -> Rewards:
    """Plain transformers: right-padded ids and a mask, the logit of the last real token."""
    ids, mask = pad_right([t.ids for t in tokens], pad)
    with torch.inference_mode():
        output = network(input_ids=ids, attention_mask=mask)
    logits: Rewards = output.logits[:, 0].double().numpy()
    return logits


def check(rewards: dict[str, Rewards]) -> None:
    """All systems must give the same rewards.

    Raises:
        TrainingError: If they do not.
    """
    scale = float(rewards["assay"].std())
    for name, theirs in rewards.items():
        difference = float(np.abs(theirs - rewards["assay"]).max()) / scale
        if not difference <= TOLERANCE:
            raise TrainingError(
                f"The rewards of {name} differ by {difference:.1e} standard deviations, over "
                f"{TOLERANCE}; speed means nothing then."
            )


def mix(settings: Settings) -> list[list[Conversation]]:
    """Pairs in RewardBench's shares, the same every time, shuffled as a file of subsets is not."""
    total = sum(SHARES.values())
    rng = np.random.default_rng(0)
    pairs: list[list[Conversation]] = []
    for section, items in SHARES.items():
        pool = list(READERS[section](settings.data))
        count = round(settings.pairs * items / total)
        if len(pool) < count:
            raise TrainingError(f"{section} has {len(pool)} pairs, {count} are wanted.")
        pairs += [pool[i] for i in rng.choice(len(pool), count, replace=False)]
    return pairs


def rows_of(folder: Path | None, name: str) -> Iterator[dict[str, Any]]:
    """The rows of a data file."""
    path = find_data(folder and folder / name, name)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def chat(folder: Path | None) -> Iterator[list[Conversation]]:
    """AlpacaEval's prompts with the responses of two models."""
    for row in rows_of(folder, "alpacaeval_many.jsonl.gz"):
        texts = [r["output"] for r in row["responses"] if r["output"].strip()]
        yield [Conversation.of(row["prompt"], t) for t in (texts[0], texts[-1])]


def chat_hard(folder: Path | None) -> Iterator[list[Conversation]]:
    """PandaLM's instructions, short like those of LLMBar."""
    for row in rows_of(folder, "pandalm_test.jsonl.gz"):
        prompt = f"{row['instruction']}\n{row['input']}".strip()
        texts = (row["response_1"], row["response_2"])
        if all(isinstance(t, str) and t.strip() for t in texts):
            yield [Conversation.of(prompt, t) for t in texts]


def safety(folder: Path | None) -> Iterator[list[Conversation]]:
    """The last question of HH-harmless conversations: RewardBench's have one turn."""
    for row in rows_of(folder, "hh_harmless.jsonl.gz"):
        texts = (row["chosen"], row["rejected"])
        yield [Conversation.of(row["prompt"][-1:], t) for t in texts]


def maths(folder: Path | None) -> Iterator[list[Conversation]]:
    """School problems with two models' solutions, for want of MATH."""
    for row in rows_of(folder, "gsm8k_model_solutions.jsonl.gz"):
        texts = [s["solution"] for s in row["solutions"]]
        yield [Conversation.of(row["question"], t) for t in (texts[0], texts[-1])]


LIBRARY = [
    *("argparse", "ast", "bisect", "calendar", "collections", "configparser", "csv", "difflib"),
    *("fractions", "functools", "heapq", "inspect", "ipaddress", "random", "statistics"),
    *("shutil", "string", "tarfile", "textwrap", "tokenize", "urllib.parse", "zipfile"),
]
TURNED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.GtE,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.In: ast.NotIn,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
}
"""Operators and what they are turned into."""


def code(folder: Path | None) -> Iterator[list[Conversation]]:
    """Functions of Python's library and the same with one operator turned, as HumanEvalPack's."""
    for name in LIBRARY:
        tree = ast.parse(inspect.getsource(importlib.import_module(name)))
        for function in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]:
            task = ast.get_docstring(function)
            if task is None or len(function.body) < 2:
                continue
            function.body = function.body[1:]
            right = ast.unparse(function)
            wrong = with_fault(function)
            if wrong is not None and 80 <= len(right) <= 1200 and 80 <= len(task) <= 1000:
                asked = f"`{function.name}({ast.unparse(function.args)})`"
                prompt = f"Write a Python function {asked} to solve the following problem:\n{task}"
                yield [Conversation.of(prompt, text) for text in (right, wrong)]


def with_fault(function: ast.FunctionDef) -> str | None:
    """The function with the operator in its middle turned; None where it has none."""
    places: list[tuple[int, Any]] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in TURNED:
            places.append((node.lineno, node))
        if isinstance(node, ast.BinOp) and type(node.op) in TURNED:
            places.append((node.lineno, node))
    if not places:
        return None
    _, node = sorted(places, key=lambda place: place[0])[len(places) // 2]
    if isinstance(node, ast.Compare):
        node.ops[0] = TURNED[type(node.ops[0])]()  # type: ignore[call-overload]
    else:
        node.op = TURNED[type(node.op)]()
    return ast.unparse(function)


READERS = {"chat": chat, "chat hard": chat_hard, "safety": safety, "math": maths, "code": code}


if __name__ == "__main__":
    main(run, Settings)
