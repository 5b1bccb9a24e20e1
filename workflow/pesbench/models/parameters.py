"""The parameters that a loaded model holds: one checksum, whatever the model is wrapped in.

The networks are found by looking through the attributes of what an adapter holds, so that no
family says where its network is. torch is used where it is loaded, and never imported.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pesbench.core.interface import PARAMETERS_SHA256, Model, ModelInfo, told

NOT_VISIBLE = "not visible"
MOST_OBJECTS = 500_000  # that are looked at
_LEAVES = (
    str,
    bytes,
    bytearray,
    int,
    float,
    complex,
    type,
    types.ModuleType,
    np.ndarray,
    np.generic,
)
_WRAPPERS = frozenset({"_orig_mod"})  # of torch.compile, in the names of parameters
logger = logging.getLogger("pesbench")


def loaded_info(model: Model) -> ModelInfo:
    """What a loaded model tells of itself, with the checksum of its parameters."""
    info = model.info
    return replace(info, details=info.details | {PARAMETERS_SHA256: parameters_sha256(model)})


def parameters_sha256(model: object) -> str:
    """Checksum of the parameters of all torch networks that an object holds.

    Of every outermost `torch.nn.Module` (TorchScript's and those of `torch.compile` are such), the
    parameters and persistent buffers go in, sorted by name: name, kind of number, shape and values.
    Values of every floating-point type are rounded to float32 and whole numbers are widened, so
    that one checkpoint has one checksum in float32 and in float64; it depends on no device, memory
    layout or order of attributes. What all names of a network begin with is left out, for it says
    how deeply the network is wrapped. Several networks have the checksum of their sorted checksums.

    An acceleration that builds the network anew (cuEquivariance's, or MACE's own for
    `torch.compile`) has other parameters, and TorchScript does not tell which buffers are
    persistent: such networks may have checksums of their own.

    Args:
        model: Adapter, calculator or network.

    Returns:
        64 hexadecimal digits, or `NOT_VISIBLE` where there is no network with parameters, as in a
        method of quantum chemistry or a network of JAX.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return NOT_VISIBLE
    try:
        digests = sorted({_network_sha256(one) for one in networks(model, torch)} - {""})
    except Exception as error:  # objects of other packages, which may do anything
        logger.warning("the parameters of the model cannot be read: %s", told(error))
        return NOT_VISIBLE
    if len(digests) < 2:
        return digests[0] if digests else NOT_VISIBLE
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


# --- networks ------------------------------------------------------------------------------------


def networks(model: object, torch: Any) -> list[Any]:
    """The modules of torch that an object holds and that are in no other of them.

    Args:
        model: Adapter, calculator or network.
        torch: The package, which is imported by whoever uses the model.
    """
    leaves = (*_LEAVES, torch.Tensor)
    waiting, seen = deque([model]), {}
    modules = []
    while waiting:
        one = waiting.popleft()
        if one is None or id(one) in seen or isinstance(one, leaves):
            continue
        if len(seen) >= MOST_OBJECTS:
            raise RuntimeError(f"the model holds more than {MOST_OBJECTS} objects")
        seen[id(one)] = one  # kept, so that no other object gets its id
        if isinstance(one, torch.nn.Module):
            modules.append(one)
        if not isinstance(one, torch.jit.ScriptModule):  # which keeps what it was compiled from
            waiting.extend(_held(one))
    inner = {id(part) for one in modules for part in one.modules() if part is not one}
    return [one for one in modules if id(one) not in inner]


def _held(one: object) -> Iterator[Any]:
    """The objects that an object holds, without running code of its class."""
    if isinstance(one, dict):
        yield from one.values()
    elif isinstance(one, list | tuple | set | frozenset | deque):
        yield from one
    elif isinstance(one, functools.partial):
        yield from (one.func, *one.args, *one.keywords.values())
    elif isinstance(one, types.MethodType):
        yield from (one.__self__, one.__func__)
    elif isinstance(one, types.FunctionType):
        yield from (cell.cell_contents for cell in one.__closure__ or () if _is_filled(cell))
        yield from (one.__defaults__ or (), one.__kwdefaults__)
    attributes = getattr(one, "__dict__", None)
    if isinstance(attributes, Mapping):
        yield from attributes.values()
    for kind in type(one).__mro__:
        slots = vars(kind).values()
        yield from (
            slot.__get__(one) for slot in slots if isinstance(slot, types.MemberDescriptorType)
            and kind.__module__ != "builtins" and hasattr(one, slot.__name__)
        )  # fmt: skip


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty one raises
    except ValueError:
        return False
    return True


# --- checksum ------------------------------------------------------------------------------------


def _network_sha256(network: Any) -> str:
    """Checksum of one module; "" if it has no parameters."""
    tensors = {_plain(name): tensor for name, tensor in _tensors(network)}
    outside = _shared_beginning(tensors)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = _array(tensors[name])
        digest.update(f"{name[outside:]} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest() if tensors else ""


def _tensors(network: Any) -> Iterator[tuple[str, Any]]:
    """Parameters and persistent buffers by their names; a shared one by each of its names."""
    passing = {
        f"{place}.{name}" if place else name
        for place, module in network.named_modules(remove_duplicate=False)
        for name in getattr(module, "_non_persistent_buffers_set", ())
    }
    yield from network.named_parameters(remove_duplicate=False)
    for name, buffer in network.named_buffers(remove_duplicate=False):
        if name not in passing:
            yield name, buffer


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _shared_beginning(names: Iterable[str]) -> int:
    """Length of the modules' names, with the last dot, that all names begin with."""
    paths = [name.split(".")[:-1] for name in names]
    shared = 0
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared += len(parts[0]) + 1
    return shared


def _array(tensor: Any) -> np.ndarray:
    """Values on the CPU: float32, complex64, int64 or bool, little-endian and in C order."""
    tensor = tensor.detach().to("cpu")
    if tensor.is_complex():
        kind = "<c8"
        tensor = tensor.resolve_conj()
    elif tensor.is_floating_point():
        kind, tensor = "<f4", tensor.float()  # NumPy has no bfloat16
    else:
        kind = "|b1" if "bool" in str(tensor.dtype) else "<i8"
    return np.ascontiguousarray(tensor.numpy(), dtype=kind).reshape(tuple(tensor.shape))
