"""The command that compares import paths and arguments of entries with their packages."""
