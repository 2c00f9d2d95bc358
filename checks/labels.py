"""Shows that no label is lost or overwritten unseen while the studio is killed again and again.

    python -m checks.labels [--kills 200] [--decisions 5000] [--cut 0.3] [--database URL]

Takes about 10 minutes for 200 kills. Two annotators decide on the same pictures at the same time,
each with an outbox, as the page has it: an act is sent until it is answered, always under its id.
Three in ten requests are cut in their middle or before their answer, an annotator's tab is closed
now and then (only the outbox survives that), and the studio is killed at random moments. At the
end the history in the database is compared with what was answered and what each had seen:

    lost                a decision that was answered as saved, and is not in the history
    overwritten unseen  a decision upon a label that its annotator had not seen
    uncounted           a count that differs from the labels

Exits with 1 if there is any.
"""

import argparse
import json
import random
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from checks.studio_process import ANSWER_S, Cut, Studio
from studio.database import open_database
from studio.database.tables import acts, classes, decisions, pictures
from studio.projects.projects import describe_project
from tests.images import encode, photograph

_LABELS: Final = ("mask", "no_mask", "-", None)
_PICTURES: Final = 40
_MAX_PER_ACT: Final = 5
_CLOSED_TABS: Final = 0.02  # per act

Act = dict[str, Any]


@dataclass
class Annotator:
    """A person who decides on pictures, in a page that keeps an outbox.

    Attributes:
        name: For messages.
        seen: Revision and label of each picture, as the page shows them.
        outbox: The act that is not answered yet.
        acknowledged: Act, picture, label and revision of each decision answered as saved.
        sent: By act and picture, the revision and the label that the page showed.
        conflicts: Number of decisions that were answered as conflicts.
        cut: Number of requests without an answer.
    """

    name: str
    studio: Studio
    project: str
    source: random.Random
    cut_share: float
    seen: dict[int, tuple[int, str | None]] = field(default_factory=dict)
    outbox: Act | None = None
    acknowledged: list[tuple[str, int, str | None, int]] = field(default_factory=list)
    sent: dict[tuple[str, int], tuple[int, str | None]] = field(default_factory=dict)
    conflicts: int = 0
    cut: int = 0
    failure: BaseException | None = None

    def work(self, enough: threading.Event) -> None:
        """Decide until it is enough, and the outbox is empty."""
        try:
            while not enough.is_set() or self.outbox is not None:
                self._step()
        except BaseException as error:  # noqa: BLE001  reported by the main thread
            self.failure = error

    def _step(self) -> None:
        try:
            if not self.seen:
                self._look()
            if self.outbox is None:
                self.outbox = self._decide()
            cut = self.source if self.source.random() < self.cut_share else None
            body = json.dumps(self.outbox).encode()
            answer = self.studio.ask("POST", f"{self.project}/decisions", body, cut=cut)
        except Cut:
            self.cut += 1
            time.sleep(self.source.random() * 0.05)
        else:
            self._take(answer)
            self.outbox = None
        if self.source.random() < _CLOSED_TABS:
            self.seen.clear()  # of the closed tab only the outbox is left

    def _look(self) -> None:
        ids = self.studio.ask("GET", f"{self.project}/index")["ids"]
        query = ",".join(map(str, ids))
        found = self.studio.ask("GET", f"{self.project}/pictures?ids={query}")["pictures"]
        self.seen = {one["id"]: (one["revision"], one["label"]) for one in found}

    def _decide(self) -> Act:
        chosen = self.source.sample(sorted(self.seen), self.source.randint(1, _MAX_PER_ACT))
        act = str(uuid.UUID(int=self.source.getrandbits(128), version=4))
        for id in chosen:
            self.sent[act, id] = self.seen[id]
        wanted = [
            {
                "picture": id,
                "label": self.source.choice(_LABELS),
                "revision": self.seen[id][0],
            }
            for id in chosen
        ]
        return {"act": act, "decisions": wanted}

    def _take(self, answer: Mapping[str, Any]) -> None:
        assert self.outbox is not None
        for one in answer["saved"]:
            self.acknowledged.append(
                (self.outbox["act"], one["picture"], one["label"], one["revision"])
            )
        self.conflicts += len(answer["conflicts"])
        for one in [*answer["saved"], *answer["conflicts"]]:
            if self.seen:
                self.seen[one["picture"]] = (one["revision"], one["label"])


def fill(studio: Studio, pictures_number: int) -> str:
    """Create a project with pictures, and return its path."""
    body = json.dumps({"name": "labels"}).encode()
    project = f"/api/projects/{studio.ask('POST', '/api/projects', body)['id']}"
    for label in ("mask", "no_mask"):
        studio.ask("POST", f"{project}/classes", json.dumps({"name": label}).encode())
    boundary = "1f9d"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{number}.png"'
        "\r\n\r\n".encode()
        + encode(photograph(80, 80, number))
        + b"\r\n"
        for number in range(pictures_number)
    ]
    form = b"".join(parts) + f"--{boundary}--\r\n".encode()
    request = (
        f"POST {project}/pictures HTTP/1.1\r\nHost: 127.0.0.1:{studio.port}\r\n"
        f"Connection: close\r\nX-Requested-With: studio\r\nContent-Length: {len(form)}\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", studio.port), timeout=ANSWER_S) as opened:
        opened.sendall(request + form)
        answer = b""
        while chunk := opened.recv(65_536):
            answer += chunk
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer[:2000].decode(errors="replace"))
    return project


def find_faults(database: str, project: int, annotators: Sequence[Annotator]) -> Counter[str]:
    """Compare the history with what the annotators were answered and had seen."""
    faults: Counter[str] = Counter()
    opened = open_database(database)
    with opened.read() as connection:
        names = {row.id: row.name for row in connection.execute(select(classes))}
        history: dict[tuple[int, int], tuple[str, str | None]] = {}
        for row in connection.execute(
            select(decisions, acts.c.uuid).join(acts, acts.c.id == decisions.c.act_id)
        ):
            label = "-" if row.left_out else names.get(row.class_id)
            history[row.picture_id, row.revision] = (row.uuid, label)
        present = connection.execute(select(pictures)).all()
        counts = describe_project(connection, project)
    opened.close()
    for one in annotators:
        for act, picture, label, revision in one.acknowledged:
            if history.get((picture, revision)) != (act, label):
                faults["lost"] += 1
    sent = {key: seen for one in annotators for key, seen in one.sent.items()}
    for (picture, revision), (act, _) in history.items():
        seen = sent.get((act, picture))
        if seen is not None and seen != (revision - 1, history[picture, revision - 1][1]):
            faults["overwritten unseen"] += 1
    numbers: Counter[str | None] = Counter()
    for row in present:
        label = "-" if row.left_out else names.get(row.class_id)
        numbers[label] += 1
        if history[row.id, row.revision][1] != label:
            faults["lost"] += 1
    shown = {one["name"]: one["pictures"] for one in counts["classes"]}
    if shown != {name: numbers[name] for name in shown} or (
        counts["counts"]["left_out"],
        counts["counts"]["unlabelled"],
    ) != (numbers["-"], numbers[None]):
        faults["uncounted"] += 1
    return faults


def run(
    folder: Path, *, kills: int, decisions_number: int, cut: float, seed: int, database: str
) -> dict[str, Any]:
    """Run the check, and return its figures."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    database = database or f"sqlite:///{folder / 'studio.db'}"
    studio = Studio(folder, database, port)
    source = random.Random(seed)
    studio.start()
    killed = 0
    try:
        project = fill(studio, _PICTURES)
        annotators = [
            Annotator(name, studio, project, random.Random(f"{seed} {name}"), cut)
            for name in ("ann", "ben")
        ]
        enough = threading.Event()
        threads = [threading.Thread(target=one.work, args=(enough,)) for one in annotators]
        for thread in threads:
            thread.start()
        try:
            while all(thread.is_alive() for thread in threads):
                time.sleep(source.random() * 1.0)
                saved = sum(len(one.acknowledged) for one in annotators)
                if killed >= kills and saved >= decisions_number:
                    break
                if killed < kills:
                    studio.kill()
                    killed += 1
                    studio.start()
        finally:
            enough.set()
            for thread in threads:
                thread.join()
    finally:
        studio.kill()
    for one in annotators:
        if one.failure is not None:
            raise one.failure
    faults = find_faults(database, int(project.rsplit("/", 1)[-1]), annotators)
    return {
        "kills": killed,
        "decisions": sum(len(one.acknowledged) for one in annotators),
        "conflicts": sum(one.conflicts for one in annotators),
        "unanswered requests": sum(one.cut for one in annotators),
        "lost": faults["lost"],
        "overwritten unseen": faults["overwritten unseen"],
        "uncounted": faults["uncounted"],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m checks.labels", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--decisions", type=int, default=5000)
    parser.add_argument("--cut", type=float, default=0.3, help="share of requests that are cut")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", default="", help="URL; default is SQLite")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        figures = run(
            Path(folder),
            kills=arguments.kills,
            decisions_number=arguments.decisions,
            cut=arguments.cut,
            seed=arguments.seed,
            database=arguments.database,
        )
    print(json.dumps(figures, indent=1))
    return int(any(figures[name] for name in ("lost", "overwritten unseen", "uncounted")))


if __name__ == "__main__":
    sys.exit(main())
