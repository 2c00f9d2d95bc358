"""Data and results of jobs: frozen versions, commands, runs, findings."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from models.bundle.out_of_fold import read_answers
from models.errors import BundleIncomplete
from studio.database import Database
from studio.jobs.files import progress_file
from studio.jobs.options import arguments_of
from studio.jobs.queue import Job
from studio.labels.findings import LabelIssue, store_findings, store_label_issues
from studio.pictures.blobs import BlobStore
from studio.runs.figures import figures_of, read_bundle, settings_of
from studio.runs.label_issues import (
    audited_issues_of,
    clear_relabelled,
    findings_of,
    label_issues_of,
)
from studio.runs.runs import add_run
from studio.versions.folder import materialise, materialise_present, read_files
from studio.versions.store import VersionStore

TRAINING: Final = (sys.executable, "-m", "training")
"""Command of the training job."""

_FINDINGS: Final = "findings.json"
_DATA: Final = "pictures"


class StudioWork:
    """The work of the studio's jobs: see `studio.jobs.ending.Work`."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        versions: VersionStore,
        store: Path,
        *,
        command: Sequence[str] = TRAINING,
    ) -> None:
        """Create the work.

        Args:
            database: The studio's database.
            blobs: The pictures.
            versions: The versions' manifests.
            store: Folder of the models.
            command: Command of the training job.
        """
        self._database, self._blobs, self._versions = database, blobs, versions
        self._store, self._command = store.absolute(), list(command)

    def prepare(self, job: Job, folder: Path) -> Sequence[str]:
        """Write the pictures that a job reads into its folder, and return its command.

        Raises:
            FacemaskError: The version cannot be written.
        """
        target = folder / _DATA
        if job.version is None:
            data = materialise_present(self._database, self._blobs, job.project, target)
        else:
            data = materialise(
                self._database, self._versions, self._blobs, job.project, job.version, target
            )
        # Relative to the job's folder: the command is part of the bundle, and the same version with
        # the same options must give the same bundle.
        pictures = str(data.data.relative_to(folder))
        progress = ["--progress", "json", "--progress-file", progress_file(folder).name]
        if job.kind == "audit":
            return [*self._command, "audit", pictures, *progress, "--json", _FINDINGS]
        tests = [f"--test={path.relative_to(folder)}" for _, path in data.tests]
        return [
            *self._command, "fit", pictures, "--out", str(self._store), "--no-promote",
            *progress, *arguments_of(job.options), *tests,
        ]  # fmt: skip

    def finish(self, job: Job, folder: Path, finished: Mapping[str, Any]) -> dict[str, Any]:
        """Store the run of a training, or the findings of an audit.

        Raises:
            FacemaskError: The bundle or the findings cannot be read.
        """
        if job.kind == "audit":
            return {"findings": self._store_audit(job, folder)}
        version = str(finished.get("version", ""))
        path = self._store / version
        manifest, summary = read_bundle(path)
        figures = figures_of(
            manifest, summary, started_at=job.started_at, ended_at=finished.get("time")
        )
        run = add_run(
            self._database,
            project=job.project,
            job=job.id,
            version=job.version,
            bundle=version,
            by=job.by,
            figures=figures,
            settings=settings_of(manifest) | job.options.model_dump(),
        )
        self._store_label_issues(job, path, summary)
        comparison = finished.get("comparison")
        return {
            "run": run,
            "bundle": version,
            "accuracy": figures["accuracy"],
            "comparison": comparison if isinstance(comparison, dict) else None,
        }

    def _digests(self, folder: Path) -> dict[str, str]:
        """Return the digest of each picture that a job has read, by its name there."""
        try:
            return read_files(folder / _DATA)
        except (OSError, ValueError) as error:
            raise BundleIncomplete(f"The job's list of pictures is gone ({error}).") from error

    def _store_audit(self, job: Job, folder: Path) -> int:
        try:
            document = json.loads((folder / _FINDINGS).read_text(encoding="utf-8"))
            rows = document["findings"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleIncomplete(f"The audit has left no findings ({error}).") from error
        digests = self._digests(folder)
        found = list(findings_of(rows, digests))
        suspects = list(audited_issues_of(rows, digests))
        store_findings(self._database, job.project, found, job_id=job.id)
        self._keep_label_issues(job, suspects)
        return len(found) + len(suspects)

    def _store_label_issues(self, job: Job, bundle: Path, summary: Mapping[str, Any]) -> None:
        """Store the label issues that a model found, by its out-of-fold answers and its audit."""
        answers = read_answers(bundle) or []
        digests = {answer.file: answer.sha256 for answer in answers}
        by_digest = {issue.sha256: (label, issue) for label, issue in label_issues_of(answers)}
        for label, issue in audited_issues_of(summary.get("audit") or [], digests):
            by_digest[issue.sha256] = (label, issue)
        self._keep_label_issues(job, by_digest.values())

    def _keep_label_issues(self, job: Job, issues: Iterable[tuple[str, LabelIssue]]) -> None:
        with self._database.read() as connection:
            wanted = clear_relabelled(connection, job.project, issues)
        store_label_issues(self._database, job.project, wanted, job_id=job.id)
