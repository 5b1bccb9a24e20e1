"""Calls in an entry: what they make, and what is refused before any work."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from pesbench.core.errors import UserError
from pesbench.models.calls import check_calls, made, placeholders, prepared
from pesbench.models.models_file import make_entry, resolve_entry

FILLING = {"device": "cpu", "dtype": "float64"}
PACKAGE = '''
"""A package as the real ones are: network, then calculator; some return a pair."""

import fake_calculators

MADE = []


class Network:
    def __init__(self, size, *, device, dtype=None):
        MADE.append(size)
        self.size, self.device, self.dtype = size, device, dtype

    @classmethod
    def from_checkpoint(cls, path, **more):
        return cls(path, **more)


def pair(size, device):
    return Network(size, device=device), {"adapter": size}


class Calculator(fake_calculators.Morse):
    def __init__(self, network, adapter=None, *, cutoffs=()):
        super().__init__()
        self.network, self.adapter, self.cutoffs = network, adapter, cutoffs


class Outer:
    class Inner(Calculator):
        pass


def anything(*positional, **keywords):
    return positional, keywords


NUMBER = 3
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a_package.py").write_text(PACKAGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, (Path(__file__).parents[1] / "helpers",))))
    yield tmp_path
    sys.modules.pop("a_package", None)


def resolved(**settings: object) -> None:
    entry = make_entry("m", {"family": "ase", **settings})
    resolve_entry(entry, Path("models.yaml"), Path.cwd())


# --- what is made --------------------------------------------------------------------------------


def test_a_call_within_a_call_within_a_list(package: Path) -> None:
    call = {
        "call": "a_package:Calculator",
        "arguments": {
            "network": {
                "call": "a_package:Network.from_checkpoint",
                "arguments": {"path": "weights-${dtype}.pt", "device": "${device}",
                              "dtype": {"object": "numpy:${dtype}"}},
            },
            "cutoffs": [1.5, {"call": "builtins:complex", "positional": [2, 3]}, [{"a": "b"}]],
        },
    }  # fmt: skip
    calculator = prepared(call, FILLING)()
    assert calculator.network.size == "weights-float64.pt"
    assert (calculator.network.device, calculator.network.dtype) == ("cpu", np.float64)
    assert calculator.cutoffs == [1.5, 2 + 3j, [{"a": "b"}]]


def test_what_a_call_returns_can_be_spread(package: Path) -> None:
    """As orb-models 0.7 needs it: a function returns the network and its adapter."""
    pair = {"call": "a_package:pair", "arguments": {"size": 7, "device": "${device}"}}
    calculator = prepared({"call": "a_package:Outer.Inner", "positional": pair}, FILLING)()
    assert calculator.network.size == 7
    assert calculator.adapter == {"adapter": 7}


def test_inner_calls_are_made_once_for_any_number_of_calculators(package: Path) -> None:
    network = {"call": "a_package:Network", "arguments": {"size": 1, "device": "cpu"}}
    make = prepared({"call": "a_package:Calculator", "arguments": {"network": network}}, FILLING)
    first, second = make(), make()
    assert first is not second
    assert first.network is second.network
    assert sys.modules["a_package"].MADE == [1]


def test_plain_values_stay_as_they_are() -> None:
    value = {"a": [1, None, 2.5, True, "text"], "b": {"c": {}}, "d": "$5 {device} $device"}
    assert made(value, FILLING) == value
    assert placeholders(value) == set()
    assert placeholders({"a": ["${device}", {"b": "x-${dtype}${no}"}]}) == {"device", "dtype", "no"}


# --- what is refused -----------------------------------------------------------------------------

CALL = {"call": "a:b"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"m": {"arguments": {"a": 1}}}, "`arguments.m`: the key 'call' is missing"),
        ({"m": [{"positional": []}]}, "`arguments.m.0`: the key 'call' is missing"),
        ({"m": CALL | {"argument": {}}}, "`arguments.m`: unknown key argument"),
        ({"m": CALL | {"kwargs": 1}}, "may hold call, arguments, positional"),
        ({"m": CALL | {"arguments": [1]}}, "`arguments.m.arguments` must be a block of keys"),
        ({"m": CALL | {"arguments": "x"}}, "must be a block of keys, not x"),
        ({"m": CALL | {"arguments": {"a b": 1}}}, "a b is no name of an argument"),
        ({"m": CALL | {"positional": "x"}}, "`arguments.m.positional` must be a list, or a call"),
        ({"m": CALL | {"positional": {"a": 1}}}, "must be a list, or a call that returns one"),
        ({"m": {"call": "a.b"}}, "`arguments.m.call: a.b` is no import path; write module:name"),
        ({"m": {"call": None}}, "is no import path"),
        ({"m": {"call": {"call": "a:b"}}}, "is no import path"),
        ({"m": {"object": "torch"}}, "`arguments.m.object: torch` is no import path"),
        ({"m": {"object": "torch:a", "b": 1}}, "unknown key b"),
        ({"a": "${devise}"}, "`arguments.a: ${devise}` is not known; known: ${device} and"),
        ({"a": ["x", {"b": "${device"}]}, "`arguments.a.1.b: ${device` is not known"),
        ({"a": {"b": "${}"}}, "`arguments.a.b: ${}` is not known"),
        ({"a": {"call": "a:${what}"}}, "`arguments.a.call: a:${what}` is not known"),
        ({"a": "${dtype}"}, "`arguments.a` holds ${dtype}, and the entry names no precision"),
        ({"m": CALL | {"arguments": {"deep": ["${x}"]}}}, "`arguments.m.arguments.deep.0: ${x}`"),
    ],
)  # fmt: skip
def test_a_malformed_call_is_one_line_before_any_import(arguments: dict, said: str) -> None:
    with pytest.raises(UserError) as caught:
        resolved(calculator="no_such_package:C", arguments=arguments)
    text = str(caught.value)
    assert text.startswith("models.yaml: model 'm'")
    assert said in text
    assert text.isprintable()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"calculator": "no_such_package:C"},
         "`calculator: no_such_package:C` does not import (ModuleNotFoundError: No module named"),
        ({"calculator": "a_package:Outer.Innen"}, "'Outer' has no 'Innen'"),
        ({"calculator": "a_package:NUMBER"}, "it is a int, which cannot be called"),
        ({"calculator": "a_package:Calculator"}, "missing a required argument: 'network'"),
        ({"calculator": "a_package:Calculator", "arguments": {"network": 1, "cutof": 2}},
         "an unexpected keyword argument 'cutof'; it takes: network, adapter, cutoffs"),
        ({"calculator": "a_package:Calculator", "positional": [1, 2, 3]},
         "too many positional arguments"),
        ({"calculator": "a_package:Calculator", "positional": [1], "arguments": {"network": 2}},
         "multiple values for argument 'network'"),
        # `arguments` holds names of arguments, whatever they are
        ({"calculator": "a_package:Network", "arguments": {"call": "a_package:pair"}},
         "does not take the arguments of the entry"),
        ({"calculator": "a_package:Calculator", "arguments": {
            "network": {"call": "a_package:Network", "arguments": {"size": 1}}}},
         "`arguments.network.call: a_package:Network` does not take the arguments of the entry "
         "(missing a required argument: 'device'"),
        ({"calculator": "a_package:Calculator", "arguments": {
            "network": {"call": "a_package:No"}}},
         "`arguments.network.call: a_package:No` does not import ('a_package' has no 'No')"),
        ({"calculator": "a_package:Calculator", "arguments": {"network": {"object": "math:tau2"}}},
         "`arguments.network.object: math:tau2` does not import"),
        ({"calculator": "a_package:Calculator", "positional": "${device}"},
         "`positional` must be a list, or a call that returns one"),
    ],
)  # fmt: skip
def test_what_does_not_import_or_bind_is_one_line(package: Path, settings: dict, said: str) -> None:
    with pytest.raises(UserError) as caught:
        resolved(**settings)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "settings",
    [
        {"calculator": "a_package:anything", "arguments": {"whatever": 1}, "positional": [2]},
        {"calculator": "a_package:Calculator",
         "positional": {"call": "a_package:pair", "arguments": {"size": 1, "device": "${device}"}}},
        {"calculator": "a_package:Calculator", "positional": [{"object": "math:pi"}]},
        # compiled code without a signature is not judged
        {"calculator": "a_package:Calculator", "arguments": {
            "network": {"call": "builtins:dict", "arguments": {"a": 1}}}},
    ],
)  # fmt: skip
def test_what_binds_is_let_pass(package: Path, settings: dict) -> None:
    resolved(**settings)


def test_an_entry_with_its_own_packages_is_not_imported_here() -> None:
    resolved(calculator="no_such_package:C", requirements=["no-such-package==1"])
    with pytest.raises(UserError, match="is not known"):
        resolved(calculator="no_such_package:C", requirements=["a==1"], arguments={"a": "${b}"})


def test_the_paths_are_looked_at_from_the_inside_out() -> None:
    call = {"call": "c:d", "arguments": {"x": [{"call": "a:b", "positional": [1]}]}}
    found = check_calls(call, "m", FILLING)
    assert [(one.path, one.place, one.positional) for one in found] == [
        ("a:b", "arguments.x.0.call", 1),
        ("c:d", "calculator", 0),
    ]
