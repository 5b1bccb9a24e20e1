"""Comparison `walls`: repulsion, readout and basis against closest approach."""
