"""What the benchmark scripts share: the record of a run, processes of their own, data, tables.

Knows nothing of models: the parent of timed processes stays small, because a child's peak memory
begins at its parent's.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.atomic import write_json
from assay.errors import AssayError, TrainingError

if TYPE_CHECKING:
    from assay.models.reward_model import RewardModel

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the settings of every benchmark have."""

    out: Path = RESULTS
    """Directory of the record."""


class Skip(Exception):
    """Why a benchmark cannot run here; the script says so and exits 0."""


def main(run: Callable[[Any], None], settings: type) -> None:
    """Run a benchmark with settings from the command line; skips and errors are one sentence."""
    import tyro

    try:
        run(tyro.cli(settings))
    except Skip as reason:
        print(f"{Path(sys.argv[0]).stem} skipped: {reason}", file=sys.stderr)
    except AssayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def databases(folder: Path, postgres: str | None) -> dict[str, str]:
    """What a store's benchmark runs on: a new SQLite file, and PostgreSQL where its URL is known.

    Args:
        postgres: The URL. Default: ASSAY_POSTGRES.
    """
    urls = {"SQLite": str(folder / "prefs.db")}
    if url := postgres or os.environ.get("ASSAY_POSTGRES"):
        urls["PostgreSQL"] = url
    return urls


def cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_data(given: Path | None, name: str) -> Path:
    """A data file: the one given, or ``name`` in the directory that ASSAY_DATA names.

    Raises:
        Skip: If there is no such file.
    """
    folder = os.environ.get("ASSAY_DATA")
    if given is None and folder is None:
        raise Skip(f"no data; name {name} with --data, or its directory in ASSAY_DATA.")
    path = given or Path(str(folder)) / name
    if not path.is_file():
        raise Skip(
            f"{path} is not a file; name {name} with --data, or its directory in ASSAY_DATA."
        )
    return path.resolve()


def run_worker(script: str, task: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """What a task of a script gives when it runs in a process of its own, on the CPU, offline.

    The job goes in as JSON on standard input; the last line of standard output is the answer.

    Raises:
        TrainingError: If the process fails or is killed.
    """
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [sys.executable, script, "worker", task],
        input=json.dumps(job),
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        killed = "it was killed, perhaps for memory" if done.returncode < 0 else "nothing was said"
        said = (done.stderr.strip().splitlines() or [killed])[-1]
        raise TrainingError(f"{task} of {Path(script).name} failed: {said}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def is_worker(arguments: Sequence[str]) -> bool:
    """Whether a script was started by ``run_worker``."""
    return len(arguments) == 3 and arguments[1] == "worker"


def answer(tasks: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
    """Do the task that ``run_worker`` asked for."""
    print(json.dumps(tasks[sys.argv[2]](json.load(sys.stdin))))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Smallest, median and largest."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def shown(values: Sequence[float], digits: int = 3, unit: str = "") -> str:
    """The median with its range, for tables: ``0.584 (0.571–0.590)``."""
    low, middle, high = (f"{x:.{digits}f}" for x in spread(values).values())
    return f"{middle}{unit} ({low}–{high})"


def interval(values: Sequence[float], digits: int = 3) -> str:
    """The mean over seeds with its 95 % interval, for tables: ``0.584 [0.571, 0.590]``."""
    from assay.stats import estimate_mean

    figure = estimate_mean(values).figure()
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table, its columns aligned."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def trained_head(
    rows: Sequence[Mapping[str, Any]], backbone: str, l2: float, seed: int
) -> RewardModel:
    """A reward model whose head alone is trained on pairs, at its best on three tenths of them.

    The state that is kept is the best on those: a tenth of few prompts would choose by chance.
    """
    from assay.configs import RewardTraining
    from assay.data.pairs import PreferencePairs
    from assay.models.reward_model import RewardModel
    from assay.train.reward import train_reward

    pairs = PreferencePairs.load(rows, deduplicate=False)
    train, own = pairs.split(heldout=0.3, by="prompt", seed=seed)
    model = RewardModel.from_backbone(backbone)
    train_reward(model, train, own, RewardTraining(mode="frozen", l2=l2, seed=seed))
    return model


def write_record(name: str, settings: Recorded, results: Mapping[str, Any]) -> Path:
    """Write ``NAME.json`` into ``settings.out``: machine, versions, commit, settings, results."""
    path = settings.out / f"{name}.json"
    record = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "settings": {k: portable(v) for k, v in asdict(settings).items() if k != "out"},
        **results,
    }
    write_json(path, record)
    print(f"written to {path}", file=sys.stderr)
    return path


def portable(value: Any) -> Any:
    """A setting as a record keeps it: a path by its last part, for the rest is this machine's."""
    if isinstance(value, Path) or (isinstance(value, str) and Path(value).is_absolute()):
        return Path(value).name
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    return value


def machine() -> dict[str, Any]:
    """Processor, cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that decide speed; None where one is missing."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("assay", "torch", "transformers", "accelerate", "trl"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def commit() -> str | None:
    """The commit of the code, ``+`` after it where the tree has changes; None outside git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git(
            "status", "--porcelain", "--untracked-files=no", "--", "assay", "benchmarks/*.py"
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+" if changed else head


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
