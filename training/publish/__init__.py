"""A trained model as a bundle."""
