"""A published model: files, manifest, signature, verification, store."""
