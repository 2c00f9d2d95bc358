"""Pictures: their files by content, the plan of a drop, and their intake into a project."""
