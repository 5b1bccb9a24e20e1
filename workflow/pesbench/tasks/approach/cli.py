"""The command `approach`."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.core.errors import UserError
from pesbench.core.paths import check_outputs
from pesbench.core.text import lines

if TYPE_CHECKING:
    import pandas as pd

    from pesbench.commands.parsing import Stages

CONTACTS = 3


def add(stages: Stages) -> None:
    """The subcommands of this task."""
    stage = stages.add_parser(
        "approach",
        help="does the energy of a model rise when two atoms of your molecule come close?",
        for_people=True,
    )
    stages.add_named_model(stage)
    stage.add_argument(
        "--molecule",
        required=True,
        metavar="FILE|SMILES",
        help="a file of one molecule (extxyz, SDF, PDB, ...), or a SMILES",
    )
    stage.add_argument("--charge", type=int, help="total charge in e (default: as stated, else 0)")
    stage.add_argument("--spin", type=int, help="multiplicity (default: as stated, else 1)")
    stage.add_argument(
        "--reference",
        metavar="NAME",
        help="entry of the registry that judges pairs without a bond, too (default: none, and "
        "bonded pairs alone)",
    )
    stage.add_argument(
        "--out", action="output",
        help="PNG of the curves; the worst pair is written beside it as extxyz "
        "(default: approach-MODEL.png)",
    )  # fmt: skip
    stage.set_defaults(run=functools.partial(_approach, stages))


def _approach(stages: Stages, arguments: argparse.Namespace) -> None:
    from pesbench.tasks.approach import own

    out = arguments.out or Path(f"approach-{arguments.model}.png")
    frames = out.with_suffix(".extxyz")
    if out.suffix.lower() != ".png":
        raise UserError(f"approach: --out {out}: the curves are a PNG; give a name that ends so")
    system = own.read_molecule(arguments.molecule, arguments.charge, arguments.spin)
    check_outputs({"out": out, "frames": frames}, [Path(arguments.molecule)])
    entry, environment = stages.named_model(arguments)
    pairs = own.pairs_of(system, CONTACTS if arguments.reference else 0)
    told = None
    if arguments.reference:
        other, _ = stages.named_model(arguments, arguments.reference)
        told = own.ask(other, pairs, threads=arguments.threads)
    answers = own.ask(
        entry, pairs, device=arguments.device, threads=arguments.threads, environment=environment
    )
    rows = own.judged_rows(entry.name, pairs, answers, told)
    own.write_curves(out, f"{entry.name}, {system.id}", pairs, answers)
    at = own.worst(rows)
    if at is not None:
        own.write_frames(frames, own.frames_of(pairs[at], answers[at]))
    print(printable_table(own.table(rows)))
    print(own.verdict(rows))
    print(f"written to {out}" + (f", the worst pair to {frames}" if at is not None else ""))


def printable_table(table: pd.DataFrame) -> str:
    """A table of text cells for a terminal."""
    return lines(table.to_string(index=False))
