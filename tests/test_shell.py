"""Nothing that a config, a registry or a file holds is read by a shell: every word is quoted."""

from __future__ import annotations

import re

import pytest

from workflow_copy import REPO

RULES = [REPO / "Snakefile", *sorted((REPO / "workflow" / "rules").glob("*.smk"))]
SHELL = re.compile(r'^ *shell:\n((?: +"[^"\n]*"\n)+)', re.MULTILINE)


def test_every_rule_with_a_command_is_looked_at() -> None:
    text = "".join(file.read_text() for file in RULES)
    commands = SHELL.findall(text)
    assert len(commands) == text.count("shell:") > 20
    assert not re.search(r"^ *run:$", text, re.MULTILINE)


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.name)
def test_every_word_of_every_command_is_quoted(file) -> None:
    """`{params.x}` without `:q` is text that a shell reads; an empty list gives no word."""
    for command in SHELL.findall(file.read_text()):
        bare = [word for word in re.findall(r"\{[^}]*\}", command) if not word.endswith(":q}")]
        assert not bare, command
