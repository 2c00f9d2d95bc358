"""Content security policy of the report, which the job writes and which is served as it is."""

from typing import Final

SCRIPT_HASH: Final = "sha256-etv4wPHQnCP9n0J9LbHZHo8fhyPR0SpV4AmFtoi8esg="
"""Of the only script that a report may run: it opens folded lists and saves labels.csv."""

REPORT_POLICY: Final = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    f"script-src '{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'"
)
"""The report's own policy: it loads nothing and sends nothing."""

SERVED_REPORT_POLICY: Final = (
    f"sandbox allow-scripts allow-downloads; {REPORT_POLICY}; frame-ancestors 'none'"
)
"""The policy of a report that is served: it has no access to its host, such as an API key there."""
