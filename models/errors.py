"""Errors with a cause that the reader can fix, shared by training and service.

    FacemaskError
    ├── PictureError
    │   ├── EmptyPicture
    │   ├── UnsupportedFormat
    │   ├── UndecodableImage
    │   ├── ImageTooLarge
    │   ├── FileTooLarge
    │   └── ImageTooCostly
    ├── KeyUnusable
    └── BundleError
        ├── NoBundle
        │   └── PointerUnreadable
        ├── BundleIncomplete
        ├── BundleUnreadable
        ├── StoreNotSynced
        ├── BundleUntrusted
        ├── SchemaUnsupported
        ├── EngineUnavailable
        ├── DetectorUnavailable
        └── GoldenMismatch

A class holds all facts about its error: the documentation is generated from it. Only the service
uses `status`, as HTTP status of the answer.

The training job's own errors derive from `FacemaskError` in `training.errors`, the service's in
`service.problems`.
"""

from typing import ClassVar


class FacemaskError(Exception):
    """An error with a cause that the reader can fix; its text is one sentence that names it.

    Attributes:
        code: Stable name of the error, for programs.
        status: HTTP status.
        example: Example of its text, for the documentation.
        retry_after_s: Seconds after which a new try makes sense, if any.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    example: ClassVar[str | None] = None
    retry_after_s: ClassVar[int | None] = None


class PictureError(FacemaskError):
    """A picture cannot be used; the other pictures of its batch can."""

    code = "bad_picture"


class EmptyPicture(PictureError):
    """A file has no bytes."""

    code = "empty_picture"
    status = 400
    example = "The file is empty."


class UnsupportedFormat(PictureError):
    """A file is not a picture of a supported format."""

    code = "unsupported_format"
    status = 415
    example = "Not a picture that is read here: send JPEG, PNG, WebP, HEIC, AVIF, BMP, GIF or TIFF."


class UndecodableImage(PictureError):
    """A picture of a supported format is broken or cut short."""

    code = "undecodable_image"
    status = 422
    example = "The PNG picture is broken or cut short (image file is truncated)."


class ImageTooLarge(PictureError):
    """A picture has more pixels than allowed, by its header."""

    code = "image_too_large"
    status = 413
    example = "8000 x 8000 pixels are more than the 50,000,000 allowed."


class FileTooLarge(PictureError):
    """A file has more bytes than allowed."""

    code = "file_too_large"
    status = 413
    example = "The file is larger than the 33,554,432 bytes allowed."


class ImageTooCostly(PictureError):
    """Decoding takes more time than allowed, or the file is made to keep a decoder busy."""

    code = "image_too_costly"
    status = 413
    example = "A JPEG picture may have 100 scans."


class KeyUnusable(FacemaskError):
    """A signing or verification key cannot be used."""

    code = "key_unusable"


class BundleError(FacemaskError):
    """A bundle or its store cannot be used."""

    code = "bad_bundle"


class NoBundle(BundleError):
    """The store names no bundle to serve."""

    code = "no_bundle"


class PointerUnreadable(NoBundle):
    """The store's file that names the bundle cannot be read."""

    code = "pointer_unreadable"


class BundleIncomplete(BundleError):
    """A file of the bundle is missing or has changed since publication."""

    code = "bundle_incomplete"


class BundleUnreadable(BundleError):
    """A file cannot be read at the moment (I/O error, permission); the read is retried."""

    code = "bundle_unreadable"


class StoreNotSynced(BundleError):
    """A change of the store is done, but may not survive a power cut: the disk does not confirm."""

    code = "store_not_synced"


class BundleUntrusted(BundleError):
    """None of the trusted keys has signed the bundle."""

    code = "bundle_untrusted"


class SchemaUnsupported(BundleError):
    """The manifest has another schema version or breaks its schema."""

    code = "schema_unsupported"


class EngineUnavailable(BundleError):
    """The bundle needs arithmetic or a device that this machine or build of PyTorch lacks."""

    code = "engine_unavailable"


class DetectorUnavailable(BundleError):
    """The face detector is not installed, has another version, or cannot run here."""

    code = "detector_unavailable"


class GoldenMismatch(BundleError):
    """The model's answers to its golden pictures differ from those recorded in training."""

    code = "golden_mismatch"


def reason_of(error: Exception) -> str:
    """Return the operating system's message for an error, or else the error's own."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
