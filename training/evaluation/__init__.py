"""The head, its cross-validation, and every figure that says how good it is."""
