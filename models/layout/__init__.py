"""Layout of data sets: names of files, of archive entries, and of class folders."""
