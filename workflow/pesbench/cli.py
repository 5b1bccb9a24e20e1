"""The command line: one subcommand a stage, each of them what one rule runs."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pesbench import __version__
from pesbench.commands.arguments import DEVICES, cores, device, number, threads, whole
from pesbench.core.errors import HostError, UserError, disk_failure
from pesbench.core.paths import check_outputs, path_argument
from pesbench.core.text import LineFormatter, printable
from pesbench.orchestration import running
from pesbench.orchestration.surroundings import check_python, shut_out

if TYPE_CHECKING:
    from pesbench.files.scan_set import ScanSet
    from pesbench.models.registry import ModelEntry
    from pesbench.orchestration.config_files import Config
    from pesbench.report.inputs import ReportInputs

LONGEST_LINE = 1500  # characters of a message
_WRITES = "writes "  # before the name of an output, in the parsed arguments
_ENTRY_SHA256 = (
    "digest of the entry as `pesbench entry` tells it; needed where loading the entry can run code"
)
_TRUST = "weights that run code when they are loaded may do so"


def _registered(name: str, models_file: Path, *, trust: bool) -> ModelEntry:
    from pesbench.files.schemas import closest
    from pesbench.models.models_file import read_models, resolve_entry

    registry = read_models(models_file)
    if name not in registry:
        raise UserError(f"{models_file}: no model {name!r}; {closest(name, registry)}")
    entry = registry[name].trusted() if trust else registry[name]
    return resolve_entry(entry, models_file, Path.cwd())


def _entry(arguments: argparse.Namespace) -> None:
    from pesbench.files.atomic import write_json
    from pesbench.models.registry import settle

    entry = _registered(arguments.model, arguments.models_file, trust=arguments.trust)
    write_json(arguments.out, settle(entry))
    logging.getLogger("pesbench").info(
        "%s: written; its --entry-sha256 is %s", arguments.out, entry.sha256
    )


def _build_environment(arguments: argparse.Namespace) -> None:
    from pesbench.orchestration.environments import build_environment

    build_environment(arguments.requirements, arguments.out)


def _describe(arguments: argparse.Namespace) -> None:
    from pesbench.files.schemas import closest
    from pesbench.models.models_file import read_models
    from pesbench.models.record import describe, write_record

    registry = read_models(arguments.models_file)
    if unknown := [name for name in arguments.models if name not in registry]:
        raise UserError(
            f"{arguments.models_file}: no model {unknown[0]!r}; {closest(unknown[0], registry)}"
        )
    described = describe((registry[name] for name in arguments.models), Path.cwd())
    write_record(arguments.out, described)


def _import_archive(arguments: argparse.Namespace) -> None:
    from pesbench.core.progress import track
    from pesbench.files import provenance
    from pesbench.files.scan_set import write_scan_set
    from pesbench.references import bsct_spice

    manifest = bsct_spice.read_manifest(arguments.manifest)
    archive = bsct_spice.fetch_archive(arguments.archive, arguments.cache)
    folders = bsct_spice.verified_folders(archive, manifest)
    scans = (bsct_spice.read_scan(scan_id, files) for scan_id, files in folders)
    try:
        write_scan_set(
            arguments.out,
            track(scans, bsct_spice.N_SCANS, "scans"),
            name=arguments.name,
            level_of_theory=bsct_spice.LEVEL_OF_THEORY,
            source=bsct_spice.SOURCE,
            provenance=provenance.collect(),
        )
    except UserError:
        if archive.parent == arguments.cache:
            archive.unlink()  # a download that is not the published data is fetched anew next time
        raise


def _relax_molecules(arguments: argparse.Namespace) -> None:
    from pesbench.references.relax import relax_file

    relax_file(arguments.smiles, arguments.out)


def _split_molecules(arguments: argparse.Namespace) -> None:
    from pesbench.files.molecules.reading import read_systems
    from pesbench.training.split import split_systems, write_split

    write_split(split_systems(read_systems(arguments.molecules)), arguments.out)


def _sample(arguments: argparse.Namespace) -> None:
    from pesbench.files.molecules.reading import read_systems
    from pesbench.models.registry import ModelEntry
    from pesbench.training.sampling import Sampling, write_frames
    from pesbench.training.split import read_split

    write_frames(
        read_systems(arguments.molecules),
        read_split(arguments.split),
        Sampling(
            temperatures_k=tuple(arguments.temperatures_k or Sampling.temperatures_k),
            interval_steps=arguments.interval_steps,
            frames=arguments.frames,
        ),
        ModelEntry.from_file(arguments.method, sha256=arguments.entry_sha256),
        arguments.out,
        arguments.record,
    )


def _train_mace(arguments: argparse.Namespace) -> None:
    from pesbench.training.mace import MACETraining, write_model

    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # inherited by mace_run_train
    training = MACETraining(
        num_channels=arguments.num_channels,
        epochs=arguments.epochs,
        pair_repulsion=arguments.pair_repulsion,
    )
    write_model(
        arguments.name,
        arguments.frames,
        arguments.record,
        training,
        arguments.work,
        arguments.out,
    )


def _train(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from pesbench.testbed.variants import find_variant

    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # before torch is imported
    variant = find_variant(arguments.variants, arguments.name)
    if arguments.fsd_every is not None:
        variant = replace(variant, fsd_every=arguments.fsd_every)
    if arguments.fsd_weight is not None:
        training = replace(variant.training, fsd_weight=arguments.fsd_weight)
        variant = replace(variant, training=training)
    from pesbench.testbed.cards import Sources, train_variant

    train_variant(
        variant,
        Sources(arguments.frames, arguments.record, arguments.scan_set),
        arguments.work,
        arguments.out,
        device=arguments.device,
        smoke=arguments.smoke,
    )


def _prepare_molecules(arguments: argparse.Namespace) -> None:
    from pesbench.models.registry import ModelEntry
    from pesbench.references.molecules import prepare_file, read_specs

    relax = None
    if arguments.relax is not None:
        relax = ModelEntry.from_file(arguments.relax, arguments.weights, arguments.entry_sha256)
    prepare_file(
        read_specs(arguments.molecules),
        arguments.out,
        relax=relax,
        device=arguments.device,
        threads=arguments.threads,
    )


def _scan_molecules(arguments: argparse.Namespace) -> None:
    from pesbench.references.calculators import write_geometries

    write_geometries(
        arguments.molecules,
        arguments.out,
        arguments.skipped,
        name=arguments.name,
        bonds_to_hydrogen=arguments.bonds_to_hydrogen,
        types=arguments.bonds,
    )


def _collect_references(arguments: argparse.Namespace) -> None:
    from pesbench.references.calculators import collect_references
    from pesbench.references.quality import QualityLimits

    collect_references(
        arguments.scans,
        arguments.references,
        arguments.out,
        arguments.skipped,
        skipped=arguments.skipped_bonds,
        level_of_theory=arguments.level_of_theory,
        limits=QualityLimits(
            failed_frames=arguments.failed_frames,
            energy_jump_ev=arguments.energy_jump_ev,
            wall_jump_ev=arguments.wall_jump_ev,
            prominence_ev=arguments.prominence_ev,
        ),
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from pesbench.models.registry import ModelEntry
    from pesbench.tasks.bonds.widening import evaluate_missing

    evaluate_missing(
        ModelEntry.from_file(arguments.entry, arguments.weights, arguments.entry_sha256),
        arguments.scan_set,
        arguments.scans or _all_scans(arguments.scan_set),
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
        arguments.scans or _all_scans(arguments.scan_set),
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


def _all_scans(scan_set: Path) -> tuple[str, ...]:
    from pesbench.files.scan_set import ScanSet

    with ScanSet(scan_set) as opened:
        return opened.ids


def _scored_entry(arguments: argparse.Namespace) -> ModelEntry | None:
    from pesbench.models.record import deciding_entry

    return deciding_entry(arguments.entry) if arguments.entry is not None else None


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


def _worst(arguments: argparse.Namespace) -> None:
    from pesbench.files.scan_set import ScanSet
    from pesbench.files.stored_tables import read_scores
    from pesbench.report import figures
    from pesbench.tasks.bonds import score as scan_scores
    from pesbench.tasks.bonds import worst, worst_figure

    scores = read_scores(arguments.scores, scan_scores.COLUMNS, scan_scores.TEXT, scan_scores.WORDS)
    if scores.empty:
        raise UserError(f"{arguments.scores}: holds no row; score again")
    with ScanSet(arguments.scan_set) as scan_set:
        worst.write(
            arguments.csv,
            arguments.extxyz,
            scan_set=scan_set,
            evaluations=arguments.evaluations,
            scores=scores,
        )
        model = str(scores["model"].iloc[0])
        figure = worst_figure.worst_scans(scan_set, arguments.evaluations, scores, model)
    figures.save(figure, arguments.figure)


def _inputs(arguments: argparse.Namespace, scan_set: ScanSet) -> ReportInputs:
    """What every stage of the report reads."""
    from pesbench.report.inputs import read_inputs

    return read_inputs(
        arguments.results,
        arguments.models,
        arguments.models_file,
        scan_set,
        arguments.dynamics,
    )


def _entries(arguments: argparse.Namespace) -> dict[str, ModelEntry]:
    """The models of a report, resolved: two ways to write one path are one checkpoint."""
    from pesbench.models.models_file import read_models, resolve_entry
    from pesbench.models.record import is_record, recorded_entries

    if is_record(arguments.models_file):  # weights need not be here; their sha256 tells them apart
        recorded = recorded_entries(arguments.models_file)
        return {name: recorded[name] for name in arguments.models}
    registry = read_models(arguments.models_file)
    return {
        name: resolve_entry(registry[name], arguments.models_file, Path.cwd())
        for name in arguments.models
    }


def _leaderboard(arguments: argparse.Namespace) -> None:
    from pesbench.files import provenance
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import tables

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = _inputs(arguments, scan_set)
        title = f"{scan_set.name}: smoothness against {scan_set.level_of_theory}"
        dropped = [i for i in scan_set.ids if scan_set.quality(i)[0] == "dropped"]
        made = [
            ("dropped by the gate on references, not planned", ", ".join(dropped) or "no scan"),
            *provenance.describe(scan_set.sha256),
        ]
    board = inputs.board(arguments.rank_by)
    more = inputs.more(
        arguments.parity, board, arguments.association, arguments.ladder, arguments.merged
    )
    tables.write(board, arguments.csv, arguments.markdown, title, made, more)


def _strict(arguments: argparse.Namespace) -> int:
    from pesbench.files.atomic import write_text
    from pesbench.files.scan_set import ScanSet
    from pesbench.report.inputs import read_inputs
    from pesbench.report.strict import model_failures

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = read_inputs(
            arguments.results,
            arguments.models,
            arguments.models_file,
            scan_set,
            arguments.dynamics,
            arguments.vibrations,
        )
    failures = model_failures(
        {
            "scans": inputs.scores,
            "trajectories": inputs.dynamics,
            "molecules": inputs.vibrations,
        }
    )
    logger = logging.getLogger("pesbench")
    if not failures:
        write_text(arguments.out, f"no failure of {len(arguments.models)} models\n")
        return 0
    failed = {failure.model for failure in failures}
    logger.error("strict: %d of %d models failed", len(failed), len(arguments.models))
    for failure in failures:
        logger.error("%s", failure)
    return 1


def _associate(arguments: argparse.Namespace) -> None:
    from pesbench.compare import association, association_figures, dose, dose_figures
    from pesbench.files import provenance
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import figures

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = _inputs(arguments, scan_set)
        title = f"{scan_set.name}: {association.HEADING.lower()}"
        made = provenance.describe(scan_set.sha256)
    entries = _entries(arguments)
    doses = dose.dose_table(inputs, entries)
    for option in ("dose_csv", "dose_figure", "dose_metrics_figure"):
        if getattr(arguments, option) is not None and doses.empty:
            named = "--" + option.replace("_", "-")
            raise UserError(f"{named}: no perturbed model ran dynamics; leave the option out")
    found = association.associate(inputs, entries)
    association.write(found, arguments.csv, arguments.markdown, title, made)
    if arguments.figure is not None:
        figures.save(association_figures.association(found), arguments.figure)
    if arguments.dose_csv is not None:
        dose.write(doses, arguments.dose_csv)
    if arguments.dose_figure is not None:
        figures.save(dose_figures.dose_response(doses), arguments.dose_figure)
    if arguments.dose_metrics_figure is not None:
        figures.save(dose_figures.dose_metrics(doses), arguments.dose_metrics_figure)


def _ladder(arguments: argparse.Namespace) -> None:
    from pesbench.compare import ladder, ladder_figure, ladder_text
    from pesbench.files import provenance
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import figures
    from pesbench.report.inputs import read_inputs

    if unknown := [name for name in arguments.ladder if name not in arguments.models]:
        raise UserError(f"--ladder: {unknown[0]!r} is not among --models; add it")
    with ScanSet(arguments.scan_set) as scan_set:
        inputs = read_inputs(
            arguments.results,
            arguments.models,
            arguments.models_file,
            scan_set,
            arguments.dynamics,
            arguments.vibrations,
        )
        title = f"{scan_set.name}: {ladder_text.HEADING.lower()}"
        made = provenance.describe(scan_set.sha256)
    found = ladder.make_ladder(inputs, _entries(arguments), arguments.ladder)
    ladder_text.write(
        found, arguments.csv, arguments.claims, arguments.markdown, title=title, made=made
    )
    figures.save(ladder_figure.figure(found), arguments.figure)


def _parity(arguments: argparse.Namespace) -> None:
    from pesbench.compare.parity import files_by_model, parity
    from pesbench.core.text import csv_table
    from pesbench.files.atomic import write_text
    from pesbench.files.scan_set import ScanSet

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = _inputs(arguments, scan_set)
        files = files_by_model(arguments.evaluations, scan_set.sha256)
    if missing := [name for name in arguments.models if name not in files]:
        raise UserError(f"--evaluations: none is of model {missing[0]!r}; add its files")
    entries = _entries(arguments)
    table = parity(entries, files, inputs.scores)
    write_text(arguments.csv, csv_table(table))


def _figures(arguments: argparse.Namespace) -> None:
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import figures

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = _inputs(arguments, scan_set)
    board = inputs.board(arguments.rank_by)
    figures.save(figures.fsd_by_bond(board, inputs.scores, inputs.facts), arguments.by_bond)
    figures.save(figures.control_ladders(board, inputs.facts), arguments.ladders)


def _page(arguments: argparse.Namespace) -> None:
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import page

    with ScanSet(arguments.scan_set) as scan_set:
        inputs = _inputs(arguments, scan_set)
        page.write_leaderboard(
            arguments.html,
            inputs,
            scan_set,
            results=arguments.results,
            rank_by=arguments.rank_by,
            by_bond=arguments.by_bond,
            ladders=arguments.ladders,
            skipped=arguments.skipped,
            parity=arguments.parity,
            association=arguments.association,
            association_figure=arguments.association_figure,
            dose_figure=arguments.dose_figure,
            dose_metrics_figure=arguments.dose_metrics_figure,
            ladder=arguments.ladder,
            ladder_figure=arguments.ladder_figure,
            merged=arguments.merged,
        )


def _merge(arguments: argparse.Namespace) -> None:
    from pesbench.commands.merge.assembly import merge
    from pesbench.commands.merge.commands import report_commands, write_worst_tables
    from pesbench.commands.merge.options import choices
    from pesbench.commands.merge.place import new_folder
    from pesbench.report.tables import check_rank_by

    check_rank_by(arguments.rank_by)
    chosen = choices(arguments.rename, arguments.without, arguments.without_dynamics)
    with new_folder(arguments.out, arguments.results) as folder:
        merged = merge(
            arguments.results,
            folder,
            choices=chosen,
            scan_set=arguments.scan_set,
            strict=arguments.strict,
        )
        write_worst_tables(folder, merged)
        for command in report_commands(folder, merged, arguments.rank_by):
            stage = _parser().parse_args(command)
            stage.run(stage)
    print(f"{len(merged.models)} models: {arguments.out / 'leaderboard.md'}, .csv and .html")


def _check(arguments: argparse.Namespace) -> int:
    from dataclasses import fields

    from pesbench.commands.check import Limits
    from pesbench.commands.check.run import PARTS, chosen_scans
    from pesbench.commands.check.supervised import (
        check_entry,
        default_json,
        entry_of_calculator,
        entry_of_weights,
    )
    from pesbench.models.registry import fetch_weights

    if [arguments.model, arguments.weights, arguments.calculator].count(None) != 2:
        raise UserError(
            "check: give one of: the name of an entry; `--weights` and `--family`; `--calculator`"
        )
    parts = arguments.parts or PARTS
    chosen_scans(arguments.scans, parts)
    if arguments.weights is not None:
        if arguments.family is None:
            raise UserError("check: `--weights` needs `--family`; add, for instance, --family mace")
        entry = entry_of_weights(
            arguments.weights, arguments.family, arguments.dtype, trust=arguments.trust
        )
    elif arguments.family is not None or arguments.dtype is not None:
        raise UserError(
            "check: `--family` and `--dtype` go with `--weights`; an entry has its own, "
            f"correct it in {arguments.models_file}"
        )
    elif arguments.calculator is not None:
        entry = entry_of_calculator(arguments.calculator)
    else:
        entry = _registered(arguments.model, arguments.models_file, trust=arguments.trust)
    out = arguments.out or default_json(entry.name)
    check_outputs({"out": out}, [])
    report = check_entry(
        fetch_weights(entry),
        scans=arguments.scans,
        parts=parts,
        limits=Limits(**{f.name: getattr(arguments, f"max_{f.name}") for f in fields(Limits)}),
        device=arguments.device,
        threads=arguments.threads,
        timeout_s=arguments.timeout_s,
    )
    report.to_json(out)
    print(report.table())
    print(f"written to {out}")
    return report.exit_code


def _check_scans(arguments: argparse.Namespace) -> None:
    from pesbench.commands.check.subset import write_subset

    write_subset(arguments.scan_set, arguments.out)


def _plan_config(arguments: argparse.Namespace) -> Config:
    """The config of a plan: as Snakemake would be given it, or whole, as a rule gives it."""
    from pesbench.orchestration.config_files import is_whole, read_config, read_whole

    if is_whole(arguments.config):
        return read_whole(arguments.config[0])
    return read_config(arguments.configfile, arguments.config)


def _plan(arguments: argparse.Namespace) -> None:
    from pesbench.commands.plan.command import plan

    print(
        plan(
            _plan_config(arguments),
            arguments.configfile,
            arguments.out,
            budget_hours=arguments.budget_hours,
            probe=not arguments.no_probe,
            network=not arguments.no_network,
            again=arguments.again,
            seconds=arguments.seconds,
            cores=arguments.cores,
        )
    )


def _probe_scans(arguments: argparse.Namespace) -> None:
    from pesbench.commands.plan.command import write_scans

    write_scans(_plan_config(arguments), arguments.out)


def _probe(arguments: argparse.Namespace) -> None:
    from pesbench.commands.plan.probe import write_probe
    from pesbench.models.registry import ModelEntry

    write_probe(
        ModelEntry.from_file(arguments.entry, arguments.weights, arguments.entry_sha256),
        arguments.scan_set,
        arguments.out,
        device=arguments.device,
        threads=arguments.threads,
        seconds=arguments.seconds,
    )


def _plan_actual(arguments: argparse.Namespace) -> None:
    from pesbench.commands.plan.command import plan_actual

    print(plan_actual(arguments.plan, arguments.results, arguments.out))


def _add_plan(stages: _Stages) -> None:
    stage = stages.add_parser(
        "plan", help="what a run will take, and what fits a budget", for_people=True
    )
    _add_plan_config(stage)
    stage.add_argument("--budget-hours", type=number(above=True), metavar="H",
                       help="propose what fits; of a GPU where one was timed")  # fmt: skip
    stage.add_argument("--out", action="output",
                       help="CSV, Markdown beside it (default: plan.csv in results)")  # fmt: skip
    stage.add_argument("--no-network", action="store_true", help="download no weights")
    stage.add_argument("--no-probe", action="store_true",
                       help="take the probes that are there, make none")  # fmt: skip
    stage.add_argument("--again", action="store_true", help="time models that were timed before")
    stage.add_argument("--cores", type=cores, default="all", metavar="N",
                       help="of the machine, for hours of wall time (default: all)")  # fmt: skip
    _add_probe_seconds(stage)
    stage.set_defaults(run=_plan)

    stage = stages.add_parser("probe-scans", help="choose the scans that models are timed on")
    _add_plan_config(stage)
    stage.add_argument("--out", action="output", required=True, help="scan set")
    stage.set_defaults(run=_probe_scans)

    stage = stages.add_parser("probe", help="time a model on a small and a large molecule")
    stage.add_argument("--entry", type=Path, required=True, help="resolved entry (JSON)")
    stage.add_argument("--weights", type=Path, help="weight file, for an entry that has one")
    stage.add_argument("--entry-sha256", help=_ENTRY_SHA256)
    stage.add_argument("--scan-set", type=Path, required=True, help="made by `probe-scans`")
    stage.add_argument("--device", type=device, default="auto", help=DEVICES)
    stage.add_argument("--threads", type=threads, default=1)
    _add_probe_seconds(stage)
    stage.add_argument("--out", action="output", required=True, help="JSON")
    stage.set_defaults(run=_probe)

    stage = stages.add_parser("plan-actual", help="what a run took beside what was predicted")
    stage.add_argument("--plan", type=Path, required=True, help="CSV made by `plan`")
    stage.add_argument("--results", type=Path, required=True, help="folder of the scan set")
    stage.add_argument("--out", action="output", required=True, help="CSV")
    stage.set_defaults(run=_plan_actual)


def _add_plan_config(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--configfile", type=Path, nargs="+", default=[], metavar="FILE",
                       help="over config/config.yaml, as Snakemake takes it")  # fmt: skip
    stage.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE",
                       help="over the files, as Snakemake takes it; or all as JSON")  # fmt: skip


def _add_probe_seconds(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--seconds", type=number(above=True), default=120.0, metavar="S",
                       help="longest time of a call; after it no other is begun")  # fmt: skip


def _add_check(stages: _Stages) -> None:
    stage = stages.add_parser(
        "check",
        help="conformance, smoothness and dynamics of one model, for its CI",
        for_people=True,
    )
    stage.add_argument("model", nargs="?", help="name of an entry of the registry")
    stage.add_argument("--models-file", type=Path, default=Path("config/models.yaml"))
    stage.add_argument("--weights", help="a weight file or its address, in place of an entry")
    stage.add_argument("--family", help="of the weights, such as mace")
    stage.add_argument("--calculator", metavar="MODULE:CLASS",
                       help="an ASE calculator made without arguments, in place of an entry; "
                       "its module is imported")  # fmt: skip
    stage.add_argument("--parts", nargs="+", metavar="PART",
                       help="conformance, scans, dynamics (default: all)")  # fmt: skip
    stage.add_argument("--scans", nargs="+", metavar="ID",
                       help="scans to score, such as 'C-N/*' (default: all)")  # fmt: skip
    stage.add_argument("--dtype", help="precision of the weights (default: the family's)")
    stage.add_argument("--trust", action="store_true", help=_TRUST)
    stage.add_argument("--device", type=device, default="auto", help=DEVICES)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--timeout-s", type=number(above=True), default=120.0,
                       help="longest time of one call")  # fmt: skip
    stage.add_argument("--out", action="output", help="JSON (default: check-MODEL.json)")
    limits = stage.add_argument_group("limits", "beyond one of them the exit code is 1")
    for option, help_ in (
        ("energy-difference", "eV, between evaluations that must agree"),
        ("force-difference", "eV/Å, the same for forces"),
        ("gradient-error", "eV/Å, force against finite difference of the energy"),
        ("failed-scans", "scans that end without a score (default: 0)"),
        ("rotation", "eV/Å, forces of a rotated molecule (default: none)"),
        ("fsd", "Å⁻¹, mean FSD (default: none)"),
        ("fsd-windowed", "Å⁻¹, mean windowed FSD (default: none)"),
        ("force-mae", "eV/Å, mean force error (default: none)"),
        ("failed-runs", "trajectories that do not survive (default: 0)"),
        ("drift", "meV/atom/ps, largest drift of the energy (default: none)"),
        ("rms", "meV/atom, largest fluctuation of the energy about its line (default: none)"),
        ("temperature-spike", "natural widths of the temperature (default: none)"),
    ):
        limits.add_argument(f"--max-{option}", type=number(), metavar="X", help=help_)
    stage.set_defaults(run=_check)

    stage = stages.add_parser("check-scans", help="choose the scans that `check` ships with")
    stage.add_argument("--scan-set", type=Path, required=True, help="with reference, such as mini")
    stage.add_argument("--out", action="output", required=True, help="scan set")
    stage.set_defaults(run=_check_scans)


class _Output(argparse.Action):
    """A file that the command writes, kept apart from those that it reads."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(type=Path, **settings)

    def __call__(
        self, parser: object, namespace: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, value)
        setattr(namespace, _WRITES + self.dest, value)


class _Parser(argparse.ArgumentParser):
    """A parser, and those of its subcommands, to which `type=Path` is `path_argument`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.register("type", Path, path_argument)
        self.register("action", "output", _Output)

    def error(self, message: str) -> NoReturn:
        """Usage and one line, of which a word of the command line is not the most."""
        super().error(_bounded(message))


def _bounded(message: object) -> str:
    text = printable(message)
    return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 3] + "..."


class _Stages:
    """The subcommands, listed in two groups: those for people, and stages of the workflow."""

    def __init__(self, commands: argparse._SubParsersAction) -> None:
        self._commands = commands
        self._lines: dict[bool, list[str]] = {True: [], False: []}

    def add_parser(self, name: str, **settings: Any) -> argparse.ArgumentParser:
        """A subcommand with one line of `help`; `for_people` says which group it is of."""
        line = settings.pop("help")
        self._lines[settings.pop("for_people", False)].append(f"  {name:<19} {line}")
        about = line[:1].upper() + line[1:] + ("" if line.endswith("?") else ".")
        return self._commands.add_parser(name, description=about, **settings)

    @property
    def listing(self) -> str:
        """What `--help` says of them."""
        return "\n".join(
            ["commands for people:", *sorted(self._lines[True]), "",
             "stages of the workflow, in its order:", *self._lines[False]]
        )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pesbench",
        description="Smoothness of machine-learning potentials.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--log", type=Path, help="write messages to this file, too")
    stages = _Stages(parser.add_subparsers(dest="stage", required=True, metavar="COMMAND"))

    stage = stages.add_parser("entry", help="resolve one entry of the registry", for_people=True)
    stage.add_argument("model", help="name of the entry")
    stage.add_argument("--models-file", type=Path, default=Path("config/models.yaml"))
    stage.add_argument("--trust", action="store_true", help=_TRUST)
    stage.add_argument("--out", action="output", required=True, help="JSON of the resolved entry")
    stage.set_defaults(run=_entry)

    stage = stages.add_parser("build-environment", help="a virtual environment for one family")
    stage.add_argument("--requirements", type=Path, required=True,
                       help="of pip, such as envs/mace.txt")  # fmt: skip
    stage.add_argument("--out", type=Path, required=True, help="folder; emptied first")
    stage.set_defaults(run=_build_environment)

    stage = stages.add_parser(
        "describe", help="models.json: what the registry says of the models of a run"
    )
    stage.add_argument("--models", nargs="+", required=True, metavar="MODEL")
    stage.add_argument("--models-file", type=Path, default=Path("config/models.yaml"))
    stage.add_argument("--out", action="output", required=True, help="models.json")
    stage.set_defaults(run=_describe)

    stage = stages.add_parser("import-archive", help="BSCT-SPICE from its archive to a scan set")
    stage.add_argument("--archive", required=True, help="address, tarball or folder")
    stage.add_argument("--name", default="bsct_spice", help="of the scan set")
    stage.add_argument("--cache", type=Path, default=Path("resources/bsct_spice/cache"),
                       help="folder a download is kept in")  # fmt: skip
    stage.add_argument("--manifest", type=Path,
                       default=Path("resources/bsct_spice/files.sha256.gz"))  # fmt: skip
    stage.add_argument("--out", action="output", required=True, help="scan set")
    stage.set_defaults(run=_import_archive)

    stage = stages.add_parser(
        "relax-molecules", help="SMILES to geometries, with GFN2-xTB", for_people=True
    )
    stage.add_argument("--smiles", type=Path, required=True, help="CSV with id and smiles")
    stage.add_argument("--out", action="output", required=True, help="extxyz of the geometries")
    stage.set_defaults(run=_relax_molecules)

    stage = stages.add_parser("split-molecules", help="divide molecules into seen and unseen")
    stage.add_argument("--molecules", type=Path, required=True, help="extxyz, SDF, ...")
    stage.add_argument("--out", action="output", required=True, help="CSV with system and split")
    stage.set_defaults(run=_split_molecules)

    stage = stages.add_parser("sample", help="frames to train on, from Langevin dynamics")
    stage.add_argument("--molecules", type=Path, required=True, help="extxyz, SDF, ...")
    stage.add_argument("--split", type=Path, required=True, help="CSV with system and split")
    stage.add_argument("--method", type=Path, required=True, help="resolved entry (JSON)")
    stage.add_argument("--entry-sha256", help=_ENTRY_SHA256)
    stage.add_argument("--temperatures-k", type=number(0, 1e4, above=True), nargs="+", metavar="K",
                       help="300 600 without it: near equilibrium")  # fmt: skip
    stage.add_argument("--interval-steps", type=whole(1), default=60, help="between two frames")
    stage.add_argument("--frames", type=whole(1, 1_000_000), default=15, help="of a trajectory")
    stage.add_argument("--out", action="output", required=True, help="extxyz")
    stage.add_argument("--record", action="output", required=True, help="JSON: how they were made")
    stage.set_defaults(run=_sample)

    stage = stages.add_parser("train-mace", help="a small MACE model, with mace_run_train")
    stage.add_argument("name", help="of the model")
    stage.add_argument("--frames", type=Path, required=True, help="made by `sample`")
    stage.add_argument("--record", type=Path, required=True, help="made by `sample`")
    stage.add_argument("--pair-repulsion", action="store_true", help="add a ZBL term")
    stage.add_argument("--num-channels", type=whole(1, 4096), default=32)
    stage.add_argument("--epochs", type=whole(1, 1_000_000), default=140)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--work", type=Path, required=True,
                       help="folder of checkpoints; what is there is continued")  # fmt: skip
    stage.add_argument("--out", action="output", required=True,
                       help="the .model file; its card is put beside it")  # fmt: skip
    stage.set_defaults(run=_train_mace)

    stage = stages.add_parser("train", help="a potential of the testbed")
    stage.add_argument("name", help="of the variant")
    stage.add_argument("--variants", type=Path, required=True, help="such as config/testbed.yaml")
    stage.add_argument("--frames", type=Path, required=True, help="made by `sample`")
    stage.add_argument("--record", type=Path, required=True, help="made by `sample`")
    stage.add_argument("--scan-set", type=Path, help="with the scans whose FSD is looked at")
    stage.add_argument("--fsd-every", type=whole(), metavar="EPOCHS",
                       help="between two looks at the FSD, 0 for none")  # fmt: skip
    stage.add_argument("--fsd-weight", type=number(), metavar="W",
                       help="of the differentiable FSD in the loss, eV·Å")  # fmt: skip
    stage.add_argument("--smoke", action="store_true",
                       help="few frames and epochs: a test of the machinery")  # fmt: skip
    stage.add_argument("--device", type=device, default="cpu", help=DEVICES)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--work", type=Path, required=True,
                       help="folder of the checkpoint; what is there is continued")  # fmt: skip
    stage.add_argument("--out", action="output", required=True,
                       help="the weights; their card is put beside them")  # fmt: skip
    stage.set_defaults(run=_train)

    stage = stages.add_parser("prepare-molecules", help="molecules of a config, with geometries")
    stage.add_argument("--molecules", required=True,
                       help="a file, or `molecules` of the config as JSON")  # fmt: skip
    stage.add_argument("--relax", type=Path, help="resolved entry (JSON) that relaxes them")
    stage.add_argument("--weights", type=Path, help="of that entry, if it has any")
    stage.add_argument("--entry-sha256", help=_ENTRY_SHA256)
    stage.add_argument("--device", type=device, default="auto", help=DEVICES)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--out", action="output", required=True, help="extxyz")
    stage.set_defaults(run=_prepare_molecules)

    stage = stages.add_parser("scan-molecules", help="bond scans of molecules, without a reference")
    stage.add_argument("--molecules", type=Path, required=True, help="made by `prepare-molecules`")
    stage.add_argument("--name", required=True, help="of the scan set")
    stage.add_argument("--bonds-to-hydrogen", action="store_true")
    stage.add_argument("--bonds", nargs="+", default=["*"], metavar="TYPE",
                       help="bond types, such as C-N, or globs of them")  # fmt: skip
    stage.add_argument("--out", action="output", required=True, help="scan set without a reference")
    stage.add_argument("--skipped", action="output", required=True,
                       help="CSV of what is passed over")  # fmt: skip
    stage.set_defaults(run=_scan_molecules)

    stage = stages.add_parser("collect-references", help="scans and their reference, judged")
    stage.add_argument("--scans", type=Path, required=True, help="made by `scan-molecules`")
    stage.add_argument("--references", type=Path, nargs="+", required=True, metavar="FILE",
                       help="evaluations of the reference method")  # fmt: skip
    stage.add_argument("--skipped-bonds", type=Path, required=True,
                       help="made by `scan-molecules`")  # fmt: skip
    stage.add_argument("--level-of-theory", required=True, help="of the reference")
    stage.add_argument("--failed-frames", type=whole(), default=5)
    stage.add_argument("--energy-jump-ev", type=number(above=True), default=0.02)
    stage.add_argument("--wall-jump-ev", type=number(above=True), default=0.15)
    stage.add_argument("--prominence-ev", type=number(above=True), default=0.01)
    stage.add_argument("--out", action="output", required=True, help="scan set")
    stage.add_argument("--skipped", action="output", required=True,
                       help="CSV of skipped, marked and dropped scans")  # fmt: skip
    stage.set_defaults(run=_collect_references)

    stage = stages.add_parser("evaluate", help="a model's energies and forces on scans")
    stage.add_argument("--entry", type=Path, required=True, help="resolved entry (JSON)")
    stage.add_argument("--weights", type=Path, help="weight file, for an entry that has one")
    stage.add_argument("--entry-sha256", help=_ENTRY_SHA256)
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
    stage.add_argument("--entry-sha256", help=_ENTRY_SHA256)
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
    stage.add_argument("--entry-sha256", help=_ENTRY_SHA256)
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

    stage = stages.add_parser("worst", help="where one model breaks")
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--evaluations", type=Path, nargs="+", required=True, metavar="FILE")
    stage.add_argument("--scores", type=Path, required=True)
    stage.add_argument("--csv", action="output", required=True)
    stage.add_argument("--extxyz", action="output", required=True)
    stage.add_argument("--figure", action="output", required=True)
    stage.set_defaults(run=_worst)

    stage = stages.add_parser("parity", help="numerical variants of one checkpoint, compared")
    _add_report_inputs(stage)
    stage.add_argument("--evaluations", type=Path, nargs="+", required=True, metavar="FILE")
    stage.add_argument("--csv", action="output", required=True)
    stage.set_defaults(run=_parity)

    stage = stages.add_parser("associate", help="does smoothness predict stability?")
    _add_report_inputs(stage)
    stage.add_argument("--csv", action="output", required=True)
    stage.add_argument("--markdown", action="output", required=True)
    stage.add_argument("--figure", action="output", help="PNG of smoothness against stability")
    stage.add_argument("--dose-csv", action="output",
                       help="CSV, where perturbed models ran dynamics")  # fmt: skip
    stage.add_argument("--dose-figure", action="output",
                       help="PNG of stability and metrics against dose")  # fmt: skip
    stage.add_argument("--dose-metrics-figure", action="output",
                       help="PNG of all metrics against dose")  # fmt: skip
    stage.set_defaults(run=_associate)

    stage = stages.add_parser("ladder", help="models one design choice apart, side by side")
    _add_report_inputs(stage)
    stage.add_argument("--ladder", nargs="+", required=True, metavar="MODEL",
                       help="which of the models, in order, the baseline first")  # fmt: skip
    stage.add_argument("--vibrations", nargs="*", default=[], metavar="MODEL",
                       help="which of the models have frequencies")  # fmt: skip
    stage.add_argument("--csv", action="output", required=True)
    stage.add_argument("--claims", action="output", required=True,
                       help="CSV of what they say of claims")  # fmt: skip
    stage.add_argument("--markdown", action="output", required=True)
    stage.add_argument("--figure", action="output", required=True)
    stage.set_defaults(run=_ladder)

    stage = stages.add_parser("leaderboard", help="one row a model, as csv and md")
    _add_report_inputs(stage)
    stage.add_argument("--parity", type=Path, help="CSV made by `parity`")
    stage.add_argument("--association", type=Path, help="CSV made by `associate`")
    _add_ladder(stage)
    stage.add_argument("--merged", type=Path, help="merged.json made by `merge`")
    stage.add_argument("--csv", action="output", required=True)
    stage.add_argument("--markdown", action="output", required=True)
    stage.set_defaults(run=_leaderboard)

    stage = stages.add_parser("strict", help="exit code 1 where a model failed")
    _add_report_inputs(stage)
    stage.add_argument("--vibrations", nargs="*", default=[], metavar="MODEL",
                       help="of which of the models there are frequencies")  # fmt: skip
    stage.add_argument("--out", action="output", required=True, help="written if none failed")
    stage.set_defaults(run=_strict)

    stage = stages.add_parser("figures", help="FSD by bond type; the control ladders")
    _add_report_inputs(stage)
    stage.add_argument("--by-bond", action="output", required=True)
    stage.add_argument("--ladders", action="output", required=True)
    stage.set_defaults(run=_figures)

    stage = stages.add_parser("page", help="leaderboard, figures and worst scans as one HTML page")
    _add_report_inputs(stage)
    stage.add_argument("--by-bond", type=Path, required=True)
    stage.add_argument("--ladders", type=Path, required=True)
    stage.add_argument("--skipped", type=Path, help="CSV of skipped, marked and dropped scans")
    stage.add_argument("--parity", type=Path, help="CSV made by `parity`")
    stage.add_argument("--association", type=Path, help="CSV made by `associate`")
    stage.add_argument("--association-figure", type=Path, help="PNG made by `associate`")
    stage.add_argument("--dose-figure", type=Path, help="PNG made by `associate`")
    stage.add_argument("--dose-metrics-figure", type=Path, help="PNG made by `associate`")
    _add_ladder(stage)
    stage.add_argument("--ladder-figure", type=Path, help="PNG made by `ladder`")
    stage.add_argument("--merged", type=Path, help="merged.json made by `merge`")
    stage.add_argument("--html", action="output", required=True)
    stage.set_defaults(run=_page)

    _add_merge(stages)
    _add_plan(stages)
    _add_check(stages)
    parser.epilog = stages.listing
    return parser


def _add_merge(stages: _Stages) -> None:
    stage = stages.add_parser(
        "merge", help="results of several groups on one leaderboard", for_people=True
    )
    stage.add_argument("results", type=Path, nargs="+", metavar="RESULTS",
                       help="folders of one scan set, such as results/mini")  # fmt: skip
    stage.add_argument("--out", type=Path, required=True, help="folder that is made")
    stage.add_argument("--scan-set", type=Path, help="where no folder holds it")
    stage.add_argument("--rename", action="append", default=[], metavar="RESULTS:OLD=NEW",
                       help="another name for a model of one folder")  # fmt: skip
    stage.add_argument("--without", action="append", default=[], metavar="RESULTS:MODEL",
                       help="leave a model of one folder out; a name or a glob")  # fmt: skip
    stage.add_argument("--without-dynamics", action="append", default=[], metavar="RESULTS",
                       help="leave the trajectories of one folder out")  # fmt: skip
    stage.add_argument("--strict", action="store_true",
                       help="refuse what was not made by this version's code")  # fmt: skip
    stage.add_argument("--rank-by", default="fsd_full", help="score that ranks, lower is better")
    stage.set_defaults(run=_merge)


def _add_selected(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--selected", nargs="+", default=["*"], metavar="SCAN",
                       help="ids or globs of the scans to score (default: all)")  # fmt: skip


def _add_ceiling(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--energy-ceiling-ev", type=number(above=True), default=10.0, metavar="EV",
                       help="of the reference above its minimum, where faults count")  # fmt: skip


def _add_ladder(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--ladder", type=Path, nargs=2, metavar=("CSV", "CLAIMS"),
                       help="the two files made by `ladder`")  # fmt: skip


def _add_report_inputs(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--results", type=Path, required=True, help="folder of the scan set")
    stage.add_argument("--models", nargs="+", required=True, metavar="MODEL")
    stage.add_argument("--models-file", type=Path, default=Path("config/models.yaml"))
    stage.add_argument("--scan-set", type=Path, required=True)
    stage.add_argument("--dynamics", nargs="*", default=[], metavar="MODEL",
                       help="which of the models ran dynamics")  # fmt: skip
    stage.add_argument("--rank-by", default="fsd_full", help="score that ranks, lower is better")


def _shown_by(handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(LineFormatter("%(message)s"))
    return handler


def _check_outputs(arguments: argparse.Namespace) -> None:
    values = vars(arguments)
    outputs = {k.removeprefix(_WRITES): v for k, v in values.items() if k.startswith(_WRITES)}
    others = [v for k, v in values.items() if k not in outputs and not k.startswith(_WRITES)]
    inputs = [one for value in others for one in (value if isinstance(value, list) else [value])]
    if isinstance(archive := values.get("archive"), str) and "://" not in archive:
        inputs.append(Path(archive))  # an address or a path
    check_outputs(outputs, inputs)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage.

    Returns:
        Exit code: 0, 1 where `check` found a limit violated or `strict` a model that failed, 2
        for bad input (one line on stderr), 75 where the machine failed and a second call
        continues.
    """
    shut_out()
    logging.basicConfig(level=logging.INFO, handlers=[_shown_by(logging.StreamHandler(sys.stderr))])
    arguments = _parser().parse_args(argv)
    running.join()
    try:
        check_python()
        _check_outputs(arguments)
        if arguments.log is not None:
            arguments.log.parent.mkdir(parents=True, exist_ok=True)
            file = logging.FileHandler(arguments.log, mode="w", encoding="utf-8")
            logging.getLogger().addHandler(_shown_by(file))
        return arguments.run(arguments) or 0
    except (UserError, HostError) as error:
        failure = error
    except MemoryError as error:
        failure = HostError(f"{str(error) or 'not enough memory'}; free some, or ask for more")
    except (OSError, RuntimeError) as error:
        found = disk_failure(error, getattr(arguments, "out", None))
        if found is None and isinstance(error, OSError) and error.filename is not None:
            where = os.fsdecode(error.filename)
            found = UserError(f"{where}: {error.strerror}; give another path, or mend this one")
        if found is None:
            raise
        failure = found
    logging.getLogger("pesbench").error("pesbench: error: %s", _bounded(failure))
    return failure.exit_code
