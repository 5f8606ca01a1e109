"""The feature cache: what a frozen backbone says of a conversation, computed once and kept on disk.

Rows of float32 features in a memory-mapped file beside an index of token digests, appended as they
are computed, so an interrupted run goes on where it stopped and every epoch, seed, split and head
reuses them.
"""

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from assay.data.contract import Tokens
from assay.data.trees import PackedTrees
from assay.formats.files import cache_dir
from assay.models.backbone_model import BackboneModel
from assay.models.backbones import layer_list, weights_digest
from assay.models.scoring import pack_groups
from assay.models.views import View, view_features, view_width

KEY_BYTES = 32

_LOG = logging.getLogger(__name__)


class FeatureCache:
    """Features by conversation, for one frozen backbone read in one way, or in several views.

    Each view is kept by itself, so that other sets of views reuse what is there.
    """

    def __init__(self, stores: Sequence["_Store"], views: Sequence[View] = ()):
        self.stores = tuple(stores)
        self.views = tuple(views)

    @classmethod
    def of(cls, model: BackboneModel, views: Sequence[View] = ()) -> "FeatureCache":
        """The cache of a model's backbone as it is now: weights, layers, pooling and tokenizer.

        Args:
            views: What is read of it. Default: what the model's own head reads.
        """
        read = (weights_digest(model.network.base_model), model.contract.digest)

        def store(name: str, width: int) -> _Store:
            key = hashlib.sha256("\n".join((*read, name)).encode()).hexdigest()[:32]
            return _Store(cache_dir() / "features" / key, width)

        if not views:  # named as the view it is, so that ensembles and single models share it
            depth = len(layer_list(model.network.base_model))
            return cls([store(f"{depth}:{model.contract.pooling}", model.width)])
        return cls([store(str(view), view_width(model, view)) for view in views], views)

    def get(
        self,
        model: BackboneModel,
        tokens: Sequence[Tokens],
        *,
        token_budget: int,
        progress: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Features ``(B, D)`` of conversations, computing and keeping those not there yet.

        Several views stand side by side.

        Args:
            progress: Called with the number of conversations just computed or found.
        """
        keys = [_digest(t) for t in tokens]
        missing = self._missing(keys)
        if not missing:  # rows are only ever added: what is there needs no lock
            if progress:
                progress(len(keys))
            return self._read(keys)
        with ExitStack() as locks:
            # in one order everywhere, so that no two processes wait for each other
            for directory in sorted({s.directory for s in self.stores}):
                locks.enter_context(_locked(directory))
            missing = self._missing(keys)
            if progress:
                progress(len(keys) - len(missing))
            for indexes, packed in pack_groups(
                [tokens[i] for i in missing], token_budget, share=not model.encoder
            ):
                self._append([keys[missing[i]] for i in indexes], self._compute(model, packed))
                if progress:
                    progress(len(indexes))
        return self._read(keys)

    def _missing(self, keys: Sequence[bytes]) -> list[int]:
        """The first place of every key that is not in all stores."""
        for store in self.stores:
            store.refresh()
        first = {k: i for i, k in reversed(list(enumerate(keys)))}
        return [
            i
            for i, k in enumerate(keys)
            if first[k] == i and any(k not in store.rows for store in self.stores)
        ]

    def _read(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        return np.concatenate([store.read(keys) for store in self.stores], axis=1)

    def _compute(self, model: BackboneModel, packed: PackedTrees) -> NDArray[np.float32]:
        with torch.inference_mode():
            states = (
                view_features(model, packed, self.views) if self.views else model.features(packed)
            )
        rows: NDArray[np.float32] = states.float().cpu().numpy()
        return rows

    def _append(self, keys: list[bytes], rows: NDArray[np.float32]) -> None:
        start = 0
        for store in self.stores:
            store.append(keys, rows[:, start : start + store.width])
            start += store.width


class _Store:
    """Rows of one width in a directory, and the index of what they are of."""

    def __init__(self, directory: Path, width: int):
        self.directory = directory
        self.width = width
        self.rows: dict[bytes, int] = {}
        directory.mkdir(parents=True, exist_ok=True)
        self.refresh()

    def read(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """Rows in the order of the keys."""
        if not keys:  # an empty file cannot be mapped
            return np.zeros((0, self.width), dtype=np.float32)
        # only the rows known: another process may be writing the next
        shape = (max(self.rows.values()) + 1, self.width)
        table = np.memmap(self._values, dtype=np.float32, mode="r", shape=shape)
        return table[[self.rows[k] for k in keys]]

    @property
    def _values(self) -> Path:
        return self.directory / "features.f32"

    @property
    def _index(self) -> Path:
        return self.directory / "index.sha256"

    def refresh(self) -> None:
        """Read the index again: another process may have added rows."""
        known = self._index.read_bytes() if self._index.exists() else b""
        values = self._values.stat().st_size if self._values.exists() else 0
        # values are written before their keys: a row without a key is one whose run was killed
        whole = min(len(known) // KEY_BYTES, values // (4 * self.width))
        self.rows = {known[i * KEY_BYTES : (i + 1) * KEY_BYTES]: i for i in range(whole)}

    def append(self, keys: Sequence[bytes], rows: NDArray[np.float32]) -> None:
        """Add rows that are not there yet."""
        new = [i for i, key in enumerate(keys) if key not in self.rows]
        start = len(self.rows)
        with self._values.open("ab") as values, self._index.open("ab") as index:
            values.truncate(start * self.width * 4)
            index.truncate(start * KEY_BYTES)
            values.write(np.ascontiguousarray(rows[new]).tobytes())
            values.flush()
            os.fsync(values.fileno())
            index.write(b"".join(keys[i] for i in new))
        self.rows.update({keys[i]: start + n for n, i in enumerate(new)})


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process computes at a time; others wait and find the rows."""
    with (directory / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _LOG.warning("waiting for another process that computes features of this backbone")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _digest(tokens: Tokens) -> bytes:
    return hashlib.sha256(
        tokens.ids.tobytes() + tokens.response_start.to_bytes(8, "little")
    ).digest()
