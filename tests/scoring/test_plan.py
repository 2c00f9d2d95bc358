"""Tests of `scoring.plan`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from scoring.errors import BadInput
from scoring.inputs.entry import Entry, Input, Unreadable
from scoring.plan import Options, cut

OPTIONS = Options(shard_size=3)


class ListedInput(Input):
    """Entries that a test gives."""

    def __init__(self, *entries: Entry) -> None:
        self._entries = entries

    def entries(self) -> Iterator[Entry]:
        yield from self._entries

    def read(self, entries: Sequence[Entry]) -> list[bytes | Unreadable]:
        return [entry.key.encode() for entry in entries]


def _entries(count: int) -> list[Entry]:
    return [Entry(f"{number:03}.jpg", stamp="1") for number in range(count)]


def test_cut_puts_every_entry_into_one_shard_in_order() -> None:
    entries = _entries(8)
    shards = list(cut(ListedInput(*entries), OPTIONS, "model"))
    assert [shard.inputs for shard in shards] == [3, 3, 2]
    assert [shard.index for shard in shards] == [0, 1, 2]
    assert [entry for shard in shards for entry in shard.entries()] == entries


def test_name_depends_on_inputs_model_and_options_alone() -> None:
    entries = _entries(3)

    def name(options: Options = OPTIONS, model: str = "model", entry: Entry = entries[2]) -> str:
        (shard,) = cut(ListedInput(*entries[:2], entry), options, model)
        return shard.name

    assert name() == name()
    others = [
        name(model="other"),
        name(replace(OPTIONS, faces=True)),
        name(replace(OPTIONS, framing="whole")),
        name(replace(OPTIONS, threshold=0.5)),
        name(entry=Entry("other.jpg", stamp="1")),
        name(entry=Entry("002.jpg", stamp="2")),
    ]
    assert len({name(), *others}) == len(others) + 1


def test_key_that_occurs_twice_is_refused() -> None:
    with pytest.raises(BadInput, match=r"names 000\.jpg twice"):
        list(cut(ListedInput(Entry("000.jpg"), Entry("000.jpg")), OPTIONS, "model"))


def test_input_without_pictures_is_refused() -> None:
    source = ListedInput()
    source.skipped = 4
    with pytest.raises(BadInput, match=r"no pictures \(4 other files\)"):
        list(cut(source, OPTIONS, "model"))
