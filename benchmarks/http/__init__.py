"""CPU time of the event loop's thread per request."""
