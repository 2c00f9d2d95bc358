"""Inference on admitted pictures: batching, the engine, and replacement of the model."""
