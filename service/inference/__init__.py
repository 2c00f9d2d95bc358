"""From admitted pictures to answers: batches, the model and its replacement."""
