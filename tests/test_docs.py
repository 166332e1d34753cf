"""What the documents tell people to type exists: make targets, commands, their options, and the files they link to."""

import functools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def command_lines(document: Path) -> list[list[str]]:
    """Commands of every code block and inline code span that start with make or simvae-, split as a shell would."""
    text = document.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`((?:make|simvae-)[^`\n]*)`", text)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()] + spans
    commands = [part.strip(" $") for line in lines for part in re.split(r"&&|\|", line.partition(" #")[0])]
    return [shlex.split(line) for line in commands if re.match(r"(make|simvae-[a-z]+)( |$)", line)]


@functools.cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@functools.cache
def options(command: str) -> set[str]:
    environment = os.environ | {"COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run(
        [Path(sys.executable).parent / command, "--help"], capture_output=True, text=True, check=True, env=environment
    )
    return set(re.findall(r"--[a-z][a-z0-9-]*", done.stdout))


@documents
def test_every_make_target_exists(document: Path) -> None:
    for command, *words in command_lines(document):
        if command == "make":
            unknown = {word for word in words if re.fullmatch(r"[a-z]+", word)} - make_targets()
            assert not unknown, f"{document.name}: make has no {unknown}"


@documents
def test_every_command_and_option_exists(document: Path) -> None:
    for command, *words in command_lines(document):
        if command == "make":
            continue
        assert command in SCRIPTS, f"{document.name}: there is no {command}"
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= options(command), f"{document.name}: {command} has no {used - options(command)}"


@documents
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (document.parent / target).exists(), f"{document.name}: {target} is not there"


def test_ci_calls_only_commands_of_the_makefile() -> None:
    called = set(re.findall(r"\bmake ([a-z]+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
    assert {"check", "test", "containers"} <= called <= make_targets()
