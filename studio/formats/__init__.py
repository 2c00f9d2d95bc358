"""Formats of others, in and out: zip of folders, Label Studio, IBM Cloud Annotations."""
