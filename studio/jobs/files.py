"""Files of a job: its folder, its progress, its log."""

import os
from pathlib import Path
from typing import Final

_MAX_LOG_TAIL_BYTES: Final = 4000


def job_folder(folder: Path, number: int) -> Path:
    """Return the folder of a job, below that of all jobs."""
    return folder / str(number)


def progress_file(folder: Path) -> Path:
    """Return the progress file in a job's folder."""
    return folder / "progress.jsonl"


def read_log_tail(path: Path, max_bytes: int = _MAX_LOG_TAIL_BYTES) -> str:
    """Return the end of a log file; empty if there is none."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - max_bytes))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
