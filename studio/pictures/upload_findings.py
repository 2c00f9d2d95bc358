"""Findings of an upload: one picture under two labels, and near-duplicates."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from studio.database.tables import blobs, findings, pictures
from studio.labels.acts import in_parts
from studio.labels.findings import Finding, insert_findings
from studio.pictures.near_copies import find_near_copies

CONFLICT: Final = "conflict"
"""Kind of finding of a picture that was uploaded under two labels."""

COPIES: Final = "copies"
"""Kind of finding of pictures that show nearly the same."""


def copies_of(
    connection: Connection, project_id: int, added: Sequence[int]
) -> list[tuple[int, Finding]]:
    """Return a finding for both pictures of each pair that is nearly the same and has a new one."""
    if not added:
        return []
    rows = connection.execute(
        select(pictures.c.id, blobs.c.dhash)
        .join(blobs, blobs.c.sha256 == pictures.c.sha256)
        .where(pictures.c.project_id == project_id, pictures.c.present, blobs.c.dhash.is_not(None))
    )
    hashes = {row.id: row.dhash for row in rows}
    new = {id: hashes[id] for id in added if id in hashes}
    pairs = list(find_near_copies(new, hashes))
    known: dict[int, Row[Any]] = {}
    for part in in_parts(list({id for pair in pairs for id in pair})):
        rows_of_part = connection.execute(
            select(pictures.c.id, pictures.c.sha256, pictures.c.name).where(pictures.c.id.in_(part))
        )
        known |= {row.id: row for row in rows_of_part}
    found = []
    for one, other in pairs:
        for id, copy in ((one, other), (other, one)):
            message = f"Nearly the same picture as {known[copy].name}."
            found.append((id, Finding(known[id].sha256, COPIES, message)))
    return found


def insert_new_findings(
    connection: Connection, project_id: int, found: Sequence[tuple[int, Finding]]
) -> None:
    """Insert findings of an upload, each kind once per picture."""
    if not found:
        return
    known: set[tuple[int, str]] = set()
    for part in in_parts([id for id, _ in found]):
        rows = connection.execute(
            select(findings.c.picture_id, findings.c.kind).where(
                findings.c.picture_id.in_(part), findings.c.job_id.is_(None)
            )
        )
        known |= {(row.picture_id, row.kind) for row in rows}
    unique = {(id, one.kind): (id, one) for id, one in found}
    insert_findings(
        connection, project_id, [value for key, value in unique.items() if key not in known]
    )
