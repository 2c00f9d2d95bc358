"""Milliseconds from JPEG bytes to 224 x 224 pixels, for several libraries in turns.

    python -m benchmarks.decoding [--rounds 30] [--turbojpeg libturbojpeg.so.0] [FILE ...]

Without files, photographs of 640 x 480, 1 and 12 megapixels are drawn. `decode` is the product's
decoder. simplejpeg and PyTurboJPEG (with its system library libturbojpeg) are no dependencies of
the product and are left out if not installed; both decode at the same fraction as Pillow's `draft`,
and Pillow resizes their output in the same way, so that the difference is the decoder's. One
thread; median, lowest and highest round.
"""

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from models.imaging.decode import decode_image
from models.imaging.open import open_image

_SIZE_PX = 224
_SHAPES = {"640 x 480": (640, 480), "1 MP": (1155, 866), "12 MP": (4000, 3000)}
_Decode = Callable[[bytes], object]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding")
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--turbojpeg", metavar="FILE", help="libturbojpeg.so, if it is elsewhere")
    arguments = parser.parse_args()
    pictures = {path.name: path.read_bytes() for path in arguments.files}
    pictures = pictures or {name: _photograph(*shape) for name, shape in _SHAPES.items()}
    torch.set_num_threads(1)
    decoders = _decoders(arguments.turbojpeg)
    print("| picture | decoder | ms | lowest | highest | of the product's |")
    print("|---|---|---|---|---|---|")
    for picture, data in pictures.items():
        took: dict[str, list[float]] = {name: [] for name in decoders}
        for _ in range(arguments.rounds):
            for name, decode in decoders.items():
                began = time.perf_counter()
                decode(data)
                took[name].append(1000 * (time.perf_counter() - began))
        own = took["models.imaging.decode"]
        for name, times in took.items():
            ratio = statistics.median(a / b for a, b in zip(times, own, strict=True))
            print(
                f"| {picture} | {name} | {statistics.median(times):.2f} | {min(times):.2f} "
                f"| {max(times):.2f} | {ratio:.2f} |"
            )
    return 0


def _decoders(library: str | None) -> dict[str, _Decode]:
    decoders: dict[str, _Decode] = {
        "models.imaging.decode": lambda data: decode_image(data, size=_SIZE_PX),
        "Pillow, no draft": lambda data: _shrunk(Image.open(io.BytesIO(data))),
    }
    try:
        import simplejpeg
    except ImportError:
        print("simplejpeg is not installed", file=sys.stderr)
    else:
        decoders["simplejpeg"] = lambda data: _shrunk(
            Image.fromarray(
                simplejpeg.decode_jpeg(data, min_height=_SIZE_PX, min_width=_SIZE_PX, min_factor=1)
            )
        )
    try:
        import turbojpeg

        turbo = turbojpeg.TurboJPEG(library)
    except (ImportError, RuntimeError, OSError) as error:  # or no system library that fits
        print(f"PyTurboJPEG cannot be used ({error})", file=sys.stderr)
    else:
        decoders["PyTurboJPEG"] = lambda data: _shrunk(
            Image.fromarray(
                turbo.decode(
                    data, pixel_format=turbojpeg.TJPF_RGB, scaling_factor=(1, _fraction(data))
                )
            )
        )
    return decoders


def _shrunk(image: Image.Image) -> bytes:
    edges = (_SIZE_PX, _SIZE_PX)
    return image.resize(edges, Image.Resampling.BILINEAR, reducing_gap=3.0).tobytes()


def _fraction(data: bytes) -> int:
    """1, 2, 4 or 8: of which a fraction is still no smaller than what is wanted."""
    shorter = min(open_image(data).size)
    return max(fraction for fraction in (1, 2, 4, 8) if shorter // fraction >= _SIZE_PX)


def _photograph(width: int, height: int) -> bytes:
    """Gradients under noise of a few pixels' size; about 2 bits a pixel, as cameras write."""
    noise = Image.effect_noise((width // 4, height // 4), 60).resize((width, height))
    across = Image.linear_gradient("L").resize((width, height))
    round_about = Image.radial_gradient("L").resize((width, height))
    file = io.BytesIO()
    Image.merge("RGB", (noise, across, round_about)).save(file, "JPEG", quality=88)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
