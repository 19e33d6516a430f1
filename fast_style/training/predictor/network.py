"""The shared style network and the perceptron that predicts its norm parameters."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fast_style.models.network import StyleNetwork
from fast_style.models.predictor import BIAS_UNIT
from fast_style.training.conditional_norm import set_norm_parameters
from fast_style.training.predictor.descriptor import StyleDescriptor

HIDDEN = 304
"""Width of the two hidden layers: 1.4 million parameters for `standard`."""


class NormPredictor(nn.Module):
    """A perceptron from descriptors to the norm parameters, as `models.predictor` defines."""

    def __init__(self, inputs: int, start: Tensor) -> None:
        """Initialize: every painting has about the parameters `start`.

        Args:
            inputs: size of a descriptor.
            start: shape (N,).
        """
        super().__init__()
        self.first = nn.Linear(inputs, HIDDEN)
        self.second = nn.Linear(HIDDEN, HIDDEN)
        self.last = nn.Linear(HIDDEN, len(start))
        nn.init.normal_(self.last.weight, std=0.01 / HIDDEN**0.5)
        nn.init.zeros_(self.last.bias)
        self.start = nn.Parameter(start.clone())

    def forward(self, descriptors: Tensor) -> Tensor:
        """Predict norm parameters, (B, N), from descriptors, (B, D)."""
        hidden = functional.silu(self.first(descriptors))
        hidden = hidden + functional.silu(self.second(hidden))
        parameters: Tensor = self.start + self.last(hidden)
        return parameters


class PredictedNetwork(nn.Module):
    """One style network for all paintings, with the descriptor and the predictor of its norms.

    Attributes:
        network: the shared network; its own norm parameters and last bias are not used.
        descriptor: describes paintings.
        predictor: predicts the norm parameters.
    """

    def __init__(self, network: StyleNetwork) -> None:
        """Create a predictor that gives every painting the network's own norm parameters.

        Args:
            network: used as it is, not copied.
        """
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        norms = list(network.norms().values())
        bias = network.get_parameter("output.bias")
        parts = [norm.weight for norm in norms] + [norm.bias for norm in norms]
        self.descriptor = StyleDescriptor()
        start = torch.cat([*parts, bias / BIAS_UNIT]).detach()
        self.predictor = NormPredictor(len(self.descriptor.center), start)
        for norm in norms:
            norm.requires_grad_(False)
        bias.requires_grad_(False)

    def stylize(self, images: Tensor, parameters: Tensor, wrap: bool = False) -> Tensor:
        """Stylize each image with norm parameters of its own.

        Args:
            images: RGB, (B, 3, H, W), range [0, 1].
            parameters: (B, N), of the predictor.
            wrap: pad by wrapping around, as training does.

        Returns:
            RGB of the same shape, not clamped.
        """
        sizes = [norm.weight.numel() for norm in self.network.norms().values()]
        total = sum(sizes)
        scales = torch.split(parameters[:, :total], sizes, 1)
        shifts = torch.split(parameters[:, total : 2 * total], sizes, 1)
        set_norm_parameters(self.network, list(zip(scales, shifts, strict=True)))
        bias = parameters[:, 2 * total :] * BIAS_UNIT
        pictures: Tensor = self.network(images, wrap=wrap)
        return (
            pictures + ((bias - self.network.get_parameter("output.bias")) / 255)[:, :, None, None]
        )

    def load(
        self,
        shared: Mapping[str, NDArray[np.float32]],
        constants: Mapping[str, NDArray[np.float32]],
    ) -> None:
        """Load the weights of a `models.predictor.StylePredictor`.

        Raises:
            RuntimeError: a weight is missing or has another shape.
        """
        weights = {f"network.{name}": value for name, value in shared.items()} | dict(constants)
        self.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
