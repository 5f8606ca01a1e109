"""What a policy and a value model are moved by: the clipped losses of PPO.

Pure functions of tensors, one value a token. Letters: N tokens.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def policy_loss(
    logprobs: Float[Tensor, N],
    old: Float[Tensor, N],
    advantages: Float[Tensor, N],
    clip: float = 0.2,
) -> Float[Tensor, N]:
    """``max(−A ρ, −A clip(ρ, 1 ± ε))`` with ``ρ = π/π_old`` (Schulman et al. 2017, 1707.06347)."""
    ratio = torch.exp(logprobs - old)
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))


def value_loss(
    values: Float[Tensor, N],
    old: Float[Tensor, N],
    returns: Float[Tensor, N],
    clip: float = 0.2,
) -> Float[Tensor, N]:
    """``½ max((V − R)², (clip(V, V_old ± ε) − R)²)``, as in Ziegler et al. 2019's code."""
    near = torch.minimum(torch.maximum(values, old - clip), old + clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (near - returns) ** 2)
