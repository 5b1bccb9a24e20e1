"""Extended xyz in which text stays text.

ASE's reader turns an id `017` into the number 17 and `T` into True, and ends at the first blank
line. Here the file is cut into its frames, and the values of the comment line are kept as they are
written; ASE reads lattice and columns. What is written is encoded such that ASE's own reader gives
the text back, too.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from pesbench.core.errors import UserError
from pesbench.core.smiles import smiles_states
from pesbench.files.molecules.charge_and_spin import of_columns
from pesbench.files.molecules.record import Record, check_masses, element, name_of

# keys of our own files, in which the graph and the choice of bonds are kept from stage to stage
OWN_KEYS = ("bond_graph", "scan_bonds", "failed")
_STRUCTURE = ("Lattice", "Properties", "pbc")
_COLUMNS = "species:S:1:pos:R:3"
_JSON = "_JSON "
_PAIR = re.compile(
    r"""(?P<key>"(?:\\.|[^"\\])*"|[^\s="]+)
        (?:\s*=\s*(?P<value>"(?:\\.|[^"\\])*"(?=\s|$) | '[^']*'(?=\s|$)
                           | \{[^}]*\}(?=\s|$) | \[[^\]]*\](?=\s|$) | \S+))?""",
    re.VERBOSE,
)
# `0 1` and the like: charge and multiplicity, as quantum-chemistry programs write them
_TWO_NUMBERS = re.compile(
    r"\s*(\*\s*xyz(file)?\s+)?[+-]?\d{1,2}[\s,]+\d{1,2}\s*"
    r"|\s*[+-]?\d\s+[1-9]\s+[^\s\d.+-].*|\s*[+-]\d{1,2}\s*"
)
_IN_BOHR = re.compile(r"(?i)(?<![\w/*])bohrs?(?![\w^*])(?!\s*-)")
# other SMILES than the one whose map gives the bonds: their formal charge counts
_SMILES = re.compile(r"(?i)(?!.*(parent|product|reactant|neutral|monomer|fragment)).*smiles")
# capitals in which carbon, hydrogen, nitrogen or oxygen may carry the name of a place
_AMBIGUOUS = re.compile(r"(?!CL)[CHNO][A-Z]")


# `charge: -2`, `Charge/Multiplicity: -2 1`, `spin 3`
_IN_WORDS = re.compile(
    r"(?i)(?<!\S)[^\s=]*(charge|multiplicity|spin|mult(?![a-z]))[^\s=]{0,40}[\s:]\s*"
    r"[+-]?[0-9][0-9.]*(?![^\s,;)}\]|])"
)


def comment_pairs(line: str) -> list[tuple[str, str | None]]:
    """Keys and values of a comment line, as text; the value of a bare word is None."""
    return [
        (pair["key"].strip('"'), None if pair["value"] is None else _text(pair["value"]))
        for pair in _PAIR.finditer(line)
    ]


def _text(raw: str) -> str:
    if len(raw) > 1 and (raw[0], raw[-1]) in (("'", "'"), ("{", "}")):
        return raw[1:-1]
    if len(raw) < 2 or (raw[0], raw[-1]) != ('"', '"'):
        return raw
    inner = raw[1:-1]
    if inner.startswith(_JSON):
        try:
            value = json.loads(re.sub(r"\\(.)", r"\1", inner).removeprefix(_JSON))
        except ValueError:
            return inner
        return value if isinstance(value, str) else json.dumps(value)
    return inner.replace('\\"', '"')  # a backslash alone is one, as in F/C=C\F


def _kept(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    plain = value.isascii() and value.isprintable() and not value.startswith(_JSON)
    if plain:
        from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict  # half a second

        read = key_val_str_to_dict(key_val_dict_to_str({"k": value})).get("k")
        if isinstance(read, str) and read == value:
            return value
    return _JSON + json.dumps(value).replace("\\", "\\\\")  # ASE takes one level away


def write_extxyz(path: Path, frames: Iterable[Atoms]) -> None:
    """Write frames such that every text in `info` is read back as the same text.

    Args:
        path: Written in place: wrap it in `atomic.atomic_path`.
        frames: Left as they are.
    """
    path.write_text(extxyz_text(frames), encoding="utf-8")


def extxyz_text(frames: Iterable[Atoms]) -> str:
    """What `write_extxyz` writes; "" of no frame."""
    written = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = atoms.calc
        copy.info = {key: _kept(value) for key, value in atoms.info.items()}
        written.append(copy)
    buffer = io.StringIO()
    if written:
        import ase.io  # half a second, which every start of Snakemake would pay

        ase.io.write(buffer, written, format="extxyz")
    return buffer.getvalue()


def read_records(path: Path, text: str) -> Iterator[Record]:
    """The frames of an xyz or extxyz file.

    Raises:
        UserError: a frame is not whole or not understood; the message names its line.
    """
    lines = text.split("\n")
    k = number = 0
    while k < len(lines):
        if not lines[k].strip():
            k += 1
            continue
        place = f"{path}: line {k + 1}"
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", lines[k]):
            raise UserError(
                f"{place}: {lines[k].strip()[:40]!r} stands where the number of atoms of a "
                "molecule is expected; correct the file"
            )
        n_atoms = int(lines[k])
        end = k + 2 + n_atoms
        if not n_atoms:
            raise UserError(f"{place}: a molecule without atoms; remove it")
        if end > len(lines):
            raise UserError(f"{place}: announces {n_atoms} atoms, which do not follow")
        yield _record(path, number, k + 1, lines[k + 1], lines[k + 2 : end])
        if end < len(lines) and lines[end].lstrip().startswith("VEC"):
            raise UserError(f"{path}: line {end + 1}: the molecule is periodic; remove the cell")
        k, number = end, number + 1


def _record(path: Path, number: int, line: int, comment: str, rows: list[str]) -> Record:
    place = f"{path}: line {line + 1}"
    if _TWO_NUMBERS.fullmatch(comment) and re.findall(r"[+-]?\d+", comment)[:2] != ["0", "1"]:
        raise UserError(
            f"{place}: the comment {comment.strip()[:60]!r} looks like charge and multiplicity; "
            "write `charge=... spin=...`"
        )
    pairs = comment_pairs(comment)
    if found := _IN_WORDS.search(comment):
        raise UserError(
            f"{place}: the comment says {found[0].strip()[:60]!r}, which may be charge or "
            "multiplicity; write `charge=... spin=...`"
        )
    for key, value in pairs:
        if value is not None and key != "Lattice" and key.casefold() in ("lattice", "cell"):
            raise UserError(
                f"{place}: `{key}` states a cell; molecules are scanned in a vacuum: remove it"
            )
    if found := _IN_BOHR.search(comment):
        raise UserError(
            f"{place}: the comment says {found[0]!r}; give positions in Å, or remove the word"
        )
    structure = {key: value for key, value in pairs if key in _STRUCTURE and value is not None}
    columns = structure.get("Properties", _COLUMNS).split(":")
    try:
        widths = [int(width) for width in columns[2::3]]
    except ValueError:
        widths = []
    if len(columns) % 3 or not widths:
        raise UserError(f"{place}: `Properties` cannot be read; write such as {_COLUMNS}")
    for k, row in enumerate(rows):
        at = f"{path}: line {line + 2 + k}"
        cells = row.split()
        if len(cells) != sum(widths):
            raise UserError(
                f"{at}: {len(cells)} columns instead of {sum(widths)}; name every column in "
                f"`Properties`, such as {_COLUMNS}:forces:R:3, or remove it"
            )
        if "species" in columns[::3]:
            symbol = cells[sum(widths[: columns[::3].index("species")])]
            atomic_number = element(symbol, at)
            if "Z" in columns[::3]:
                z = cells[sum(widths[: columns[::3].index("Z")])]
                if z != str(atomic_number):
                    raise UserError(f"{at}: the atom is {symbol!r} and has the number {z}")
            if _AMBIGUOUS.fullmatch(symbol):
                raise UserError(
                    f"{at}: {symbol!r} may be {symbol.capitalize()} or a name of {symbol[0]}; "
                    f"write {symbol.capitalize()} or {symbol[0]}"
                )
    from ase.io.extxyz import key_val_str_to_dict, read_xyz  # half a second

    frame = io.StringIO("\n".join([str(len(rows)), comment, *rows, ""]))
    quoted = " ".join(f'{key}="{value}"' for key, value in structure.items())
    try:
        atoms = next(
            read_xyz(
                frame,
                index=slice(0, 1),
                properties_parser=lambda _: key_val_str_to_dict(quoted) if quoted else {},
            )
        )
    except Exception as error:  # ASE raises whatever it meets
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{place}: cannot be read as xyz ({told[:200]}); correct it") from error
    texts: dict[str, str] = {}
    for key, value in pairs:
        if value is not None and texts.setdefault(key, value) != value and key in ("id", "smiles"):
            raise UserError(f"{place}: `{key}` is {texts[key]!r} and {value!r}; keep one")
    return from_atoms(
        atoms,
        path,
        number,
        [pair for pair in pairs if pair[0] not in _STRUCTURE],
        {key: texts[key] for key in ("id", "smiles", *OWN_KEYS) if key in texts},
    )


def from_atoms(
    atoms: Atoms,
    path: Path,
    number: int,
    said: Iterable[tuple[str, object]],
    texts: dict[str, str],
) -> Record:
    """A record from ASE's atoms.

    Args:
        atoms: Their arrays and results may state charges, moments and masses.
        path: File of the atoms.
        number: Their place in it, from 0.
        said: Names and values of the record that may state charge or spin.
        texts: `id`, `smiles` and our own keys, where they are given.

    Raises:
        UserError: it is periodic, or an atom has a mass of its own.
    """
    name = texts.get("id", name_of(path, number))
    place = f"{path}: molecule {name[:60]!r}"
    if atoms.pbc.any():
        raise UserError(
            f"{place} is periodic; molecules are scanned in a vacuum: make "
            "it whole and take the cell away (`atoms.pbc = False`)"
        )
    columns = dict(atoms.arrays)
    results = getattr(atoms.calc, "results", {})
    columns |= {k: v for k, v in results.items() if np.ndim(v) and len(v) == len(atoms)}
    numbers = atoms.numbers.astype(np.int64)
    check_masses(columns, numbers, place)
    said = list(said)
    moment = round(abs(float(results.get("magmom") or 0.0)))
    of_whole = [("spin (from the result `magmom`)", moment + 1)] if moment else []
    return Record(
        place=place,
        name=name,
        numbers=numbers,
        positions=atoms.positions.astype(np.float64),
        said=[*said, *of_columns(columns), *of_whole, *_of_identifiers(said)],
        smiles=texts.get("smiles", ""),
        kept={key: texts[key] for key in OWN_KEYS if key in texts},
    )


def _of_identifiers(said: Iterable[tuple[str, object]]) -> Iterator[tuple[str, object]]:
    """The charge that other SMILES than `smiles`, and an InChI, state."""
    for name, value in said:
        if name == "smiles" or not isinstance(value, str):
            continue
        if _SMILES.fullmatch(name):
            try:
                yield f"charge (of `{name}`)", smiles_states(value)[0]
            except UserError:
                continue  # no SMILES, such as the name of a file
        elif name.casefold() == "inchi":
            yield f"charge (of `{name}`)", sum(map(int, re.findall(r"/[qp]([+-]\d{1,3})", value)))
