"""Data augmentation: random changes to training pictures, uint8 (3, S, S) -> uint8 (3, S, S).

Evaluation and the service never augment: both take the plain pixels. All random numbers come
from the generator that is passed in, because torchvision's transform classes draw from the
global one (vision#7027). So an augmented picture depends on its seed only, in any thread and
order, and a resumed run repeats the first one's.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.backbones.torchvision_compat import torchvision

Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Augmentation:
    """Kinds of change, their frequency (a share of the pictures, 0..1) and their strength.

    Attributes:
        mirror: Share mirrored left to right. Set it to 0 if left and right distinguish classes
            (script, a raised hand).
        turn: Share rotated about the centre; uncovered corners are filled by reflection.
        turn_deg: Max rotation in either direction, in degrees.
        crop_area: Min and max share of the area that a crop keeps. ImageNet's 0.08 would often
            cut off what distinguishes the classes; 0.6 nearly always keeps it.
        crop_aspect: Max aspect ratio of a crop, and 1 / min: the decoder squeezes any aspect
            into a square, and photographs are 4:3 or 3:4.
        light: Brightness and contrast are each multiplied by 1 - light to 1 + light.
        colour: Saturation likewise. The hue stays, because colour may define a class.
        grey: Share converted to grey, so that colour alone is never enough.
        relight: Share put under a very different light. `light` and `colour` are small changes
            of every picture; these are large ones of a few, including light from one side
            and a tint.
        coarse: Share shrunk and enlarged again, as enlarged small pictures look.
        coarsest: Max factor that such a picture is shrunk by.
        blur: Share blurred, as out of focus or moved.
        blur_sigma: Min and max standard deviation of the blur, in hundredths of S.
        erase: Share with a rectangle painted over (Zhong et al. 2017), as if something is in front.
        erase_area: Min and max share of the area painted over; small, because a large one can
            hide the subject.
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


def make_augment(params: Augmentation) -> Augment:
    """Load the transforms once, and bind them to their parameters.

    Returns:
        A function of one picture, uint8 (3, S, S), and a generator. It does not change the
        picture in place, and threads may share it if each has its own generator.
    """
    package = torchvision().__name__
    transforms: Any = importlib.import_module(".transforms.v2.functional", package)

    def augment(pixels: Tensor, random: torch.Generator) -> Tensor:
        edge = pixels.shape[-1]
        # All draws first and always as many: changing one share changes no other draw.
        draws = torch.rand(24, generator=random, dtype=torch.float64).tolist()
        picture = pixels
        if draws[16] < params.turn:
            degrees = params.turn_deg * (2 * draws[16] / params.turn - 1)
            rim = edge // 4  # turning a square by 45 degrees uncovers a fifth of its edge
            picture = transforms.pad(picture, [rim] * 4, padding_mode="reflect")
            picture = transforms.rotate(picture, degrees, transforms.InterpolationMode.BILINEAR)
            picture = transforms.center_crop(picture, [edge, edge])
        top, left, height, width = _box(edge, params.crop_area, params.crop_aspect, draws[:4])
        picture = transforms.resized_crop(
            picture, top, left, height, width, [edge, edge], antialias=True
        )
        if draws[4] < params.mirror:
            picture = transforms.horizontal_flip(picture)
        if params.light:
            picture = transforms.adjust_brightness(picture, 1 + params.light * (2 * draws[5] - 1))
            picture = transforms.adjust_contrast(picture, 1 + params.light * (2 * draws[6] - 1))
        if params.colour:
            picture = transforms.adjust_saturation(picture, 1 + params.colour * (2 * draws[7] - 1))
        if draws[8] < params.grey:
            picture = transforms.rgb_to_grayscale(picture, num_output_channels=3)
        if draws[17] < params.relight:
            picture = _relight(transforms, picture, [*draws[18:24], draws[17] / params.relight])
        # A draw below its share, divided by that share, is again uniform in 0..1.
        if draws[9] < params.coarse:
            small = max(2, round(edge / params.coarsest ** (draws[9] / params.coarse)))
            picture = transforms.resize(picture, [small, small], antialias=True)
            picture = transforms.resize(picture, [edge, edge], antialias=True)
        if draws[10] < params.blur:
            sigma = edge * _between(params.blur_sigma, draws[10] / params.blur) / 100
            kernel = 2 * math.ceil(2 * sigma) + 1
            picture = transforms.gaussian_blur(picture, [kernel, kernel], [sigma, sigma])
        if draws[11] < params.erase:
            box_draws = [draws[11] / params.erase, *draws[12:15]]
            top, left, height, width = _box(edge, params.erase_area, 2.0, box_draws)
            shade = torch.full((1, 1, 1), int(256 * draws[15]), dtype=torch.uint8)
            picture = transforms.erase(picture, top, left, height, width, shade)
        return picture.contiguous()

    return augment


def _relight(transforms: Any, picture: Tensor, draws: list[float]) -> Tensor:
    """Put a picture under another light, from seven draws of 0..1."""
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
    """Return top, left, height and width of a random rectangle, from four draws of 0..1."""
    area = _between(areas, draws[0]) * edge * edge
    ratio = aspect ** (2 * draws[1] - 1)  # uniform on the logarithmic scale
    width = max(1, min(edge, round(math.sqrt(area * ratio))))
    height = max(1, min(edge, round(math.sqrt(area / ratio))))
    top, left = int(draws[2] * (edge - height + 1)), int(draws[3] * (edge - width + 1))
    return top, left, height, width
