"""How long does an audit of 100,000 pairs take, how much memory, and is all found that is planted?

Synthetic pairs as long as HH-helpful's, their words drawn with Zipf's frequencies, among them exact
repetitions, near duplicates, contradictions, cycles, and prompts of an evaluation. The command
``assay audit`` runs in a process of its own; the signatures of near duplicates are timed besides
against ``datasketch`` on a part of the same texts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common import Recorded, answer, is_worker, main, run_worker, shown, spread, table, write_record

from assay.errors import TrainingError

WANTED_SECONDS = 180
WANTED_BYTES = 2e9


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Wall time and peak memory of an audit, and what it finds of what is planted."""

    pairs: int = 100_000
    """Pairs in the file."""
    repetitions: int = 1000
    """Pairs that are there twice."""
    near: int = 1000
    """Pairs of which another has one word changed in the prompt and in each response."""
    contradictions: int = 500
    """Pairs that are there a second time with the opposite label."""
    cycles: int = 200
    """Prompts with three responses that are preferred in a circle."""
    contaminated: int = 300
    """Prompts of the evaluation that are in the data: as they are, with a word changed, in part."""
    evaluation: int = 3000
    """Prompts of the evaluation."""
    signed: int = 1000
    """Texts whose signatures are timed with datasketch; 0 leaves it out."""
    repeats: int = 2
    """Timed runs."""
    threads: int = 2
    """Threads of the linear algebra."""


def run(settings: Settings) -> None:
    """Make the files, time the command, compare what it found, and write the record."""
    with tempfile.TemporaryDirectory(prefix="assay-audit-") as name:
        folder = Path(name)
        plan = {k: v for k, v in asdict(settings).items() if isinstance(v, int)}
        made = run_worker(__file__, "make", {**plan, "folder": name})
        runs = [timed(folder, number, settings.threads) for number in range(settings.repeats)]
        found = planted_and_found(json.loads((folder / "run-0" / "audit.json").read_text()), plan)
        signing = {}
        if settings.signed and find_spec("datasketch"):
            signing = run_worker(__file__, "sign", {"signed": settings.signed, "folder": name})
    seconds = [r["seconds"] for r in runs]
    memory = [r["peak_memory_bytes"] for r in runs]
    rows = [
        ["wall time", shown(seconds, 0, " s"), f"≤ {WANTED_SECONDS} s"],
        ["peak memory", shown([m / 1e9 for m in memory], 2, " GB"), f"≤ {WANTED_BYTES / 1e9:g} GB"],
        *([name, f"{have:,}", f"{want:,}"] for name, (have, want) in found.items()),
    ]
    print(table(["assay audit", "measured", "wanted"], rows))
    if signing:
        print(table(["signatures", "texts/s"], [[k, f"{v:,.0f}"] for k, v in signing.items()]))
    record = {
        **made,
        "seconds": {"repeats": seconds, **spread(seconds)},
        "peak_memory_bytes": {"repeats": memory, **spread(memory)},
        "found_and_planted": found,
        "signatures_per_second": signing,
    }
    write_record("audit_speed", settings, record)
    missed = [name for name, (have, want) in found.items() if have != want]
    if missed:
        raise TrainingError(f"not as planted: {', '.join(missed)}; see the record.")


def timed(folder: Path, number: int, threads: int) -> dict[str, float]:
    """Seconds and peak resident memory of the command line, start and imports included."""
    command = [sys.executable, "-m", "assay", "audit", str(folder / "pairs.jsonl")]
    command += [
        "--against",
        str(folder / "evaluation.jsonl"),
        "--out",
        str(folder / f"run-{number}"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise TrainingError(f"the audit ended with exit code {process.returncode}.")
    return {"seconds": seconds, "peak_memory_bytes": usage.ru_maxrss * 1024}


def planted_and_found(record: dict[str, Any], plan: dict[str, int]) -> dict[str, tuple[int, int]]:
    """What the audit found of each kind, and what there was."""
    duplicates = record["duplicates"]
    (evaluation,) = record["contamination"]["evaluations"]
    contaminated = round(evaluation["contaminated"]["value"] * evaluation["prompts"])
    return {
        "repetitions": (duplicates["repeated_judgments"], plan["repetitions"]),
        "near-duplicate pairs": (duplicates["near_duplicate_pairs"], plan["near"]),
        "contradictions": (duplicates["contradictions"], plan["contradictions"]),
        "prompts with a cycle": (duplicates["cycles"]["prompts"], plan["cycles"]),
        "contaminated prompts": (contaminated, plan["contaminated"]),
    }


class Writer:
    """Draws texts, the same every time."""

    def __init__(self) -> None:
        import numpy as np

        self.rng = np.random.default_rng(0)
        letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
        sizes = self.rng.integers(2, 11, 30_000)
        self.words = ["".join(self.rng.choice(letters, size)) for size in sizes]
        weights = 1 / (np.arange(len(self.words)) + 10.0)
        self.cumulative = np.cumsum(weights / weights.sum())

    def text(self, low: int, high: int) -> str:
        """So many words, with a full stop here and there."""
        count = int(self.rng.integers(low, high))
        at = self.cumulative.searchsorted(self.rng.random(count))
        return " ".join(self.words[i] for i in at.tolist()) + "."

    def edited(self, text: str) -> str:
        """The text with one word in its middle changed."""
        parts = text.split()
        parts[len(parts) // 2] = self.words[int(self.rng.integers(len(self.words)))]
        return " ".join(parts)

    def pair(self) -> dict[str, str]:
        """A prompt of 40 to 160 words and two responses of 40 to 120."""
        return {
            "prompt": self.text(40, 160),
            "chosen": self.text(40, 120),
            "rejected": self.text(40, 120),
        }


def make(job: dict[str, Any]) -> dict[str, Any]:
    """Write pairs.jsonl, shuffled, and evaluation.jsonl."""
    folder, writer = Path(job["folder"]), Writer()
    rows = list(rows_of(job, writer))
    order = writer.rng.permutation(len(rows)).tolist()
    with (folder / "pairs.jsonl").open("w") as file:
        file.writelines(json.dumps(rows[i]) + "\n" for i in order)
    prompts = [row["prompt"] for row in rows[: job["contaminated"]]]
    third = job["contaminated"] // 3
    planted = [
        *prompts[:third],
        *map(writer.edited, prompts[third : 2 * third]),
        *(f"{writer.text(40, 80)} {' '.join(p.split()[:20])}" for p in prompts[2 * third :]),
    ]
    clean = [writer.text(40, 160) for _ in range(job["evaluation"] - len(planted))]
    with (folder / "evaluation.jsonl").open("w") as file:
        file.writelines(json.dumps({"question": text}) + "\n" for text in planted + clean)
    return {"bytes": (folder / "pairs.jsonl").stat().st_size, "rows": len(rows)}


def rows_of(job: dict[str, Any], writer: Writer) -> Iterator[dict[str, str]]:
    """The pairs, those planted last."""
    extra = job["repetitions"] + job["near"] + job["contradictions"] + 3 * job["cycles"]
    plain = [writer.pair() for _ in range(job["pairs"] - extra)]
    yield from plain
    # planted ones copy pairs of their own, none that the evaluation has
    source = iter(plain[job["contaminated"] :])
    for _ in range(job["repetitions"]):
        yield dict(next(source))
    for _ in range(job["near"]):
        yield {key: writer.edited(text) for key, text in next(source).items()}
    for _ in range(job["contradictions"]):
        row = next(source)
        yield {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
    for _ in range(job["cycles"]):
        prompt, (a, b, c) = writer.text(40, 160), (writer.text(40, 120) for _ in range(3))
        for chosen, rejected in ((a, b), (b, c), (c, a)):
            yield {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def sign(job: dict[str, Any]) -> dict[str, float]:
    """Texts a second of this project's signatures and of datasketch's, over the same shingles."""
    from datasketch import MinHash

    from assay.data.audit.minhash import BINS
    from assay.data.audit.minhash import sign as signatures

    with (Path(job["folder"]) / "pairs.jsonl").open() as file:
        rows = [json.loads(next(file)) for _ in range(job["signed"])]
    texts = [row["chosen"] for row in rows]
    started = time.perf_counter()
    signatures(texts)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    for text in texts:
        parts = {text[i : i + 5].encode() for i in range(len(text) - 4)}
        MinHash(num_perm=BINS).update_batch(parts)
    theirs = time.perf_counter() - started
    return {"assay": len(texts) / ours, "datasketch": len(texts) / theirs}


TASKS = {"make": make, "sign": sign}

if __name__ == "__main__":
    if is_worker(sys.argv):
        answer(TASKS)
    else:
        main(run, Settings)
