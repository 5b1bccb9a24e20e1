"""Family `wavefunction`: its description, wave functions, their file and the adapter."""
