"""Inputs of a run: the pictures of a folder, list, tar or Parquet file, local or by fsspec URL.

An input yields its entries sorted by key, so that every process that lists it cuts the same
shards.
"""
