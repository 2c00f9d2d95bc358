"""Pillow's reader of HEIC, by libheif.

`pi_heif` has a reader of its own, which reads metadata, thumbnails and depth maps of all pictures
in a file, each of which may refer to the same megabytes. This one reads the primary picture only.
"""

from typing import Any, Final

from PIL import Image, ImageFile

try:
    import _pi_heif as libheif
except ImportError:  # the package is optional, and has no wheel for some machines
    libheif = None

IS_INSTALLED: Final = libheif is not None
"""True if HEIC pictures can be read."""

_PROFILES: Final = ("prof", "rICC")
_MODES: Final = ("L", "LA", "La", "RGB", "RGBA", "RGBa", "I;16")  # grey stays as deep as it is


class HeicImageFile(ImageFile.ImageFile):
    """The primary picture of a HEIC file: turned upright, of 8 bits per channel."""

    format = "HEIC"
    format_description = "HEIC picture"

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read()
        # Threads 0: decode in the calling thread; the service runs one thread per core.
        options = {"threads": 0, "to_8_bit": True, "bgr": False, "tight": False, "to_16_bit": True}
        try:
            found = libheif.load_file(data, *options.values(), "", False)
        except (ValueError, RuntimeError, EOFError) as error:
            raise SyntaxError(str(error)) from error
        self._picture: Any = next((one for one in found if one is not None and one.primary), None)
        if self._picture is None:
            raise SyntaxError("there is no primary picture")
        self._size, self._mode = self._picture.size_mode
        if self._mode not in _MODES:
            raise SyntaxError(f"pixels of the kind {self._mode} are not read")
        profile = self._picture.color_profile
        if profile and profile["type"] in _PROFILES:
            self.info["icc_profile"] = profile["data"]
        self.tile = []

    def load(self) -> Any:
        """Decode the picture."""
        if self._picture is not None:
            pixels = self._picture.data
            self._size, _ = self._picture.size_mode
            self.load_prepare()
            self.frombytes(pixels, "raw", (self.mode, self._picture.stride))
            self._picture = None
        return super().load()


if IS_INSTALLED:
    Image.register_open(HeicImageFile.format, HeicImageFile, lambda begin: begin[4:8] == b"ftyp")
