"""Many paintings in one network: what differs between them is the norms' scales and shifts.

Conditional instance normalization, Dumoulin, Shlens and Kudlur 2017 (arXiv 1610.07629). Folded
with one painting's scales and shifts, or with the mean of all, it is a plain `StyleNetwork`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_style.models.network import StyleNetwork


class StyleBank(nn.Module):
    """The scales and shifts of a network's norms for each of several paintings."""

    def __init__(self, network: StyleNetwork, names: Sequence[str]) -> None:
        """Start every painting from the network's own scales and shifts.

        The network's own are trained no further; `fold` sets them.

        Args:
            network: the network that the paintings share.
            names: the paintings' names.
        """
        super().__init__()
        self.names = tuple(names)
        self._network = [network]  # in a list: its weights are not the bank's
        self.scales, self.shifts = nn.ParameterList(), nn.ParameterList()
        for norm in network.norms().values():
            self.scales.append(norm.weight.detach().repeat(len(names), 1))
            self.shifts.append(norm.bias.detach().repeat(len(names), 1))
            norm.requires_grad_(False)

    def choose(self, paintings: Tensor | None) -> None:
        """Set each picture's painting for the network's next calls.

        Args:
            paintings: numbers, shape (B,); None for the network's own scales and shifts.
        """
        norms = self._network[0].norms().values()
        for norm, scale, shift in zip(norms, self.scales, self.shifts, strict=True):
            norm.affine = None if paintings is None else (scale[paintings], shift[paintings])

    @torch.no_grad()
    def load(self, weights: Sequence[Mapping[str, NDArray[np.float32]]]) -> None:
        """Start each painting from the scales and shifts of a network of its own.

        Args:
            weights: of the networks by parameter name, in the paintings' order.

        Raises:
            ValueError: they are of another shape, or not one for each painting.
        """
        names = list(self._network[0].norms())
        for which, parts in (("weight", self.scales), ("bias", self.shifts)):
            for name, part in zip(names, parts, strict=True):
                given = np.stack([of_one[f"{name}.{which}"] for of_one in weights])
                if given.shape != part.shape:
                    raise ValueError(f"{name}.{which}: {given.shape} given for {part.shape}")
                part.copy_(torch.from_numpy(given))

    @torch.no_grad()
    def fold(self, painting: int | None) -> None:
        """Make the network a plain one: of one painting, or of the mean of all where None."""
        self.choose(None)
        norms = self._network[0].norms().values()
        for norm, scale, shift in zip(norms, self.scales, self.shifts, strict=True):
            norm.weight.copy_(scale.mean(0) if painting is None else scale[painting])
            norm.bias.copy_(shift.mean(0) if painting is None else shift[painting])
