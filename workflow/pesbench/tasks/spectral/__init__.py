"""Which angular degrees can be read from the node features of a model."""
