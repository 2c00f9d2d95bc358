"""Other servers, each as its own documentation shows it; run in virtual environments of theirs."""
