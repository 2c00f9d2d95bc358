"""Random changes to training pictures: uint8 (3, S, S) -> uint8 (3, S, S).

Judging never comes here, and neither does the service: both take the plain pixels. Whatever is
drawn comes from the generator that is passed in, for torchvision's transform classes draw from
the process's one (vision#7027); so a picture's change depends on nothing but its own seed, in
whichever thread and order it is made, and a resumed run draws what the first would have drawn.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from training.backbones.torchvision_compat import torchvision

Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Augmentation:
    """Which changes are made, how often (a share of the pictures, 0..1) and how strongly.

    Attributes:
        mirror: Share mirrored left to right. Set to 0 where left and right tell classes apart
            (script, a raised hand).
        turn: Share turned, about the middle; corners that this uncovers are filled by reflection.
        turn_deg: Most that these are turned, either way, in degrees.
        crop_area: Least and largest share of the area that a crop keeps. ImageNet's 0.08 would
            often cut off what tells the classes apart; 0.6 still holds it nearly always.
        crop_aspect: Most that a crop's width over height is off 1, as a factor: the decoder
            squeezes any aspect into a square, and photographs are 4:3 one way or the other.
        light: Brightness and contrast are multiplied by 1 - light to 1 + light, each.
        colour: Saturation likewise. The hue stays: colour may be what a class is told by.
        grey: Share turned grey, so that colour alone is never enough.
        relight: Share put under quite another light: `light` and `colour` are small changes of
            every picture, these are large ones of a few, light from one side and a tint among them.
        coarse: Share shrunk and blown up again, as enlarged small pictures are.
        coarsest: Most that such a picture is shrunk by, as a factor.
        blur: Share blurred: out of focus, or moved.
        blur_sigma: Least and largest standard deviation of the blur, in hundredths of S.
        erase: Share with a rectangle painted over (Zhong et al. 2017): something in the way.
        erase_area: Least and largest share of the area painted over; small, for a large one can
            hide the very thing.
    """

    mirror: float = 0.5
    turn: float = 0.0
    turn_deg: float = 25.0
    crop_area: tuple[float, float] = (0.6, 1.0)
    crop_aspect: float = 4 / 3
    light: float = 0.3
    colour: float = 0.3
    grey: float = 0.1
    relight: float = 0.0
    coarse: float = 0.2
    coarsest: float = 4.0
    blur: float = 0.1
    blur_sigma: tuple[float, float] = (0.2, 0.9)
    erase: float = 0.2
    erase_area: tuple[float, float] = (0.02, 0.12)

    def as_dict(self) -> dict[str, Any]:
        """For the manifest and the checkpoint's key."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


def augmenter(choices: Augmentation) -> Augment:
    """Load the transforms, once, and bind them to the choices.

    Returns:
        A function of one picture, uint8 (3, S, S), and a generator; the picture is not changed
        in place. May be called from several threads, each with its own generator.
    """
    package = torchvision().__name__
    transforms: Any = importlib.import_module(".transforms.v2.functional", package)

    def augment(pixels: Tensor, random: torch.Generator) -> Tensor:
        edge = pixels.shape[-1]
        # All draws first and always the same number: a share that is changed changes no other.
        draws = torch.rand(24, generator=random, dtype=torch.float64).tolist()
        picture = pixels
        if draws[16] < choices.turn:
            degrees = choices.turn_deg * (2 * draws[16] / choices.turn - 1)
            rim = edge // 4  # of a square turned by 45 degrees, a fifth of its edge is uncovered
            picture = transforms.pad(picture, [rim] * 4, padding_mode="reflect")
            picture = transforms.rotate(picture, degrees, transforms.InterpolationMode.BILINEAR)
            picture = transforms.center_crop(picture, [edge, edge])
        top, left, height, width = _box(edge, choices.crop_area, choices.crop_aspect, draws[:4])
        picture = transforms.resized_crop(
            picture, top, left, height, width, [edge, edge], antialias=True
        )
        if draws[4] < choices.mirror:
            picture = transforms.horizontal_flip(picture)
        picture = transforms.adjust_brightness(picture, 1 + choices.light * (2 * draws[5] - 1))
        picture = transforms.adjust_contrast(picture, 1 + choices.light * (2 * draws[6] - 1))
        picture = transforms.adjust_saturation(picture, 1 + choices.colour * (2 * draws[7] - 1))
        if draws[8] < choices.grey:
            picture = transforms.rgb_to_grayscale(picture, num_output_channels=3)
        if draws[17] < choices.relight:
            picture = _relit(transforms, picture, [*draws[18:24], draws[17] / choices.relight])
        # A draw below its share is, divided by it, again a draw from 0 to 1.
        if draws[9] < choices.coarse:
            small = max(2, round(edge / choices.coarsest ** (draws[9] / choices.coarse)))
            picture = transforms.resize(picture, [small, small], antialias=True)
            picture = transforms.resize(picture, [edge, edge], antialias=True)
        if draws[10] < choices.blur:
            sigma = edge * _between(choices.blur_sigma, draws[10] / choices.blur) / 100
            kernel = 2 * math.ceil(2 * sigma) + 1
            picture = transforms.gaussian_blur(picture, [kernel, kernel], [sigma, sigma])
        if draws[11] < choices.erase:
            share = [draws[11] / choices.erase, *draws[12:15]]
            top, left, height, width = _box(edge, choices.erase_area, 2.0, share)
            shade = torch.full((1, 1, 1), int(256 * draws[15]), dtype=torch.uint8)
            picture = transforms.erase(picture, top, left, height, width, shade)
        return picture.contiguous()

    return augment


def _relit(transforms: Any, picture: Tensor, draws: list[float]) -> Tensor:
    """Under another light, from seven draws of 0..1."""
    picture = transforms.adjust_brightness(picture, 0.5 + draws[0])
    picture = transforms.adjust_contrast(picture, 0.5 + draws[1])
    picture = transforms.adjust_saturation(picture, 0.3 + 1.4 * draws[2])
    across = torch.linspace(-1, 1, picture.shape[-1])
    angle = 2 * math.pi * draws[3]
    plane = math.cos(angle) * across + math.sin(angle) * across[:, None]
    tint = torch.tensor([[[draws[5]]], [[1 - draws[5]]], [[draws[6]]]]) - 0.5
    lit = picture * (1 + 0.5 * draws[4] * plane) * (1 + 0.3 * tint)
    return lit.clamp(0, 255).to(torch.uint8)


def _between(ends: tuple[float, float], draw: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * draw


def _box(
    edge: int, areas: tuple[float, float], aspect: float, draws: list[float]
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random rectangle, from four draws of 0..1."""
    area = _between(areas, draws[0]) * edge * edge
    ratio = aspect ** (2 * draws[1] - 1)  # evenly on the logarithmic scale
    width = max(1, min(edge, round(math.sqrt(area * ratio))))
    height = max(1, min(edge, round(math.sqrt(area / ratio))))
    top, left = int(draws[2] * (edge - height + 1)), int(draws[3] * (edge - width + 1))
    return top, left, height, width
