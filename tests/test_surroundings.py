"""The user's surroundings do not reach a batch job: homes, backends, locales, working folders."""

from __future__ import annotations

import json
import shutil

import pytest

from pesbench.cli import _parser, main
from pesbench.config import make_entry, read_schema, resolve
from pesbench.errors import UserError
from pesbench.models.download import cache_path
from pesbench.paths import given_path
from workflow_copy import REPO

# --- paths ---------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home of (a'b)"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.mark.parametrize(
    "text",
    ["x/y", "/x/y", "a~b/~", "$HOME/x", "a$(b)`c`", "{x}", "a (b'c)", "日本 é", "%s"],
)
def test_most_characters_of_a_path_are_what_they_are(text):
    assert str(given_path(text)) == text


def test_a_tilde_is_a_home_folder(home):
    assert given_path("~/x") == home / "x"
    assert given_path("~") == home


def test_what_begins_with_a_dash_is_no_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("-x", "--out", "./-x"):
        assert given_path(text).is_absolute()
        assert given_path(text).parent == tmp_path


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "a\x1b[31mb", "a\udcffb", "~no-such-user-here/x"])
def test_a_path_that_cannot_be_meant_is_refused(text):
    with pytest.raises(UserError, match=r"rename it|home folder"):
        given_path(text)


def _path_keys(schema, at=()):
    """Where a schema says that a value is a path."""
    if schema.get("format") == "path":
        yield at
    for key, value in schema.get("properties", {}).items():
        yield from _path_keys(value, (*at, key))
    if isinstance(schema.get("items"), dict):
        yield from _path_keys(schema["items"], (*at, 0))


def test_every_key_of_a_path_says_so():
    """A key that is read as a path and not marked would not know `~`."""
    config, models = read_schema("config"), read_schema("models")
    keys = {at for source in config["sources"].values() for at in _path_keys(source)}
    assert keys == {("archive",), ("molecules",), ("molecules", 0, "file")}
    keys = set(_path_keys(config))
    assert keys == {("models_file",), ("archive",), ("results",), ("dynamics", "systems_file")}
    families = {f: set(_path_keys(own)) for f, own in models["families"].items()}
    assert {f for f, keys in families.items() if keys} == {"mace", "sevennet", "testbed"}
    assert set(_path_keys({"properties": models["common"]})) == {("seen_systems",)}


def test_a_tilde_in_any_path_of_a_config_is_the_home_folder(home, tmp_path):
    molecules = REPO / "resources/mini/molecules.extxyz"
    shutil.copy(molecules, home / "m.extxyz")
    shutil.copy(REPO / "config/models.yaml", home / "models.yaml")
    (home / "names.txt").write_text("ethanol\n")
    for given in ("~/m.extxyz", [{"file": "~/m.extxyz"}]):
        own = {"source": "molecules", "molecules": given, "reference": "gfn2-xtb"}
        config = {
            "scan_set": "own", "scan_sets": {"own": own}, "models": ["emt"], "controls": [],
            "models_file": "~/models.yaml", "results": "~/out",
            "dynamics": {"models": ["emt"], "systems_file": "~/names.txt"},
        }  # fmt: skip
        run = resolve(config, tmp_path)
        assert run.results == home / "out" / "own"
        assert run.molecule_files == [str(home / "m.extxyz")]
        assert run.models_file == home / "models.yaml"
        assert run.dynamics_shards["0000"].systems == ["ethanol"]
    config["results"] = "a{model}b"
    with pytest.raises(UserError, match="holds braces"):
        resolve(config, tmp_path)


@pytest.mark.parametrize(("family", "suffix"), [("mace", "model"), ("testbed", "pt")])
def test_a_tilde_in_the_registry_is_the_home_folder(home, family, suffix):
    entry = {"family": family, "weights": f"~/x.{suffix}", "seen_systems": "~/seen.csv"}
    settings = make_entry("mine", entry).settings
    assert settings["weights"] == str(home / f"x.{suffix}")
    assert settings["seen_systems"] == str(home / "seen.csv")
    address = f"https://example.org/~me/x.{suffix}"
    assert make_entry("mine", entry | {"weights": address}).settings["weights"] == address


def test_a_tilde_on_a_command_line_is_the_home_folder(home, capsys):
    parsed = _parser().parse_args(["entry", "emt", "--out=~/emt.json"])
    assert parsed.out == home / "emt.json"
    out = ["--out=~/emt.json", f"--models-file={REPO / 'config/models.yaml'}"]
    assert main(["entry", "emt", *out]) == 0
    assert json.loads((home / "emt.json").read_text())["name"] == "emt"
    with pytest.raises(SystemExit):
        _parser().parse_args(["entry", "emt", "--out", "~no-such-user-here/x"])
    assert "write the path in full" in capsys.readouterr().err


def test_the_cache_of_weights_may_be_in_the_home_folder(home, monkeypatch):
    monkeypatch.setenv("PESBENCH_CACHE", "~/x")
    assert cache_path("https://example.org/a.model").parent == home / "x"
    monkeypatch.setenv("PESBENCH_CACHE", "~no-such-user-here/x")
    with pytest.raises(UserError, match="PESBENCH_CACHE"):
        cache_path("https://example.org/a.model")
