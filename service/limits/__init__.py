"""Limits on pixels, bytes, connections and memory."""
