"""What is stored: how it is written, read and checked."""
