"""A reward model whose head has a posterior: every reward comes with its standard deviation.

Letters: R responses of a row · D features.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from assay.atomic import written
from assay.data.contract import Renderer
from assay.data.trees import PackedTrees
from assay.errors import CheckpointError
from assay.models.reward_model import RewardModel
from assay.stats import LastLayerLaplace

LAPLACE = "laplace.safetensors"
"""The file of a run that holds the posterior of its head."""


class LaplaceModel(nn.Module):
    """A reward model with last-layer Laplace: rewards and their deviations from one forward."""

    factor: Tensor
    mean: Tensor

    def __init__(self, model: RewardModel, laplace: LastLayerLaplace):
        super().__init__()
        self.model = model
        device = model.network.device
        self.register_buffer("factor", torch.from_numpy(laplace.factor).to(device))
        self.register_buffer("mean", torch.from_numpy(laplace.mean).to(device))

    @property
    def renderer(self) -> Renderer:
        """The contract with its tokenizer."""
        return self.model.renderer

    @property
    def encoder(self) -> bool:
        """Whether prompts cannot be shared."""
        return self.model.encoder

    @property
    def reward_shape(self) -> tuple[int, ...]:
        """A reward and its deviation."""
        return (2,)

    def forward(self, packed: PackedTrees) -> Float[Tensor, "R two"]:
        """Raw rewards, and their standard deviations against an average response."""
        features = self.model.features(packed)
        centred = features.double() - self.mean
        half = torch.linalg.solve_triangular(self.factor, centred.T, upper=False)
        std = half.square().sum(dim=0).sqrt()
        return torch.stack([self.model.reward_of(features).double(), std], dim=-1)


def save_laplace(laplace: LastLayerLaplace, directory: Path) -> None:
    """Write the posterior beside a run's weights."""
    with written(directory / LAPLACE) as temporary:
        save_file({"factor": laplace.factor, "mean": laplace.mean}, temporary)


def load_laplace(directory: Path) -> LastLayerLaplace:
    """The posterior of a run's head.

    Raises:
        CheckpointError: If it is damaged.
    """
    try:
        tensors = load_file(directory / LAPLACE)
        return LastLayerLaplace(
            np.asarray(tensors["factor"], dtype=np.float64),
            np.asarray(tensors["mean"], dtype=np.float64),
        )
    except (OSError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"{directory / LAPLACE} is damaged ({error}); copy the run again from its source."
        ) from error
