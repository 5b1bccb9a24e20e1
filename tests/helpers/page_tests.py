"""Runs the tests of pages in Chromium, which are scripts of Node in explorer/test."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from examples import REPO

EXPLORER = REPO / "explorer"
GROUP = pytest.mark.xdist_group("pages")  # one browser at a time


def cases(name: str) -> list[str]:
    """Names of the cases of a script."""
    source = (EXPLORER / "test" / name).read_text(encoding="utf-8")
    return re.findall(r'^  async "(.+)"\(\)', source, re.MULTILINE)


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
    """Chromium, as Debian or others call it."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def run_cases(name: str, *folders: Path) -> dict[str, str]:
    """What failed, by case; "" where nothing did."""
    words = ["node", str(EXPLORER / "test" / name), str(browser()), *map(str, folders)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
