"""Decoded pictures, in memory and in a file."""

import hashlib
from pathlib import Path

import pytest
import torch

from models.imaging.decode import decode_image
from tests.images import DrawData
from training.data.progress import Progress
from training.data.source import open_source
from training.errors import ChangedData, OutputError
from training.finetuning.pixels import read_pixels


def test_read_pixels_decodes_into_memory_or_a_file(draw_data: DrawData, tmp_path: Path) -> None:
    source = open_source(draw_data(tmp_path / "data", {"bar": 3, "disc": 2}))
    names = source.names()
    digests = [hashlib.sha256(source.read(name)).hexdigest() for name in names]
    wanted = torch.stack([decode_image(source.read(name), size=32) for name in names])
    done: list[int] = []
    folder = tmp_path / "checkpoint"
    held = read_pixels(
        source,
        names,
        digests,
        size=32,
        folder=folder,
        progress=Progress(advance=lambda n, total: done.append(n)),
    )
    assert torch.equal(held, wanted)
    assert sum(done) == 5
    assert not folder.exists()
    for _ in range(2):  # the second time it is there already
        mapped = read_pixels(source, names, digests, size=32, folder=folder, max_bytes_in_memory=0)
        assert torch.equal(mapped, wanted)
        assert [path.suffix for path in folder.iterdir()] == [".u8"]
    (tmp_path / "data" / names[0]).write_bytes(b"other")
    with pytest.raises(ChangedData, match="has changed"):
        read_pixels(source, names, digests, size=32, folder=folder)
    (tmp_path / "data" / names[0]).unlink()
    with pytest.raises(ChangedData, match="could be read before"):
        read_pixels(source, names, digests, size=32, folder=folder)


def test_read_pixels_raises_output_error_if_unwritable(draw_data: DrawData, tmp_path: Path) -> None:
    source = open_source(draw_data(tmp_path / "data", {"bar": 1}))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        read_pixels(
            source,
            source.names(),
            ["0" * 64],
            size=32,
            folder=tmp_path / "file" / "below",
            max_bytes_in_memory=0,
        )
