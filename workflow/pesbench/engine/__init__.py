"""How models are run: the supervised worker, batches, relaxation, dynamics."""
