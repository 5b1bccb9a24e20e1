"""Statements of one record of a file of molecules, before any interpretation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from pesbench.core.errors import UserError, host_failure
from pesbench.core.smiles import ISOTOPES

_LISTED = 5
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Record:
    """One molecule as its file states it.

    Attributes:
        place: File and record, for messages.
        name: The id that the record gives, else `<file stem>-<index>`.
        numbers: Atomic numbers, shape (N,).
        positions: Å, shape (N, 3).
        said: Names and values of the record that may state charge or spin.
        bonds: Bonds of the record, shape (B, 2), or None if it states none.
        smiles: Mapped SMILES, or "".
        charge_of_atoms: Sum of the formal charges of its atoms.
        unpaired: Unpaired electrons that the record states atom by atom.
        hydrogens_missing: Number of hydrogens that its bonds require and its atoms lack.
        kept: Keys and texts that only our own files may hold.
    """

    place: str
    name: str
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    said: list[tuple[str, object]] = field(default_factory=list)
    bonds: NDArray[np.int64] | None = None
    smiles: str = ""
    charge_of_atoms: int = 0
    unpaired: int = 0
    hydrogens_missing: int = 0
    kept: Mapping[str, str] = field(default_factory=dict)


def name_of(path: Path, number: int) -> str:
    """The id of the molecule at place `number` of a file, from 0, that gives it none.

    The file's name without suffix, spaces and the like as `_`, and the number.
    """
    stem = "".join(c if c.isalnum() or c in "._+-" else "_" for c in path.stem)
    return f"{stem.lstrip('.-+')[:60] or 'molecule'}-{number}"


def all_made(make: Callable[[Item], Made], items: Sequence[tuple[str, Item]]) -> list[Made]:
    """What is made of each record, or one line for all that are refused.

    Args:
        make: Function that makes one result of one record.
        items: Names and records.

    Raises:
        UserError: that of the first; the others are named and counted.
    """
    made: list[Made] = []
    refused: list[tuple[str, UserError]] = []
    for name, item in items:
        try:
            made.append(make(item))
        except UserError as error:
            refused.append((name, error))
    if refused:
        others = [repr(name[:40]) for name, _ in refused[1:]]
        shown = ", ".join(others[:_LISTED]) + ", ..." * (len(others) > _LISTED)
        more = f"; {len(others)} more of {len(items)} are refused: {shown}" if others else ""
        raise UserError(f"{refused[0][1]}{more}") from refused[0][1]
    return made


def read_text(path: Path) -> str:
    """The text of a file, with line ends as `\\n`.

    Raises:
        UserError: it is not UTF-8.
        HostError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise host_failure(error, path) or error from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: line {line} is no UTF-8 text (byte 0x{content[error.start]:02x}); "
            "save the file as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def element(symbol: str, place: str) -> int:
    """The atomic number of a symbol as a file writes it; 0 of `X`.

    Raises:
        UserError: it is an isotope or no element, or capitals leave open which one it is.
    """
    if symbol in ("D", "T"):
        raise UserError(f"{place}: {symbol!r} is an isotope; {ISOTOPES} H")
    number = atomic_numbers.get(symbol.capitalize())
    if number is None:
        raise UserError(f"{place}: {symbol!r} is no element; write a symbol such as C or Cl")
    return number


def check_masses(columns: Mapping[str, NDArray[Any]], numbers: NDArray[np.int64], at: str) -> None:
    """Refuse masses other than the natural ones, and named isotopes.

    The mass of an element's most common isotope, which other programs write, is no isotope label.

    Args:
        columns: Columns of a record with a value for each atom, by name, of shape (N, ...).
        numbers: Atomic numbers, shape (N,).
        at: The place, for the message.

    Raises:
        UserError: an atom has another mass.
    """
    from rdkit.Chem import GetPeriodicTable

    common = GetPeriodicTable().GetMostCommonIsotopeMass
    for name, values in columns.items():
        plain = name.casefold().replace("_", "")
        if values.ndim != 1 or values.dtype.kind not in "iuf":
            continue
        if plain in ("mass", "masses", "atomicmass", "atomicmasses"):
            tolerance = 0.01
        elif plain.startswith(("isotope", "massnumber")):
            tolerance = 0.5
        else:
            continue
        for k, (number, mass) in enumerate(zip(numbers.tolist(), values.tolist(), strict=True)):
            natural = atomic_masses[number]
            if number < 1 or not mass or abs(mass - natural) < max(tolerance, 0.005 * natural):
                continue
            if abs(mass - common(number)) >= tolerance:
                raise UserError(
                    f"{at}: `{name}` of atom {k} is {mass:g}, its natural mass {natural:.3f}; "
                    f"{ISOTOPES} no masses"
                )
