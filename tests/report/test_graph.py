"""What a report is made of: which sections belong to a run, and the commands that make it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pesbench.cli import parser
from pesbench.compare.comparison import ReportRun, comparisons
from pesbench.core.found import tasks
from pesbench.files.layout import check_layout
from pesbench.models.registry import ModelEntry
from pesbench.report import graph

LEVEL = "GFN2-xTB"


def entry(name, family="ase", **settings):
    return ModelEntry(name, family, {"calculator": name} | settings)


ENTRIES = {
    one.name: one
    for one in (
        entry("a"),
        entry("a-again", calculator="a", repeat=2),
        entry("bent", "perturbed", base="a", perturbation="curl", dose=0.1),
        entry("ref", "tblite", method="GFN2-xTB", level_of_theory=LEVEL),
        entry("zero", "control", control="zero"),
    )
}


def a_run(ran=(), ladder=(), scored_only=()):
    every = {"bonds": list(ENTRIES)} | {task: ["a", "ref"] for task in ran}
    return ReportRun(ENTRIES, LEVEL, every, ladder, {"bonds": scored_only})


def commands(run, files=None):
    files = {
        "bonds": {name: [Path(f"r/{name}/0000.h5")] for name in ENTRIES},
        "dynamics": {name: [Path(f"r/{name}/d.h5")] for name in run.ran.get("dynamics", ())},
    }
    for name in run.scored_only.get("bonds", ()):
        files["bonds"].pop(name)
    return graph.report_commands(
        Path("r"), run, scan_set=Path("r/s.h5"), models_file=Path("m.yaml"), files=files,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("run", "names"),
    [
        (a_run(), ["bonds", "atlas", "pairs", "parity"]),
        (a_run(["dynamics"]), ["bonds", "dynamics", "association", "atlas", "pairs", "parity"]),
        (
            a_run(["vibrations"], ["a"]),
            ["bonds", "vibrations", "atlas", "ladder", "pairs", "parity"],
        ),
        (a_run(scored_only=["a-again"]), ["bonds", "atlas", "pairs"]),
        (a_run(scored_only=[*ENTRIES]), ["bonds", "pairs"]),
    ],
)
def test_sections_are_those_that_a_run_has_tasks_before_comparisons(run, names):
    assert graph.section_names(run) == names


def test_perturbed_models_that_ran_dynamics_have_dose_and_response():
    run = ReportRun(ENTRIES, LEVEL, {"bonds": list(ENTRIES), "dynamics": ["bent"]})
    assert graph.comparison_sections(run) == ["association", "atlas", "dose", "pairs", "parity"]


def test_only_models_have_sections_of_their_own():
    assert graph.model_sections(a_run()) == [("bonds", "a"), ("bonds", "a-again")]


def test_the_command_line_takes_every_command_in_the_order_in_which_they_need_each_other():
    run = a_run(["dynamics", "vibrations"], ["a"])
    made = commands(run)
    assert [words[0] for words in made] == [
        *["model-section"] * 2, *["section"] * 3, *["compare"] * 5, *graph.BOARDS,
    ]  # fmt: skip
    assert made[-1][made[-1].index("--sections") + 1 :] == graph.section_names(run)
    for words in made:
        parsed = parser().parse_args(words)
        assert parsed.results == Path("r")
    dynamics = next(words for words in made if words[:2] == ["section", "dynamics"])
    ran = parser().parse_args(dynamics).ran
    assert ran == [["bonds", *ENTRIES], ["dynamics", "a", "ref"]]  # nothing of vibrations


def test_the_ladder_is_told_to_the_comparison_that_reads_it_alone():
    made = {words[1]: words for words in commands(a_run(["dynamics"], ["a"])) if "compare" in words}
    assert list(made) == ["association", "atlas", "ladder", "pairs", "parity"]
    assert made["ladder"][-2:] == ["--ladder", "a"]
    assert "--ladder" not in made["association"] + made["parity"]


def test_what_ranks_and_who_takes_part_is_told_to_every_section_across_models():
    told = {"rank_by": "force_mae", "entry_coverage": 0.75}
    run = ReportRun(ENTRIES, LEVEL, {"bonds": list(ENTRIES)}, **told)
    made = [parser().parse_args(w) for w in commands(run) if w[0] in ("section", "compare")]
    assert [one.stage for one in made] == ["section", "compare", "compare", "compare"]
    for one in made:
        assert {name: getattr(one, name) for name in told} == told


def test_one_model_is_compared_with_none():
    few = {name: ENTRIES[name] for name in ("a", "bent", "ref", "zero")}
    assert graph.section_names(ReportRun(few, LEVEL, {"bonds": list(few)})) == ["bonds", "atlas"]


def test_a_model_with_scores_only_is_asked_for_no_file():
    made = commands(a_run(scored_only=["a"]))
    one, other = (words for words in made if words[0] == "model-section")
    assert "--files" not in one
    assert other[-2:] == ["--files", "r/a-again/0000.h5"]


def test_variants_are_compared_along_the_trajectories_of_those_that_have_some():
    files = {
        task: {name: [Path(f"r/{name}/{task}.h5")] for name in ENTRIES}
        for task in ("bonds", "dynamics")
    }
    both = {"bonds": list(ENTRIES), "dynamics": ["ref", "a", "a-again"]}
    for run, along in (
        (ReportRun(ENTRIES, LEVEL, both), ["a", "a-again"]),
        (ReportRun(ENTRIES, LEVEL, both, (), {"dynamics": ["a"]}), []),
    ):
        places = {"scan_set": Path("r/s.h5"), "models_file": Path("m.yaml"), "files": files}
        words = graph.compare_command(Path("r"), run, "parity", **places)
        asked = parser().parse_args(words)
        assert asked.evaluations == [Path("r/a/bonds.h5"), Path("r/a-again/bonds.h5")]
        assert asked.trajectories == [Path(f"r/{name}/dynamics.h5") for name in along]
        assert {task: models for task, *models in asked.ran}.get("dynamics", []) == along


def test_what_there_is_is_found_by_looking():
    root = Path(graph.__file__).parents[1]
    for room, found in (("tasks", tasks()), ("compare", comparisons())):
        folders = {path.parent.name for path in (root / room).glob("*/section.py")}
        assert folders == set(found)
        for name, one in found.items():
            assert one.name == name
            assert one.title
            assert one.summary


@pytest.mark.parametrize("old", ["m/scans/0000.h5", "m/scores/scans.parquet", "m/vibrations.h5"])
def test_results_of_an_earlier_layout_are_refused_with_the_command_that_renames(tmp_path, old):
    import subprocess

    results = tmp_path / "it's [a] folder"
    check_layout(results)
    path = results / old
    path.parent.mkdir(parents=True)
    path.write_text("x")
    with pytest.raises(Exception, match="an earlier version") as refused:
        check_layout(results)
    said = str(refused.value)
    assert "\n" not in said
    subprocess.run(["bash", "-c", said.partition("rename such files: ")[2]], check=True)
    check_layout(results)
    assert [p.read_text() for p in results.rglob("*") if p.is_file()] == ["x"]
