"""Family `testbed`: what it is (`family.py`), and its adapter (`model.py`)."""
