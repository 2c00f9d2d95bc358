"""Findings on pictures without a face, for `--crop faces`."""

from collections.abc import Collection

from training.audit.findings import Finding, plural


def face_findings(faceless: Collection[str], total: int) -> list[Finding]:
    """Report the pictures in which no face was found.

    Args:
        faceless: Their names.
        total: Number of pictures in the data set.
    """
    if not faceless:
        return []
    return [
        Finding(
            "warning",
            "no_face",
            f"No face was found in {len(faceless)} of {plural(total)}: they are used whole, as the "
            "service will use such pictures. Leave out what shows no face.",
            tuple(sorted(faceless)),
        )
    ]
