"""Shows that 95 % intervals cover the truth in 95 % of simulated data sets."""
