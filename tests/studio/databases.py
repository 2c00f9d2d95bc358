"""Databases for tests: SQLite in a folder, and a real PostgreSQL on a socket."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POSTGRESQL = Path("/usr/lib/postgresql/15/bin")


def postgresql_missing() -> str | None:
    """Return the reason why no PostgreSQL can be started here, None if it can."""
    if not (POSTGRESQL / "initdb").exists():
        return f"PostgreSQL 15 is not installed ({POSTGRESQL}): apt-get install postgresql-15"
    return None


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Start PostgreSQL on a socket in a folder, and return its URL without the database's name."""
    as_other: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        as_other = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        shutil.chown(folder, "nobody", "nogroup")
    data, log = folder / "data", folder / "log"

    def run(*command: str | Path) -> None:
        done = subprocess.run(
            [*as_other, *map(str, command)], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            reason = log.read_text() if log.exists() else ""
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}{reason}")

    run(POSTGRESQL / "initdb", "-D", data, "-U", "studio", "-A", "trust", "-E", "UTF8", "-N")
    options = f"-c listen_addresses='' -k {folder} -c fsync=off -c max_connections=100"
    run(POSTGRESQL / "pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
    try:
        yield f"postgresql://studio@/{{name}}?host={folder}"
    finally:
        run(POSTGRESQL / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
