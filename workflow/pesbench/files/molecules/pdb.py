"""PDB files: every atom with its element, no element guessed from an atom's name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pesbench.core.errors import UserError
from pesbench.files.molecules.record import Record, element, name_of


def read_records(path: Path, text: str) -> Iterator[Record]:
    """The models of a PDB file; bonds are found by distance later.

    Raises:
        UserError: an atom has no element, no position or an alternative place, or there is a cell.
    """
    atoms: list[tuple[int, list[float], int | None]] = []
    number = 0
    for k, line in enumerate(text.split("\n"), start=1):
        place = f"{path}: line {k}"
        if line.startswith(("ATOM", "HETATM")):
            atoms.append(_atom(line.ljust(80), place))
        elif line.startswith("CRYST1"):
            lengths = [float(x) for x in re.findall(r"\d+\.\d+", line)[:3]]
            if any(length > 1.0 for length in lengths):  # 0 and 1 Å: there is none
                raise UserError(
                    f"{place}: the molecule is periodic; molecules are scanned in a vacuum: make "
                    "it whole and remove this line"
                )
        elif line.startswith(("END", "MODEL ")) and atoms:
            yield _record(path, number, atoms)
            atoms, number = [], number + 1
    if atoms:
        yield _record(path, number, atoms)


def _atom(line: str, place: str) -> tuple[int, list[float], int | None]:
    """Atomic number, position and charge (None where there is none) of one line."""
    symbol, charge = line[76:78].strip(), line[78:80].strip()
    if not symbol:
        raise UserError(
            f"{place}: atom {line[12:16].strip()!r} has no element in columns 77 and 78; "
            "write it there (the name CA may be carbon or calcium)"
        )
    if line[16] not in " A1":
        raise UserError(f"{place}: the atom has an alternative place {line[16]!r}; keep one place")
    try:
        position = [float(line[start : start + 8]) for start in (30, 38, 46)]
    except ValueError:
        raise UserError(f"{place}: no position in columns 31 to 54; correct the line") from None
    stated = re.fullmatch(r"([0-9])?([+-])([0-9])?", charge)
    if charge and charge != "0" and stated is None:
        raise UserError(f"{place}: {charge!r} in columns 79 and 80 is no charge such as 1-")
    value = int(stated[2] + (stated[1] or stated[3] or "1")) if stated else None
    return element(symbol, place), position, value


def _record(path: Path, number: int, atoms: list[tuple[int, list[float], int | None]]) -> Record:
    charges = [charge for _, _, charge in atoms if charge is not None]
    name = name_of(path, number)
    return Record(
        place=f"{path}: molecule {name!r}",
        name=name,
        numbers=np.array([z for z, _, _ in atoms], dtype=np.int64),
        positions=np.array([position for _, position, _ in atoms], dtype=np.float64),
        said=[("charge (the sum of columns 79 and 80)", sum(charges))] if charges else [],
        charge_of_atoms=sum(charges),
    )
