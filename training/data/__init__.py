"""Reading a data set: files, tables, statistics, duplicates, cache."""
