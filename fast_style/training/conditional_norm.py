"""Conditional instance normalization: one network for many paintings.

The paintings share all convolutions and differ in the scales and shifts of the instance norms
(Dumoulin, Shlens and Kudlur 2017, arXiv 1610.07629, equation 5). The scales and shifts may come
from any source: `PaintingNorms` learns them as a table with one row per painting. With one
painting's scales and shifts folded into its weights, the network is a plain `StyleNetwork`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_style.models.network import StyleNetwork

NormParameters = Sequence[tuple[Tensor, Tensor]]
"""Scale and shift of every norm of a network in the order of `StyleNetwork.norms`, each of shape
(B, C): a row for each picture of a batch."""


def set_norm_parameters(network: StyleNetwork, parameters: NormParameters | None) -> None:
    """Set the scales and shifts that the network's next calls use.

    Args:
        network: its own scales and shifts are not changed.
        parameters: a row for each picture of the next batches; None for the network's own.
    """
    for number, norm in enumerate(network.norms().values()):
        norm.affine = None if parameters is None else parameters[number]


@torch.no_grad()
def fold_norm_parameters(network: StyleNetwork, parameters: NormParameters) -> None:
    """Make the network a plain one for one painting.

    Args:
        network: its own scales and shifts are overwritten.
        parameters: with a single row, (1, C) each.
    """
    set_norm_parameters(network, None)
    for norm, (scale, shift) in zip(network.norms().values(), parameters, strict=True):
        norm.weight.copy_(scale[0])
        norm.bias.copy_(shift[0])


class PaintingNorms(nn.Module):
    """The scales and shifts of a network's norms for each of several paintings, as parameters.

    Attributes:
        names: the paintings' names, in the order of the rows.
        scales: a parameter of shape (paintings, C) for each norm.
        shifts: likewise.
    """

    def __init__(self, network: StyleNetwork, names: Sequence[str]) -> None:
        """Initialize every painting with the network's own scales and shifts.

        Args:
            network: the network that the paintings share.
            names: the paintings' names.
        """
        super().__init__()
        self.names = tuple(names)
        self.scales, self.shifts = nn.ParameterList(), nn.ParameterList()
        for norm in network.norms().values():
            self.scales.append(norm.weight.detach().repeat(len(names), 1))
            self.shifts.append(norm.bias.detach().repeat(len(names), 1))

    def forward(self, paintings: Tensor) -> NormParameters:
        """Look up the scales and shifts of paintings.

        Args:
            paintings: the painting's number for each picture, shape (B,).
        """
        pairs = zip(self.scales, self.shifts, strict=True)
        return [(scale[paintings], shift[paintings]) for scale, shift in pairs]

    def mean(self) -> NormParameters:
        """Return the mean scales and shifts of all paintings, (1, C) each."""
        pairs = zip(self.scales, self.shifts, strict=True)
        return [
            (scale.mean(0, keepdim=True), shift.mean(0, keepdim=True)) for scale, shift in pairs
        ]

    @torch.no_grad()
    def load(
        self, network: StyleNetwork, weights: Sequence[Mapping[str, NDArray[np.float32]]]
    ) -> None:
        """Initialize each painting with the scales and shifts of a model of its own.

        Args:
            network: the network that the paintings share.
            weights: a model's weights for each painting, by parameter name.

        Raises:
            ValueError: there is not one model per painting, or its shapes do not fit.
        """
        for which, parts in (("weight", self.scales), ("bias", self.shifts)):
            for name, part in zip(network.norms(), parts, strict=True):
                rows = np.stack([of_one[f"{name}.{which}"] for of_one in weights])
                if rows.shape != part.shape:
                    raise ValueError(
                        f"{name}.{which} has shape {rows.shape}; expected {tuple(part.shape)}"
                    )
                part.copy_(torch.from_numpy(rows))
