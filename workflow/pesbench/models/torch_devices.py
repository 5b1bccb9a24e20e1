"""Device and precision of torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from pesbench.core.errors import HostError
from pesbench.core.interface import DeviceOutOfMemoryError, is_out_of_device_memory

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def choose_device(device: str) -> torch.device:
    """The torch device of `auto`, `cpu`, `cuda` or `cuda:<n>`.

    Raises:
        HostError: a GPU is asked for and torch sees none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise HostError(f"device {device!r} is asked for, but torch sees no GPU on this machine")
    return torch.device(device)


def torch_details(device: torch.device) -> dict[str, Any]:
    """Properties of torch and of a GPU that decide rounding and speed, for the provenance."""
    # as plain str: its own class would import torch in every process that reads it
    found: dict[str, Any] = {"torch": str(torch.__version__)}
    if device.type == "cuda":
        found |= {
            "cuda": torch.version.cuda,
            "gpu": torch.cuda.get_device_name(device),
            "gpu_memory_bytes": torch.cuda.get_device_properties(device).total_memory,
        }
    return found


@contextlib.contextmanager
def telling_out_of_memory() -> Iterator[None]:
    """Turn torch's errors of device memory into `DeviceOutOfMemoryError` with their first line.

    The memory that torch holds without need is given back before.

    Raises:
        DeviceOutOfMemoryError: a smaller batch may fit.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_device_memory(error):
            raise
        torch.cuda.empty_cache()
        raise DeviceOutOfMemoryError(str(error).splitlines()[0]) from error
