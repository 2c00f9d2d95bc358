"""Shared parts of the service's page and the studio's pages: styles, scripts, and their serving."""
