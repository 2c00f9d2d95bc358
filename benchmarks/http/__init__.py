"""What HTTP costs the event loop's thread."""
