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
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from assay.data.contract import Tokens
from assay.formats.files import cache_dir
from assay.models.backbones import weights_digest
from assay.models.reward_model import RewardModel
from assay.models.scoring import pack_groups
from assay.models.views import View, view_features, view_width

KEY_BYTES = 32

_LOG = logging.getLogger(__name__)


class FeatureCache:
    """Features by conversation, for one frozen backbone read in one way."""

    def __init__(self, directory: Path, width: int, views: Sequence[View] = ()):
        self.directory = directory
        self.width = width
        self.views = tuple(views)
        directory.mkdir(parents=True, exist_ok=True)
        self._rows: dict[bytes, int] = {}
        self._refresh()

    @classmethod
    def of(cls, model: RewardModel, views: Sequence[View] = ()) -> "FeatureCache":
        """The cache of a model's backbone as it is now: weights, layers, pooling and tokenizer.

        Args:
            views: What is read of it. Default: what the model's own head reads.
        """
        parts = (
            weights_digest(model.network.base_model),
            model.contract.digest,
            model.contract.pooling,
            *map(str, views),
        )
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
        width = sum(view_width(model, view) for view in views) or model.head.in_features
        return cls(cache_dir() / "features" / key, width, views)

    def get(
        self,
        model: RewardModel,
        tokens: Sequence[Tokens],
        *,
        token_budget: int,
        progress: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Features ``(B, D)`` of conversations, computing and keeping those not there yet.

        Args:
            progress: Called with the number of conversations just computed or found.
        """
        if not tokens:  # an empty file cannot be mapped
            return np.zeros((0, self.width), dtype=np.float32)
        keys = [_digest(t) for t in tokens]
        with self._locked():
            self._refresh()
            first = {k: i for i, k in reversed(list(enumerate(keys)))}
            missing = [i for i, k in enumerate(keys) if k not in self._rows and first[k] == i]
            if progress:
                progress(len(keys) - len(missing))
            for indexes, packed in pack_groups(
                [tokens[i] for i in missing], token_budget, share=not model.encoder
            ):
                with torch.inference_mode():
                    states = (
                        view_features(model, packed, self.views)
                        if self.views
                        else model.features(packed)
                    )
                rows = states.float().cpu().numpy()
                self._append([keys[missing[i]] for i in indexes], rows)
                if progress:
                    progress(len(indexes))
        table = np.memmap(self._values, dtype=np.float32, mode="r").reshape(-1, self.width)
        return table[[self._rows[k] for k in keys]]

    @property
    def _values(self) -> Path:
        return self.directory / "features.f32"

    @property
    def _index(self) -> Path:
        return self.directory / "index.sha256"

    def _refresh(self) -> None:
        known = self._index.read_bytes() if self._index.exists() else b""
        values = self._values.stat().st_size if self._values.exists() else 0
        # values are written before their keys: a row without a key is one whose run was killed
        whole = min(len(known) // KEY_BYTES, values // (4 * self.width))
        self._rows = {known[i * KEY_BYTES : (i + 1) * KEY_BYTES]: i for i in range(whole)}

    def _append(self, keys: list[bytes], rows: NDArray[np.float32]) -> None:
        start = len(self._rows)
        with self._values.open("ab") as values, self._index.open("ab") as index:
            values.truncate(start * self.width * 4)
            index.truncate(start * KEY_BYTES)
            values.write(np.ascontiguousarray(rows).tobytes())
            values.flush()
            os.fsync(values.fileno())
            index.write(b"".join(keys))
        self._rows.update({key: start + i for i, key in enumerate(keys)})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process computes at a time; others wait and find the rows."""
        with (self.directory / "lock").open("w") as handle:
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
