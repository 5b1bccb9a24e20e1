"""What the product itself makes, `merge` takes: every kind of folder beside every other."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from test_merge import METHOD, SETTINGS, Group, board, control, net, rows, run

from pesbench.commands.merge.assembly import merge
from pesbench.core.found import tasks
from pesbench.models.registry import ModelEntry
from pesbench.tasks.bonds.score import PLACES

HALF = replace(SETTINGS, timestep_fs=0.5)
pytestmark = pytest.mark.usefixtures("not_drawn")


def _old(path, *columns):
    """Scores of an older version: without columns, seal and what says the entry."""
    table = pd.read_parquet(path)
    table.attrs.pop("entry")
    table.drop(columns=[c for c in columns if c in table]).to_parquet(path)


def _scans(group, name):
    group.scans(group.add(net(name, name)), rough=0.03)


def _fewer(group, name):
    group.scans(group.add(net(name, name)), sorted(group.toys)[:4], rough=0.03)


def _failed(group, name):
    group.scans(group.add(net(name, name)), rough=0.03, failed=sorted(group.toys)[:2])


def _scores(group, name):
    _fewer(group, name)
    group.score()
    shutil.rmtree(group.folder / name / "bonds")


def _old_scores(group, name):
    _scores(group, name)
    _old(group.folder / name / "scores" / "bonds.parquet", *PLACES, "command_s")


def _older_scores(group, name):
    _scores(group, name)
    path = group.folder / name / "scores" / "bonds.parquet"
    _old(path, *PLACES, "command_s", "fsd_windowed", "compression_monotone", "energy_mae_aligned")


def _mixed(group, name):
    """Evaluations of a part, scores of all: a second run was stopped."""
    _scans(group, name)
    group.score()
    group.scans(net(name, name), sorted(group.toys)[:2], rough=0.03)


def _dynamics(group, name):
    _scans(group, name)
    group.dynamics(net(name, name), ["a", "b", "c"])
    group.dynamics(net(name, name), ["a"], settings=HALF)


def _dynamics_scores(group, name):
    _dynamics(group, name)
    group.score()
    shutil.rmtree(group.folder / name / "dynamics")
    _old(group.folder / name / "scores" / "dynamics.parquet", "fu_stable_ps", "energy_jump_mev")


def _perturbed(group, name):
    _scans(group, name)
    base = {"name": name, "family": "mace", "settings": dict(net(name, name).settings)}
    del base["settings"]["weights"], base["settings"]["level_of_theory"]
    settings = {"base": name, "perturbation": "noise", "dose": 1.0, "spacing": 0.01, "draw": 1}
    bent = ModelEntry(f"{name}-bent", "perturbed", settings | {"base_entry": base})
    group.scans(group.add(bent), rough=0.2)
    group.dynamics(bent, ["a", "b"])


def _variants(group, name):
    """Parity: two precisions of one checkpoint; and what is not merged lies there, too."""
    for dtype in ("float64", "float32"):
        entry = net(f"{name}-{dtype}", name, dtype=dtype)
        group.scans(group.add(entry), rough=0.03 if dtype == "float64" else 0.031)
    for file in ("ladder.csv", "ladder_claims.csv", "parity.csv", "association.csv"):
        (group.folder / file).write_text("model\n")
    section = group.folder / "sections" / "ladder"
    section.mkdir(parents=True)
    (section / "section.json").write_bytes(b"no merge reads this")
    (group.folder / f"{name}-float64" / "notes.h5").write_bytes(b"nor this")


def _vibrations(group, name):
    _scans(group, name)
    group.vibrations(METHOD, ["a", "b"], reference=True)
    group.vibrations(net(name, name), ["a", "b"], stiffness=31.0)


KINDS = [_scans, _fewer, _failed, _scores, _old_scores, _older_scores, _mixed, _dynamics,
         _dynamics_scores, _perturbed, _variants, _vibrations]  # fmt: skip


@pytest.fixture(scope="module")
def folders(toys, toy_set, tmp_path_factory):
    """A folder of each kind, with a model of its own."""
    place = tmp_path_factory.mktemp("kinds")
    found = {}
    for letter, kind in zip("0123456789ab", KINDS, strict=False):
        group = Group(place / kind.__name__.strip("_"), toy_set, toys)
        kind(group, letter)
        found[kind] = group.folder
    base = Group(place / "base", toy_set, toys)
    base.scans(base.add(METHOD))
    base.scans(base.add(control()), rough=1.0)
    return found, base.folder


@pytest.mark.parametrize(("one", "other"), itertools.combinations(KINDS, 2))
def test_every_kind_of_folder_stands_beside_every_other(folders, one, other, tmp_path):
    found, _ = folders
    (out := tmp_path / "out").mkdir()
    merged = merge([found[one], found[other]], out)
    planned = {len(rows(out, name)) for name in merged.models}
    assert len(planned) == 1  # what one has and another has not is told, not left out


def test_all_of_them_on_one_leaderboard_and_again(folders, tmp_path):
    found, base = folders
    assert run(base, *found.values(), "--out", tmp_path / "out") == 0
    assert len(board(tmp_path / "out")) == 16
    for place, given in (
        ("again", [tmp_path / "out"]),
        ("beside", [found[_dynamics], tmp_path / "again", found[_old_scores]]),
    ):
        (tmp_path / place).mkdir()
        merged = merge(given, tmp_path / place)
        assert len(merged.models) == 16
        for name, one in merged.models.items():
            for task in tasks().values():
                if one.of(task):
                    before = rows(tmp_path / "out", name, task.name)
                    after = rows(tmp_path / place, name, task.name)
                    pd.testing.assert_frame_equal(before, after, check_dtype=False)
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "without energy_jump_mev, fu_stable_ps: n/a" in text
    # the reference ran no dynamics
    assert "survival is plain: every failure counts, none is in excess of one" in text
    assert "in excess of the reference" not in text
    section = tmp_path / "out" / "sections" / "association"
    assert "in excess of the reference" not in (section / "association.md").read_text()
    assert "in excess of the reference" not in (tmp_path / "out" / "leaderboard.html").read_text()
    assert json.loads((tmp_path / "out" / "merged.json").read_text())["warnings"]


def test_what_was_not_run_is_not_spoken_of(folders, tmp_path):
    """One model alone: no reference, control, dynamics, perturbed model, interval of ranks."""
    found, _ = folders
    assert run(found[_fewer], "--out", tmp_path / "out") == 0
    page = (tmp_path / "out" / "leaderboard.html").read_text()
    for said in ((tmp_path / "out" / "leaderboard.md").read_text(), page):
        for word in ("reference scores 0", "control-zero", "erturbed", "Survival", "in excess",
                     "half the time step", "what zero forces score"):  # fmt: skip
            assert word not in said, word


def test_the_kept_study_can_be_merged(repo, tmp_path):
    """Its folder holds its scan set."""
    study = repo / "resources" / "study" / "mini"
    kept = tmp_path / "mini"
    names = ["gfn2-xtb", "mace-mini", "testbed-rough", "gfn2-dip_1", "control-zero"]
    for name in names:
        shutil.copytree(study / name, kept / name)
    for file in ("mini.h5", "skipped.csv", "models.json"):
        shutil.copy(study / file, kept)
    (out := tmp_path / "out").mkdir()
    merged = merge([kept], out)
    assert sorted(merged.models) == sorted(names)
    assert len(rows(out, "mace-mini")) == 120  # bonds to hydrogen, too
    assert (rows(out, "gfn2-xtb")["fsd_full"] == 0).all()
