"""Pretrained networks, frozen, and their weights."""
