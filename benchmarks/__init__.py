"""Measurements that print how they were made; run them alone on the machine."""
