"""The ``assay`` command: a table of verbs, each with its configuration class and function.

``assay VERB [FILE.toml] [--flag value …]``: a TOML file is flags written down, later values win.
What a verb returns goes to stdout, everything else to stderr. Exit 0 done, 1 the job failed, 2 the
request was wrong. Knows nothing of models or data: verbs and their libraries load when they run.
"""

from __future__ import annotations

import errno
import inspect
import json
import os
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple, TextIO

import assay
from assay.configs import ShowConfig
from assay.errors import AssayError, ConfigError


class Verb(NamedTuple):
    """Where a verb's configuration class and function are, as ``module:name``."""

    config: str
    run: str


VERBS: dict[str, Verb] = {
    "quickstart": Verb("assay.configs:Quickstart", "assay.quickstart:run"),
    "audit": Verb("assay.configs:Audit", "assay.auditor:run"),
    "collect": Verb("assay.configs:Collect", "assay.collect.run:run"),
    "train reward": Verb("assay.configs:TrainReward", "assay.train.run:run"),
    "train ensemble": Verb("assay.configs:TrainEnsemble", "assay.train.ensemble_run:run"),
    "train process": Verb("assay.configs:TrainProcess", "assay.train.process_run:run"),
    "import": Verb("assay.configs:Import", "assay.store.transfer:run_import"),
    "export": Verb("assay.configs:Export", "assay.store.transfer:run_export"),
    "clean": Verb("assay.configs:Clean", "assay.train.clean_run:run"),
    "score": Verb("assay.configs:Score", "assay.score.files:run_score"),
    "best-of-n": Verb("assay.configs:BestOfN", "assay.score.files:run_best_of_n"),
    "select": Verb("assay.configs:Select", "assay.score.select:run"),
    "solve": Verb("assay.configs:Solve", "assay.score.solve_run:run"),
    "generate": Verb("assay.configs:Generate", "assay.feedback.candidates.run:run"),
    "judge": Verb("assay.configs:Judge", "assay.feedback.judges.run:run"),
    "panel": Verb("assay.configs:Panel", "assay.feedback.judges.panel_run:run"),
    "check": Verb("assay.configs:CheckResponses", "assay.feedback.check_run:run"),
    "label": Verb("assay.configs:Label", "assay.feedback.label_run:run"),
    "evaluate": Verb("assay.configs:Evaluate", "assay.evaluation.run:run"),
    "compare": Verb("assay.configs:Compare", "assay.evaluation.compare:run"),
    "scaling": Verb("assay.configs:Scaling", "assay.evaluation.scaling:run"),
    "rlhf ppo": Verb("assay.configs:RlhfPPO", "assay.rlhf.run:run"),
    "rlhf rloo": Verb("assay.configs:RlhfRLOO", "assay.rlhf.run:run"),
    "rlhf iterate": Verb("assay.configs:RlhfIterate", "assay.rlhf.iterate:run"),
    "overoptimization": Verb(
        "assay.configs:Overoptimization", "assay.evaluation.overoptimization_run:run"
    ),
    "verify": Verb("assay.configs:Verify", "assay.score.verify:run"),
    "doctor": Verb("assay.configs:Doctor", "assay.doctor:run"),
    "config": Verb("assay.configs:ShowConfig", "assay.cli:show_config"),
}

_USAGE = "usage: assay VERB [FILE.toml] [--flag value ...]"
_HELP = f"""\
{_USAGE}

{{about}}

verbs:
{{verbs}}

options:
  -h, --help    this page, or with a verb all its flags
  --version     the version
  --traceback   on an error, show where it came from

A TOML file is flags written down; 'assay config VERB' prints one with every default, and flags
after it win. Results go to stdout, progress to stderr. Exit codes: 0 done, 1 the job failed, 2 the
request was wrong."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    wants_traceback = "--traceback" in arguments
    try:
        _dispatch([a for a in arguments if a != "--traceback"], quiet=not wants_traceback)
        sys.stdout.flush()
    except SystemExit as stop:  # tyro has printed help (0) or what is wrong with a flag (2)
        return int(stop.code or 0)
    except BrokenPipeError:
        # the reader of our output has gone (`| head`); Python's own flush at exit must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if wants_traceback:
            traceback.print_exc()
        sentence, exit_code = explain(error)
        print(sentence, file=sys.stderr)
        return exit_code
    return 0


def _dispatch(arguments: list[str], quiet: bool) -> None:
    if arguments in (["--help"], ["-h"]):
        print(help_page())
        return
    if arguments == ["--version"]:
        print(f"assay {assay.__version__}")
        return
    name, rest = _split_verb(arguments)
    config = parse(name, rest)
    if quiet:
        _quieten()
    result = _load(VERBS[name].run)(config)
    if result is None:  # a worker of a distributed run: the main process reports
        return
    wants_json = getattr(config, "json", False)
    print(json.dumps(result.to_dict(), ensure_ascii=False) if wants_json else str(result))


def help_page() -> str:
    """What ``assay --help`` prints."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {name:{width}}{summary(name)}" for name in VERBS)
    return _HELP.format(about=(assay.__doc__ or "").splitlines()[0], verbs=verbs)


def summary(name: str) -> str:
    """The first line of the docstring of a verb's configuration class."""
    return (_load(VERBS[name].config).__doc__ or "").splitlines()[0]


def show_config(config: ShowConfig) -> str:
    """The commented TOML of all defaults of a verb."""
    from assay.toml import default_toml

    name, rest = _split_verb(list(config.verb))
    if rest:
        raise ConfigError(f"'{' '.join(config.verb)}' is not a verb; did you mean '{name}'?")
    return default_toml(_load(VERBS[name].config)).rstrip("\n")


def _split_verb(arguments: list[str]) -> tuple[str, list[str]]:
    for length in (2, 1):
        name = " ".join(arguments[:length])
        if name in VERBS:
            return name, arguments[length:]
    if not arguments or arguments[0].startswith("-"):
        raise ConfigError(f"a verb is wanted first, one of {', '.join(VERBS)}; see assay --help.")
    group = [name for name in VERBS if name.startswith(f"{arguments[0]} ")]
    words = " ".join(arguments[:2]) if group else arguments[0]
    close = get_close_matches(words, group or VERBS) or group
    advice = f"did you mean '{close[0]}'?" if close else f"the verbs are {', '.join(VERBS)}."
    raise ConfigError(f"'{words}' is not a verb; {advice}")


def parse(name: str, arguments: Sequence[str]) -> Any:
    """The configuration of a verb from its arguments: an optional TOML file first, then flags."""
    from assay.toml import is_required, key_of, ordered_fields, read_toml

    config_class = _load(VERBS[name].config)
    defaults: dict[str, Any] = {}
    arguments = list(arguments)
    if arguments and arguments[0].endswith(".toml"):
        defaults = read_toml(arguments.pop(0), config_class)
    config = _parse_flags(config_class, f"assay {name}", arguments, defaults)
    for field in ordered_fields(config_class):
        if is_required(field) and getattr(config, field.name) == ():
            flag = key_of(field).replace("_", "-")
            where = flag.upper() if field.metadata.get("positional") else f"--{flag}"
            raise ConfigError(f"{where} is empty; 'assay {name}' needs at least one value there.")
    return config


def _parse_flags(
    config_class: type, prog: str, arguments: list[str], defaults: Mapping[str, Any]
) -> Any:
    import tyro
    from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

    registry = ConstructorRegistry()

    @registry.struct_rule
    def our_fields(info: StructTypeInfo) -> StructConstructorSpec | None:
        return _flags(config_class, defaults) if info.type is config_class else None

    return tyro.cli(
        config_class,
        prog=prog,
        description=inspect.getdoc(config_class),
        args=arguments,
        registry=registry,
        config=(tyro.conf.PositionalMetavarFromFieldName,),
    )


def _flags(config_class: type, defaults: Mapping[str, Any]) -> Any:
    """How tyro is told of a configuration class: one flag or positional argument per field."""
    from typing import Annotated, get_type_hints

    import tyro
    from tyro.constructors import StructConstructorSpec, StructFieldSpec

    from assay.toml import field_docs, is_required, key_of, ordered_fields

    hints, docs = get_type_hints(config_class), field_docs(config_class)
    flags = []
    for field in ordered_fields(config_class):
        hint: Any = hints[field.name]
        default = tyro.MISSING if is_required(field) else field.default
        default = defaults.get(field.name, default)
        positional = bool(field.metadata.get("positional"))
        if default is None or default == ():
            # the docstring says what None becomes; "{None}|INT (default: None)" says less
            metavar = _metavar(hint) if default is None and not positional else None
            hint = Annotated[hint, tyro.conf.arg(metavar=metavar, help_behavior_hint="")]
        if positional:
            hint = Annotated[hint, tyro.conf.Positional]
        flags.append(StructFieldSpec(key_of(field), hint, default, helptext=docs[field.name]))

    by_key = {key_of(field): field.name for field in ordered_fields(config_class)}

    def build(**values: Any) -> Any:
        return config_class(**{by_key[key]: value for key, value in values.items()})

    return StructConstructorSpec(instantiate=build, fields=tuple(flags))


def _metavar(hint: Any) -> str:
    """How the help writes the value of a flag that may be left out: INT, or {one,another}."""
    from typing import Literal, get_args, get_origin

    first = get_args(hint)[0]
    if get_origin(first) is Literal:
        return f"{{{','.join(map(str, get_args(first)))}}}"
    return str(first.__name__).upper()


def explain(error: BaseException) -> tuple[str, int]:
    """An error as one sentence, and the exit code it means."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, AssayError):
        return f"{name}: {text}", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted before the end; a training run goes on with --resume.", 1
    # torch's own, and its CPU allocator's RuntimeError, are not MemoryErrors
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or "allocate memory" in text:
        return f"{name}: out of memory; lower --token-budget or --max-length, or free some.", 1
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in text:
        place = getattr(error, "filename", None)
        where = f" while writing '{place}'" if place else ""
        return f"{name}: the disk is full{where}; free some space and run the command again.", 1
    if isinstance(error, OSError):
        reason = error.strerror or (text.splitlines() or [name])[0]
        where = f"'{error.filename}': " if error.filename else ""
        return f"{name}: {where}{reason}; check the path or name and that you may use it.", 2
    first = (text.splitlines() or ["no message"])[0].rstrip(".")
    return f"{name}: {first}. Assay did not expect this: report it with what --traceback shows.", 1


def _quieten() -> None:
    """Silence the libraries' progress bars and warnings; keep ours, one line each."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DATASETS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", module=r"assay\b")
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"Warning: {message}", file=sys.stderr)


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
