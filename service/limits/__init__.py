"""Bounds on pixels, bytes, connections and memory."""
