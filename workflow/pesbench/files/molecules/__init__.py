"""Files of molecules that a user brings."""
