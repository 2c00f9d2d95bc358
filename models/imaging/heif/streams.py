"""HEVC and AV1 streams of one picture: the work that they cause, without decoding them."""

from typing import Final

from models.imaging.heif.boxes import BrokenBoxes

# ITU-T H.265, table 7-1: types of NAL units below this have samples of a picture.
_HEVC_NON_SAMPLES: Final = 32
_HEVC_CONFIGURATION_BYTES: Final = 23  # ISO/IEC 14496-15, 8.3.2.1
_HEVC_LENGTH_AT: Final = 21

# AV1, section 6.2.2: types of OBU.
_AV1_SEQUENCE_HEADER: Final = 1
_AV1_FRAMES: Final = (3, 6)  # a frame's header, and one with its samples


def hevc_slices(configuration: bytes, stream: bytes) -> int:
    """Return the number of slices, each of which may cover the whole picture.

    Args:
        configuration: Content of the property `hvcC`.
        stream: The item's data.

    Raises:
        BrokenBoxes: It is cut short, or holds more than one picture.
    """
    if len(configuration) < _HEVC_CONFIGURATION_BYTES:
        raise BrokenBoxes("the decoder's configuration is cut short")
    length_bytes = (configuration[_HEVC_LENGTH_AT] & 3) + 1
    slices = pictures = at = 0
    while at < len(stream):
        begin = at + length_bytes
        at = begin + int.from_bytes(stream[at:begin])
        if at > len(stream) or begin + 3 > len(stream):
            raise BrokenBoxes("the coded picture is cut short")
        if stream[begin] >> 1 & 0x3F < _HEVC_NON_SAMPLES:
            slices += 1
            pictures += stream[begin + 2] >> 7  # first_slice_segment_in_pic_flag
    if pictures != 1 or _configuration_has_samples(configuration):
        raise BrokenBoxes(f"{pictures} coded pictures where there should be one")
    return slices


def _configuration_has_samples(configuration: bytes) -> bool:
    """Return True if a decoder's configuration holds anything else than parameters."""
    at = _HEVC_CONFIGURATION_BYTES
    for _ in range(configuration[at - 1]):
        kind, count = configuration[at] & 0x3F, int.from_bytes(configuration[at + 1 : at + 3])
        at += 3
        for _ in range(count):
            begin = at + 2
            at = begin + int.from_bytes(configuration[at:begin])
            if at > len(configuration) or begin >= at:
                raise BrokenBoxes("the decoder's configuration is cut short")
            if min(kind, configuration[begin] >> 1 & 0x3F) < _HEVC_NON_SAMPLES:
                return True
        if at + 3 > len(configuration):
            break
    return False


def av1_work(stream: bytes) -> tuple[int, int]:
    """Return the pixels of the largest frame, and the number of frames.

    Raises:
        BrokenBoxes: The stream is cut short.
    """
    pixels = frames = at = 0
    while at < len(stream):
        header = stream[at]
        kind, has_extension, has_size = header >> 3 & 15, header & 4, header & 2
        at += 2 if has_extension else 1
        end = len(stream)
        if has_size:
            size, at = _leb128(stream, at)
            end = at + size
        if end > len(stream):
            raise BrokenBoxes("the coded picture is cut short")
        if kind == _AV1_SEQUENCE_HEADER:
            pixels = max(pixels, _av1_frame_pixels(stream[at:end]))
        frames += kind in _AV1_FRAMES
        at = end
    return pixels, frames


def _leb128(stream: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length, and the offset behind it (AV1, section 4.10.5)."""
    number = 0
    for index, byte in enumerate(stream[at : at + 8]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, at + index + 1
    raise BrokenBoxes("the coded picture is cut short")


class _Bits:
    """Bits of a header, read one behind the other."""

    def __init__(self, data: bytes) -> None:
        self._bits, self._left = int.from_bytes(data), 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise BrokenBoxes("the coded picture's header is cut short")
        return self._bits >> self._left & (1 << count) - 1

    def skip_uvlc(self) -> None:
        """Skip a number in the code of section 4.10.3."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        if zeros < 32:
            self.read(zeros)


def _av1_frame_pixels(header: bytes) -> int:
    """Return the max pixels of a frame, from a sequence header (AV1, section 5.5.1)."""
    bits = _Bits(header[:256])
    bits.read(4)  # profile, still picture
    if bits.read(1):  # reduced header
        bits.read(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return (bits.read(width_bits) + 1) * (bits.read(height_bits) + 1)


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.read(1):  # timing
        bits.read(64)
        if bits.read(1):
            bits.skip_uvlc()
        if bits.read(1):  # model of a decoder
            delay_bits = bits.read(5) + 1
            bits.read(42)
    has_display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)
