"""What a weight file is, from its first bytes: cheap, and without the package that reads it."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import IO

_HEAD_BYTES = 4096
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\b\x1b")
_GIT_LFS = b"version https://git-lfs.github.com/spec/"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLE = b"\x80"
_ZIP = b"PK\x03\x04"


def defect(path: Path, package: str | None) -> str | None:
    """What is wrong with a file that should hold a pickled network or dictionary, or None.

    Only the kind of file and the class at the top of the pickle are looked at, nothing is
    unpickled: what passes may still not load.

    Args:
        path: A file that exists.
        package: Top-level package that the class of the network belongs to, such as `mace`; None
            where the file should hold a dictionary of tensors and plain values.

    Returns:
        The predicate of a sentence whose subject is the file, such as "is an HTML page".
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return "is empty"
    if head.startswith(_ZIP):
        return _defect_of_zip(path, package)
    if head.startswith(_PICKLE):
        return None  # torch's format before 1.6; or another pickle, which loading tells
    if head.startswith(_GIT_LFS):
        return "is a pointer of Git LFS and not the file itself (`git lfs pull` fetches it)"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "is an HTML page, no weights"
    if head.startswith(_HDF5):
        return "is an HDF5 file, no weights of torch"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return "is a safetensors file: tensors without the network"
    if _is_text(head):
        return "is text, no weights"
    return "is no file that torch writes"


def _is_text(head: bytes) -> bool:
    if any(byte < 32 and byte not in _TEXT_CONTROLS for byte in head):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3  # a character cut at the end of what was read
    return True


def _defect_of_zip(path: Path, package: str | None) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
                return "is a TorchScript archive, not the network itself"
            data = next((name for name in names if name.endswith("/data.pkl")), None)
            if data is None:
                return "is a zip archive, but none that torch writes"
            with archive.open(data) as pickled:
                return _defect_of_pickle(pickled, package)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError):
        return "is cut short or damaged: its zip archive has no readable directory"


def _defect_of_pickle(pickled: IO[bytes], package: str | None) -> str | None:
    """What is wrong with the object at the top of a pickle, as far as its first opcodes tell."""
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            match opcode.name:
                case "EMPTY_DICT":
                    return None if package is None else _dictionary()
                case "GLOBAL" | "STACK_GLOBAL":
                    module, _, name = (
                        argument.partition(" ")
                        if opcode.name == "GLOBAL"
                        else " ".join(texts[-2:]).partition(" ")
                    )
                    if (module, name) == ("collections", "OrderedDict"):
                        return _dictionary()
                    if package is None:
                        return f"holds a {module}.{name}, no dictionary of weights"
                    if module.partition(".")[0] != package:
                        return f"holds a {module}.{name}, no network of {package}"
                    return None
                case "PROTO" | "FRAME" | "MEMOIZE":
                    continue
                case "SHORT_BINUNICODE" | "BINUNICODE":
                    texts.append(argument)
                case _:
                    return f"holds no network of {package}" if package else "holds no dictionary"
    except ValueError:
        return "is damaged: its pickle cannot be read"
    return None


def _dictionary() -> str:
    return "holds a dictionary (a state dict or the checkpoint of another package), no network"
