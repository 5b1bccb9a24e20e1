"""Memory of the machine, or of what a control group leaves of it, and who holds it."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

SHORT = 0.05  # share of the total; with less available, memory is short
GIB = 2**30
_PAGE = os.sysconf("SC_PAGE_SIZE")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")
# options of mallopt(3), their environment variables, and values; glibc before 2.35 takes no larger
# threshold of mmap than the last one
_KEEP_FREED = (
    (-1, "MALLOC_TRIM_THRESHOLD_", (2**30,)),
    (-3, "MALLOC_MMAP_THRESHOLD_", (2**30, 2**25)),
)


def _number(path: Path, key: str = "") -> int | None:
    """The number in a file, or that of a line `key number`."""
    try:
        found = re.search(rf"^{key}\s*(\d+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def _groups() -> Iterator[tuple[int, int]]:
    """Limit and use of every control group of this process that limits memory, in bytes."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if "memory" in controllers.split(","):
            root, names = Path("/sys/fs/cgroup/memory"), _V1
        elif not controllers:
            root, names = Path("/sys/fs/cgroup"), _V2
        else:
            continue
        inside = Path(name.strip("/"))
        for folder in (root / inside, *(root / parent for parent in inside.parents)):
            limit, used = _number(folder / names[0]), _number(folder / names[1])
            if limit is not None and used is not None:
                # the kernel takes back what is cached of files before it ends a process
                yield limit, used - (_number(folder / "memory.stat", names[2]) or 0)


def total_bytes() -> int:
    """Memory of the machine, or the smallest limit of a control group."""
    physical = os.sysconf("SC_PHYS_PAGES") * _PAGE
    return min(physical, *(limit for limit, _ in _groups()), physical)


def available_bytes() -> int:
    """Memory that processes can still get; all memory if the system does not report it."""
    free = _number(Path("/proc/meminfo"), "MemAvailable:")
    machine = total_bytes() if free is None else free * 1024
    return min(machine, *(limit - used for limit, used in _groups()), machine)


def keep_freed_memory() -> None:
    """Freed memory stays with this process, and with those that it starts, for their next arrays.

    By default glibc gives the memory of large arrays back to the system, which clears each page
    that it hands out again (mallopt(3); `benchmarks/freed_memory.py` measures it). Variables that
    the user set stand. Other C libraries are left as they are.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return
    for option, variable, values in _KEEP_FREED:
        if variable in os.environ:
            continue
        taken = next((value for value in values if library.mallopt(option, value)), None)
        if taken is not None:
            os.environ[variable] = str(taken)


def is_short() -> bool:
    """Whether the machine, or this process's own limit (`ulimit -v`), has hardly any left."""
    if available_bytes() < SHORT * total_bytes():
        return True
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    taken = _number(Path("/proc/self/statm"))
    if limit == resource.RLIM_INFINITY or taken is None:
        return False
    return limit - taken * _PAGE < SHORT * limit


def _held(pid: int) -> int:
    # pages that processes share count in parts
    shared = _number(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")
    if shared is not None:
        return shared * 1024
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def held_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 if the system does not report it."""
    if sys.platform != "linux":
        return 0
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int(
                    (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
                )
            except (OSError, IndexError, UnicodeDecodeError):
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found, todo = 0, [pid]
    while todo:
        one = todo.pop()
        found += _held(one)
        todo += children.get(one, [])
    return found
