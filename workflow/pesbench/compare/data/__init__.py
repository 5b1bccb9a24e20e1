"""How much data a potential needs until it is stable, and which."""
