"""Pictures: their files by content, what a drop of files means, and how they enter a project."""
