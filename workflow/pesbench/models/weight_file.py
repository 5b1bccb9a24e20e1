"""Kind of a weight file, from its first bytes: fast, and without the package that reads it.

The file may be anybody's. Nothing of it is executed, and what is read of it is bounded whatever
sizes it claims.
"""

from __future__ import annotations

import io
import os
import pickletools
import zipfile
from pathlib import PurePosixPath
from typing import BinaryIO

from pesbench.core.family import WeightFormat
from pesbench.core.text import quoted

_HEAD_BYTES = 4096
_MOST_DIRECTORY_BYTES = 4 << 20  # of a zip archive; a tensor takes some 80 bytes of it
_MOST_PICKLE_BYTES = 1 << 16  # to the class at the top, which stands in the first hundred
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\b\x1b")
_GIT_LFS = b"version https://git-lfs.github.com/spec/"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLE = b"\x80"
_ZIP = b"PK\x03\x04"
_UNREADABLE = "is cut short or damaged: its zip archive has no readable directory"


class _Bounded(io.BufferedReader):
    """A file of which only so much is read at a time; `zipfile` reads a directory at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes as from any file.

        Raises:
            BadZipFile: more is asked for than a directory of tensors has.
        """
        most = _MOST_DIRECTORY_BYTES + 1
        content = super().read(most if size is None or size < 0 else min(size, most))
        if len(content) == most:
            raise zipfile.BadZipFile("too large a directory")
        return content


def defect(file: BinaryIO, form: WeightFormat) -> str | None:
    """Error of a file that should hold the weights of a family, or None.

    Only the kind of file, and the class at the top of the pickle or the names in the archive are
    looked at, nothing is unpickled: what passes may still not load.

    Args:
        file: Open for reading, at its start.
        form: What the file should be.

    Returns:
        The predicate of a sentence whose subject is the file, such as "is an HTML page".
    """
    head = file.read(_HEAD_BYTES)
    size = file.seek(0, os.SEEK_END)
    if not head:
        return "is empty"
    if head.startswith(_ZIP) and form.member:
        return _defect_of_folder(file, form.member)
    if head.startswith(_ZIP):
        return _defect_of_zip(file, size, form.package)
    if head.startswith(_PICKLE) and not form.member:
        return None  # torch's format before 1.6, or another pickle, which fails when it is loaded
    if head.startswith(_GIT_LFS):
        return "is a pointer of Git LFS and not the file itself (`git lfs pull` fetches it)"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "is an HTML page, no weights"
    if form.member:
        return "is no zip archive"
    if head.startswith(_HDF5):
        return "is an HDF5 file, no weights of torch"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
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


def _defect_of_folder(file: BinaryIO, member: str) -> str | None:
    bounded = _Bounded(file)  # type: ignore[arg-type]
    try:
        with zipfile.ZipFile(bounded) as archive:
            if member not in {PurePosixPath(name).name for name in archive.namelist()}:
                return f"is a zip archive without {member}"
            return None
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError):
        return _UNREADABLE
    finally:
        bounded.detach()  # the file is the caller's


def _defect_of_zip(file: BinaryIO, size: int, package: str | None) -> str | None:
    bounded = _Bounded(file)  # type: ignore[arg-type]
    try:
        with zipfile.ZipFile(bounded) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
                return "is a TorchScript archive, not the network itself"
            data = next((m for m in members if m.filename.endswith("/data.pkl")), None)
            if data is None:
                return "is a zip archive, but none that torch writes"
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                return "is a compressed zip archive, and torch writes none"
            if sum(member.file_size for member in members) > size:
                return "is damaged: its zip archive claims more bytes than it has"
            with archive.open(data) as pickled:
                return _defect_of_pickle(pickled.read(_MOST_PICKLE_BYTES), package)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError):
        return _UNREADABLE
    finally:
        bounded.detach()  # the file is the caller's


def _defect_of_pickle(pickled: bytes, package: str | None) -> str | None:
    """Error of the top object of a pickle, as far as its first opcodes show, or None."""
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
                    found = quoted(f"{module}.{name}", 80)
                    if package is None:
                        return f"holds a {found}, no dictionary of weights"
                    if module.partition(".")[0] != package:
                        return f"holds a {found}, no network of {package}"
                    return None
                case "PROTO" | "FRAME" | "MEMOIZE":
                    continue
                case "SHORT_BINUNICODE" | "BINUNICODE":
                    texts.append(argument)
                case _:
                    return f"holds no network of {package}" if package else "holds no dictionary"
    except (ValueError, OverflowError):
        return "is damaged: its pickle cannot be read"
    return None


def _dictionary() -> str:
    return "holds a dictionary (a state dict or the checkpoint of another package), no network"
