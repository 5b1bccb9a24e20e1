"""The public models of the registry: complete, as they were verified, and in the docs' table."""

from __future__ import annotations

import json

import pytest

import models_table
from pesbench.commands.verify.record import RECORD, is_verifiable, read_record, stale
from pesbench.models.models_file import read_models


@pytest.fixture(scope="module")
def entries(repo):
    return read_models(repo / "config" / "models.yaml")


@pytest.fixture(scope="module")
def trained():
    public = models_table.public()
    return {name: entry for name, entry in public.items() if models_table.is_trained(entry)}


def test_there_are_thirty_public_models_of_machine_learning(trained):
    assert len(trained) >= 30


def test_every_public_model_says_what_users_choose_by(trained):
    for name, entry in trained.items():
        for key in ("training_data", "license", "citation", "description"):
            assert entry.settings.get(key), f"{name}: {key}"
        assert isinstance(entry.settings.get("conservative"), bool), name


def test_a_model_that_was_trained_on_spice_is_marked(trained):
    for name, entry in trained.items():
        if any(word in entry.settings["training_data"] for word in ("SPICE", "OMol25")):
            assert entry.settings.get("seen", {}).get("bsct_spice"), name


def test_entries_of_the_testbed_say_what_their_cards_say(entries, repo):
    for name, entry in entries.items():
        if entry.family == "testbed":
            card = (repo / entry.settings["weights"]).with_suffix(".json")
            forces = json.loads(card.read_text(encoding="utf-8"))["switches"]["forces"]
            assert entry.settings["conservative"] == (forces == "gradient"), name


def test_entries_are_as_they_were_verified(entries, repo):
    again = "run `python -m pesbench verify-entries` and commit the record"
    assert stale(entries, read_record(repo / RECORD)) == [], again


def test_every_entry_that_pins_packages_was_read(entries, repo):
    record = read_record(repo / RECORD)
    for name in (name for name, one in entries.items() if is_verifiable(one)):
        outermost = record[name]["paths"][-1]
        assert outermost["at"] in ("calculator", "model")
        assert outermost["source"], name  # file and line, not `not_checked`


def test_the_docs_hold_the_table_of_the_registry(repo):
    text = models_table.PAGE.read_text(encoding="utf-8")
    assert models_table.written(text) == text, "run `python tests/helpers/models_table.py`"
