"""Every error a user can cause, each one sentence: what was wanted, what came, where, what to do.

Each class also inherits the fitting built-in, so ``except ValueError`` keeps working. The command
line prints the sentence alone and exits with ``exit_code``; ``--traceback`` shows the rest.
"""

from collections.abc import Sequence
from importlib.util import find_spec


class AssayError(Exception):
    """Base of all errors a user can cause."""

    exit_code = 2


class DataError(AssayError, ValueError):
    """A file or row is not what a preference format asks for."""


class ConfigError(AssayError, ValueError):
    """A setting cannot work, alone or with another."""


class ContractError(AssayError, ValueError):
    """A conversation cannot be rendered or tokenised as the scoring contract demands."""


class BackboneError(AssayError, ValueError):
    """A backbone is unknown, missing, or of a kind Assay cannot use."""


class CheckpointError(AssayError, ValueError):
    """A run directory is incomplete, damaged, or not a reward model."""


class DriftError(AssayError, RuntimeError):
    """Golden conversations no longer get the rewards they were saved with."""

    exit_code = 1


class TrainingError(AssayError, RuntimeError):
    """The job itself failed: a loss became NaN, the disk filled, the run was interrupted."""

    exit_code = 1


class StoreError(AssayError, RuntimeError):
    """The preference store cannot be opened, or does not hold what was asked for."""


class StoreUnavailableError(StoreError):
    """The store's database is away, locked or read-only.

    Args:
        told: What visitors of a site are told: the message without the database's path or host.
    """

    exit_code = 1

    def __init__(self, message: str, told: str = "The store does not answer; try again."):
        super().__init__(message)
        self.told = told


class StoreFullError(StoreUnavailableError):
    """The disk under the store is full."""


class StoreDamagedError(StoreUnavailableError):
    """The file is no database, or is one no more."""

    exit_code = 2


class MissingExtraError(AssayError, ImportError):
    """A verb needs an optional extra that is not installed."""


def require_extra(extra: str, what: str, packages: Sequence[str]) -> None:
    """Check that the packages of an optional extra can be imported, without importing them.

    Args:
        what: Who needs them, as the sentence begins: "assay audit".

    Raises:
        MissingExtraError: With the one command that adds them.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            f"{what} needs {' and '.join(missing)}, which the extra '{extra}' has; "
            f"add it with: pip install 'assay[{extra}]'"
        )
