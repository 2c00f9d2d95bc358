"""Formats of other tools, in and out: zip of folders, Label Studio, IBM Cloud Annotations."""
