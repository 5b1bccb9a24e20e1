"""Family `so3lr`: its description (`family.py`) and its adapter (`model.py`)."""
