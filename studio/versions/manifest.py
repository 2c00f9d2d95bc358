"""Manifests: the content of a version as canonical text, named by its SHA-256.

The first line is a header, each other line one picture, sorted by digest. The same pictures, labels
and groups give the same bytes, whatever the history.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a version.

    Attributes:
        sha256: Digest of its file.
        name: Path below its class folder.
        label: Its class, None without one; kept while it is left out.
        left_out: True if it takes no part in training.
        group: Name of its group, None without one.
        test_set: Name of the frozen test set that holds it.
        source: `random`, `chosen` or `reported`.
        decided: True if a person, or a table, has decided on the label since its upload.
    """

    sha256: str
    name: str
    label: str | None
    left_out: bool
    group: str | None
    test_set: str | None
    source: str
    decided: bool

    @property
    def shown_label(self) -> str | None:
        """The label as the page shows it: "-" if it is left out."""
        return "-" if self.left_out else self.label

    @property
    def is_trained_on(self) -> bool:
        """True if training sees the picture."""
        return self.label is not None and not self.left_out and self.test_set is None


@dataclass(frozen=True)
class Manifest:
    """The content of a version.

    Attributes:
        classes: Names of all classes, those without pictures, too.
        entries: The pictures, sorted by digest.
    """

    classes: tuple[str, ...]
    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, classes: Iterable[str], entries: Iterable[Entry]) -> Self:
        """Create a manifest in canonical order."""
        return cls(tuple(sorted(classes)), tuple(sorted(entries, key=lambda one: one.sha256)))

    def to_bytes(self) -> bytes:
        """Return the canonical text."""
        return b"".join(self._lines())

    def _lines(self) -> Iterator[bytes]:
        yield _line({"format": _FORMAT, "classes": self.classes})
        for one in self.entries:
            yield _line(
                [
                    one.sha256,
                    one.name,
                    one.label,
                    int(one.left_out),
                    one.group,
                    one.test_set,
                    one.source,
                    int(one.decided),
                ]
            )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the canonical text."""
        header, *lines = data.splitlines()
        entries = []
        for line in lines:
            sha256, name, label, left_out, group, test_set, source, decided = json.loads(line)
            entries.append(
                Entry(sha256, name, label, bool(left_out), group, test_set, source, bool(decided))
            )
        return cls(tuple(json.loads(header)["classes"]), tuple(entries))


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
