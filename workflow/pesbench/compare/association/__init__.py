"""Does smoothness predict stability? Models compared with each other."""
