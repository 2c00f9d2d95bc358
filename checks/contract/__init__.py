"""Shows that every response matches the service's OpenAPI document: `python -m checks.contract`."""
