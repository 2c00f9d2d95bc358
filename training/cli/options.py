"""Options that several subcommands share, each declared once."""

import argparse
from pathlib import Path
from typing import Final

from training.config import PRESETS, FitConfig

DEFAULTS: Final = FitConfig()


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the data set and its groups."""
    parser.add_argument("data", type=Path, metavar="DIR", help="folder or zip file of the pictures")
    parser.add_argument(
        "--groups",
        type=Path,
        metavar="CSV",
        help="table file,group of pictures that belong together (DIR/groups.csv)",
    )
    parser.add_argument(
        "--group-pattern",
        metavar="REGEX",
        help="regular expression: a picture's group is what its first bracket matches in the file "
        "name",
    )


def add_backbone_option(parser: argparse._ActionsContainer) -> None:
    """Add the name of the pretrained network to a parser, or to one of its argument groups."""
    parser.add_argument(
        "--backbone",
        default=DEFAULTS.backbone,
        metavar="NAME",
        help=f"pretrained feature extractor ({DEFAULTS.backbone})",
    )


def add_weights_option(parser: argparse.ArgumentParser) -> None:
    """Add the local weights."""
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="local state dict instead of the published weights",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the local weights, the seed and the cache folder."""
    add_weights_option(parser)
    parser.add_argument(
        "--seed",
        type=int,
        default=DEFAULTS.seed,
        help=f"seed of all random choices ({DEFAULTS.seed})",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="folder of the feature cache (FACEMASK_CACHE, or facemask in the user's cache folder)",
    )


def add_backbone_options(parser: argparse.ArgumentParser) -> None:
    """Add the network by its name or by its purpose."""
    backbone = parser.add_mutually_exclusive_group()
    add_backbone_option(backbone)
    backbone.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="a backbone by its purpose: "
        + ", ".join(f"{name} is {backbone}" for name, backbone in PRESETS.items()),
    )


def share(text: str) -> float:
    """Parse a number between 0 and 1, both excluded."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def count(text: str) -> int:
    """Parse a whole number that is not negative."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below zero")
    return value
