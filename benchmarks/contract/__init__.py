"""The service against its own OpenAPI document: `python -m benchmarks.contract`."""
