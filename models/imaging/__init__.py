"""Encoded picture to model input: formats, limits, orientation, colours, faces."""
