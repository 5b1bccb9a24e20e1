"""The command `check`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.commands.arguments import number
from pesbench.commands.parsing import TRUST, Stages, add_running, registered, where_of
from pesbench.core.errors import UserError
from pesbench.core.paths import MODELS_FILE, check_outputs

if TYPE_CHECKING:
    pass


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
                       help="some of conformance, scans and dynamics (default: all)")  # fmt: skip
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

    stage = stages.add_parser("check-scans", help="choose the scans that ship with `check`")
    stage.add_argument(
        "--scan-set",
        type=Path,
        required=True,
        help="scan set with reference energies, such as mini",
    )
    stage.add_argument("--out", action="output", required=True, help="scan set")
    stage.set_defaults(run=_check_scans)


def _check(arguments: argparse.Namespace) -> int:
    from dataclasses import fields

    from pesbench.commands.check.limits import Limits
    from pesbench.commands.check.run import PARTS, chosen_scans
    from pesbench.commands.check.supervised import (
        check_entry,
        default_json,
        entry_of_calculator,
        entry_of_weights,
    )
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
    check_outputs({"out": out}, [])
    report = check_entry(
        fetch_weights(entry),
        scans=arguments.scans,
        parts=parts,
        limits=Limits(**{f.name: getattr(arguments, f"max_{f.name}") for f in fields(Limits)}),
        device=arguments.device,
        threads=arguments.threads,
        timeout_s=arguments.timeout_s,
        environment=where_of(arguments),
    )
    report.to_json(out)
    print(report.table())
    print(f"written to {out}")
    return report.exit_code


def _check_scans(arguments: argparse.Namespace) -> None:
    from pesbench.commands.check.subset import write_subset

    write_subset(arguments.scan_set, arguments.out)
