"""The Slurm that the tests bring up leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from one_node import GPUS, OneNode, alive, forget_left_over, run, this_machine, wait_for

ETC = Path("/etc/slurm")
pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]


@pytest.fixture(autouse=True)
def _possible() -> Iterator[None]:
    with this_machine():
        yield


def _configuration() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in ETC.glob("*.conf")}


def test_what_still_runs_ends_with_it_and_its_configuration_goes(tmp_path: Path) -> None:
    forget_left_over(ETC)  # of a killed test: what is not put back is not to be found again
    kept = ETC / "gres.conf"
    made = not kept.exists()
    if made:
        kept.write_text("# somebody's\n")
    try:
        before = _configuration()
        with OneNode(tmp_path / "node") as node:
            assert _configuration() != before
            started = tmp_path / "pid"
            lost = tmp_path / "lost"  # what Slurm does not find again
            command = (
                f"srun -n1 sh -c '(setsid sleep 600 & echo $! > {lost}); "
                f"echo $$ > {started}.part; mv {started}.part {started}; sleep 600'"
            )
            run("sbatch", "--gpus=1", "-o", str(tmp_path / "log"), "--wrap", command)
            run("sbatch", f"--gpus={GPUS}", "-o", "/dev/null", "--wrap", "sleep 600")  # has to wait
            wait_for("job", started.exists)
            pids = [int(started.read_text()), int(lost.read_text()), *node.pids()]
            assert all(alive(pid) for pid in pids)
            assert len(node.queue()) == 2
        wait_for("end", lambda: not any(alive(pid) for pid in pids))
        assert _configuration() == before
        assert not _processes_of(tmp_path)
    finally:
        if made:
            kept.unlink()


def test_what_a_killed_test_has_left_is_not_put_back(tmp_path: Path) -> None:
    written, beside = tmp_path / "slurm.conf", tmp_path / "gres.conf"
    forget_left_over(tmp_path)  # nothing there
    for name, left in (("pesbench", False), ("somebody", True)):
        written.write_text(f"ClusterName={name}\nSlurmUser=root\n")
        beside.write_text("Name=gpu\n")
        forget_left_over(tmp_path)
        assert written.exists() == beside.exists() == left


def _processes_of(folder: Path) -> list[str]:
    """Commands of the processes whose arguments name a folder, this one excepted."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if str(folder) in words and int(place.parent.name) != os.getpid():
            found.append(words)
    return found
