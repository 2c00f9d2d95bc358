"""Random changes to training pictures."""

import torch

from tests.training.finetuning.runs import drawn
from training.features.augment import Augmentation, make_augment


def test_augment_keeps_shape_dtype_and_input() -> None:
    augment = make_augment(Augmentation(turn=0.5, coarse=0.5, blur=0.5, erase=0.5, grey=0.5))
    picture = drawn(2).pixels[0]
    before = picture.clone()
    made = [augment(picture, torch.Generator().manual_seed(seed)) for seed in range(60)]
    assert all(item.shape == (3, 32, 32) and item.dtype == torch.uint8 for item in made)
    assert torch.equal(picture, before)
    assert len({item.numpy().tobytes() for item in made}) == 60
    again = augment(picture, torch.Generator().manual_seed(3))
    assert torch.equal(again, made[3])


def test_augment_without_changes_is_the_identity() -> None:
    off = Augmentation(
        mirror=0,
        crop_area=(1, 1),
        crop_aspect=1.0,
        light=0,
        colour=0,
        grey=0,
        coarse=0,
        blur=0,
        erase=0,
    )
    picture = drawn(2).pixels[0]
    assert torch.equal(make_augment(off)(picture, torch.Generator().manual_seed(0)), picture)


def test_augment_leaves_the_global_random_state_unchanged() -> None:
    augment = make_augment(Augmentation())
    before = torch.get_rng_state()
    augment(drawn(2).pixels[0], torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
