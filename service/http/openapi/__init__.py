"""The OpenAPI document: schemas, parameters, and what FastAPI does not generate itself."""
