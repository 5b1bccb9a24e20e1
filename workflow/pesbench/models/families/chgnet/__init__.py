"""Family `chgnet`: its description (`family.py`) and its adapter (`model.py`)."""
