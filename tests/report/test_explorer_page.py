"""The explorer in a real browser, opened from disk; the cases are in explorer/test/page.mjs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_merge import METHOD, Group, control, net, run
from test_merge_hostile import shown

from examples import REPO

__all__ = ["shown"]  # a fixture of test_merge_hostile
EXPLORER = REPO / "explorer"
TEST = EXPLORER / "test" / "page.mjs"
CASES = re.findall(r'^  async "(.+)"\(\)', TEST.read_text(encoding="utf-8"), re.MULTILINE)
pytestmark = pytest.mark.xdist_group("explorer_page")  # one browser for all cases


def missing() -> str:
    """What this machine lacks for the tests, with the cure, or ""."""
    if shutil.which("node") is None:
        return "no node; apt-get install nodejs npm"
    if browser() is None:
        return "no Chromium; apt-get install chromium"
    if not (EXPLORER / "node_modules" / "playwright-core").is_dir():
        return "no playwright-core; run `npm ci` in explorer"
    return ""


def browser() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def made(toys, toy_set, tmp_path_factory) -> Path:
    """The explorer of four models: two are ranked."""
    place = tmp_path_factory.mktemp("explorer")
    group = Group(place / "group", toy_set, toys)
    group.scans(group.add(METHOD))
    group.scans(group.add(control()), rough=1.0)
    group.scans(group.add(net("ours")), rough=0.05)
    group.scans(group.add(net("theirs", "b")), rough=0.01)
    assert run(group.folder, "--out", place / "out") == 0
    return place / "out" / "explorer"


@pytest.fixture(scope="module")
def told(request) -> dict[str, str]:
    if reason := missing():
        pytest.skip(reason)
    folder, hostile = request.getfixturevalue("made"), request.getfixturevalue("shown")[0]
    words = ["node", str(TEST), str(browser()), str(folder), str(hostile / "explorer")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_page(told, case):
    assert told[case] == "", told[case]
