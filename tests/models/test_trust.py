"""Weights are programs: none runs without the user's word, whichever way it comes in.

The pickle of these tests begins as a network of MACE does, and writes a file when it is loaded.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from test_merge import Group

from examples import matches
from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.core.family import families
from pesbench.core.found import tasks
from pesbench.files.atomic import write_json
from pesbench.models import called, fetching, trust
from pesbench.models import registry as registry_
from pesbench.models.addresses import cache_path
from pesbench.models.fetching import settle
from pesbench.models.models_file import read_models, resolve_entry
from pesbench.models.record import description
from pesbench.models.registry import ModelEntry, load
from pesbench.models.trust import runs_code
from pesbench.models.weight_file import defect
from pesbench.models.weights import check_weights, read_weights
from pesbench.orchestration.config import resolve
from workflow_copy import REPO

WEIGHTS = REPO / "resources" / "weights"


def program(marker: Path, first: bytes = b"cmace.modules.models\nScaleShiftMACE\n0") -> bytes:
    """An archive as torch writes it, whose pickle runs Python code."""
    code = f"open({str(marker)!r}, 'w').close()"
    pickled = b"\x80\x02" + first + b"cbuiltins\nexec\n(V" + code.encode() + b"\ntR."
    return archive(pickled)


def archive(pickled: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/version", "3\n")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PESBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """Is there once the program ran. No test leaves it there."""
    path = tmp_path / "pwned"
    yield path
    assert not path.exists()


@pytest.fixture
def weights(tmp_path: Path, marker: Path) -> Path:
    path = tmp_path / "evil.model"
    path.write_bytes(program(marker))
    return path


def registry(**entries: dict) -> Path:
    path = Path("models.yaml")
    path.write_text(yaml.safe_dump({"good": {"family": "tblite", "method": "GFN2-xTB"}} | entries))
    return path


def said(caplog: pytest.LogCaptureFixture) -> str:
    (line,) = [m for m in caplog.messages if m.startswith("pesbench: error: ")]
    assert "\n" not in line
    return line


# --- an entry of the registry, a file on the command line ----------------------------------------


def test_a_file_of_weights_needs_a_word(
    weights: Path, marker: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digest = sha256(weights.read_bytes()).hexdigest()
    registry(mine={"family": "mace", "weights": weights.name})
    assert cli.main(["entry", "mine", "--models-file", "models.yaml", "--out", "e.json"]) == 2
    line = said(caplog)
    for part in ("models.yaml: model 'mine'", weights.name, "a program", f"`sha256: {digest}`"):
        assert part in line
    assert not Path("e.json").exists()


@pytest.mark.parametrize("words", [{"sha256": True}, {"trust": True}, {}], ids=str)
def test_the_word_is_in_the_entry_or_on_the_command_line(
    weights: Path, marker: Path, words: dict
) -> None:
    """What it is given for runs: the check of these tests themselves."""
    digest = sha256(weights.read_bytes()).hexdigest()
    words = {key: digest if key == "sha256" else value for key, value in words.items()}
    registry(mine={"family": "mace", "weights": weights.name} | words)
    option = [] if words else ["--trust"]
    command = ["check", "mine", "--models-file", "models.yaml", "--device", "cpu", *option]
    assert cli.main(command) == 2  # it is no network, which only loading it tells
    assert marker.exists()
    marker.unlink()


def test_another_file_than_the_one_of_the_sha256(
    weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry(mine={"family": "mace", "weights": weights.name, "sha256": "0" * 64, "trust": True})
    assert cli.main(["check", "mine", "--models-file", "models.yaml"]) == 2
    assert "the entry says 000" in said(caplog)


@pytest.mark.parametrize(
    ("family", "name"),
    [("mace", "x.model"), ("mace", "a b'.pt"), ("sevennet", "x.pth"), ("so3lr", "x.model")],
)
def test_a_bare_file_needs_a_word(
    tmp_path: Path, marker: Path, family: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = {
        "mace": b"cmace.modules.models\nScaleShiftMACE\n0",
        "sevennet": b"}0",
        "so3lr": b"cso3krates_torch.modules.models\nSO3LR\n0",
    }[family]
    (tmp_path / name).write_bytes(program(marker, first))
    assert cli.main(["check", "--weights", name, "--family", family]) == 2
    assert "nothing says that you trust" in said(caplog)


@pytest.mark.parametrize("family", ["testbed", "chgnet"])
def test_weights_of_some_families_are_read_without_running_them(
    tmp_path: Path, marker: Path, family: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They need no word: whatever the file is, only tensors and plain values are unpickled."""
    (tmp_path / "x.pt").write_bytes(program(marker, b"}0"))
    command = ["check", "--weights", "x.pt", "--family", family, "--device", "cpu"]
    assert cli.main(command) == 2
    assert "cannot read these weights" in said(caplog)
    assert not marker.exists()


def test_a_legacy_pickle_is_no_way_around(
    tmp_path: Path, marker: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "old.model").write_bytes(pickle.dumps(_Runs(str(marker))))
    assert cli.main(["check", "--weights", "old.model", "--family", "mace"]) == 2
    assert "nothing says that you trust" in said(caplog)
    assert cli.main(["check", "--weights", "old.model", "--family", "testbed"]) == 2


class _Runs:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):
        return open, (self.marker, "w")


@pytest.mark.parametrize("what", ["models", "relax", "reference", "base"])
def test_a_run_is_refused_before_any_work(weights: Path, what: str) -> None:
    """Wherever a config names the entry; this is what a dry run does, too."""
    mine = {"family": "mace", "weights": weights.name}
    if what == "base":
        registry(net=mine, mine={"family": "perturbed", "base": "net", "perturbation": "ripple",
                                 "dose": 0.1})  # fmt: skip
    else:
        registry(mine=mine)
    scan_set = {"source": "molecules", "reference": "good",
                "molecules": [{"id": "a", "smiles": "CO"}]}  # fmt: skip
    if what in ("relax", "reference"):
        scan_set[what] = "mine"
    config = {"models_file": "models.yaml", "scan_set": "own", "scan_sets": {"own": scan_set},
              "models": ["mine" if what in ("models", "base") else "good"]}  # fmt: skip
    with pytest.raises(UserError, match=r"nothing says that you trust evil\.model"):
        resolve(config, Path.cwd())
    Path("run.yaml").write_text(yaml.safe_dump(config))
    shutil.copytree(REPO / "config", "config")
    assert cli.main(["plan", "--configfile", "run.yaml"]) == 2
    assert not Path("results").exists()


def test_an_address_needs_a_word_once(
    place: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it nothing is downloaded; a file in the cache without a pin is nobody's word."""
    path = registry(mine={"family": "mace", "weights": "https://example.org/evil.model"})
    cached = cache_path("https://example.org/evil.model")
    cached.parent.mkdir()
    cached.write_bytes(program(marker))
    entry = read_models(path)["mine"]
    for _ in range(2):
        with pytest.raises(UserError, match=r"--trust.* once .*: what comes is pinned"):
            resolve_entry(entry, path, place)
    settle(resolve_entry(entry.trusted(), path, place))
    with monkeypatch.context() as patch:  # the pin of another user of a shared cache
        patch.setattr(trust, "_ROOT", -1)
        patch.setattr(trust.os, "getuid", lambda: 4242)
        with pytest.raises(UserError, match="nothing says that you trust"):
            resolve_entry(entry, path, place)
    resolved = resolve_entry(entry, path, place)
    cached.write_bytes(program(marker) + b" ")
    with pytest.raises(UserError, match="changed in the cache"):
        settle(resolved)


# --- at the place of loading ---------------------------------------------------------------------


def test_a_file_that_is_exchanged_after_the_comparison_does_not_run(
    place: Path, weights: Path, marker: Path
) -> None:
    shutil.copy(WEIGHTS / "mace-mini.model", "mine.model")
    path = registry(mine={"family": "mace", "weights": "mine.model", "trust": True})
    entry = resolve_entry(read_models(path)["mine"], path, place)
    shutil.copy(weights, "mine.model")
    with pytest.raises(UserError, match="was agreed to"):
        load(entry, scan_set=None, device="cpu")
    with pytest.raises(UserError, match="no `sha256` to compare"):
        load(ModelEntry("m", "mace", {"weights": str(weights), "dtype": "float64"}),
             scan_set=None, device="cpu")  # fmt: skip


def test_what_is_loaded_is_what_was_compared(place: Path, weights: Path) -> None:
    """Exchanged between the comparison and the reading: the adapter gets no path to read again."""
    good = shutil.copy(WEIGHTS / "mace-mini.model", "mine.model")
    wanted = sha256(Path(good).read_bytes()).hexdigest()
    found = read_weights(Path(good), wanted, families()["mace"])
    shutil.copy(weights, good)
    assert sha256(found.open().read()).hexdigest() == found.sha256 == wanted
    with found.file() as copy:
        assert sha256(copy.read_bytes()).hexdigest() == wanted
        assert copy.parent.stat().st_mode & 0o077 == 0
    assert not copy.exists()


def test_a_family_that_nobody_thought_of_runs_code() -> None:
    """Unknown until its own file says otherwise."""
    assert runs_code("new-family", None)
    assert {family for family in families() if not runs_code(family, None)} == {
        "apax", "chgnet", "control", "fci", "pyscf", "rdkit", "tblite", "testbed", "wavefunction",
    }  # fmt: skip
    base = {"name": "b", "family": "tblite", "settings": {}}
    assert not runs_code("perturbed", base)
    assert runs_code("perturbed", base | {"family": "ase"})
    assert runs_code("perturbed", {"name": "p", "family": "perturbed", "settings": {}})


# --- entries in the results of somebody else -----------------------------------------------------


def entries(marker: Path, weights: Path) -> dict[str, dict]:
    digest = sha256(weights.read_bytes()).hexdigest()
    network = {"name": "mine", "family": "mace",
               "settings": {"sha256": digest, "dtype": "float64", "compile": False}}  # fmt: skip
    calculator = {
        "name": "mine", "family": "ase",
        "settings": {"calculator": "builtins:open", "arguments": {"file": str(marker), "mode": "w"},
                     "fresh": False, "charges": False},
    }  # fmt: skip

    def perturbed(base: dict) -> dict:
        settings = {"base": "b", "perturbation": "ripple", "dose": 0.1, "base_entry": base}
        return {"name": "mine", "family": "perturbed", "settings": settings}

    return {
        "network": network,
        "network at a place": network
        | {"settings": network["settings"] | {"weights": str(weights)}},
        "calculator": calculator,
        "perturbed network": perturbed(network),
        "perturbed calculator": perturbed(calculator),
        "unknown": {"name": "mine", "family": "later", "settings": {}},
    }


@pytest.mark.parametrize("told", [[], ["--entry-sha256", "0" * 64]], ids=["untold", "other"])
@pytest.mark.parametrize(
    "what",
    ["network", "network at a place", "calculator", "perturbed network", "perturbed calculator",
     "unknown"],
)  # fmt: skip
def test_a_stored_entry_of_others_is_not_loaded(
    toy_set: Path, weights: Path, marker: Path, what: str, told: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    write_json(Path("model.json"), entries(marker, weights)[what])
    place = ["--weights", str(weights)] if "network" in what else []
    named = ["--entry", "model.json", *place, *told]
    for stage in (
        *(["run", task, *named, "--scan-set", str(toy_set), "--out", "out"] for task in tasks()),
        ["probe", *named, "--scan-set", str(toy_set), "--out", "out"],
        ["prepare-molecules", "--relax", *named[1:], "--molecules", "x.csv", "--out", "out"],
    ):
        caplog.clear()
        assert cli.main(stage) == 2
        line = said(caplog)
        assert "model.json" in line
        assert ("is not the entry 'mine' of the registry" if told else "--entry-sha256") in line
        assert not Path("out").exists()


@pytest.mark.parametrize("name", ["mace-mini", "7net-0", "emt", "gfn2-xtb", "gfn2-dip_1"])
def test_the_registry_and_its_file_have_one_digest(place: Path, name: str) -> None:
    path = REPO / "config" / "models.yaml"
    entry = resolve_entry(read_models(path)[name], path, REPO)
    write_json(Path("model.json"), settle(entry))
    found = ModelEntry.from_file(Path("model.json"), entry.weights_path, entry.sha256)
    assert found.deciding() == entry.deciding()
    value = json.loads(Path("model.json").read_text())
    value["settings"]["timeout_s"] = 7
    write_json(Path("model.json"), value)
    with pytest.raises(UserError, match="another one, perhaps of somebody else"):
        ModelEntry.from_file(Path("model.json"), entry.weights_path, entry.sha256)


def test_keys_that_are_no_text_have_a_digest(place: Path) -> None:
    arguments = {"arguments": {1: 2, "a": [1.0, None]}, "calculator": "a:B"}
    entry = ModelEntry("mine", "ase", arguments)
    write_json(Path("model.json"), settle(entry))
    ModelEntry.from_file(Path("model.json"), sha256=entry.sha256)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"name": 1, "family": "ase", "settings": {}}', '"x"', "\ud800".encode(
        "utf-8", "surrogatepass").decode("latin-1"),
     '{"name": "a", "family": ["ase"], "settings": {}}',
     '{"name": "a", "family": "perturbed", "settings": {"base_entry": [1]}}'],
    ids=range(6),
)  # fmt: skip
def test_a_file_that_is_no_entry_is_one_line(place: Path, text: str) -> None:
    Path("model.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="not a resolved model entry"):
        ModelEntry.from_file(Path("model.json"))


def test_nothing_is_loaded_to_merge_results(
    toy_set: Path, toys: dict, weights: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a folder names: programs of its own, and places of files in its record."""
    for door in ("load", "read_weights"):
        monkeypatch.setattr(registry_, door, None)
    monkeypatch.setattr(fetching, "fetch_weights", None)
    for door in ("prepared", "check_imports"):
        monkeypatch.setattr(called, door, None)
    groups = [Group(Path(name).absolute(), toy_set, toys) for name in ("a", "b")]
    for number, what in enumerate(("network", "calculator", "perturbed calculator")):
        found = entries(marker, weights)[what]
        entry = ModelEntry(f"m{number}", found["family"], found["settings"])
        group = groups[number % 2]
        group.add(entry)
        record = Path(group.folder / "models.json")
        content = json.loads(record.read_text())
        content["models"][entry.name]["description"] |= {"weights": str(weights), "trust": True}
        record.write_text(json.dumps(content))
        group.described[entry.name].description.update(weights=str(weights), trust=True)
        group.scans(entry, rough=0.01)
    assert cli.main(["merge", "a", "b", "--out", "out"]) == 0
    board = Path("out/leaderboard.md").read_text()
    assert all(f"| m{number} " in board for number in range(3))


def test_the_word_is_not_handed_on(place: Path, weights: Path) -> None:
    path = registry(mine={"family": "mace", "weights": weights.name, "trust": True})
    entry = resolve_entry(read_models(path)["mine"], path, place)
    assert "trust" not in entry.deciding()["settings"]
    assert "trust" not in description(entry)


# --- what ships ----------------------------------------------------------------------------------


def test_shipped_weights_that_run_code_carry_their_sha256(place: Path) -> None:
    found = {}
    for name, entry in read_models(REPO / "config" / "models.yaml").items():
        weights = str(entry.settings.get("weights", ""))
        if weights.startswith("resources/") and runs_code(entry.family, None):
            found[name] = entry.settings.get("sha256")
            assert found[name] == sha256((REPO / weights).read_bytes()).hexdigest()
    assert set(found) >= {path.stem for path in matches(WEIGHTS, "*.model")}


# --- a training that is continued ----------------------------------------------------------------


def test_checkpoints_of_others_do_not_run(place: Path, marker: Path) -> None:
    """mace executes what a checkpoint says; whatever it would take for one is looked at before."""
    torch = pytest.importorskip("torch")
    from pesbench.training.mace import drop_unfinished_checkpoints

    names = ["t_run-1_epoch-5.pt", "t_run-1_epoch-6_swa.pt", "t_run-1_epoch-7.pt\n"]
    for name in names:
        Path(name).write_bytes(program(marker, b"}0"))
    torch.save({"model": torch.arange(3)}, "t_run-1_epoch-4.pt")
    drop_unfinished_checkpoints(place)
    assert [path.name for path in place.glob("*epoch*")] == ["t_run-1_epoch-4.pt"]


# --- files made to be large ----------------------------------------------------------------------


def bomb(compression: int) -> bytes:
    return archive(b"\x80\x02cmace.modules.models\nX\n" + bytes(50_000_000), compression)


def overlapping() -> bytes:
    """One stored member that the directory names many times."""
    content = bytearray(archive(b"\x80\x02}." + bytes(1000)))
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        start = opened.start_dir
    end = content.index(b"PK\x05\x06")
    many = bytes(content[start:end]) * 5000
    tail = bytearray(content[end:])
    tail[8:12] = (5000 * 3).to_bytes(2, "little") * 2
    tail[12:16] = len(many).to_bytes(4, "little")
    return bytes(content[:start]) + many + bytes(tail)


FILES = {
    "a compressed member": (lambda: bomb(zipfile.ZIP_DEFLATED), "compressed zip archive"),
    "a member named many times": (overlapping, "claims more bytes|no readable directory"),
    "a huge directory": (
        lambda: archive(b"\x80\x02}.").replace(b"PK\x05\x06", b"PK\x01\x02" * 3_000_000
                                              + b"PK\x05\x06"),
        "no readable directory|none that torch writes",
    ),
    "a string as long as memory": (
        lambda: archive(b"\x80\x04\x8d" + (1 << 60).to_bytes(8, "little") + b"x"), "is damaged",
    ),
    "a long name": (
        lambda: archive(b"\x80\x02c" + b"a" * 60_000 + b"\nb\n."), "holds a a{40,}",
    ),
    "a name with an escape sequence": (
        lambda: archive(b"\x80\x02c\x1b]0;owned\x07\nb\n."), r"holds a \\x1b\]0;owned\\x07",
    ),
    "deep nesting": (lambda: archive(b"\x80\x02" + b"(" * 60_000 + b"."), "holds no"),
    "an encrypted member": (
        lambda: archive(b"\x80\x02}.").replace(b"\x14\0\0\0\0\0", b"\x14\0\1\0\0\0"),
        "no readable directory",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_hostile_file_is_told_by_a_bounded_look(place: Path, kind: str) -> None:
    import tracemalloc

    make, message = FILES[kind]
    Path("x.model").write_bytes(make())
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=message) as caught:
            check_weights(families()["mace"], Path("x.model"))
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 400


def test_shipped_and_plain_weights_pass_the_look(place: Path) -> None:
    for path in matches(WEIGHTS, "*.model"):
        check_weights(families()["mace"], path)
    with (WEIGHTS / "testbed-base.pt").open("rb") as file:
        assert defect(file, families()["testbed"].weights) is None
        assert file.read() is not None  # it is left open
