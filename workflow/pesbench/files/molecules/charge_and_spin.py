"""Total charge and multiplicity, under whatever name a record states them.

A name that means one thing is taken. One that may mean several things (`total_spin`: S, 2S or
2S + 1?) is refused, unless the quantity is stated under its own name, too. Nothing that a record
states is left out in favour of a default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import UserError

_WHOLE = re.compile(r"[+-]?[0-9]{1,6}(\.0*)?")
_SHOWN = 40
# names without case and punctuation
_TAKEN = {
    "charge": "charge",
    "totalcharge": "charge",
    "netcharge": "charge",
    "formalcharge": "charge",
    "totalformalcharge": "charge",
    "molecularcharge": "charge",
    "systemcharge": "charge",
    "moleculecharge": "charge",
    "totcharge": "charge",
    "qtot": "charge",
    "qtotal": "charge",
    "spin": "spin",
    "multiplicity": "spin",
    "spinmultiplicity": "spin",
    "mult": "spin",
    "mul": "spin",
    "spinmult": "spin",
    "totalmultiplicity": "spin",
    "2s1": "spin",  # 2S+1
}
_ELECTRONS = re.compile(r"n?(?:um|umber)?(?:of)?elec(?:tron)?s?|nel")
_UNCLEAR = {
    "charge": re.compile(
        r"(?!.*(nuclear|core|valence)).*charge.*|q|chg|chrg|" + _ELECTRONS.pattern
    ),
    "spin": re.compile(
        r"(?!.*(spinpol|polari[sz]|restrict|contamin|orbit))"
        r".*(spin|multiplicity|unpaired|uhf|magmom|magneticmoment|radical).*|2?s|ms?"
    ),
}
# words of a comment or a value that state more than neutral and singlet
_WORDS = dict.fromkeys(
    ("cation", "anion", "dication", "dianion", "trication", "trianion"), "charge"
) | dict.fromkeys(("triplet", "quartet", "quintet", "sextet", "septet", "diradical"), "spin")
# `charge=1` inside the value of something else, as in `name=water|charge=1`
_WITHIN = re.compile(
    r"(?i)(?<![a-z0-9])(?:total|net|formal)?[_ -]?(charge|multiplicity|mult|spin)[\"']?\s*[=:]\s*"
    r"([+-]?\d{1,2})(?![\d.])"
)
_MOMENTS = re.compile(
    r".*(magmom|magneticmoment|spin|spindensity|spindensitie|spinpopulation|unpaired)s?"
)
_UNPAIRED = re.compile(r"n?(um|umber)?(of)?unpaired(electrons?)?|n?uhf|magmom")  # 2S
# values of all atoms in one text; partial charges of other names are rounded, and no statement
_LIST = re.compile(r"[\[(]?\s*[-+.\de]+([\s,]+[-+.\de]+)+[,\s]*[\])]?")
_OF_ATOMS = {
    "charge": re.compile(r"(initial|formal|atomic|atom)?(charges?|formalcharges?)|q"),
    "spin": _MOMENTS,
}
_A_CHARGE = re.compile(r".*charges?|q|chg|chrg")  # of the unclear: no other quantity
_MEANING = {"charge": "the total charge in e", "spin": "the multiplicity 2S + 1"}
_NO_CLAIM = frozenset({"", "f", "false", "none", "nan", "singlet"})


def whole_number(value: object, what: str, place: str = "", least: int | None = None) -> int:
    """A whole number from a file, a table or a config: `-1`, `"-1"` and `-1.0` are the same.

    Args:
        value: A number or its text, of at most six digits.
        what: Name of the number, for the message.
        place: Place of the number, for the message.
        least: The smallest that is allowed.

    Raises:
        UserError: it is something else, such as `1.5`, `inf`, `True` or `1_2`.
    """
    number = _whole(value)
    if number is None or (least is not None and number < least):
        wanted = "a whole number" if least is None else f"a whole number of at least {least}"
        where = f"{place}: " if place else ""
        raise UserError(f"{where}`{what}` must be {wanted}, not {_shown(value)}")
    return number


def _whole(value: object) -> int | None:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, int | np.integer):
        return int(value) if abs(value) < 10**6 else None
    text = str(value).strip()
    return int(float(text)) if _WHOLE.fullmatch(text) else None


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:  # Python may refuse to print it
        return f"a number of more than {_SHOWN} digits"
    text = str(value)
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _plain(name: str) -> str:
    """A name without case, punctuation and what stands in brackets, such as a unit."""
    return re.sub(r"[^a-z0-9]", "", re.split(r"[(\[]", name.lstrip("([{<|"))[0].casefold())


def charge_and_spin(
    said: Iterable[tuple[str, object]],
    place: str = "",
    charge: int | None = None,
    spin: int | None = None,
    protons: int | None = None,
) -> tuple[int | None, int | None]:
    """Total charge and multiplicity that a record states.

    Args:
        said: Names and values of the record; a value is None where a bare word stands.
        place: Place of the record, for messages.
        charge: Charge of the config's block, or None.
        spin: Multiplicity of the config's block, or None.
        protons: Sum of the atomic numbers: as many electrons are no charge.

    Returns:
        Charge in e and multiplicity, None for what is not stated.

    Raises:
        UserError: a value is no whole number, two disagree, or a name is unclear.
    """
    where = f"{place}: " if place else ""
    found: dict[str, tuple[str, int]] = {}
    if charge is not None:
        found["charge"] = ("`charge` of the config", charge)
    if spin is not None:
        found["spin"] = ("`spin` of the config", spin)
    unclear: list[tuple[str, str, object]] = []
    for name, value in said:
        plain = _plain(name)
        if (kind := _TAKEN.get(plain)) is not None:
            if isinstance(value, str) and not value.strip():
                continue  # an empty cell
            if value is None:
                raise UserError(
                    f"{where}{name!r} has no value that can be read; write `{kind}=NUMBER`"
                )
            number = whole_number(value, name, place, 1 if kind == "spin" else None)
            before = found.setdefault(kind, (_quoted(name), number))
            if before[1] != number:
                raise UserError(
                    f"{where}{before[0]} is {before[1]}, {_quoted(name)} is {number}; correct one"
                )
        elif protons is None or _whole(value) != protons or not _ELECTRONS.fullmatch(plain):
            unclear += _unclear(name, plain, value)
    for kind, name, value in unclear:
        told = f"{where}`{name}` is {_shown(value)}"
        if kind not in found:
            raise UserError(f"{told}, and nothing states `{kind}` ({_MEANING[kind]}); give it")
        by, number = found[kind]
        unpaired = _whole(value) if _UNPAIRED.fullmatch(_plain(name)) else None
        if spin is None and unpaired is not None and unpaired + 1 != number:
            raise UserError(f"{told}, {by} is {number}; correct one, or remove `{name}`")
        if charge is None and _A_CHARGE.fullmatch(_plain(name)) and _whole(value) != number:
            raise UserError(f"{told}, {by} is {number}; correct one, or remove `{name}`")
    return tuple(found[kind][1] if kind in found else None for kind in ("charge", "spin"))  # type: ignore[return-value]


def _unclear(name: str, plain: str, value: object) -> list[tuple[str, str, object]]:
    """What a name outside `_TAKEN` says of charge or spin: kinds, names and values."""
    if value is None:  # a bare word
        word = name.casefold().strip("()[]{}<>,;:.!?\"'")
        return [(_WORDS[word], "comment", word)] if word in _WORDS else []
    text = str(value).strip()
    if (kind := _WORDS.get(text.casefold())) is not None:
        return [(kind, name, value)]
    if within := _WITHIN.findall(text[:1000]):
        kinds = ["charge" if what.casefold() == "charge" else "spin" for what, _ in within]
        return [
            (kind, f"{what} in {name}", number)
            for kind, (what, number) in zip(kinds, within, strict=True)
            if int(number) != (kind == "spin")
        ]
    if _LIST.fullmatch(text):
        total = _sum(text)
        if _OF_ATOMS["charge"].fullmatch(plain) and abs(total - round(total)) < 0.1 <= abs(total):
            return [("charge", f"sum of {name}", round(total))]
        if _OF_ATOMS["spin"].fullmatch(plain) and abs(total) > 0.5:
            return [("spin", f"sum of {name}", f"{total:g}")]
        return []
    return [
        (kind, name, value)
        for kind, names in _UNCLEAR.items()
        if names.fullmatch(plain) and _claims(kind, plain, value)
    ]


def _quoted(name: str) -> str:
    return name if "`" in name else f"`{name}`"


def _claims(kind: str, plain: str, value: object) -> bool:
    """Whether a value under an unclear name says something else than neutral and singlet."""
    text = str(value).strip()
    number = _whole(value)
    if number is not None:
        if plain == "m":  # multiplicity, or a mass
            return 2 <= number <= 10
        return number != 0 and not (number == 1 and "mult" in plain)
    if kind == "charge":  # a part of an electron, or a method: no total charge
        return plain in ("charged", "ischarged") and text.casefold() in ("t", "true", "yes")
    if text.casefold() in _NO_CLAIM:
        return False
    try:
        return abs(float(text)) % 1 == 0.5  # S of an odd number of electrons; else a mean value
    except ValueError:
        return True  # such as `triplet`


def _sum(text: str) -> float:
    try:
        return sum(map(float, re.findall(r"[-+.\de]+", text)))
    except ValueError:
        return 0.0


def of_columns(columns: Mapping[str, NDArray[Any]]) -> list[tuple[str, object]]:
    """What the per-atom columns of a record state of the whole, as `charge_and_spin` takes it.

    Args:
        columns: Columns by name, each of shape (N, ...). Charges add up to the total charge,
            those of magnetic moments to the number of unpaired electrons.
    """
    said: list[tuple[str, object]] = []
    for name, values in columns.items():
        plain = _plain(name)
        if values.dtype.kind not in "iuf" or not np.any(values) or not np.isfinite(values).all():
            continue
        if values.ndim != 1:
            if _MOMENTS.fullmatch(plain):
                said.append((name, "a vector of each atom"))  # which no multiplicity follows from
            continue
        total = float(values.sum())
        if re.fullmatch(r"(?!nuclear|core|valence).*charges?|q|chg|chrg", plain):
            if abs(total - round(total)) < 0.1:  # else of a part, or rounded: no total charge
                said.append((f"charge (the sum of `{name}`)", round(total)))
        elif _MOMENTS.fullmatch(plain):
            said.append((f"spin (from the sum of `{name}`)", 1 + abs(round(total))))
    return said
