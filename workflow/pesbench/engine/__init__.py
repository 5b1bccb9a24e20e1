"""Execution of models: the supervised worker, batches, relaxation, shards."""
