"""Networks on a GPU: the same forces as on the CPU, and batches that its memory holds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from pesbench.core.family import family_of
from pesbench.core.interface import Batch, molecules_batch
from pesbench.engine.batching import MEMORY_SHARE, choose_limit
from pesbench.engine.worker import Worker
from pesbench.models.registry import ModelEntry, load
from pesbench.orchestration.config import read_models

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")

# eV/Å, of forces up to some eV/Å: rounding of sums that are taken in another order
TOLERANCE = {"float64": 1e-10, "float32": 1e-3}
METHANOL = np.array(
    [
        [-0.7, 0.0, 0.0], [0.7, 0.1, 0.0], [-1.1, 1.0, 0.1],
        [-1.1, -0.5, 0.9], [-1.1, -0.5, -0.9], [1.0, -0.8, 0.0],
    ]
)  # fmt: skip
NUMBERS = np.array([6, 8, 1, 1, 1, 1])


def frames(count: int) -> Batch:
    """Methanol, shaken anew in each frame."""
    shaken = METHANOL + np.random.default_rng(0).normal(0, 0.05, (count, *METHANOL.shape))
    return molecules_batch(list(shaken), [NUMBERS] * count, [0] * count, [1] * count)


@pytest.fixture(params=["mace-mini", "testbed-base", "so3lr", "chgnet-0.3.0", "7net-0"])
def entry(request, repo: Path) -> ModelEntry:
    found = read_models(repo / "config/models.yaml")[request.param]
    for module in family_of(found.family).modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}")
    return found


def test_same_answers_as_on_the_cpu(entry):
    batch = frames(50)
    cpu, gpu = (load(entry, scan_set=None, device=d) for d in ("cpu", "cuda"))
    assert gpu.info.device.startswith("cuda")
    assert gpu.info.details["gpu"] == torch.cuda.get_device_name()
    wanted, found = cpu.evaluate(batch), gpu.evaluate(batch)
    tolerance = TOLERANCE[cpu.info.dtype]
    np.testing.assert_allclose(found.forces, wanted.forces, rtol=0, atol=tolerance)
    if wanted.energies is not None:
        np.testing.assert_allclose(found.energies, wanted.energies, rtol=1e-6, atol=tolerance)


def test_the_chosen_batch_fits_into_the_memory(entry):
    with Worker(entry, scan_set=None, device="cuda", threads=1, timeout_s=300) as worker:
        info = worker.start()
        limit = choose_limit(worker, frames, len(NUMBERS))
        timed = worker.evaluate(frames((limit.atoms or 0) // len(NUMBERS)))
    assert 0 < timed.device_bytes <= MEMORY_SHARE * info.details["gpu_memory_bytes"]
