"""One folder a task: a question that is put to every model."""
