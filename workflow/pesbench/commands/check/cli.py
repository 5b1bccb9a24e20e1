"""The command `check`."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from pesbench.commands.arguments import number
from pesbench.commands.check.limits import Limits
from pesbench.commands.parsing import TRUST, Stages, add_running, registered, where_of
from pesbench.core.errors import UserError
from pesbench.core.paths import MODELS_FILE, check_outputs


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "check",
        help="test conformance, smoothness and dynamics of one model, for its CI",
        for_people=True,
    )
    stage.add_argument("model", nargs="?", help="name of an entry of the registry")
    stage.add_argument("--models-file", type=Path, default=Path(MODELS_FILE))
    stage.add_argument("--weights", help="a weight file or its address, instead of an entry")
    stage.add_argument("--family", help="family of the weights, such as mace")
    stage.add_argument("--calculator", metavar="MODULE:CLASS",
                       help="an ASE calculator without arguments, instead of an entry; its "
                       "module is imported")  # fmt: skip
    stage.add_argument("--parts", nargs="+", metavar="PART",
                       help="some of conformance, scans, approach and dynamics "
                       "(default: all)")  # fmt: skip
    stage.add_argument("--scans", nargs="+", metavar="ID",
                       help="scans to score, such as 'C-N/*' (default: all)")  # fmt: skip
    stage.add_argument("--dtype", help="precision of the weights (default: the family's)")
    stage.add_argument("--trust", action="store_true", help=TRUST)
    add_running(stage)
    stage.add_argument("--timeout-s", type=number(above=True), default=120.0,
                       help="longest time of one call, in seconds")  # fmt: skip
    stage.add_argument(
        "--out", action="output", help="JSON of the results (default: check-MODEL.json)"
    )
    limits = stage.add_argument_group("limits", "beyond one of them the exit code is 1")
    for field in fields(Limits):
        limits.add_argument(f"--max-{field.name.replace('_', '-')}", type=number(), metavar="X",
                            help=field.metadata["help"])  # fmt: skip
    stage.set_defaults(run=_check)

    stage = stages.add_parser("check-scans", help="choose the scans that ship with `check`")
    stage.add_argument(
        "--scan-set",
        type=Path,
        required=True,
        help="scan set with reference energies, such as mini",
    )
    stage.add_argument("--out", action="output", required=True, help="scan set")
    stage.set_defaults(run=_check_scans)

    stage = stages.add_parser(
        "check-reference", help="run the reference's trajectories that ship with `check`"
    )
    stage.add_argument("model", help="name of an entry at the level of theory of the scans")
    stage.add_argument("--models-file", type=Path, default=Path(MODELS_FILE))
    stage.add_argument("--out", action="output", required=True, help="JSON")
    stage.set_defaults(run=_check_reference)


def _check(arguments: argparse.Namespace) -> int:
    from pesbench.commands.check.run import PARTS, chosen_scans
    from pesbench.commands.check.supervised import (
        check_entry,
        default_json,
        entry_of_calculator,
        entry_of_weights,
    )
    from pesbench.files.replaceable import may_be_replaced
    from pesbench.models.fetching import fetch_weights

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
        entry = registered(arguments.model, arguments.models_file, trust=arguments.trust)
    out = arguments.out or default_json(entry.name)
    frames = out.with_suffix(".extxyz")
    if out == frames:
        raise UserError(
            f"check: `--out {out}`: the report is JSON, and the frames of what fails are written "
            f"to {frames}; give another name"
        )
    check_outputs({"out": out, "frames": frames}, [entry.weights_path])
    if not may_be_replaced(frames, "row"):
        raise UserError(
            f"check: {frames} is not of a check, and the frames of what fails would be written "
            "there; give another --out, or move it"
        )
    asked = {f.name: getattr(arguments, f"max_{f.name}") for f in fields(Limits)}
    report = check_entry(
        fetch_weights(entry),
        scans=arguments.scans,
        parts=parts,
        limits=Limits(**{name: value for name, value in asked.items() if value is not None}),
        device=arguments.device,
        threads=arguments.threads,
        timeout_s=arguments.timeout_s,
        environment=where_of(arguments),
    )
    report.to_json(out)
    shown = report.write_frames(frames)
    print(f"written to {out}" + (f", {shown} frames of what failed to {frames}" if shown else ""))
    print(report.table())
    return report.exit_code


def _check_scans(arguments: argparse.Namespace) -> None:
    from pesbench.commands.check.subset import write_subset

    write_subset(arguments.scan_set, arguments.out)


def _check_reference(arguments: argparse.Namespace) -> None:
    from pesbench.commands.check.reference import check_reference_model, write_reference
    from pesbench.commands.check.supervised import check_entry

    entry = registered(arguments.model, arguments.models_file, trust=False)
    check_reference_model(entry)
    write_reference(arguments.out, check_entry(entry, parts=["dynamics"]))
