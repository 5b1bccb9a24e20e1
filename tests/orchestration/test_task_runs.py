"""The block of a task that exists only here, and the jobs that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from pesbench.core import found
from pesbench.core.errors import UserError
from pesbench.core.section import Metric
from pesbench.core.settings import declared, setting
from pesbench.core.task import SCAN, SYSTEM, Task
from pesbench.files.validation import validate
from pesbench.models.registry import ModelEntry
from pesbench.orchestration import config_keys
from pesbench.orchestration.config_keys import block_keys
from pesbench.orchestration.task_runs import Scans, asked_models, task_run
from pesbench.report.columns import check_rank_by
from pesbench.tasks.approach.task import TASK as APPROACH


@dataclass(frozen=True)
class Settings:
    """Of the made-up task."""

    distance: float = setting(help="A distance, in Å.", above=0)
    points: int = setting(7, help="Points.", at_least=1)


@dataclass(frozen=True)
class Block:
    """Which jobs there are."""

    twice: bool = setting(False, help="Whether everything is done twice.")


class Made(Task):
    """What no other module knows of."""

    name = "made"
    title = "Made up"
    summary = "A task of a test."
    settings = Settings
    block = Block
    shard_size = 2

    def shards(self, items, selected, settings, shard_size, block=None):
        found = super().shards(items, selected, settings, shard_size)
        again = {f"again-{name}": shard for name, shard in found.items()} if block.twice else {}
        return found | again


class MadeOfScans(Made):
    """The same, of scans."""

    item = SCAN
    asks_controls = True


SCANS = tuple(f"C-C/{name}_0-1" for name in "abcde")
MODELS = {name: ModelEntry(name, "tblite", {}) for name in ("one", "two")}
CONTROL = {"zero": ModelEntry("zero", "control", {})}


def _run(task, tmp_path, block, selected=SCANS, models=MODELS, source="molecules"):
    keys = validate(block_keys(task), {"models": ["*"], "distance": 1} | block, "here: `made`")
    return task_run(task, keys, models, Scans(source, SCANS, selected, 100), tmp_path, "here")


def _items(shards):
    return {name: "".join(shard.items) for name, shard in shards.items()}


def test_the_keys_of_a_block_are_common_ones_and_those_of_the_task(tmp_path):
    found = _run(Made(), tmp_path, {"twice": True})
    assert found.settings == Settings(1.0, 7)
    assert found.block == Block(twice=True)
    assert _items(found.shards) == {
        "0000": "ab", "0001": "cd", "0002": "e",
        "again-0000": "ab", "again-0001": "cd", "again-0002": "e",
    }  # fmt: skip
    with pytest.raises(UserError, match="the key 'distance' is missing"):
        validate(block_keys(Made()), {"models": []}, "here")
    with pytest.raises(UserError, match="unknown key 'point'; did you mean 'points'"):
        validate(block_keys(Made()), {"models": [], "distance": 1, "point": 1}, "here")


def test_a_job_of_an_item_does_not_depend_on_the_selection(tmp_path):
    some = _run(Made(), tmp_path, {}, selected=(SCANS[1], SCANS[4]))
    assert _items(some.shards) == {"0000": "b", "0002": "e"}
    assert _items(some.shards_of("one", selected=False)) == {
        "0000": "ab",
        "0001": "cd",
        "0002": "e",
    }
    assert _run(Made(), tmp_path, {}, selected=()) is None
    assert _run(Made(), tmp_path, {}, models={}) is None
    fewer = replace(some, selected=["b"], models=["one"])
    assert _items(fewer.shards) == {"0000": "b"}


@pytest.mark.parametrize(
    ("contacts", "diatomics", "asked"), [(0, False, False), (1, False, True), (0, True, True)]
)
def test_the_reference_is_asked_where_the_settings_need_it(tmp_path, contacts, diatomics, asked):
    block = {"models": ["*"], "contacts": contacts, "diatomics": diatomics}
    keys = validate(block_keys(APPROACH), block, "here: `approach`")
    run = task_run(APPROACH, keys, MODELS, Scans("molecules", SCANS, SCANS, 100), tmp_path, "here")
    assert run.asks_reference == asked


def test_a_control_has_one_job_with_everything(tmp_path):
    found = _run(MadeOfScans(), tmp_path, {"twice": True}, models=MODELS | CONTROL)
    assert found.models == ["one", "two", "zero"]
    assert list(found.shards_of("zero")) == ["0000", "again-0000"]
    assert found.shards_of("zero")["0000"].items == SCANS
    assert len(found.shards_of("one")) == 6


def test_names_come_from_globs_and_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("# some\nb\nd\n")
    found = _run(Made(), tmp_path, {"systems": ["[a-c]"], "systems_file": "names.txt"})
    assert found.items == ["b"]
    (tmp_path / "names.txt").write_text("f\n")
    with pytest.raises(UserError, match=r"made\.systems_file`: names\.txt names 'f', which"):
        _run(Made(), tmp_path, {"systems_file": "names.txt"})
    with pytest.raises(UserError, match=r"here: `made\.systems`: 'x\*' matches nothing"):
        _run(Made(), tmp_path, {"systems": ["x*"]})


def test_scans_of_an_archive_are_systems_and_may_not_do(tmp_path):
    assert Made.item == SYSTEM
    assert _run(Made(), tmp_path, {}, source="bsct_spice").items == list(SCANS)
    needy = type("Needy", (Made,), {"needs_molecules": True})()
    with pytest.raises(UserError, match=r"`source: molecules`, or write `made: \{models: \[\]\}`"):
        _run(needy, tmp_path, {}, source="bsct_spice")


def test_a_task_that_asks_controls_takes_their_names():
    registry = MODELS | CONTROL
    chosen = ["one", "zero"]
    assert asked_models(
        MadeOfScans(), ["*"], registry, chosen, None, "here", narrowed=False
    ) == ["one", "zero"]  # fmt: skip
    with pytest.raises(UserError, match="'zero' is a control, which has no made; take it out"):
        asked_models(Made(), ["zero"], registry, chosen, None, "here", narrowed=False)
    assert asked_models(Made(), ["two"], registry, ["one"], "two", "here", narrowed=False) == [
        "two"
    ]
    assert asked_models(Made(), ["two"], registry, ["one"], "two", "here", narrowed=True) == []


def _beside(monkeypatch, task):
    """The keys of a config by name, with a task beside those that there are."""
    every = dict(sorted({task.name: task, **found.tasks()}.items()))
    for module in (found, config_keys):
        monkeypatch.setattr(module, "tasks", lambda: every)
    return {one.name: one for one in declared(config_keys.config_keys())}


def test_a_new_task_changes_nothing_of_how_models_are_ranked(monkeypatch):
    """Only the task that always runs has scores of all models, wherever its name is sorted."""
    metric = Metric("angle_mae", "angle MAE", "°", "lower", ranks=True)
    before = {one.name: one for one in declared(config_keys.config_keys())}["rank_by"]
    keys = _beside(monkeypatch, type("Angles", (Made,), {"name": "a", "metrics": (metric,)})())
    assert "a" in keys
    assert keys["rank_by"].default == before.default == "fsd_full"
    assert keys["rank_by"].about.choices == before.about.choices
    with pytest.raises(UserError, match="'angle_mae' cannot rank models; use one of fsd_full, "):
        check_rank_by("angle_mae")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("ladder", "a comparison"),
        ("association", "a comparison"),
        ("cluster", "a key of a config"),
        ("rank_by", "a key of a config"),
        ("inputs", "a folder of results"),
        ("sections", "a folder of results"),
    ],
)
def test_a_task_has_a_name_of_its_own(monkeypatch, name, what):
    with pytest.raises(
        UserError, match=f"task {name!r}.* of {what}; give its folder another name"
    ) as refused:
        _beside(monkeypatch, type("Other", (Made,), {"name": name})())
    assert "\n" not in str(refused.value)
