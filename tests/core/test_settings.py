"""One declaration of a setting: key of a config, option of a command, default of both."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pesbench.commands.arguments import add_settings, settings_of
from pesbench.core.errors import UserError
from pesbench.core.settings import (
    PATH,
    check_limits,
    declared,
    joined,
    keys,
    named_files,
    setting,
    words,
)
from pesbench.files.validation import filled, plain, validate


@dataclass(frozen=True)
class Made:
    """One of every type that a command can take."""

    whole: int = setting(3, help="A count.", at_least=1, at_most=9)
    size: float = setting(0.5, help="A length, in Å.", above=0, at_most=10)
    many: tuple[float, ...] = setting((1.0, 2.0), help="Temperatures, in K.", above=0)
    word: str = setting("a", help="A choice.", choices=("a", "b"))
    fresh: bool = setting(False, help="Whether it is new.")
    more: float | None = setting(None, help="An option.", at_least=0)
    later: float = setting(1.0, help="Of scores alone.", above=0, stage="score")


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A block in a block."""

    one_of: ClassVar[tuple[str, ...]] = ("this", "that")

    this: str | None = setting(None, help="One.")
    that: int | None = setting(None, help="Or the other.", at_least=0)


@dataclass(frozen=True, kw_only=True)
class Outer:
    """What no command takes."""

    name: str = setting(help="Which.")
    size: int | str = setting("auto", help="A number, or `auto`.", at_least=1, word="auto")
    pairs: tuple[tuple[int, int], ...] | None = setting(None, help="Pairs of atoms.", at_least=0)
    parts: str | tuple[Inner, ...] = setting("", help="A text, or blocks.")
    table: Mapping[str, Inner] = setting(dict, help="Blocks by name.")
    names: tuple[str, ...] = setting((), help="Names.", unique=True, pattern="^[a-z]+$")
    needed: tuple[str, ...] = setting(help="May be empty.", empty=True)


GOOD = {"name": "a", "needed": []}


@pytest.mark.parametrize(
    "made",
    [Made(), Made(9, 1 / 3, (0.1 + 0.2,), "b", fresh=True, more=0.0, later=7.0)],
)
def test_settings_reach_a_command_and_a_config_as_they_are(made):
    for stage in ("run", "score"):
        parser = argparse.ArgumentParser()
        add_settings(parser, Made, stage)
        found = settings_of(parser.parse_args(words(made, stage)), Made)
        for key in keys(Made):
            if key.about.stage == stage:
                assert getattr(found, key.name) == getattr(made, key.name)
    assert validate(Made, plain(made), "here") == made
    check_limits(made, "here")


def test_an_option_is_refused_beyond_the_limits_of_the_setting(capsys):
    parser = argparse.ArgumentParser()
    add_settings(parser, Made, "run")
    for option in (["--whole", "0"], ["--whole", "1.5"], ["--size", "0"], ["--size", "11"],
                   ["--many", "-1"], ["--word", "c"]):  # fmt: skip
        with pytest.raises(SystemExit):
            parser.parse_args(option)
    assert "must be a whole number from 1 to 9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"whole": 0}, "here: `whole` is 0; give a number at least 1 (A count.)"),
        ({"whole": 1e1}, "here: `whole` must be a whole number, not 10.0; write 10"),
        ({"whole": True}, "`whole` must be a whole number, not True; leave it out for 3"),
        ({"size": 11}, "`size` is 11; give a number at most 10 (A length, in Å.)"),
        ({"size": float("nan")}, "`size` is nan; give a finite number"),
        ({"many": []}, "`many` is empty; give at least one"),
        ({"many": [1, -1]}, "`many.1` is -1; give a number above 0"),
        ({"many": 5}, "`many` must be a list, not 5; write `many: [5]`"),
        ({"many": {"a": 1}}, "`many` must be a list"),
        ({"word": "B"}, "`word`: 'B' is not known; known: a, b"),
        ({"fresh": "yes"}, "`fresh` must be true or false, not 'yes'; leave it out for False"),
        ({"more": None}, "`more` must be a number, not None"),
        ({"wole": 1}, "here: unknown key 'wole'; did you mean 'whole'?"),
        ({"whole": 0, "wole": 1}, "unknown key 'wole'"),
    ],
)
def test_a_value_is_refused_in_one_line(change, said):
    with pytest.raises(UserError) as error:
        validate(Made, change, "here")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "`name` is empty; give a text"),
        ({"size": "best"}, "`size` must be a whole number or auto, not 'best'"),
        ({"size": 0}, "`size` is 0; give a number at least 1"),
        ({"pairs": [[0]]}, "`pairs.0` must be a list of 2, not [0]"),
        ({"pairs": [[0, 1, 2]]}, "`pairs.0` must be a list of 2, not [0, 1, 2]"),
        ({"pairs": [[0, -1]]}, "`pairs.0.1` is -1; give a number at least 0"),
        ({"parts": 3}, "`parts` must be text or a list, not 3"),
        ({"parts": [{}]}, "`parts.0`: exactly one of `this` or `that` must be given"),
        ({"parts": [{"this": "a", "that": 1}]}, "exactly one of"),
        ({"parts": [{"thiss": "a"}]}, "`parts.0`: unknown key 'thiss'; did you mean 'this'?"),
        ({"table": {"a": {"that": -1}}}, "`table.a.that` is -1"),
        ({"table": {"a": 3}}, "`table.a` must be a block of keys, not 3"),
        ({"names": ["a", "a"]}, "`names` holds one value twice"),
        ({"names": ["A"]}, "`names.0`: 'A' does not fit (Names.); correct it"),
        ({"needed": None}, "`needed` must be a list, not None"),
    ],
)
def test_a_block_is_refused_in_one_line(change, said):
    with pytest.raises(UserError) as error:
        validate(Outer, GOOD | change, "here")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert validate(Outer, GOOD, "here") == Outer(name="a", needed=())


def test_what_is_missing_is_told_after_what_is_wrong():
    with pytest.raises(UserError, match="'name' is missing; add it"):
        validate(Outer, {"needed": []}, "here")
    with pytest.raises(UserError, match="`size` is 0"):
        validate(Outer, {"size": 0}, "here")
    validate(Outer, GOOD | {"of a later version": 1}, "here", partial=True)


def test_the_place_of_a_key_is_told():
    said = {"whole": "--config", "wole": "own.yaml"}
    with pytest.raises(UserError, match=r"^--config: `whole` is 0"):
        validate(Made, {"whole": 0}, "here", said=said)
    with pytest.raises(UserError, match=r"^own\.yaml: unknown key 'wole'"):
        validate(Made, {"wole": 0}, "here", said=said)
    with pytest.raises(UserError, match="write 'many=\\[5\\]'"):
        validate(Made, {"many": 5}, "here", said={"many": "--config"})


def test_a_block_is_filled_as_it_was_written():
    found = filled(Outer, GOOD | {"size": 2}, "here")
    assert found == {"name": "a", "size": 2, "parts": "", "table": {}, "names": [], "needed": []}
    assert type(filled(Made, {"size": 1}, "here")["size"]) is int  # digests are of what was written
    assert type(validate(Made, {"size": 1}, "here").size) is float


def test_a_joined_class_has_the_fields_of_its_parts():
    more: list[tuple[str, Any, Any]] = [("last", int, setting(1, help="Last."))]
    both = joined("Both", Made, Inner, more=more)
    names = [one.name for one in declared(both)]
    assert names == [*(one.name for one in declared(Made)), "this", "that", "last"]
    assert both(whole=2).many == (1.0, 2.0)
    with pytest.raises(TypeError, match="duplicated: 'whole'"):  # two keys of one block
        joined("Twice", Made, Made)


def test_a_field_that_was_not_declared_is_an_error():
    @dataclass(frozen=True)
    class Wrong:
        size: float = 1.0

    with pytest.raises(TypeError, match=r"Wrong\.size: declare it with `setting`"):
        list(keys(Wrong))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aB1-{\n", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([one.name for one in declared(Outer)]), VALUES))
def test_whatever_is_written_is_taken_or_refused_in_one_line(value):
    told = ""
    try:
        found = validate(Outer, GOOD | value, "here")
    except UserError as error:
        told = str(error)
    assert not told or told.startswith("here")
    assert "\n" not in told
    assert len(told) < 400
    assert told or validate(Outer, plain(found), "here") == found


def test_the_files_of_a_stage_are_those_that_its_settings_name():
    @dataclass(frozen=True)
    class Files:
        """Paths and none."""

        table: str | None = setting(None, help="A file.", path=PATH, stage="score")
        other: str | None = setting(None, help="A file.", path=PATH)
        word: str = setting("a", help="No file.", stage="score")

    assert named_files(Files(), "score") == []
    assert named_files(Files(table="a.csv", other="b.csv"), "score") == ["a.csv"]
    assert named_files(Files(table="a.csv", other="b.csv"), "run") == ["b.csv"]
