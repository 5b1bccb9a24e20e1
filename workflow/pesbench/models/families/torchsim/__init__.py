"""Family `torchsim`: its description (`family.py`) and its adapter (`model.py`)."""
