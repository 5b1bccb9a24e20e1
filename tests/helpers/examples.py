"""Scan sets, entries and toys that several test modules make for themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

import fake_calculators
from pesbench.core.coordinates.bond import bond_scans
from pesbench.core.scans import Scan
from pesbench.core.systems import System
from pesbench.files.atomic import write_json
from pesbench.files.scan_set import ScanSet, write_scan_set
from pesbench.files.stored_tables import write_scores
from pesbench.models.registry import ModelEntry
from pesbench.references.calculators import collect_references, write_geometries
from pesbench.references.quality import QualityLimits
from pesbench.tasks.bonds import score as scores
from pesbench.tasks.dynamics import score as dynamics_scores
from pesbench.tasks.vibrations import score as vibration_scores
from shards import evaluate_shard

HELPERS = Path(__file__).parent
REPO = HELPERS.parents[1]
KEPT_SCANS = ("C-N/25729", "C-S/713", "N-O/4583")  # their files are kept to build archives of


def matches(folder: Path, pattern: str) -> list[Path]:
    """The paths of a pattern in a folder, sorted; there is one at least.

    A loop over a pattern that matches nothing would pass a test that looked at nothing.
    """
    found = sorted(folder.glob(pattern))
    assert found, f"{folder}: nothing matches {pattern}"
    return found


def rule_files() -> list[Path]:
    """Every file with rules: the Snakefile, those of the workflow, and those of tasks."""
    own = matches(REPO / "workflow/pesbench/tasks", "*/rules.smk")
    return [REPO / "Snakefile", *matches(REPO / "workflow/rules", "*.smk"), *own]


def tblite_entry(name: str = "gfn2-xtb", method: str = "GFN2-xTB", **settings: Any) -> ModelEntry:
    defaults = {"method": method, "accuracy": 1.0, "level_of_theory": method}
    return ModelEntry(name, "tblite", defaults | settings)


def build_scan_set(molecules: Path, entry: ModelEntry, path: Path, **choice: Any) -> None:
    """The three stages of a reference in one go; `choice` is that of `write_geometries`."""
    work = path.parent / f"{path.stem}.stages"
    skipped = work / "skipped_bonds.csv"
    choice = {"bonds_to_hydrogen": False} | choice
    write_geometries(molecules, work / "scans.h5", skipped, name=path.stem, **choice)
    with ScanSet(work / "scans.h5") as scans:
        ids = scans.ids
    evaluate_shard(entry, work / "scans.h5", ids, work / "0000.h5")
    collect_references(
        work / "scans.h5",
        [work / "0000.h5"],
        path,
        path.with_suffix(".csv"),
        skipped=skipped,
        level_of_theory=entry.settings.get("method", entry.name),
        limits=QualityLimits(),
    )


def toy_scan(name: str, symbols: str, n_frames: int = 13) -> Scan:
    """A scan of a diatomic in a Morse potential; every molecule has a formula of its own."""
    atoms = Atoms(symbols, positions=[[0, 0, 0], [1.3, 0.2, -0.1]])
    system = System(name, atoms.numbers.astype(np.int64), atoms.positions, np.array([[0, 1]]))
    (scan,) = bond_scans(system)
    frames = np.linspace(0, scan.n_frames - 1, n_frames).round().astype(int)
    positions = scan.positions[frames]
    answers = [fake_calculators.morse(scan.numbers, p) for p in positions]
    return replace(
        scan, id=f"{scan.bond}/{name}", coordinate=scan.coordinate[frames], positions=positions,
        energy=np.array([energy for energy, _ in answers]),
        forces=np.stack([forces for _, forces in answers]),
    )  # fmt: skip


TOYS = {"a": "CC", "b": "CN", "c": "CO", "d": "NN", "e": "NO", "f": "OS"}


def write_toys(path: Path, scans) -> None:
    write_scan_set(path, scans, name="toys", level_of_theory="Morse", source="tests", provenance={})


def write_part_of_scores(path: Path, frame: Any) -> None:
    """Scores of a test, which has some of their columns; the others are empty."""
    kinds = {"bonds": scores, "dynamics": dynamics_scores, "vibrations": vibration_scores}
    kind, frame = kinds[path.stem], frame.copy()
    for column in kind.COLUMNS:
        if column not in frame and column not in getattr(kind, "WORDS", ()):
            frame[column] = "" if column in kind.TEXT else np.nan
    write_scores(path, frame)


def fake_entry(what: str = "Morse", *, name: str = "fake", **settings: Any) -> ModelEntry:
    """An entry of family `ase` for a calculator of `fake_calculators`.

    Args:
        what: Class or function.
        name: Of the entry.
        settings: `arguments`, `elements`, `fresh`, `batch_size`, `timeout_s`, ...
    """
    defaults = {
        "calculator": f"fake_calculators:{what}",
        "arguments": {},
        "fresh": False,
        "charges": False,
        "batch_size": 100,
    }
    return ModelEntry(name, "ase", defaults | settings)


def written_entry(entry: ModelEntry, path: Path) -> list[str]:
    """Write what decides an entry, as `pesbench entry` does; the options that name it to a job."""
    write_json(path, entry.deciding())
    return ["--entry", str(path), "--entry-sha256", entry.sha256]


def faulty(fault: str, scan: Scan | None = None, frame: int | None = None, **settings: Any):
    """An entry that does something wrong on a scan, or on one frame of it, or always."""
    arguments: dict[str, Any] = {"fault": fault}
    if scan is not None:
        arguments["formulas"] = [Atoms(scan.numbers).get_chemical_formula()]
    if frame is not None:
        middle = float(scan.coordinate[frame])
        arguments["window"] = [middle - 1e-3, middle + 1e-3]
    arguments |= settings.pop("arguments", {})
    return fake_entry("Faulty", arguments=arguments, **settings)


def weight_sums(path: Path, write: Callable[..., None], size: Any) -> list[list[float]]:
    """Sums of the parameters of a network, and of two that this process writes, of seeds 0 and 1.

    Another process of `isolated` imports it from here.
    """
    import mace  # noqa: F401 - before e3nn
    import torch

    paths = [path]
    for seed in (0, 1):
        write(path.with_name(f"seed-{seed}"), size, seed)
        paths.append(path.with_name(f"seed-{seed}"))
    return [
        [float(p.double().sum()) for p in torch.load(path, weights_only=False).parameters()]
        for path in paths
    ]
