"""HTTP: routes, uploads, responses, documentation."""
