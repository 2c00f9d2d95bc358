"""Formats of other tools, imported and exported: zip of folders, Label Studio, IBM Cloud Annotations."""
