"""HTTP: routes, security, events, documentation."""
