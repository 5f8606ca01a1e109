"""The precision losses are computed in."""

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """float32 from the half precisions; float64 stays, for gradient checks."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
