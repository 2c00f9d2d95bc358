"""The contract between training and service: bundles of models, and decoding of pictures."""

__version__ = "0.2.0"
