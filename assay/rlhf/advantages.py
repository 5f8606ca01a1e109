"""How much better each token or response was than expected: GAE, RLOO and GRPO.

Pure functions of rewards and values; knows nothing of models.

Letters: T tokens of a response · B responses · K samples of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assay.errors import ConfigError
from assay.stats.arrays import Floats

EPSILON = 1e-8


def token_rewards(score: float, kl: Floats, beta: float) -> Floats:
    """``−β · kl`` at every token, and the score at the last: where the response ends, ``(T,)``.

    Args:
        score: Reward of the whole response.
        kl: k1 of every token, ``(T,)``.
    """
    rewards: Floats = -beta * np.asarray(kl, dtype=np.float64)
    rewards[-1] += score
    return rewards


def gae(rewards: Floats, values: Floats, gamma: float = 1.0, lam: float = 0.95) -> Floats:
    """Generalised advantage estimates, ``(T,)`` (Schulman et al. 2016, arXiv 1506.02438).

    ``A_t = Σ_l (γλ)^l δ_{t+l}`` with ``δ_t = r_t + γ V_{t+1} − V_t``; after the last token there is
    nothing, so V there is 0. Returns are ``A + V``.

    Args:
        rewards: Of every token, ``(T,)``.
        values: What was expected before every token, ``(T,)``.
    """
    following = np.append(values[1:], 0.0)
    deltas = rewards + gamma * following - values
    found = np.empty(len(deltas))
    running = 0.0
    for t in range(len(deltas) - 1, -1, -1):
        running = deltas[t] + gamma * lam * running
        found[t] = running
    return found


def whiten(values: Sequence[Floats], *, shift_mean: bool = True) -> list[Floats]:
    """Values of all tokens of a batch with variance 1, and with mean 0 unless it is kept.

    Padding does not exist here, so nothing is masked. The variance is the biased one, and 1e-8 is
    added to it, as in Ziegler et al. 2019's code.
    """
    whole = np.concatenate(values)
    mean = float(whole.mean())
    scale = 1 / np.sqrt(float(whole.var()) + EPSILON)
    kept = 0.0 if shift_mean else mean
    return [(v - mean) * scale + kept for v in values]


def rloo(scores: Floats) -> Floats:
    """Each score less the mean of the other samples' of its prompt, ``(P, K)``.

    Ahmadian et al. 2024 (arXiv 2402.14740); equals ``K/(K−1) · (R − mean R)``. NaN is a response
    that is left out: it counts for nobody, and its advantage is NaN, as is that of a response
    that is left alone.

    Raises:
        ConfigError: If there is one sample a prompt.
    """
    centred = grpo(scores, scale=False)
    count = np.isfinite(scores).sum(1, keepdims=True)
    advantages: Floats = count / np.maximum(count - 1, 1) * centred
    return advantages


def grpo(scores: Floats, *, scale: bool = True) -> Floats:
    """Each score less its prompt's mean, over their standard deviation, ``(P, K)``.

    Shao et al. 2024 (arXiv 2402.03300); ``scale=False`` keeps the deviation out (Dr. GRPO, arXiv
    2503.20783). A prompt whose scores are all equal teaches nothing: its advantages are 0.

    Raises:
        ConfigError: If there is one sample a prompt.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ConfigError(
            f"The scores have shape {scores.shape}; wanted two or more samples of every prompt, "
            "for each is compared with the others of its prompt."
        )
    known = np.isfinite(scores)
    count = known.sum(1, keepdims=True)
    mean = np.where(known, scores, 0.0).sum(1, keepdims=True) / np.maximum(count, 1)
    centred: Floats = np.where(count < 2, np.nan, scores - mean)
    if not scale:
        return centred
    square = np.where(known, (scores - mean) ** 2, 0.0).sum(1, keepdims=True)
    deviation = np.sqrt(square / np.maximum(count - 1, 1))
    advantages: Floats = centred / (deviation + 1e-4)
    return advantages
