"""Two backbones that look at the same picture: what one overlooks, the other may see."""

import torch
from torch import Tensor, nn


class Rescale(nn.Module):
    """Takes pictures scaled for one backbone, and gives them as another wants them.

    Scaled is (pixels - mean) / std, a channel.
    """

    factor: Tensor
    shift: Tensor

    def __init__(
        self,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        wanted_mean: tuple[float, float, float],
        wanted_std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        given, spread = torch.tensor(mean), torch.tensor(std)
        middle, wanted = torch.tensor(wanted_mean), torch.tensor(wanted_std)
        shape = (1, 3, 1, 1)
        self.register_buffer("factor", (spread / wanted).view(shape), persistent=False)
        self.register_buffer("shift", ((given - middle) / wanted).view(shape), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, 3, S, S) -> float (N, 3, S, S)."""
        return x * self.factor + self.shift


class Paired(nn.Module):
    """Float (N, 3, S, S), scaled for the first -> float (N, D1 + D2, h, w).

    Their maps have the same height and width, and features of about the same total variance.
    The second's count half: at full weight it helped no more on other sources, and hurt where
    something is before a face.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(x) * 0.5], 1)
