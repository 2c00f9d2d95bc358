"""Measurements of speed, memory and accuracy; run them alone on the machine."""
