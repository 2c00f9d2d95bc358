"""Export of a trained model, and its publication as a bundle."""
