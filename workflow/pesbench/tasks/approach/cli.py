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
        help="PNG of the curves of the bonds; if a pair fails or has a hole, the frames of the "
        "worst are written beside it as extxyz (default: approach-MODEL.png)",
    )  # fmt: skip
    stage.set_defaults(run=functools.partial(_approach, stages))


def _approach(stages: Stages, arguments: argparse.Namespace) -> None:
    from pesbench.files.replaceable import may_be_replaced
    from pesbench.tasks.approach import own

    out = arguments.out or Path(f"approach-{arguments.model}.png")
    frames = out.with_suffix(".extxyz")
    if out.suffix.lower() != ".png":
        raise UserError(f"approach: --out {out}: the curves are a PNG; give a name that ends so")
    system = own.read_molecule(arguments.molecule, arguments.charge, arguments.spin)
    check_outputs({"out": out, "frames": frames}, [Path(arguments.molecule)])
    if not may_be_replaced(frames, own.FRAME_KEY):
        raise UserError(
            f"approach: {frames} is not of this command, and the frames of the worst pair would be "
            "written there; give another --out, or move it"
        )
    entry, environment = stages.named_model(arguments)
    pairs = own.pairs_of(system, CONTACTS if arguments.reference else 0)
    told = {}
    if arguments.reference:
        other, _ = stages.named_model(arguments, arguments.reference)
        judged = [pair for pair in pairs if pair.kind == own.CONTACT]
        said = own.ask(other, judged, threads=arguments.threads)
        told = {one.scan_id: one for one in said}
    answers = own.ask(
        entry, pairs, device=arguments.device, threads=arguments.threads, environment=environment
    )
    rows = own.judged_rows(entry.name, pairs, answers, told)
    own.write_curves(out, f"{entry.name}, {system.id}", pairs, answers)
    at = own.worst(rows)
    if at is None:
        frames.unlink(missing_ok=True)  # of an earlier run
    else:
        own.write_frames(frames, own.frames_of(pairs[at], answers[at]))
    print(printable_table(own.table(rows)))
    print(own.verdict(rows))
    print(f"written to {out}" + (f", the worst pair to {frames}" if at is not None else ""))


def printable_table(table: pd.DataFrame) -> str:
    """A table of text cells for a terminal."""
    return lines(table.to_string(index=False))
