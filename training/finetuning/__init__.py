"""Fine-tuning of a backbone's last stages, and its comparison with the head alone."""
