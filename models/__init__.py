"""The contract between training and service: what a model is, and how pictures reach it."""

__version__ = "0.2.0"
