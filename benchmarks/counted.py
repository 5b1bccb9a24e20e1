"""A calculator that writes down every call: which geometry it was asked about."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.emt import EMT


class Counted(EMT):
    """ASE's effective medium theory; physics of no use here, in a millisecond a call.

    Args:
        tally: File that gets a line a call, before the call: a hash of elements and positions.
    """

    def __init__(self, tally: str) -> None:
        super().__init__()
        self._tally = Path(tally)

    def calculate(self, atoms: Atoms, *arguments: Any) -> None:
        geometry = hashlib.sha256(atoms.numbers.tobytes() + atoms.positions.tobytes())
        with self._tally.open("ab", buffering=0) as file:  # one write: a kill cuts no line
            file.write(geometry.hexdigest()[:16].encode() + b"\n")
        super().calculate(atoms, *arguments)
