"""Frozen pretrained networks and where their weights come from."""
