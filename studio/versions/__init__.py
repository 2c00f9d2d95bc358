"""Versions: immutable manifests of a project's pictures, labels and groups."""
