"""Every error that this project raises on purpose.

    FacemaskError
    ├── PictureError             one picture cannot be used; its neighbours can
    │   ├── EmptyPicture         no bytes at all
    │   ├── UnsupportedFormat    not a picture, or of a format that is not read
    │   ├── UndecodableImage     announces a format that is read, but is broken
    │   ├── ImageTooLarge        its header announces more pixels than allowed
    │   ├── FileTooLarge         it has more bytes than allowed
    │   └── ImageTooCostly       decoding it would take more work than is allowed
    ├── KeyUnusable              a key to sign or to verify bundles with cannot be used
    └── BundleError              a bundle or its store cannot be used
        ├── NoBundle             the store names no bundle to serve
        ├── BundleIncomplete     a file is missing, or is not the one that was published
        ├── BundleUntrusted      none of the trusted keys has signed it
        ├── SchemaUnsupported    the manifest is of another schema, or breaks it
        ├── EngineUnavailable    this CPU or PyTorch lacks the bundle's int8 arithmetic
        ├── DetectorUnavailable  the face detector is not installed, or cannot run here
        └── GoldenMismatch       the model does not answer as it did when it was trained

The training job's own errors hang below `FacemaskError` in `training.errors`, the
service's in `service.problems`. None of them knows HTTP.
"""


class FacemaskError(Exception):
    """The root: its text is one sentence for the person who can mend the cause."""

    code: str = "error"


class PictureError(FacemaskError):
    """One picture cannot be used; its neighbours can."""

    code = "bad_picture"


class EmptyPicture(PictureError):
    """No bytes at all."""

    code = "empty_picture"


class UnsupportedFormat(PictureError):
    """Not a picture, or of a format that is not read."""

    code = "unsupported_format"


class UndecodableImage(PictureError):
    """Announces a format that is read, but is broken or cut short."""

    code = "undecodable_image"


class ImageTooLarge(PictureError):
    """The header announces more pixels than allowed."""

    code = "image_too_large"


class FileTooLarge(PictureError):
    """The file has more bytes than allowed."""

    code = "file_too_large"


class ImageTooCostly(PictureError):
    """Decoding would take more work than is allowed."""

    code = "image_too_costly"


class KeyUnusable(FacemaskError):
    """A key to sign or to verify bundles with cannot be used."""

    code = "key_unusable"


class BundleError(FacemaskError):
    """A bundle or its store cannot be used."""

    code = "bad_bundle"


class NoBundle(BundleError):
    """The store names no bundle to serve."""

    code = "no_bundle"


class BundleIncomplete(BundleError):
    """A file is missing, or is not the one that was published."""

    code = "bundle_incomplete"


class BundleUntrusted(BundleError):
    """None of the trusted keys has signed it."""

    code = "bundle_untrusted"


class SchemaUnsupported(BundleError):
    """The manifest is of another schema version, or breaks its schema."""

    code = "schema_unsupported"


class EngineUnavailable(BundleError):
    """The bundle needs int8 arithmetic that this CPU or build of PyTorch lacks."""

    code = "engine_unavailable"


class DetectorUnavailable(BundleError):
    """The face detector is not installed, is of another version, or cannot run here."""

    code = "detector_unavailable"


class GoldenMismatch(BundleError):
    """The model does not answer its golden pictures as it did when it was trained."""

    code = "golden_mismatch"
