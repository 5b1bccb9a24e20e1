"""The folder of an apax model in a zip archive, which is one file with one checksum.

apax writes `config.yaml` and the checkpoint `best` of Orbax into the folder of a model. Nothing
else of it is read.
"""

from __future__ import annotations

import contextlib
import errno
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pesbench.core.errors import UserError
from pesbench.core.text import quoted
from pesbench.files.atomic import atomic_path
from pesbench.models.weights import Weights

CONFIG, BEST = "config.yaml", "best"  # of the folder of a model
MOST_BYTES = 1 << 30  # that an archive may unpack to
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what `python -m zipfile` and `pack` write
_NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of this machine, not of the archive
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # date of the members: equal files make equal archives


@contextlib.contextmanager
def unpacked(weights: Weights) -> Iterator[Path]:
    """The folder of a model, unpacked member by member into a private folder.

    Args:
        weights: The archive. The folder is at its top, or in one folder that it holds.

    Raises:
        UserError: it is no such archive, is damaged, or a member has no place in the folder.
    """
    with tempfile.TemporaryDirectory(prefix="pesbench-") as name:  # of mode 0700
        try:
            with zipfile.ZipFile(weights.open()) as archive:
                _unpack(archive, Path(name), weights)
        except (
            zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
        ) as error:  # fmt: skip
            raise UserError(
                f"{weights.path}: is a damaged zip archive ({quoted(error)}); {weights.cure}"
            ) from error
        yield Path(name)


def _unpack(archive: zipfile.ZipFile, folder: Path, weights: Weights) -> None:
    members = [member for member in archive.infolist() if not member.is_dir()]
    tops = [path.parent for path in _paths(members) if path.name == CONFIG]
    if len(tops) != 1:
        raise UserError(
            f"{weights.path}: holds {len(tops)} files {CONFIG}, not one; {weights.cure}"
        )
    kept = [
        (path.relative_to(tops[0]), member)
        for path, member in zip(_paths(members), members, strict=True)
        if path.is_relative_to(tops[0] / BEST) or path == tops[0] / CONFIG
    ]
    if len(kept) < 2:
        raise UserError(f"{weights.path}: holds no checkpoint {BEST!r}; {weights.cure}")
    if sum(member.file_size for _, member in kept) > MOST_BYTES:
        raise UserError(
            f"{weights.path}: unpacks to more than {MOST_BYTES >> 30} GiB; give another"
        )
    for path, member in kept:
        if ".." in path.parts or "\\" in str(path):
            raise UserError(
                f"{weights.path}: the member {quoted(member.filename)} lies elsewhere; "
                f"{weights.cure}"
            )
        if member.compress_type not in _KINDS:
            raise UserError(
                f"{weights.path}: the member {quoted(member.filename)} is neither stored nor "
                f"deflated; {weights.cure}"
            )
        content = archive.read(member)  # no more than the size that it claims
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:  # a name that is too long, or of a file and a folder at once
            if error.errno in _NO_PLACE:
                raise
            raise UserError(
                f"{weights.path}: the member {quoted(member.filename)} cannot be unpacked "
                f"({error.strerror}); {weights.cure}"
            ) from error


def _paths(members: list[zipfile.ZipInfo]) -> list[PurePosixPath]:
    return [PurePosixPath(member.filename) for member in members]


def pack(folder: Path, path: Path) -> None:
    """Write the archive of a model's folder; equal files make equal bytes.

    A training made again has other files: Orbax writes the time and the folder into them, and
    draws the names of its data files at random.

    Args:
        folder: Folder with `config.yaml` and `best`.
        path: The archive.
    """
    found = [folder / CONFIG, *sorted(one for one in (folder / BEST).rglob("*") if one.is_file())]
    with atomic_path(path) as part, zipfile.ZipFile(part, "w") as archive:
        for one in found:
            name = one.relative_to(folder).as_posix()
            member = zipfile.ZipInfo(name, date_time=_EARLIEST)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, one.read_bytes(), compresslevel=9)
