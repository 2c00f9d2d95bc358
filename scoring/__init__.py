"""Scoring of an archive of pictures: Parquet shards of answers, one row per input, resumable."""
