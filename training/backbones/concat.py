"""Two backbones on the same picture, their feature maps joined channel by channel."""

import torch
from torch import Tensor, nn


class Rescale(nn.Module):
    """Pixels scaled for one backbone -> pixels scaled for another.

    Both are scaled per channel: (pixels - mean) / std.
    """

    factor: Tensor
    shift: Tensor

    def __init__(
        self,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        target_mean: tuple[float, float, float],
        target_std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        from_mean, from_std = torch.tensor(mean), torch.tensor(std)
        to_mean, to_std = torch.tensor(target_mean), torch.tensor(target_std)
        shape = (1, 3, 1, 1)
        self.register_buffer("factor", (from_std / to_std).view(shape), persistent=False)
        self.register_buffer(
            "shift", ((from_mean - to_mean) / to_std).view(shape), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Rescale float (N, 3, S, S)."""
        return x * self.factor + self.shift


class Concat(nn.Module):
    """Float (N, 3, S, S), scaled for the first -> float (N, D1 + D2, h, w).

    Both feature maps have the same height and width, and about the same total variance. The
    second is halved: at full weight it helped no more on other sources, and hurt where an object
    covers part of a face.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(x) * 0.5], 1)
