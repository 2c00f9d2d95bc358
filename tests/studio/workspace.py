"""A project with pictures, without a web server."""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from studio.database import Database
from studio.database.tables import classes, pictures, projects
from studio.labels.decisions import Answer, Decision, decide
from studio.labels.gallery import describe_pictures, list_ids
from studio.labels.undo import undo
from studio.pictures.blobs import BlobStore
from studio.pictures.examine import Limits
from studio.pictures.intake import IncomingFile, add_files
from studio.pictures.recording import Result
from studio.pictures.upload_plan import plan_upload
from studio.projects.projects import create_project, describe_project
from studio.versions.store import VersionStore
from tests.images import encode, photograph


@dataclass
class Workspace:
    database: Database
    blobs: BlobStore
    versions: VersionStore
    project: int

    @classmethod
    def make(cls, database: Database, folder: Path) -> "Workspace":
        with database.write() as connection:
            project = create_project(connection, "Masks")
        return cls(database, BlobStore(folder), VersionStore(folder), project)

    def add(self, files: dict[str, bytes], **options: Any) -> list[Result]:
        plan = plan_upload(files, split=options.pop("split", None))
        incoming = [IncomingFile(file, files[path]) for path, file in plan.files.items()]
        return add_files(
            self.database,
            self.blobs,
            self.project,
            incoming,
            by=options.pop("by", "ann"),
            limits=Limits(),
            **options,
        )

    def add_numbered(self, counts: dict[str, int], **options: Any) -> list[Result]:
        return self.add(
            {
                f"{label}/{index:03}.png": picture(f"{label}{index}")
                for label, count in counts.items()
                for index in range(count)
            },
            **options,
        )

    def ids(self, **options: Any) -> list[int]:
        with self.database.read() as connection:
            return list_ids(connection, self.project, **options)

    def picture(self, id: int) -> dict[str, Any]:
        with self.database.read() as connection:
            return describe_pictures(connection, self.project, [id])[0]

    def decide(self, act: str, *wanted: tuple[int, str | None, int], by: str = "ann") -> Answer:
        decisions = [Decision(*one) for one in wanted]
        return decide(self.database, self.project, act=act, wanted=decisions, by=by)

    def undo(self, act: str, uuid: str, by: str = "ann") -> Answer:
        return undo(self.database, self.project, act=act, uuid=uuid, by=by)

    def describe(self) -> dict[str, Any]:
        with self.database.read() as connection:
            return describe_project(connection, self.project)

    def state(self) -> dict[str, Any]:
        """Return all that an undo must bring back."""
        with self.database.read() as connection:
            columns = (
                pictures.c.sha256,
                pictures.c.present,
                pictures.c.class_id,
                pictures.c.left_out,
                pictures.c.group_name,
                pictures.c.decided,
                pictures.c.decision_id,
            )
            return {
                "pictures": [
                    tuple(row) if row.present else row.sha256
                    for row in connection.execute(select(*columns).order_by(pictures.c.id))
                ],
                "classes": [
                    (row.name, row.pictures)
                    for row in connection.execute(
                        select(classes).where(~classes.c.removed).order_by(classes.c.key)
                    )
                ],
                "counts": connection.execute(
                    select(
                        projects.c.pictures,
                        projects.c.unlabelled,
                        projects.c.left_out,
                        projects.c.label_issues,
                        projects.c.test,
                    )
                ).one(),
            }


def picture(seed: str) -> bytes:
    """Return a small picture that no other seed gives."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4])
    return encode(photograph(width=96, height=80, seed=number))


def uuid(random_: random.Random) -> str:
    """Return a UUID from a seeded source."""
    text = f"{random_.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
