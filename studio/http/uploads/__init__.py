"""Uploads of pictures, zip files, tables and annotations."""
