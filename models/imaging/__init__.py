"""Encoded picture to model input: formats, bounds, orientation, faces."""
