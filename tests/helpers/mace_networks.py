"""MACE networks with random weights that take more than a geometry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]
_MAKE = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from benchmarks.models import Size, write_mace
import torch
from mace import modules

plain = modules.ScaleShiftMACE


def write(name, **extra):
    path = Path(sys.argv[2], name)
    modules.ScaleShiftMACE = lambda **settings: plain(**(settings | extra))
    write_mace(path, Size(channels=4, correlation=2))
    network = torch.load(path, weights_only=False)
    network.scale_shift.scale *= 100  # random weights give forces of some meV/A otherwise
    torch.save(network, path)


def embedding(classes, offset):  # as MACE-OMOL was trained with
    return {"type": "categorical", "per": "graph", "in_dim": 1, "emb_dim": 4,
            "num_classes": classes, "offset": offset}


write("random.model")
write("embedded.model", embedding_specs={
    "total_spin": embedding(101, 0), "total_charge": embedding(201, 100)})
write("field.model", embedding_specs={"field": embedding(3, 0)})
n = 10
write("heads.model", heads=["first", "second"], atomic_energies=np.arange(2 * n).reshape(2, n) / 10,
      atomic_inter_scale=[1.0, 2.0], atomic_inter_shift=[0.0, 0.5])
"""


def write_networks(folder: Path) -> None:
    """Write `random.model`, and others that take charge and spin, a field, or have two heads."""
    subprocess.run([sys.executable, "-c", _MAKE, str(REPO), str(folder)], check=True)


def write_network(path: Path, channels: int, correlation: int, max_l: int = 0) -> None:
    """Write a network of this size with random weights."""
    made = (
        f"import sys; sys.path.insert(0, {str(REPO)!r}); from pathlib import Path; "
        "from benchmarks.models import Size, write_mace; "
        f"write_mace(Path({str(path)!r}), Size({channels}, {correlation}, {max_l}))"
    )
    subprocess.run([sys.executable, "-c", made], check=True)
