"""Accuracy on corrupted pictures: the corruptions, and its measurement."""
