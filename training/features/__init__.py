"""Feature extraction, augmentation, and the feature set that training works on."""
