"""Forwarding address of the client, a package of its own since version 0.2.0."""
