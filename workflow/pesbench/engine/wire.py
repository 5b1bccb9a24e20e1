"""Messages between a command and its model's process.

A frame is its length (8 bytes) and its content. The command is trusted and sends pickles; the
process of a model is not, so that it answers with JSON and plain arrays, which run no code when
they are read. An answer carries the number of the question, so that none is taken for another's.
"""

from __future__ import annotations

import io
import json
import pickle
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Batch, ModelInfo, Result, Status, check_result, one_line

T = TypeVar("T")
LENGTH = struct.Struct("<Q")
_HEADER = struct.Struct("<I")
_ANSWER_BYTES = 2**24  # of an answer, beside its arrays and messages
_MESSAGE_BYTES = 4096  # of each message, at most 500 characters
_DETAIL = 4000  # characters of a text that a model gives about itself
_DETAILS = 30_000  # of all of them, as JSON
_DEPTH = 20  # characters of what it states


class UnreadableError(Exception):
    """An answer that no worker of ours sends."""


@dataclass(frozen=True)
class Timed:
    """A result and its cost.

    Attributes:
        result: Checked by `check_result`.
        wall_s: Seconds in the model.
        device_bytes: Peak memory on the accelerator since the worker started; 0 on a CPU.
        host_bytes: Peak resident memory of the worker since it started.
    """

    result: Result
    wall_s: float
    device_bytes: int
    host_bytes: int = 0


# --- questions -----------------------------------------------------------------------------------


class _Pickler(pickle.Pickler):
    """Pickles arrays so that any version of NumPy reads them: 1 and 2 name other modules."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            return array_of, (value.tobytes(), value.dtype.str, value.shape)
        return NotImplemented


def array_of(content: bytes, dtype: str, shape: tuple[int, ...]) -> Any:
    """An array that may be written to, or a number of NumPy, from its bytes."""
    return np.frombuffer(content, dtype=dtype).reshape(shape).copy()[()]


def question(number: int, content: Any) -> list[memoryview | bytes]:
    """The parts of a frame with a question: what it is about, pickled."""
    payload = io.BytesIO()
    _Pickler(payload, protocol=5).dump((number, content))
    return [LENGTH.pack(payload.getbuffer().nbytes), payload.getbuffer()]


def read_question(connection: socket.socket) -> tuple[int, Any] | None:
    """Read the next question in the worker; None when there will be none."""
    length = _read(connection, LENGTH.size)
    if length is None:
        return None
    payload = _read(connection, LENGTH.unpack(length)[0])
    return None if payload is None else pickle.loads(payload)


def _read(connection: socket.socket, count: int) -> bytearray | None:
    content = bytearray(count)
    view = memoryview(content)
    while view:
        got = connection.recv_into(view)
        if not got:
            return None
        view = view[got:]
    return content


# --- answers -------------------------------------------------------------------------------------


def answer(header: dict[str, Any], *arrays: NDArray[np.float64]) -> list[memoryview | bytes]:
    """The parts of a frame with an answer."""
    text = json.dumps(header, default=_plain).encode()
    parts = [np.ascontiguousarray(array, dtype=np.float64) for array in arrays]
    length = _HEADER.size + len(text) + sum(part.nbytes for part in parts)
    head = LENGTH.pack(length) + _HEADER.pack(len(text)) + text
    return [head, *(memoryview(part).cast("B") for part in parts if part.size)]


def _plain(value: Any) -> Any:
    """Conversion of values that JSON lacks: numbers of NumPy, paths, sets, ..."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)


def result_answer(timed: Timed) -> tuple[dict[str, Any], list[NDArray[np.float64]]]:
    """The header and the arrays of an answer with a result."""
    result = timed.result
    header = {
        "kind": "result",
        "wall_s": timed.wall_s,
        "device_bytes": timed.device_bytes,
        "host_bytes": timed.host_bytes,
        "energies": result.energies is not None,
        "status": {str(k): s.value for k, s in enumerate(result.status) if s is not Status.OK},
        "messages": {str(k): message for k, message in enumerate(result.messages) if message},
    }
    return header, [result.forces] + ([] if result.energies is None else [result.energies])


def largest_answer(batch: Batch | None) -> int:
    """Bytes that an answer may have."""
    if batch is None:
        return _ANSWER_BYTES
    each = _MESSAGE_BYTES + 8
    return _ANSWER_BYTES + 24 * batch.n_atoms + each * batch.n_systems


def read_answer(content: bytearray) -> tuple[dict[str, Any], memoryview]:
    """The header of an answer and the bytes of its arrays.

    Raises:
        UnreadableError: it is something else.
    """
    return _read_as(lambda: _split(content))


def _split(content: bytearray) -> tuple[dict[str, Any], memoryview]:
    view = memoryview(content)
    (length,) = _HEADER.unpack(view[: _HEADER.size])
    header = json.loads(bytes(view[_HEADER.size : _HEADER.size + length]))
    if not isinstance(header, dict):
        raise ValueError("no mapping")
    return header, view[_HEADER.size + length :]


def read_result(header: dict[str, Any], arrays: memoryview, batch: Batch) -> Timed:
    """The result in an answer.

    Raises:
        UnreadableError: it is none for this batch.
    """

    def read() -> Timed:
        size = 3 * batch.n_atoms + (batch.n_systems if header["energies"] else 0)
        numbers = np.frombuffer(arrays, dtype=np.float64)
        if numbers.shape != (size,):
            raise ValueError(f"{numbers.size} numbers, not {size}")
        status, messages = [Status.OK] * batch.n_systems, [""] * batch.n_systems
        for place, how in header["status"].items():
            status[int(place)] = Status(how)
        for place, message in header["messages"].items():
            messages[int(place)] = message
        result = Result(
            energies=numbers[3 * batch.n_atoms :] if header["energies"] else None,
            forces=numbers[: 3 * batch.n_atoms].reshape(-1, 3),
            status=tuple(status),
            messages=tuple(messages),
        )
        return Timed(
            check_result(batch, result),
            float(header["wall_s"]),
            int(header["device_bytes"]),
            int(header["host_bytes"]),
        )

    return _read_as(read)


def info_answer(info: ModelInfo, host_bytes: int) -> dict[str, Any]:
    """Header of the answer that describes a loaded model."""
    elements = None if info.elements is None else sorted(int(z) for z in info.elements)
    return {
        "kind": "ready",
        "elements": elements,
        "charges": bool(info.charges),
        "spins": bool(info.spins),
        "batched": bool(info.batched),
        "device": str(info.device),
        "dtype": str(info.dtype),
        "details": info.details,
        "host_bytes": host_bytes,
    }


def read_info(header: dict[str, Any]) -> tuple[ModelInfo, int]:
    """Information that a model gives about itself, made printable, and its memory.

    Raises:
        UnreadableError: it is something else.
    """

    def read() -> tuple[ModelInfo, int]:
        elements = header["elements"]
        details = _printable(header["details"])
        if not isinstance(details, dict):
            raise ValueError("its details are no mapping")
        if (size := len(json.dumps(details))) > _DETAILS:  # more than an attribute of HDF5 holds
            details = {"left_out": f"details of {size} characters"}
        info = ModelInfo(
            elements=None if elements is None else frozenset(int(z) for z in elements),
            charges=bool(header["charges"]),
            spins=bool(header["spins"]),
            batched=bool(header["batched"]),
            device=one_line(header["device"]),
            dtype=one_line(header["dtype"]),
            details=details,
        )
        return info, int(header["host_bytes"])

    return _read_as(read)


def _printable(value: Any, depth: int = 0) -> Any:
    if depth > _DEPTH:
        raise ValueError("details nested too deep")
    if isinstance(value, dict):
        return {one_line(k): _printable(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_printable(one, depth + 1) for one in value]
    return one_line(value, _DETAIL) if isinstance(value, str) else value


def _read_as(read: Callable[[], T]) -> T:
    """What a function reads of an answer that may hold anything."""
    try:
        return read()
    except Exception as error:
        raise UnreadableError(one_line(f"{type(error).__name__}: {error}")) from error
