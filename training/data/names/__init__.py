"""Names of archive entries and of class folders."""
