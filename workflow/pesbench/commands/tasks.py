"""Commands that run and score tasks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.commands.arguments import DEVICES, device, number, threads, whole
from pesbench.commands.parsing import ENTRY_SHA256, Stages, all_scans
from pesbench.core.errors import UserError
from pesbench.core.text import printable

if TYPE_CHECKING:
    from pesbench.models.registry import ModelEntry


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser("evaluate", help="a model's energies and forces on scans")
    stage.add_argument("--entry", type=Path, required=True, help="resolved entry (JSON)")
    stage.add_argument("--weights", type=Path, help="weight file, for an entry that has one")
    stage.add_argument("--entry-sha256", help=ENTRY_SHA256)
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--scans", nargs="+", metavar="ID", help="which scans (default: all)")
    stage.add_argument("--device", type=device, default="auto", help=DEVICES)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--out", action="output", required=True, help="evaluation")
    stage.set_defaults(run=_evaluate)

    stage = stages.add_parser("controls", help="entries, evaluations and scores of all controls")
    stage.add_argument("--models", nargs="+", required=True, metavar="CONTROL")
    stage.add_argument("--models-file", type=Path, default=Path("config/models.yaml"))
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--scans", nargs="+", metavar="ID", help="which scans (default: all)")
    _add_selected(stage)
    _add_ceiling(stage)
    stage.add_argument("--results", type=Path, required=True, help="folder of the scan set")
    stage.set_defaults(run=_controls)

    stage = stages.add_parser("export", help="one trajectory for other programs", for_people=True)
    stage.add_argument("trajectory", nargs="?", help="its name, such as ethanol_300K_0")
    stage.add_argument("--list", action="store_true",
                       help="show what the file holds and how it ended, instead")  # fmt: skip
    stage.add_argument("--trajectories", type=Path, required=True, help="trajectory file")
    stage.add_argument("--last-steps", action="store_true",
                       help="those before its failure, not the thinned frames")  # fmt: skip
    stage.add_argument("--out", action="output", help=".h5md, .extxyz, .xyz or .traj")
    stage.set_defaults(run=_export)

    stage = stages.add_parser("score", help="scores of a stored evaluation")
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--evaluations", type=Path, nargs="+", required=True, metavar="FILE")
    stage.add_argument("--entry", type=Path, help="resolved entry (JSON) of the model")
    stage.add_argument("--seen-systems", type=Path,
                       help="CSV with the columns system and split, of the model")  # fmt: skip
    stage.add_argument("--seen-scans", nargs="+", default=[], metavar="SCAN",
                       help="scans that the model was trained on: no score")  # fmt: skip
    _add_selected(stage)
    _add_ceiling(stage)
    stage.add_argument("--out", action="output", required=True, help="parquet, one row a scan")
    stage.set_defaults(run=_score)

    stage = stages.add_parser("dynamics", help="short dynamics of molecules at constant energy")
    stage.add_argument("--entry", type=Path, required=True, help="resolved entry (JSON)")
    stage.add_argument("--weights", type=Path, help="weight file, for an entry that has one")
    stage.add_argument("--entry-sha256", help=ENTRY_SHA256)
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--systems", nargs="+", metavar="ID", help="molecules (default: all)")
    stage.add_argument("--temperatures-k", type=number(0, 1e4, above=True), nargs="+",
                       required=True, metavar="K")  # fmt: skip
    stage.add_argument("--replicates", type=whole(1, 10_000), default=1)
    stage.add_argument("--duration-ps", type=number(0, 1e5, above=True), default=2.0)
    stage.add_argument("--timestep-fs", type=number(0, 10, above=True), default=0.5)
    stage.add_argument("--store-every", type=whole(1), default=20, help="steps between two frames")
    stage.add_argument("--relax-steps", type=whole(0, 1_000_000), default=200)
    stage.add_argument("--relax-fmax", type=number(0, 10, above=True), default=0.05, help="eV/Å")
    stage.add_argument("--device", type=device, default="auto", help=DEVICES)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--out", action="output", required=True, help="trajectories (H5MD)")
    stage.set_defaults(run=_dynamics)

    stage = stages.add_parser("score-dynamics", help="scores of stored trajectories")
    stage.add_argument("--trajectories", type=Path, nargs="+", required=True, metavar="FILE")
    stage.add_argument("--entry", type=Path, help="resolved entry (JSON) of the model")
    stage.add_argument("--scan-set", type=Path, help="that they must have been made on")
    stage.add_argument("--seen-systems", type=Path,
                       help="CSV with the columns system and split, of the model")  # fmt: skip
    stage.add_argument("--out", action="output", required=True,
                       help="parquet, one row a trajectory")  # fmt: skip
    stage.set_defaults(run=_score_dynamics)

    stage = stages.add_parser("vibrations", help="harmonic frequencies of molecules")
    stage.add_argument("--entry", type=Path, required=True, help="resolved entry (JSON)")
    stage.add_argument("--weights", type=Path, help="weight file, for an entry that has one")
    stage.add_argument("--entry-sha256", help=ENTRY_SHA256)
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--systems", nargs="+", metavar="ID", help="molecules (default: all)")
    stage.add_argument("--displacement-angstrom", type=number(0, 1, above=True), default=0.01)
    stage.add_argument("--relax-steps", type=whole(0, 1_000_000), default=500)
    stage.add_argument("--relax-fmax", type=number(0, 10, above=True), default=0.01, help="eV/Å")
    stage.add_argument("--device", type=device, default="auto", help=DEVICES)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--out", action="output", required=True, help="vibrations")
    stage.set_defaults(run=_vibrations)

    stage = stages.add_parser("score-vibrations", help="scores of stored vibrations")
    stage.add_argument("--vibrations", type=Path, required=True, help="of the model")
    stage.add_argument("--reference", type=Path, required=True, help="vibrations of the reference")
    stage.add_argument("--entry", type=Path, help="resolved entry (JSON) of the model")
    stage.add_argument("--scan-set", type=Path, help="that they must have been made on")
    stage.add_argument("--seen-systems", type=Path,
                       help="CSV with the columns system and split, of the model")  # fmt: skip
    stage.add_argument("--out", action="output", required=True, help="parquet, one row a molecule")
    stage.set_defaults(run=_score_vibrations)


def _scored_entry(arguments: argparse.Namespace) -> ModelEntry | None:
    from pesbench.models.record import deciding_entry

    return deciding_entry(arguments.entry) if arguments.entry is not None else None


def _add_selected(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--selected", nargs="+", default=["*"], metavar="SCAN",
                       help="ids or globs of the scans to score (default: all)")  # fmt: skip


def _add_ceiling(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--energy-ceiling-ev", type=number(above=True), default=10.0, metavar="EV",
                       help="of the reference above its minimum, where faults count")  # fmt: skip


def _evaluate(arguments: argparse.Namespace) -> None:
    from pesbench.models.registry import ModelEntry
    from pesbench.tasks.bonds.widening import evaluate_missing

    evaluate_missing(
        ModelEntry.from_file(arguments.entry, arguments.weights, arguments.entry_sha256),
        arguments.scan_set,
        arguments.scans or all_scans(arguments.scan_set),
        arguments.out,
        device=arguments.device,
        threads=arguments.threads,
    )


def _controls(arguments: argparse.Namespace) -> None:
    from pesbench.tasks.bonds.controls import make_controls

    make_controls(
        arguments.models,
        arguments.models_file,
        arguments.scan_set,
        arguments.scans or all_scans(arguments.scan_set),
        arguments.results,
        selected=arguments.selected,
        ceiling_ev=arguments.energy_ceiling_ev,
    )


def _export(arguments: argparse.Namespace) -> None:
    from pesbench.tasks.dynamics.export import export_trajectory, listed

    if arguments.list:
        if arguments.trajectory or arguments.out or arguments.last_steps:
            raise UserError("export: `--list` writes nothing; give it with --trajectories alone")
        print("\n".join(map(printable, listed(arguments.trajectories))))
        return
    if arguments.trajectory is None or arguments.out is None:
        raise UserError(
            "export: give the name of a trajectory and --out; `--list` shows the names that "
            f"{arguments.trajectories} holds"
        )
    export_trajectory(
        arguments.trajectories,
        arguments.trajectory,
        arguments.out,
        last_steps=arguments.last_steps,
    )


def _score(arguments: argparse.Namespace) -> None:
    from pesbench.tasks.bonds.score import write_scores

    write_scores(
        arguments.scan_set,
        arguments.evaluations,
        arguments.out,
        split=arguments.seen_systems,
        entry=_scored_entry(arguments),
        seen_scans=arguments.seen_scans,
        ceiling_ev=arguments.energy_ceiling_ev,
        selected=arguments.selected,
    )


def _dynamics(arguments: argparse.Namespace) -> None:
    from pesbench.files.scan_set import ScanSet
    from pesbench.models.registry import ModelEntry
    from pesbench.tasks.dynamics.run import DynamicsSettings, run_dynamics_shard, scan_set_systems

    settings = DynamicsSettings(
        temperatures_k=tuple(arguments.temperatures_k),
        replicates=arguments.replicates,
        duration_ps=arguments.duration_ps,
        timestep_fs=arguments.timestep_fs,
        store_every=arguments.store_every,
        relax_steps=arguments.relax_steps,
        relax_fmax=arguments.relax_fmax,
    ).check()
    systems = arguments.systems
    if not systems:
        with ScanSet(arguments.scan_set) as scan_set:
            systems = [system.id for system in scan_set_systems(scan_set)]
    run_dynamics_shard(
        ModelEntry.from_file(arguments.entry, arguments.weights, arguments.entry_sha256),
        arguments.scan_set,
        systems,
        settings,
        arguments.out,
        device=arguments.device,
        threads=arguments.threads,
    )


def _score_dynamics(arguments: argparse.Namespace) -> None:
    from pesbench.tasks.dynamics.score import write_dynamics_scores

    write_dynamics_scores(
        arguments.trajectories,
        arguments.out,
        split=arguments.seen_systems,
        entry=_scored_entry(arguments),
        scan_set=arguments.scan_set,
    )


def _vibrations(arguments: argparse.Namespace) -> None:
    from pesbench.files.scan_set import ScanSet
    from pesbench.models.registry import ModelEntry
    from pesbench.tasks.dynamics.run import scan_set_systems
    from pesbench.tasks.vibrations.run import VibrationSettings, run_vibrations

    settings = VibrationSettings(
        displacement_angstrom=arguments.displacement_angstrom,
        relax_steps=arguments.relax_steps,
        relax_fmax=arguments.relax_fmax,
    ).check()
    systems = arguments.systems
    if not systems:
        with ScanSet(arguments.scan_set) as scan_set:
            systems = [system.id for system in scan_set_systems(scan_set)]
    run_vibrations(
        ModelEntry.from_file(arguments.entry, arguments.weights, arguments.entry_sha256),
        arguments.scan_set,
        systems,
        settings,
        arguments.out,
        device=arguments.device,
        threads=arguments.threads,
    )


def _score_vibrations(arguments: argparse.Namespace) -> None:
    from pesbench.tasks.vibrations.score import write_vibration_scores

    write_vibration_scores(
        arguments.vibrations,
        arguments.reference,
        arguments.out,
        split=arguments.seen_systems,
        entry=_scored_entry(arguments),
        scan_set=arguments.scan_set,
    )
