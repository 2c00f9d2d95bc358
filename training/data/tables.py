"""Tables beside the class folders: groups.csv, labels.csv and slices.csv.

    groups.csv   file,group             pictures that belong together: a person, a video, an address
    labels.csv   file,label             corrections: another class, or "-" to exclude a picture;
                                        the folder's own class confirms the label, which is then
                                        not reported as an issue again
    slices.csv   file,[attribute,]slice kinds of pictures that are evaluated separately as well

Files are named relative to the data set, with forward slashes.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from models.text import clean, normalize_name, normalize_path
from training.data.csv_file import CsvFile, parse_csv
from training.data.source import Source
from training.errors import BadTable

GROUPS_TABLE: Final = "groups.csv"
LABELS_TABLE: Final = "labels.csv"
SLICES_TABLE: Final = "slices.csv"
TABLES: Final = (GROUPS_TABLE, LABELS_TABLE, SLICES_TABLE)
EXCLUDE: Final = "-"
"""Label that excludes a picture."""

_DEFAULT_ATTRIBUTE: Final = "slice"  # of a slices.csv without the column


@dataclass(frozen=True)
class UnmatchedRows:
    """Rows of a table that name no picture, and so change nothing.

    Attributes:
        table: Name of the table.
        files: Their files, as written.
        rows: Number of all rows of the table.
        nearest: The picture that the first of them may mean.
    """

    table: str
    files: tuple[str, ...]
    rows: int
    nearest: str | None

    @property
    def sentence(self) -> str:
        """Sentence with their number, the first one, and the picture it may mean."""
        verb = "names" if len(self.files) == 1 else "name"
        hint = f"; is {self.nearest} meant?" if self.nearest else "."
        return (
            f"{self.table}: {len(self.files):,} of {self.rows:,} rows {verb} no picture, "
            f"the first {self.files[0]}{hint}"
        )


class Tables:
    """The tables of one data set.

    Attributes:
        unmatched: Rows of the tables read so far that name no picture.
    """

    def __init__(self, source: Source, root: str, pictures: Sequence[str]) -> None:
        """Prepare to match rows with pictures.

        Args:
            source: The data set.
            root: Prefix of all names of files in the tables: "" or a folder with a slash.
            pictures: Names of all pictures, with that prefix.
        """
        self.unmatched: list[UnmatchedRows] = []
        self._source = source
        self._root = root
        self._pictures = pictures
        self._known = frozenset(pictures)

    def groups(self, table: Path | None = None) -> dict[str, str]:
        """Return group by picture, from a table elsewhere or the data set's groups.csv, if any.

        Raises:
            BadTable: The table cannot be read, is not as documented, or names no picture.
        """
        if table is None:
            found = self._read(GROUPS_TABLE)
        else:
            try:
                found = parse_csv(table.read_bytes(), str(table))
            except OSError as error:
                raise BadTable(f"{table} cannot be read ({error.strerror}).") from error
        rows = self._match(found, found.rows("file", "group")) if found else []
        return {name: group for name, group in rows if group}

    def corrections(self, labels: Sequence[str]) -> dict[str, str | None]:
        """Return corrected label by picture, None for an excluded one, from labels.csv, if any.

        Raises:
            BadTable: It is not as documented, names no picture, or a class that has no folder.
        """
        found = self._read(LABELS_TABLE)
        if found is None:
            return {}
        corrections: dict[str, str | None] = {}
        for name, cell in self._match(found, found.rows("file", "label")):
            label = normalize_name(cell)
            if label in ("", EXCLUDE):
                corrections[name] = None
            elif label in labels:
                corrections[name] = label
            else:
                raise BadTable(
                    f"{LABELS_TABLE} gives {name} the label {label!r}, and there is no such class: "
                    f"the classes are {', '.join(labels)}; '{EXCLUDE}' excludes a picture."
                )
        return corrections

    def slices(self) -> dict[str, dict[str, str]]:
        """Return slice by picture, by attribute, from slices.csv, if the data set has one.

        Raises:
            BadTable: It is not as documented, names no picture, or gives one two slices.
        """
        found = self._read(SLICES_TABLE)
        if found is None:
            return {}
        if "attribute" in found.header:
            rows = found.rows("file", "attribute", "slice")
        else:
            rows = [(file, _DEFAULT_ATTRIBUTE, name) for file, name in found.rows("file", "slice")]
        matched = self._match(
            found, [(file, clean(of), clean(name)) for file, of, name in rows], keys=2
        )
        slices: dict[str, dict[str, str]] = {of: {} for of in sorted({row[1] for row in matched})}
        for file, attribute, name in matched:
            if name:
                slices[attribute][file] = name
        return slices

    def _read(self, table: str) -> CsvFile | None:
        """Return one of the data set's tables, if it has it."""
        if not self._source.has(self._root + table):
            return None
        where = f"{self._source.path}/{self._root}{table}"
        try:
            return parse_csv(self._source.read(self._root + table), where)
        except OSError as error:
            raise BadTable(f"{where} cannot be read ({error}).") from error

    def _match(
        self, table: CsvFile, rows: Sequence[tuple[str, ...]], *, keys: int = 1
    ) -> list[tuple[str, ...]]:
        """Return the rows about pictures of the data set, with the pictures' names.

        Rows about missing files are counted, not refused, because people delete pictures and keep
        tables. A table without any match is refused, because it would change nothing.

        Args:
            table: For messages.
            rows: File, and other cells.
            keys: Number of leading cells that identify a row; equal rows must agree in the last.
        """
        matched: list[tuple[str, ...]] = []
        missed: list[str] = []
        for file, *cells in rows:
            name = self._find(file)
            if name is None:
                missed.append(clean(file))
            else:
                matched.append((name, *cells))
        if rows and not matched:
            raise BadTable(
                f"{table.path}: no row names a picture of the data set; write files "
                f"like {self._pictures[0].removeprefix(self._root)}."
            )
        if missed:
            nearest = _nearest(
                missed[0], [name.removeprefix(self._root) for name in self._pictures]
            )
            name = PurePosixPath(table.path).name
            self.unmatched.append(UnmatchedRows(name, tuple(missed), len(rows), nearest))
        first: dict[tuple[str, ...], str] = {}
        for row in matched:
            if (known := first.setdefault(row[:keys], row[-1])) != row[-1]:
                raise BadTable(
                    f"{table.path} has both {known!r} and {row[-1]!r} for {row[0]}: keep one."
                )
        return matched

    def _find(self, file: str) -> str | None:
        """Return the picture that a cell names, in any spelling of its path."""
        if not file:
            return None
        for backslashes in (False, True):
            try:
                path = clean(normalize_path(file, backslashes=backslashes))
            except ValueError:
                return None
            for name in (self._root + path, path):  # reports name files with the root
                if name in self._known:
                    return name
        return None


def groups_by_pattern(
    pattern: str, pictures: Sequence[str], *, required: bool = True
) -> dict[str, str]:
    """Return group by picture: the first capture group of a pattern found in its name.

    Raises:
        BadTable: The pattern is invalid, has no capture group, or matches no picture although
            that is required.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise BadTable(
            f"--group-pattern {pattern!r} is not a regular expression: {error}."
        ) from error
    if expression.groups < 1:
        raise BadTable(f"--group-pattern {pattern!r} has no (bracket) around the group's name.")
    matches = ((name, expression.search(name)) for name in pictures)
    found = {name: match[1] for name, match in matches if match and match[1]}
    if required and not found:
        raise BadTable(f"--group-pattern {pattern!r} matches no picture's name.")
    return found


def _nearest(file: str, pictures: Iterable[str]) -> str | None:
    """Return the picture that a file may mean: in another case, folder, or format."""
    parts = PurePosixPath(file.replace("\\", "/").casefold()).parts
    best, best_score = None, 0
    for picture in pictures:
        known = PurePosixPath(picture.casefold()).parts
        equal = 0
        for one, other in zip(reversed(parts), reversed(known), strict=False):
            if one != other and (equal or PurePosixPath(one).stem != PurePosixPath(other).stem):
                break
            equal += 2 if one == other else 1
        if equal > best_score:
            best, best_score = picture, equal
    return best
