"""The loss of step rewards: cross-entropy against labels, or against what is known as a share.

Letters: N judged steps · C outputs · K classes.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from assay.models.process_model import class_logits


def step_cross_entropy(
    logits: Float[Tensor, "N C"], targets: Float[Tensor, "N K"]
) -> Float[Tensor, "N"]:
    """Cross-entropy of each step, ``-Σ_k t_k log softmax(z)_k``, in float32.

    With a share as target, the soft estimation of Wang et al. 2024 (Math-Shepherd), eq. 3 and 4.

    Args:
        logits: One output is the logit of good against bad (K = 2).
        targets: Each row sums to 1.
    """
    return -(targets * torch.log_softmax(class_logits(logits).float(), dim=-1)).sum(dim=-1)
