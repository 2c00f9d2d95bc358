"""The head, its cross-validation, and every metric of its quality."""
