"""The process reward model: a backbone with a head that is read at the end of every step.

Packed trees of the beginnings of solutions in, one row of class logits per beginning out. Knows
nothing of losses, files of solutions or training loops.

Letters: R beginnings of a row · D hidden width · C outputs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.configs import StepRead, Truncation
from assay.data.contract import Renderer, make_contract
from assay.data.step_contract import CLASSES, StepContract, StepRenderer, make_step_contract
from assay.data.trees import PackedTrees
from assay.errors import BackboneError
from assay.models import attention
from assay.models.backbone_model import BackboneModel
from assay.models.backbones import (
    check_context,
    default_device,
    initialise_head,
    load_network,
    load_tokenizer,
    not_finite,
    resolve_backbone,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ProcessRewardModel(BackboneModel):
    """A backbone with a step head, the contract by which it reads, and that for steps.

    Attributes:
        head: From the state at a step's end to C logits; linear, or somebody else's own layers.
        steps: Where steps end and what the outputs mean.
        members: The heads of an ensemble side by side (M · C outputs), whose mean ``head`` is.
    """

    def __init__(
        self,
        network: "PreTrainedModel",
        renderer: Renderer,
        steps: StepContract,
        *,
        backbone: str,
        head: nn.Module | None = None,
        engine: str = "padded",
    ):
        super().__init__(network, renderer, backbone=backbone, engine=engine)
        self.steps = steps
        if head is None:
            head = nn.Linear(hidden_size(network), len(steps.classes))
        self.head = head
        self.members: nn.Linear | None = None
        self.eval()

    @classmethod
    def from_backbone(
        cls,
        name: str,
        *,
        separator: str = "\n",
        read: StepRead = "auto",
        classes: str = "two",
        max_length: int = 1024,
        truncation: Truncation = "drop",
        engine: str = "auto",
        seed: int = 0,
    ) -> "ProcessRewardModel":
        """A process model with a fresh head on a backbone: a packaged or hub name, or a directory.

        Args:
            classes: ``one``, ``two`` or ``three`` outputs: see ``configs.ProcessTraining``.

        Raises:
            BackboneError: If the backbone is missing or of a kind that cannot be used.
            ContractError: If its tokenizer cannot end a response, or leaves the separator out.
            ConfigError: If ``max_length`` is more than the backbone can read.
        """
        location = resolve_backbone(name)
        tokenizer = load_tokenizer(location)
        contract = make_contract(tokenizer, max_length=max_length, truncation=truncation)
        steps = make_step_contract(
            tokenizer, separator=separator, read=read, classes=CLASSES[classes]
        )
        attention.register()
        pad_id: Any = tokenizer.convert_tokens_to_ids(contract.pad_token)
        network = load_network(location, pad_token_id=pad_id, attention="eager", seed=seed)
        check_context(network.config, max_length, name)
        bad = not_finite(network.base_model.state_dict())
        if bad:
            raise BackboneError(
                f"{name}: weight {bad} holds NaN or infinite values; get the backbone again."
            )
        model = cls(network, Renderer(contract, tokenizer), steps, backbone=name)
        assert isinstance(model.head, nn.Linear)
        initialise_head(model.head, seed)
        from assay.models.probe import choose_engine

        model.to(default_device())
        model.set_engine(choose_engine(model, engine))
        return model

    def save(self, directory: str | Path, record: Mapping[str, Any] | None = None) -> Path:
        """Write model, contracts, golden solutions and manifest."""
        from assay.models.process_checkpoint import save_process

        return save_process(self, directory, record)

    @classmethod
    def load(
        cls,
        directory: str | Path,
        *,
        engine: str = "auto",
        preset: str | None = None,
        separator: str | None = None,
    ) -> "ProcessRewardModel":
        """A saved process model, or somebody else's of a kind that a preset knows."""
        from assay.models.process_checkpoint import load_process

        return load_process(directory, engine=engine, preset=preset, separator=separator)

    @property
    def step_renderer(self) -> StepRenderer:
        """Both contracts with their tokenizer."""
        return StepRenderer(self.renderer, self.steps)

    def set_heads(self, heads: Sequence[nn.Linear]) -> None:
        """Make linear heads the model's own: one, or the members of an ensemble and their mean."""
        device = self.network.device
        self.head = mean_head(heads).to(device)
        self.members = side_by_side(heads).to(device) if len(heads) > 1 else None

    @property
    def num_members(self) -> int:
        """M; 1 for a single model."""
        return 1 if self.members is None else self.members.out_features // len(self.steps.classes)

    @property
    def reward_shape(self) -> tuple[int, ...]:
        """C numbers a beginning, and of an ensemble C more of each member."""
        outputs = len(self.steps.classes)
        return (outputs if self.members is None else outputs * (1 + self.num_members),)

    @property
    def width(self) -> int:
        """How many numbers the head reads."""
        return hidden_size(self.network)

    def forward(self, packed: PackedTrees) -> Float[Tensor, "R C"]:
        """Logits at the end of every beginning, in order, float32; then those of all members."""
        features = self.features(packed)
        logits = self.logits_of(features)
        if self.members is None:
            return logits
        with torch.autocast(features.device.type, enabled=False):
            return torch.cat([logits, self.members(features.float())], dim=-1)

    def logits_of(self, features: Float[Tensor, "R D"]) -> Float[Tensor, "R C"]:
        """The head's outputs, in float32 whatever the backbone's precision."""
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features.float()).float()
        return logits


def mean_head(heads: Sequence[nn.Linear]) -> nn.Linear:
    """The head of mean weights, which gives the mean of the heads' logits."""
    mean = nn.Linear(heads[0].in_features, heads[0].out_features)
    with torch.no_grad():
        mean.weight.copy_(torch.stack([h.weight.detach().cpu() for h in heads]).mean(0))
        mean.bias.copy_(torch.stack([h.bias.detach().cpu() for h in heads]).mean(0))
    return mean


def side_by_side(heads: Sequence[nn.Linear]) -> nn.Linear:
    """One layer with the outputs of all heads, one head after the other."""
    joined = nn.Linear(heads[0].in_features, sum(h.out_features for h in heads))
    with torch.no_grad():
        joined.weight.copy_(torch.cat([h.weight.detach().cpu() for h in heads]))
        joined.bias.copy_(torch.cat([h.bias.detach().cpu() for h in heads]))
    return joined


def hidden_size(network: "PreTrainedModel") -> int:
    """D of a backbone."""
    config: Any = network.config
    return int(config.get_text_config().hidden_size)


def class_logits(logits: Float[Tensor, "R C"]) -> Float[Tensor, "R K"]:
    """Logits to take a softmax of; one output is the logit of good against bad (K = 2)."""
    if logits.shape[-1] > 1:
        return logits
    return torch.cat([torch.zeros_like(logits), logits], dim=-1)


def step_rewards(logits: Float[Tensor, "R C"], classes: tuple[str, ...]) -> Float[Tensor, "R"]:
    """P(the step is right): 1 - P(bad), so that a neutral step counts as right.

    Lightman et al. 2023, appendix F, takes the probability that a step is positive; with neutral
    counted as positive, which is best there, that is this.
    """
    named = classes if len(classes) > 1 else ("bad", *classes)
    return 1 - torch.softmax(class_logits(logits).double(), dim=-1)[:, named.index("bad")]
