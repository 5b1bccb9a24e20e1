"""Entries against the source of packages: made-up wheels, of which nothing may run."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from pesbench.cli import main
from pesbench.commands.verify import packages as packages_module
from pesbench.commands.verify.packages import Packages, Pin, pins, python_version
from pesbench.commands.verify.record import read_record, stale, verify
from pesbench.core.errors import UserError
from pesbench.models.models_file import make_entry

SOURCES = {
    "toy/__init__.py": (
        "from .api import *\nfrom toy.nets import Net as Network\nraise SystemExit\n"
    ),
    "toy/api.py": (
        "from toy._calc import Calculator, make\n"
        "from ase.calculators.calculator import Calculator as Foreign\n"
        "alias = make\n"
        "def __getattr__(name):\n"
        "    from .lazy import Late\n"
        "    return Late\n"
    ),
    "toy/_calc.py": (
        "import ase.calculators.calculator as base\n"
        "from typing import overload\n"
        "class Parent:\n"
        "    def __init__(self, network, *, device, dtype='float32'): pass\n"
        "    @classmethod\n"
        "    def from_file(cls, path, **kwargs): pass\n"
        "class Calculator(Parent): pass\n"
        "class Own(base.Calculator): pass\n"
        "@overload\n"
        "def make(a): ...\n"
        "def make(model, device=None): pass\n"
        "def sloppy(model, **kwargs): pass\n"
        "try:\n    import thing\nexcept ImportError:\n    def make(nothing): pass\n"
        "VALUE = 3\n"
    ),
    "toy/nets.py": (
        "from dataclasses import dataclass, field\n"
        "from typing import ClassVar\n"
        "@dataclass\nclass Base:\n    size: int\n"
        "@dataclass(frozen=True)\nclass Net(Base):\n"
        "    depth: int = 2\n    kind: ClassVar[str] = ''\n"
        "    hidden: int = field(init=False)\n    names: list = field(default_factory=list)\n"
    ),
    "toy/lazy.py": "class Late:\n    def __init__(self, x): pass\n",
    "toy/loop.py": "from toy.pool import thing\n",
    "toy/pool.py": "from toy.loop import thing\n",
    "toy/broken.py": "def f(:\n",
    "toy/models.json": '{"toy-large": 1}',
    "toy-1.0.dist-info/METADATA": "Name: toy\nRequires-Python: >=3.10,<3.13\n",
}


def wheel(folder: Path, members=SOURCES, name="toy-1.0-py3-none-any.whl") -> Path:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in members.items():
            archive.writestr(path, content)
    return folder / name


def entry(calculator="toy:Calculator", **keys):
    given = {"family": "ase", "calculator": calculator, "requirements": ["toy==1.0"]}
    return make_entry("one", given | {"python": "python3.12"} | keys)


def verified(folder: Path, one):
    return verify(one, Packages(folder, download=False), folder)


NETWORK = {"call": "toy:Network", "arguments": {"size": 3, "names": ["toy-large"]}}


def test_an_entry_that_fits_is_recorded_with_file_and_line(tmp_path):
    path = wheel(tmp_path)
    said = verified(tmp_path, entry(arguments={"network": NETWORK, "device": "${device}"}))
    inner, outer = said["paths"]
    assert inner["at"] == "arguments.network.call"
    assert inner["source"] == "toy/nets.py:7"
    assert outer["source"] == "toy/_calc.py:7"  # through the star and `from` imports
    assert outer["takes"] == "toy/_calc.py:4"  # of the class whose __init__ it inherits
    assert said["texts"] == {"toy-large": "toy/models.json:1"}
    assert said["packages"][0]["file"] == path.name
    assert len(said["packages"][0]["sha256"]) == 64


@pytest.mark.parametrize(
    ("calculator", "arguments", "source"),
    [
        ("toy.api:alias", {"model": 1}, "toy/_calc.py:11"),  # not the one of `except`, no overload
        ("toy.api:Late", {"x": 1}, "toy/lazy.py:1"),
        ("toy:Calculator.from_file", {"path": "x"}, "toy/_calc.py:6"),
        ("toy.nets:Net", {"size": 1, "depth": 2}, "toy/nets.py:7"),
    ],
)
def test_what_a_path_leads_to(tmp_path, calculator, arguments, source):
    wheel(tmp_path)
    said = verified(tmp_path, entry(calculator, arguments=arguments))
    assert said["paths"][-1]["source"] == source


def test_keywords_that_only_kwargs_take_are_said(tmp_path):
    wheel(tmp_path)
    said = verified(tmp_path, entry("toy._calc:sloppy", arguments={"model": 1, "oops": 2}))
    assert said["paths"][-1]["taken_by_kwargs"] == ["oops"]


def test_what_lies_in_other_packages_is_said_not_guessed(tmp_path):
    wheel(tmp_path)
    arguments = {"network": {"object": "torch:float64"}, "device": {"call": "os:getcwd"}}
    said = verified(tmp_path, entry(arguments=arguments))
    assert "module torch" in said["paths"][0]["not_checked"]
    assert "Python's own" in said["paths"][1]["not_checked"]
    own = entry("toy._calc:make", arguments={"model": {"call": "toy._calc:Own"}})
    inherited = verified(tmp_path, own)
    assert "ase.calculators.calculator" in inherited["paths"][0]["not_checked"]


def test_entries_of_every_family_with_an_import_path_are_compared(tmp_path):
    wheel(tmp_path)
    given = {"family": "torchsim", "model": "toy._calc:make", "requirements": ["toy==1.0"]}
    given |= {"python": "python3.12", "arguments": {"model": 1}}
    said = verified(tmp_path, make_entry("one", given))
    assert said["paths"][0] == {
        "at": "model", "path": "toy._calc:make", "package": "toy==1.0",
        "source": "toy/_calc.py:11", "takes": "toy/_calc.py:11",
    }  # fmt: skip
    assert said["checked"]["model"] == "toy._calc:make"


def test_a_path_goes_on_in_the_next_package_that_is_pinned(tmp_path):
    wheel(tmp_path)
    more = {"front/__init__.py": "from toy.nets import Net\n"}
    wheel(tmp_path, more, "front-2-py3-none-any.whl")
    keys = {"arguments": {"size": 1}, "requirements": ["front==2", "toy==1.0"]}
    said = verified(tmp_path, entry("front:Net", **keys))
    assert said["paths"][0]["source"] == "toy/nets.py:7"
    assert [one["pin"] for one in said["packages"]] == ["front==2", "toy==1.0"]
    alone = keys | {"requirements": ["front==2"], "arguments": {}}
    with pytest.raises(UserError, match="no package among its requirements"):
        verified(tmp_path, entry("front:Net", **alone))


@pytest.mark.parametrize(
    ("calculator", "keys", "message"),
    [
        ("toy:Calculater", {}, "has no 'Calculater'"),
        ("toy.gone:Calculator", {}, "there is no module toy.gone"),
        ("toy:Calculator", {"arguments": {"network": 1}}, "needs the argument 'device'"),
        ("toy:Calculator", {"arguments": {"net": 1, "device": 2}}, "has no argument 'net'"),
        ("toy:Network", {}, "needs the argument 'size'"),
        ("toy:Network", {"arguments": {"size": 1, "hidden": 2}}, "has no argument 'hidden'"),
        ("toy:Network", {"positional": [1], "arguments": {"size": 1}}, "is given twice"),
        ("toy:Network", {"positional": [1] * 5}, "takes 3 positional arguments, not 5"),
        ("toy:Calculator.__init__", {}, "is a method of an object"),
        ("toy._calc:VALUE", {}, "does not say what it takes"),
        ("toy.loop:thing", {}, "is imported from itself"),
        ("toy.broken:f", {}, "cannot be parsed"),
        ("toy:Calculator.nothing", {}, "has no 'nothing'"),
        ("other:Calculator", {}, "no package among its requirements holds"),
        ("toy:Calculator", {"requirements": ["toy>=1.0"]}, "names no exact version"),
        ("toy:Calculator", {"requirements": ["toy==2.0"]}, "no wheel of it"),
        ("toy:Calculator", {"python": "python3.14"}, "needs Python >=3.10,<3.13, not 3.14"),
        ("toy:Calculator", {"python": "snake"}, "tells no version"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, calculator, keys, message):
    wheel(tmp_path)
    with pytest.raises(UserError, match=None) as refused:
        verified(tmp_path, entry(calculator, **keys))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


# --- packages ------------------------------------------------------------------------------------


def test_a_source_archive_is_read_as_a_wheel_is(tmp_path):
    with tarfile.open(tmp_path / "toy-1.0.tar.gz", "w:gz") as archive:
        for path, content in SOURCES.items():
            member = tarfile.TarInfo(f"toy-1.0/src/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    said = verified(tmp_path, entry("toy._calc:make", arguments={"model": 1}))
    assert said["paths"][0]["source"] == "toy/_calc.py:11"
    assert said["packages"][0]["file"] == "toy-1.0.tar.gz"


def test_the_wheel_of_the_entry_s_python_is_taken(tmp_path):
    for tag in ("cp311-cp311", "cp312-cp312"):
        wheel(tmp_path, name=f"Toy_Box-1.0-{tag}-linux_x86_64.whl")
    found = Packages(tmp_path, download=False).get(Pin("toy-box", "1.0"), "3.12")
    assert found is not None
    assert "cp312" in found.file
    assert Packages(tmp_path, download=False).get(Pin("toy-box", "1.0"), "3.13") is None


def test_names_of_pins_and_of_interpreters(tmp_path):
    (tmp_path / "more.txt").write_text("# why\nb[x]==2  # what\n\n")
    found = pins(["A_b[c]==1.0", "more.txt"], tmp_path, "x")
    assert [str(one) for one in found] == ["a-b==1.0", "b==2"]
    assert python_version("/opt/py/3.12.1/bin/python") == "3.12"


def test_members_are_bounded_and_never_leave_the_archive(tmp_path, monkeypatch):
    evil = SOURCES | {"../../evil.py": "x = 1", "/etc/evil.py": "x = 1"}
    wheel(tmp_path / "a", evil)
    before = sorted(tmp_path.rglob("*"))
    verified(tmp_path / "a", entry("toy._calc:make", arguments={"model": 1}))
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.setattr(packages_module, "MOST_BYTES", 1000)
    wheel(tmp_path / "b", SOURCES | {"toy/bomb.py": " " * 2000})
    with pytest.raises(UserError, match="is larger than"):
        verified(tmp_path / "b", entry())
    monkeypatch.setattr(packages_module, "MOST_BYTES_READ", 500)
    with pytest.raises(UserError, match="GB of source"):
        verified(tmp_path / "a", entry())
    monkeypatch.setattr(packages_module, "MOST_MEMBERS", 3)
    with pytest.raises(UserError, match="more than 3 members"):
        verified(tmp_path / "a", entry())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nonsense", b"x" * 1000])
def test_a_damaged_wheel_is_one_line(tmp_path, content):
    (tmp_path / "toy-1.0-py3-none-any.whl").write_bytes(content)
    with pytest.raises(UserError, match="is no archive that can be read"):
        verified(tmp_path, entry())


def test_source_that_nests_too_deeply_is_one_line(tmp_path):
    for number, deep in enumerate(("x = " + "(" * 5000, "class C(a" + ".b" * 900 + "): pass")):
        wheel(tmp_path / str(number), {"toy/__init__.py": deep + "\n"})
        with pytest.raises(UserError):
            verified(tmp_path / str(number), entry("toy:C"))


# --- the command and its record ------------------------------------------------------------------


@pytest.fixture
def models(tmp_path):
    path = tmp_path / "models.yaml"
    path.write_text(
        "one: &one\n  family: ase\n  calculator: toy._calc:make\n  arguments: {model: 1}\n"
        "  requirements: [toy==1.0]\n  python: python3.12\n"
        "two: {<<: *one, arguments: {model: 2}}\n"
        "plain: {family: ase, calculator: 'ase.calculators.emt:EMT'}\n"
    )
    return path


def _options(tmp_path, models):
    record = tmp_path / "record.json"
    return record, ["--models-file", str(models), "--record", str(record),
                    "--packages", str(tmp_path / "wheels")]  # fmt: skip


def test_the_command_writes_a_record_and_keeps_the_parts_of_others(tmp_path, models):
    wheel(tmp_path / "wheels")
    record, options = _options(tmp_path, models)
    assert main(["verify-entries", *options]) == 0
    first = json.loads(record.read_text())
    assert list(first["entries"]) == ["one", "two"]
    assert main(["verify-entries", "two", *options]) == 0
    assert json.loads(record.read_text()) == first


def test_an_entry_that_does_not_fit_writes_nothing(tmp_path, models, caplog):
    wheel(tmp_path / "wheels")
    record, options = _options(tmp_path, models)
    models.write_text(models.read_text().replace("{model: 2}", "{modle: 2}"))
    assert main(["verify-entries", *options]) == 1
    assert "has no argument 'modle'" in caplog.text
    assert not record.exists()
    assert main(["verify-entries", "plain", *options]) == 2


def test_a_record_tells_what_is_stale(tmp_path, models):
    from pesbench.models.models_file import read_models

    wheel(tmp_path / "wheels")
    path, options = _options(tmp_path, models)
    main(["verify-entries", *options])
    record, entries = read_record(path), read_models(models)
    assert stale(entries, record) == []
    models.write_text(models.read_text().replace("{model: 2}", "{model: 3}"))
    assert stale(read_models(models), record) == ["two: changed since it was verified"]
    models.write_text(models.read_text().replace("two:", "three:"))
    assert stale(read_models(models), record) == [
        "three: not in the record", "two: in the record alone",
    ]  # fmt: skip
    models.write_text(models.read_text().replace("toy==1.0", "toy==1.1"))
    assert "one: changed since it was verified" in stale(read_models(models), record)
    path.write_text("{}")
    with pytest.raises(UserError, match="no record"):
        read_record(path)
