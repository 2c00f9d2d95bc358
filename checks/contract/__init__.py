"""The service against its own OpenAPI document: `python -m checks.contract`."""
