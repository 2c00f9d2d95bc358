"""Commands that generate files of the repository: documentation tables and images."""
