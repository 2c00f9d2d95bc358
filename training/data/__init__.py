"""Reading of a data set: files, tables, statistics, near-duplicates, cache."""
