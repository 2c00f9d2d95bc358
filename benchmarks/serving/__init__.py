"""The service against the in-process limit and against other servers, side by side in one run."""
