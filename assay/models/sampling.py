"""The choice of the next token, one independent stream of random numbers for each sample.

Pure functions of logits and uniform numbers; knows nothing of networks and text.

Letters: B rows · V vocabulary.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

BLOCK = 256
"""Tokens whose weights are summed together before one of them is looked for."""


def uniforms(seed: int, prompt: int, sample: int, count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), the same for a sample whatever is drawn beside it.

    The first ones do not depend on ``count``. ``prompt`` may be any number that tells one prompt
    from another.
    """
    sequence = np.random.SeedSequence([seed, prompt, sample])
    return np.random.Generator(np.random.Philox(sequence)).random(count)


def choose(
    logits: Float[Tensor, "B V"],
    uniform: Float[Tensor, "B"],
    temperature: float,
    top_p: float = 1.0,
) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
    """The next tokens and their log-probabilities at the temperature they are drawn at.

    ``log softmax(logits / temperature)``, before ``top_p`` takes the unlikely away: what a policy
    gradient needs. Temperature 0 takes the likeliest token; its log-probability is that at
    temperature 1.

    Args:
        uniform: One number in [0, 1) a row; the token is where it falls in the cumulated
            probabilities, in the vocabulary's order.
        top_p: Draw from the likeliest tokens that together have this probability (Holtzman et al.
            2020).
    """
    logprobs = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
    if temperature == 0:
        tokens = logprobs.argmax(-1)
    else:
        probabilities = logprobs.exp() if top_p >= 1 else _nucleus(logprobs.double().exp(), top_p)
        tokens = _draw(probabilities, uniform.double())
    return tokens, logprobs.gather(-1, tokens[:, None])[:, 0]


def _nucleus(probabilities: Float[Tensor, "B V"], top_p: float) -> Float[Tensor, "B V"]:
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    # the likeliest token stays, whatever top_p is
    kept = (before < top_p) | (torch.arange(ordered.shape[-1], device=ordered.device) == 0)
    return torch.zeros_like(probabilities).scatter(-1, order, ordered * kept)


def _draw(weights: Float[Tensor, "B V"], uniform: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """Where the uniform numbers fall in the cumulated weights: first in which block, then where.

    Cumulating blocks and one of them, in double, spares a row of the vocabulary's width.
    """
    rows, size = weights.shape
    blocks = nn.functional.pad(weights, (0, -size % BLOCK)).view(rows, -1, BLOCK)
    ends = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    total = ends[:, -1]
    # below the total, so that rounding cannot choose a token of weight 0 at the end
    point = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    block = torch.searchsorted(ends, point[:, None], right=True)
    before = torch.where(block > 0, ends.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks[torch.arange(rows, device=weights.device), block[:, 0]].double().cumsum(-1)
    place = torch.searchsorted(inside, point[:, None] - before, right=True)[:, 0]
    last = (inside < inside[:, -1:]).sum(-1)  # the last token of the block with any weight
    return block[:, 0] * BLOCK + torch.minimum(place, last)
