"""Errors that callers of the studio see, as RFC 9457 problem documents with a stable code.

A class holds all facts about its error: code, status, example and meaning (the first line of its
docstring). The documentation is generated from it.

Any other error is a bug: it is logged, and answered as a bare `InternalError`.
"""

from collections.abc import Mapping
from typing import ClassVar

from models.errors import FacemaskError, PictureError
from models.problems import HttpError, leaves_of


class StudioError(HttpError):
    """The studio cannot answer a request.

    Attributes:
        exit_status: Exit status of a command that this error ends.
    """

    exit_status: ClassVar[int] = 1


class BadRequest(StudioError):
    """The request is not valid."""

    code = "bad_request"
    status = 400
    exit_status = 2


class BadName(StudioError):
    """A name cannot be used for a project, a class or a group."""

    code = "bad_name"
    status = 400
    example = "A class needs a name of 1 to 200 characters."


class BadUpload(StudioError):
    """The body is malformed or cut short."""

    code = "bad_upload"
    status = 400
    example = "The multipart body is malformed."


class BadArchive(StudioError):
    """The archive is not a zip file that can be read."""

    code = "bad_archive"
    status = 400
    example = "This is not a zip file that can be read (File is not a zip file)."


class BadTable(StudioError):
    """A table or an annotation file is not as documented."""

    code = "bad_table"
    status = 400
    example = "labels.csv has no column 'label'; it needs file, label."


class BadPattern(StudioError):
    """A pattern is not a regular expression with one bracket."""

    code = "bad_pattern"
    status = 400
    example = "The pattern has no (bracket) around the group's name."


class NotFound(StudioError):
    """There is no such project, picture, version, job or run."""

    code = "not_found"
    status = 404
    example = "There is no project 7."


class ActReused(StudioError):
    """The id of an act is already used by another act."""

    code = "act_reused"
    status = 409
    example = "This act's id is already used by another act: send a new one."


class DropUndone(StudioError):
    """The upload was undone while it was going on: the rest of its files is not added."""

    code = "drop_undone"
    status = 409
    example = "This upload was undone: drop the files again to add them."


class CannotUndo(StudioError):
    """The act cannot be undone now."""

    code = "cannot_undo"
    status = 409
    example = "The class rain has pictures now: move them first."


class BodyTooLarge(StudioError):
    """The request body is larger than allowed."""

    code = "body_too_large"
    status = 413
    example = "The request's body is larger than the 67,108,864 bytes allowed."


class UnsupportedMedia(StudioError):
    """The body has another media type than this path reads."""

    code = "unsupported_media_type"
    status = 415
    example = "text/plain: send multipart/form-data with pictures in 'files'."


class InternalError(StudioError):
    """The studio failed unexpectedly; its log has the reason."""

    code = "internal_error"
    status = 500
    example = "The studio failed at this request; its log has the reason."


class DatabaseUnusable(StudioError):
    """The database cannot be opened, does not answer, or belongs to a newer release."""

    code = "database_unusable"
    status = 503
    retry_after_s = 1
    example = "The database belongs to a newer release of the studio (0007): update the studio."


class DiskFull(StudioError):
    """The disk has no room, or cannot be written to."""

    code = "disk_full"
    status = 507
    example = "The disk has no room for this upload."


class UnknownClass(StudioError):
    """The project has no class of that name."""

    code = "unknown_class"
    status = 400
    example = "There is no class 'rain': the classes are mask, no_mask."


class ProjectExists(StudioError):
    """Another project has that name."""

    code = "project_exists"
    status = 409
    example = "Another project is called masks."


class ClassExists(StudioError):
    """Another class has that name."""

    code = "class_exists"
    status = 409
    example = "Another class is called mask."


class TooManyFiles(StudioError):
    """The request names more pictures or files than allowed."""

    code = "too_many_files"
    status = 413
    example = "A request may hold 64 pictures."


class KeyRequired(StudioError):
    """The request carries no key, and nobody has signed in."""

    code = "key_required"
    status = 401
    example = "Sign in with your key, or send it as 'Authorization: Bearer KEY'."
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": "Bearer"}


class KeyRefused(StudioError):
    """The key is unknown."""

    code = "key_refused"
    status = 401
    example = "The key is unknown."
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


class NotAllowed(StudioError):
    """The key's role does not include this."""

    code = "not_allowed"
    status = 403
    example = "This needs the role promote; the key of ann has label."


class CrossSite(StudioError):
    """A page of another site sends the request, or a change lacks the studio's header."""

    code = "cross_site"
    status = 403
    example = "Changes need the header 'X-Requested-With: studio'."


class NoReport(StudioError):
    """The model of the run was published without a report."""

    code = "no_report"
    status = 404
    example = "The model of run 4 was published without a report."


class JobEnded(StudioError):
    """The job has ended, and cannot be cancelled any more."""

    code = "job_ended"
    status = 409
    example = "Job 7 is done: there is nothing to cancel."


class NothingToTrain(StudioError):
    """The data cannot be trained on: fewer than two classes have pictures."""

    code = "nothing_to_train"
    status = 409
    example = "Training needs labelled pictures of at least two classes; the project has one."


class NotComparable(StudioError):
    """Two runs have no picture in common that both have answered out of fold."""

    code = "not_comparable"
    status = 409
    example = "Runs 3 and 4 have no picture in common."


class GateClosed(StudioError):
    """The model is not shown to be as good as the live one: promoting it needs a reason."""

    code = "gate"
    status = 409
    example = (
        "Run 4 is not promoted without a reason. It is not shown to be worse, nor to be within "
        "1.5 points."
    )


class NothingToRollBackTo(StudioError):
    """No model was live before the current one, or it cannot be read any more."""

    code = "nothing_to_roll_back_to"
    status = 409


class BundleGone(StudioError):
    """The model is not in the store any more, or has changed there."""

    code = "bundle_gone"
    status = 410
    example = "The store has no version 20261122T204207Z-1f0c9a77."


class WrongHost(StudioError):
    """The Host header names another server."""

    code = "wrong_host"
    status = 421
    example = (
        "The studio does not answer to the host evil.example: FACEMASK_STUDIO_ALLOWED_HOSTS names "
        "those that it answers to."
    )


class BadOptions(StudioError):
    """An option of a job is unknown, or its value is invalid."""

    code = "bad_options"
    status = 422
    exit_status = 2


class ServiceUnreachable(StudioError):
    """The service does not answer."""

    code = "service_unreachable"
    status = 502
    example = "The service at http://127.0.0.1:8000 does not answer: is it running?"


class CandidateFailed(StudioError):
    """The service process of the chosen model cannot serve it."""

    code = "candidate_failed"
    status = 502


class CandidateStarting(StudioError):
    """The service process of the chosen model has not loaded it yet."""

    code = "candidate_starting"
    status = 503
    retry_after_s = 1
    example = "The chosen model is being loaded: try again in a second."


class TooBusy(StudioError):
    """The maximum number of requests is in progress."""

    code = "too_busy"
    status = 503
    retry_after_s = 1
    example = "512 requests are in progress: try again."


class Refused(StudioError):
    """The studio cannot start with these settings."""

    code = "refused"
    status = 500
    exit_status = 2


def studio_errors() -> list[type[FacemaskError]]:
    """Return the errors that callers of the studio can see, ordered by status and code."""
    return leaves_of(PictureError, StudioError)
