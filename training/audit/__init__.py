"""Audit of a data set: copies, label issues, poor pictures and shortcuts."""
