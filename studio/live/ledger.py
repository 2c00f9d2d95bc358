"""The ledger: who made which model live, when, why, and on which evidence."""

import threading
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from models.bundle import store as bundles
from models.errors import BundleError
from studio.database import Database
from studio.database.database import now
from studio.database.tables import promotions
from studio.keys import Actor
from studio.live.gate import Verdict, judge
from studio.problems import BadRequest, BundleGone, GateClosed, NothingToRollBackTo
from studio.runs.runs import Run, find_run, live_version

MAX_REASON_CHARS: Final = 1000

# One promotion at a time: each is judged against the model that is live when it happens.
_TURN: Final = threading.Lock()


def promote(
    database: Database, store: Path, run: Run, *, actor: Actor, reason: str | None
) -> dict[str, Any]:
    """Make the model of a run the live one, and record it.

    Args:
        database: The studio's database.
        store: Folder of the models, which the service reads.
        run: The run.
        actor: The person who promotes it.
        reason: Reason to promote it although the gate is closed.

    Raises:
        GateClosed: It is not shown to be as good as the live one, and no reason is given.
        BundleGone: The store does not have the model any more, or it has changed there.
        BadRequest: The reason is too long.
    """
    reason = _checked(reason)
    with _TURN:
        live = live_version(store)
        verdict = judge(store, live, run.bundle)
        if not verdict.is_open and reason is None:
            raise GateClosed(
                f"Run {run.id} is not promoted without a reason. {verdict.sentence}",
                paired=verdict.evidence,
                needs_reason=True,
            )
        if live != run.bundle:
            try:
                bundles.promote(store, run.bundle)
            except BundleError as error:
                raise BundleGone(str(error)) from error
            _write(
                database, "promote", live, run.bundle, run=run, actor=actor, reason=reason,
                verdict=verdict,
            )  # fmt: skip
    return {"version": run.bundle, "run": run.id, **_of_verdict(verdict)}


def roll_back(
    database: Database, store: Path, *, actor: Actor, reason: str | None
) -> dict[str, Any]:
    """Make the previously live model live again, and record it.

    Raises:
        NothingToRollBackTo: No model was live before, or it cannot be read any more.
        BadRequest: The reason is too long.
    """
    reason = _checked(reason)
    with _TURN:
        live = live_version(store)
        try:
            target = bundles.rollback(store)
        except BundleError as error:
            raise NothingToRollBackTo(str(error)) from error
        with database.read() as connection:
            run = find_run(connection, target)
        _write(database, "rollback", live, target, run=run, actor=actor, reason=reason)
    return {"version": target, "run": run.id if run else None}


def history(connection: Connection, *, limit: int = 200) -> list[dict[str, Any]]:
    """Return the rows of the ledger, the newest first."""
    query = select(promotions).order_by(promotions.c.id.desc()).limit(limit)
    return [
        {
            "id": row.id,
            "at": row.at,
            "by": row.by,
            "action": row.action,
            "from": row.from_bundle,
            "to": row.to_bundle,
            "run": row.run,
            "project": row.project,
            "reason": row.reason,
            "overridden": row.overridden,
            "evidence": row.evidence,
        }
        for row in connection.execute(query)
    ]


def _of_verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "gate": {
            "open": verdict.is_open,
            "sentence": verdict.sentence,
            "paired": verdict.evidence,
        }
    }


def _checked(reason: str | None) -> str | None:
    reason = (reason or "").strip()
    if len(reason) > MAX_REASON_CHARS:
        raise BadRequest(f"A reason may have {MAX_REASON_CHARS} characters.")
    return reason or None


def _write(
    database: Database,
    action: str,
    old: str | None,
    new: str,
    *,
    run: Run | None,
    actor: Actor,
    reason: str | None,
    verdict: Verdict | None = None,
) -> None:
    evidence = None
    if verdict is not None:
        evidence = {"sentence": verdict.sentence, "paired": verdict.evidence}
    row = {
        "project": run.project if run else None,
        "run": run.id if run else None,
        "action": action,
        "from_bundle": old,
        "to_bundle": new,
        "by": actor.name,
        "at": now(),
        "reason": reason,
        "overridden": verdict is not None and not verdict.is_open,
        "evidence": evidence,
    }
    with database.write() as connection:
        connection.execute(insert(promotions).values(row))
