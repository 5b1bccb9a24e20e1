"""Hostile inputs by mutation of valid ones: every command ends with a result or one line.

`python tests/helpers/fuzz.py --inputs 20000 --seed 1` runs many by hand; `test_fuzz.py` runs a
few. A kind of input is a function that writes one mutated input into a folder and returns the words
of the command line that reads it. What is allowed: exit code 0, 1, 2 or 75, for 2 and 75 with one
line (of argparse, its usage and one line).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ase.io
import h5py
import numpy as np
import yaml
from ase.build import molecule

REPO = Path(__file__).parents[2]
LONGEST_S = 60.0  # of one input, on a busy machine
MODELS = """\
# a registry
gfn1-xtb: &xtb {family: tblite, method: GFN1-xTB, level_of_theory: GFN1-xTB, batch_size: auto}
gfn2-xtb:
  <<: *xtb
  method: GFN2-xTB
  level_of_theory: GFN2-xTB
  accuracy: 1.0
  timeout_s: 600
dft: {family: pyscf, functional: b3lyp, basis: def2-svp, dispersion: d3bj, conv_tol: 1.0e-9}
rippled: {family: perturbed, base: gfn2-xtb, perturbation: ripple, dose: 0.01, wavelength: 0.1}
control-zero: {family: control, control: zero}
control-step: {family: control, control: step, dose: 1.5}
"""
CONFIG = """\
scan_set: own
scan_sets:
  own:
    source: molecules
    molecules:
      - {file: molecules.xyz, charge: 0, spin: 1}
      - {smiles: CCO, id: made, bonds: [[0, 1]]}
    reference: gfn2-xtb
    bonds: ["C-*"]
    bonds_to_hydrogen: false
    quality: {failed_frames: 5, energy_jump_ev: 0.02}
models_file: models.yaml
models: [gfn1-xtb, "gfn2*"]
controls: ["control-*"]
systems: ["*"]
shard_size: 25
threads: 1
results: results
dynamics: {models: [gfn1-xtb], temperatures_k: [300, 500], timestep_fs: 0.5, relax_steps: 200}
vibrations: {models: [gfn1-xtb]}
cluster: {cpu_hours: 24, time_factor: 1.5, account: me}
strict: false
"""
ODD = (
    "017", "1e6", "1e999", "-1", "0", ".nan", ".inf", "-.inf", "~", "null", "yes", "no", "true",
    "''", "}", "[]", "{}", "2024-01-31", "1:30", "1_000", "0x1F", "9" * 40, "9" * 5000,
    "!!binary aGk=", "!!set {a}", "&a [*a]", "*a", "<<", "? a", "- a", "a: b", "a: &b c", "'", '"',
    '"\\0"', '"\\ud800"', '"\\e[31m"', "{a: 1, a: 2}", "é", "e\u0301", "ﬁ", "\u202e", "a" * 300,
    "../../x", "/etc/passwd", "/", ".", "-x", "--help", "$(touch pwned)", "`id`", "{model}", "{",
    "%s", "\t", "\r", "\x0b", "#", "reference", "leaderboard.csv", "CON", "a b", "a'b", "a\nb", "*",
    "[", "!(", "1.5", "-0.0", "1e-320", "http://", "https://[", "file:///etc/passwd", "~nobody/x",
)  # fmt: skip


# --- mutations -----------------------------------------------------------------------------------


def mutated_text(text: str, draw: random.Random) -> bytes:
    """A text with one to three changes: of a value, a key, a line, an indent or a byte."""
    data = text
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        data = draw.choice(_CHANGES)(data, draw)
    content = data.encode("utf-8", "surrogatepass")
    if draw.random() < 0.2:
        content = mutated_bytes(content, draw)
    if draw.random() < 0.02:
        content = data.encode(draw.choice(("utf-16", "utf-8-sig", "latin-1")), "replace")
    return content


def _value(text: str, draw: random.Random) -> str:
    spots = list(re.finditer(r"[\w.*/-]+|\"[^\"]*\"", text))
    if not spots:
        return text + draw.choice(ODD)
    spot = draw.choice(spots)
    return text[: spot.start()] + draw.choice(ODD) + text[spot.end() :]


def _line(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    number = draw.randrange(len(lines))
    match draw.randrange(5):
        case 0:
            lines.insert(number, lines[draw.randrange(len(lines))])
        case 1:
            del lines[number]
        case 2:
            lines[number] = draw.choice((" ", "  ", "\t", "      ")) + lines[number]
        case 3:
            lines[number] = lines[number].lstrip()
        case 4:
            lines[number] += draw.choice(ODD)
    return "\n".join(lines)


def _character(text: str, draw: random.Random) -> str:
    place = draw.randrange(len(text) + 1)
    new = draw.choice((*"[]{}:,&*!|>'\"%@`#-? \t\n\r\0\x1b", "\ufeff", "\u2028", "𝔘", chr(0x7F)))
    return text[:place] + new + text[place + draw.randrange(2) :]


def _cut(text: str, draw: random.Random) -> str:
    return text[: draw.randrange(len(text) + 1)]


def _deep(text: str, draw: random.Random) -> str:
    depth = draw.choice((60, 400, 1500))
    spots = [m.start() for m in re.finditer(r": ", text)] or [0]
    place = draw.choice(spots) + 2
    return text[:place] + "[" * depth + "]" * draw.choice((depth, 0)) + text[place:]


def _bomb(text: str, draw: random.Random) -> str:
    lines = ["a0: &a0 [x, x]"] + [
        f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, draw.randrange(2, 12))
    ]
    return "\n".join(lines) + "\n" + text


_CHANGES = (_value, _value, _value, _value, _line, _line, _character, _cut, _deep, _bomb)


def mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    """Bytes with some of them flipped, cut out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        if not data:
            break
        place = draw.randrange(len(data))
        match draw.randrange(6):
            case 0 | 1 | 2:
                data[place] ^= 1 << draw.randrange(8)
            case 3:
                del data[place : place + draw.randrange(1, 64)]
            case 4:
                data[place:place] = data[place : place + draw.randrange(1, 64)]
            case 5:
                data[place] = draw.choice((0, 255, draw.randrange(256)))
    if draw.random() < 0.1:
        del data[draw.randrange(len(data) + 1) :]
    return bytes(data)


# --- kinds of inputs -----------------------------------------------------------------------------


def folder_of_inputs(here: Path) -> None:
    """The valid files that all kinds start from."""
    atoms = molecule("CH3CH2OH")
    atoms.info.update(id="ethanol", charge=0, spin=1)
    more = molecule("H3CNH2")
    more.info.update(id="methylamine", charge=0, spin=1)
    ase.io.write(here / "molecules.xyz", [atoms, more], format="extxyz")
    (here / "models.yaml").write_text(MODELS)
    (here / "config").mkdir()
    (here / "config" / "config.yaml").write_text(CONFIG)
    (here / "config" / "models.yaml").write_text(MODELS)


def configs(here: Path, draw: random.Random) -> list[str]:
    """A config file, read as `plan` and the Snakefile read it."""
    (here / "own.yaml").write_bytes(mutated_text(CONFIG, draw))
    return ["resolve", "--configfile", "own.yaml"]


def registries(here: Path, draw: random.Random) -> list[str]:
    """The registry."""
    (here / "models.yaml").write_bytes(mutated_text(MODELS, draw))
    return ["resolve", "--configfile", "config/config.yaml"]


def arguments(here: Path, draw: random.Random) -> list[str]:
    """Words of `--config`."""
    keys = [*yaml.safe_load(CONFIG), "modelz", "", "=", "archive", "software"]
    words = []
    for _ in range(draw.choice((1, 1, 2, 3))):
        value = draw.choice((*ODD, "[gfn1-xtb]", "{models: [gfn1-xtb], duration_ps: 1}"))
        word = f"{draw.choice(keys)}={value}" if draw.random() < 0.95 else value
        words.append(_line(word, draw) if draw.random() < 0.2 else word)
    return ["resolve", "--config", *(word.replace("\0", "") for word in words)]


def molecules(here: Path, draw: random.Random) -> list[str]:
    """A file of molecules in one of some formats."""
    name, text = draw.choice(_molecule_files())
    (here / name).write_bytes(mutated_text(text, draw))
    return draw.choice(
        (
            ["scan-molecules", "--molecules", name, "--name", "own", "--out", "out.h5",
             "--skipped", "skipped.csv"],
            ["split-molecules", "--molecules", name, "--out", "split.csv"],
            ["resolve", "--config",
             f"scan_sets={{own: {{source: molecules, molecules: {name}, reference: gfn2-xtb}}}}"],
        )
    )  # fmt: skip


def _molecule_files() -> list[tuple[str, str]]:
    if not _MOLECULES:
        atoms = molecule("CH3OH")
        atoms.info.update(id="methanol", charge=0, spin=1)
        for name, form in (("m.xyz", "extxyz"), ("m.sdf", "sdf"), ("m.pdb", "proteindatabank"),
                           ("m.json", "json"), ("m.gen", "gen")):  # fmt: skip
            file = io.StringIO()
            with contextlib.suppress(Exception):
                ase.io.write(file, atoms, format=form)
                _MOLECULES.append((name, file.getvalue()))
        _MOLECULES.append(("m.csv", "id,smiles,charge,spin\nmethanol,CO,0,1\nethane,CC,,\n"))
        _MOLECULES.append(("m.smi", "CCO ethanol\n"))
    return _MOLECULES


_MOLECULES: list[tuple[str, str]] = []


_STORED = ("toys.h5", "scans.h5", "dynamics.h5", "fake/scores/bonds.parquet", "model.json")


@dataclass
class Stored:
    """Valid stored files, made once, and the commands that read them."""

    folder: Path
    commands: list[tuple[Path, list[str]]] = field(default_factory=list)


def stored_files(folder: Path) -> Stored:
    """A toy scan set with an evaluation, scores, trajectories and vibrations of a toy model."""
    sys.path.insert(0, str(REPO / "tests/helpers"))
    from examples import TOYS, fake_entry, toy_scan, write_toys
    from pesbench.files.atomic import write_json
    from pesbench.models.fetching import settle
    from pesbench.tasks.dynamics.settings import DynamicsSettings
    from shards import evaluate_shard, run_dynamics_shard

    os.environ["PYTHONPATH"] = (
        f"{REPO / 'tests/helpers'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    )
    toys = [toy_scan(name, symbols) for name, symbols in list(TOYS.items())[:3]]
    write_toys(folder / "toys.h5", toys)
    entry = fake_entry()
    results = folder / "results" / "toys" / "fake"
    evaluate_shard(entry, folder / "toys.h5", [toy.id for toy in toys], results / "bonds/0000.h5")
    settings = DynamicsSettings(temperatures_k=(300.0,), replicates=1, duration_ps=0.01)
    run_dynamics_shard(
        entry, folder / "toys.h5", ["a", "b"], settings, results / "dynamics/0000.h5"
    )
    write_json(results / "model.json", settle(entry))
    made = Stored(folder)
    scans, trajectories = results / "bonds/0000.h5", results / "dynamics/0000.h5"
    _main(["score", "bonds", "--scan-set", str(folder / "toys.h5"), "--files", str(scans),
           "--out", str(results / "scores/bonds.parquet")])  # fmt: skip
    _main(["score", "dynamics", "--scan-set", str(folder / "toys.h5"), "--files", str(trajectories),
           "--out", str(results / "scores/dynamics.parquet")])  # fmt: skip
    score = ["score", "bonds", "--scan-set", "toys.h5", "--files", "scans.h5", "--out", "s.parquet"]
    worst = ["model-section", "bonds", "--model", "fake", "--results", ".", "--scan-set",
             "toys.h5", "--files", "scans.h5"]  # fmt: skip
    for name, path in {
        "scans.h5": scans,
        "dynamics.h5": trajectories,
        "fake/scores/bonds.parquet": results / "scores/bonds.parquet",
        "model.json": results / "model.json",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name)
    evaluate = ["run", "bonds", "--entry", "model.json", "--scan-set", "toys.h5", "--scans",
                "no/scan", "--out", "e.h5"]  # fmt: skip
    made.commands = [
        (Path("toys.h5"), score),
        (Path("scans.h5"), score),
        (
            Path("dynamics.h5"),
            ["score", "dynamics", "--scan-set", "toys.h5", "--files", "dynamics.h5", "--out", "d"],
        ),
        (Path("dynamics.h5"), ["export", "--trajectories", "dynamics.h5", "--list"]),
        (Path("dynamics.h5"), ["export", "a_300K_0", "--trajectories", "dynamics.h5", "--out",
                               "a.extxyz"]),
        (Path("fake/scores/bonds.parquet"), worst),
        (Path("model.json"), evaluate),
    ]  # fmt: skip
    return made


def stored(made: Stored) -> Callable[[Path, random.Random], list[str]]:
    """One of the stored files with changed bytes, or with an item that is something else."""

    def kind(here: Path, draw: random.Random) -> list[str]:
        for name in _STORED:
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made.folder / name, here / name)
        path, words = draw.choice(made.commands)
        if path.suffix == ".h5" and draw.random() < 0.6:
            _mutate_hdf5(here / path, draw)
        elif path.suffix == ".json":
            (here / path).write_bytes(mutated_text((here / path).read_text(), draw))
        else:
            (here / path).write_bytes(mutated_bytes((here / path).read_bytes(), draw))
        return words

    return kind


_ITEMS = (np.array(["a"], dtype="S1"), np.zeros((0,)), np.full((3,), np.nan), np.float64(1e308),
          np.zeros((2, 2, 2, 2)), np.int64(-1), "text", b"\xff", np.bool_(True), np.zeros(3, "c16"),
          np.arange(5), h5py.Empty("f8"))  # fmt: skip


def _mutate_hdf5(path: Path, draw: random.Random) -> None:
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = draw.choice(["/", *names])
        item = file[name]
        match draw.randrange(5):
            case 0 | 1 if len(item.attrs):
                key = draw.choice(sorted(item.attrs))
                del item.attrs[key]
                if draw.random() < 0.8:
                    item.attrs[key] = draw.choice(_ITEMS)
            case 2 if name != "/":
                del file[name]
            case 3 if name != "/":
                del file[name]
                links = (h5py.SoftLink("/nowhere"), h5py.ExternalLink("/etc/passwd", "/"))
                file[name] = draw.choice((*_ITEMS, *links, file["/"]))
            case _ if isinstance(item, h5py.Dataset) and item.shape and item.size:
                value = draw.choice((np.nan, np.inf, -1, 1e300, 0, 127))
                with contextlib.suppress(TypeError, ValueError, OverflowError, OSError):
                    item[tuple(draw.randrange(n) for n in item.shape)] = value


def command_lines(made: Stored) -> Callable[[Path, random.Random], list[str]]:
    """Words of commands: options left out, doubled, and with odd values."""

    def kind(here: Path, draw: random.Random) -> list[str]:
        for name in _STORED:
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made.folder / name, here / name)
        return _mutated_words(list(draw.choice(_COMMANDS)), draw)

    return kind


def _mutated_words(words: list[str], draw: random.Random) -> list[str]:
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
        place = draw.randrange(len(words) + 1)
        match draw.randrange(4):
            case 0 if len(words) > 1:
                del words[place - 1]
            case 1:
                words.insert(place, draw.choice(ODD).replace("\0", ""))
            case 2 if words:
                words[place - 1] = draw.choice(ODD).replace("\0", "")
            case 3 if words:
                words.insert(place, draw.choice(words))
    return words


_COMMANDS = (
    ["entry", "gfn1-xtb", "--models-file", "models.yaml", "--out", "out.json"],
    ["describe", "--models", "gfn1-xtb", "--models-file", "models.yaml", "--out", "models.json"],
    ["export", "a_300K_0", "--trajectories", "dynamics.h5", "--out", "a.extxyz"],
    ["export", "--trajectories", "dynamics.h5", "--list"],
    ["score", "bonds", "--scan-set", "toys.h5", "--files", "scans.h5", "--out", "s.parquet"],
    ["score", "dynamics", "--scan-set", "toys.h5", "--files", "dynamics.h5", "--out", "d.parquet"],
    ["merge", "results/toys", "--out", "merged", "--rank-by", "fsd_full"],
    ["check-scans", "--scan-set", "toys.h5", "--out", "c.h5"],
    ["split-molecules", "--molecules", "molecules.xyz", "--out", "split.csv"],
    ["scan-molecules", "--molecules", "molecules.xyz", "--name", "own", "--bonds", "C-*", "--out",
     "out.h5", "--skipped", "skipped.csv"],
    ["collect-references", "--scans", "toys.h5", "--references", "scans.h5", "--skipped-bonds",
     "s.csv", "--level-of-theory", "x", "--failed-frames", "5", "--out", "o.h5", "--skipped", "k"],
    ["plan-actual", "--plan", "plan.csv", "--results", "results/toys", "--out", "actual.csv"],
    ["run", "dynamics", "--entry", "none.json", "--scan-set", "toys.h5", "--temperatures-k", "300",
     "--replicates", "1", "--timestep-fs", "0.5", "--out", "d.h5"],
    ["check", "nobody", "--models-file", "models.yaml", "--timeout-s", "5", "--max-fsd", "1"],
)  # fmt: skip


# --- running -------------------------------------------------------------------------------------


class _TooLong(BaseException):
    pass


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _main(words: list[str]) -> int:
    """The command, or for `resolve` what Snakemake's Snakefile does with a config."""
    from pesbench.cli import main
    from pesbench.core.errors import HostError, UserError
    from pesbench.orchestration.config import resolve
    from pesbench.orchestration.config_files import read_config

    if words[:1] != ["resolve"]:
        return main(words)
    try:
        files = [Path(words[k + 1]) for k, word in enumerate(words) if word == "--configfile"]
        more = words[words.index("--config") + 1 :] if "--config" in words else []
        resolve(read_config(files, more), Path.cwd())
    except (UserError, HostError) as error:
        logging.getLogger("pesbench").error("pesbench: error: %s", error)
        return error.exit_code
    return 0


def outcome(words: list[str]) -> tuple[str, str]:
    """What became of a command: `ran`, `refused`, or what must not be, with the reason."""
    handler, said = _Lines(), io.StringIO()
    logger = logging.getLogger("pesbench")
    logger.addHandler(handler)
    code: object = None
    try:
        with _within(LONGEST_S), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = _main(words)
    except SystemExit as end:  # of argparse
        code = end.code or 0
        handler.lines = [line for line in said.getvalue().splitlines() if "error: " in line]
    except _TooLong:
        return "no end", f"more than {LONGEST_S:g} s"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)
        ours = [f for f in where if "pesbench" in f.filename and "tests" not in f.filename]
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        return f"{type(error).__name__} at {place}", " ".join(str(error).split())[:200]
    finally:
        logger.removeHandler(handler)
    if code in (2, 75):
        if len(handler.lines) != 1 or "\n" in handler.lines[0] or not handler.lines[0].strip():
            return "not one line", repr(handler.lines)[:300]
        if len(handler.lines[0]) > 2000:
            return "a very long line", handler.lines[0][:200]
        return "refused", handler.lines[0]
    return ("ran", "") if code in (0, 1) else (f"exit code {code}", repr(handler.lines)[:200])


def kinds(folder: Path) -> dict[str, Callable[[Path, random.Random], list[str]]]:
    """All kinds of inputs by name; stored files are made in a folder."""
    made = stored_files(folder)
    return {
        "configs": configs,
        "registry entries": registries,
        "config arguments": arguments,
        "molecule files": molecules,
        "stored files": stored(made),
        "command lines": command_lines(made),
    }


def run(
    name: str, kind: Callable[[Path, random.Random], list[str]], inputs: int, seed: int
) -> tuple[Counter[str], list[str]]:
    """Run so many inputs of a kind.

    Returns:
        Outcomes by name, and the first few of each that must not be, with their seeds.
    """
    found: Counter[str] = Counter()
    wrong: list[str] = []
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        template = Path(scratch) / "template"
        template.mkdir()
        folder_of_inputs(template)
        for number in range(inputs):
            here = Path(scratch) / "here"
            shutil.copytree(template, here)
            os.chdir(here)
            draw = random.Random(f"{name} {seed} {number}")
            try:
                words = kind(here, draw)
                what, why = outcome(words)
            finally:
                os.chdir(before)
                shutil.rmtree(here, ignore_errors=True)
            found[what] += 1
            if what not in ("ran", "refused") and found[what] <= 3:
                wrong.append(f"{name} {seed} {number}: {what}: {why} ({words!r})"[:600])
    return found, wrong


def main() -> int:
    """Run many inputs of every kind and print what they came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kind", help="only this one")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        chosen = {k: v for k, v in kinds(Path(folder)).items() if options.kind in (None, k)}
        for name, kind in chosen.items():
            start = time.monotonic()
            found, wrong = run(name, kind, options.inputs // len(chosen), options.seed)
            seconds = time.monotonic() - start
            print(json.dumps({"kind": name, "seed": options.seed, "seconds": round(seconds),
                              **dict(found.most_common())}), flush=True)  # fmt: skip
            for line in wrong:
                print(f"    {line}", flush=True)
            failed += len(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
