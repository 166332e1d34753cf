"""The Makefile's promises about installing: once, again when something changed, and one ONNX Runtime at a time.

pip's work needs a network, so an interpreter that writes down what it was asked stands in for Python here. The real
one is used by whoever reads this after `make test`.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Knows `-c`, `-V`, `-m venv DIR` and `-m pip …`; the installed runtime is a file beside it.
PYTHON = """#!/bin/sh
state={state}
case "$*" in *" install "*" ./simvae_client["*) touch "$state/client" ;; esac
case "$*" in
  -c*) exit {too_old} ;;
  -V) echo "Python {version}" ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *" show -q "*) test -e "$state/${{*##* }}" ;;
  *" uninstall "*) echo uninstall >> "$state/log"; rm -f "$state"/onnxruntime* ;;
  *" install "*"[gpu"*) echo install gpu >> "$state/log"; touch "$state/onnxruntime-gpu" ;;
  *" install "*"[cpu"*) echo install cpu >> "$state/log"; touch "$state/onnxruntime" ;;
esac
"""


class Clone:
    """The Makefile in an empty folder, with a Python that keeps a log."""

    def __init__(self, folder: Path, *, version: str = "3.13.0", too_old: int = 0) -> None:
        self.folder = folder / "clone"
        self.folder.mkdir()
        (self.folder / "simvae_client").mkdir()
        for name in ("Makefile", "pyproject.toml", "simvae_client/pyproject.toml", "constraints.txt"):
            shutil.copy2(ROOT / name, self.folder / name)
        self.python = folder / "python3"
        self.python.write_text(PYTHON.format(state=folder, version=version, too_old=too_old))
        self.python.chmod(0o755)
        self.log = folder / "log"

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # What a surrounding `make test GPU=1` hands down must not reach this make.
        outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "GPU", "PYTHON")
        environment = {name: value for name, value in os.environ.items() if name not in outer}
        command = ["make", f"PYTHON={self.python}", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    def did(self, *arguments: str) -> list[str]:
        """What pip was asked to do by one successful make."""
        self.log.write_text("")
        done = self.make(*arguments)
        assert done.returncode == 0, done.stderr
        return self.log.read_text().splitlines()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_a_second_run_installs_nothing(clone: Clone) -> None:
    assert clone.did("install") == ["install cpu"]
    assert clone.did("install") == []


@pytest.mark.parametrize("changed", ["pyproject.toml", "simvae_client/pyproject.toml", "constraints.txt"])
def test_changed_dependencies_are_installed_once(clone: Clone, changed: str) -> None:
    clone.did("install")
    stamp = (clone.folder / ".venv" / ".dev-cpu").stat().st_mtime
    os.utime(clone.folder / changed, (stamp + 5, stamp + 5))
    assert clone.did("install") == ["install cpu"]
    os.utime(clone.folder / changed, (stamp - 5, stamp - 5))
    assert clone.did("install") == []


def test_the_client_is_installed_for_tests_and_not_for_serving(clone: Clone) -> None:
    clone.did(".venv/.serve-cpu")
    assert not (clone.folder.parent / "client").exists()
    clone.did("install")
    assert (clone.folder.parent / "client").exists()


def test_what_the_tests_need_holds_what_serving_and_training_need(clone: Clone) -> None:
    clone.did("install")
    assert clone.did(".venv/.serve-cpu", ".venv/.train-cpu") == []


def test_the_other_runtime_goes_before_the_new_one_comes_and_back(clone: Clone) -> None:
    clone.did("install")
    assert clone.did("install", "GPU=1") == ["uninstall", "install gpu"]
    assert clone.did("install", "GPU=1") == []
    assert clone.did(".venv/.serve-cpu") == ["uninstall", "install cpu"]
    assert clone.did(".venv/.serve-cpu") == []


def test_an_old_python_is_refused_in_one_sentence(tmp_path: Path) -> None:
    clone = Clone(tmp_path, version="3.8.10", too_old=1)
    done = clone.make("serve")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stdout
    assert "Python 3.8.10" in done.stdout
    assert not (clone.folder / ".venv").exists()


def test_a_gpu_that_is_neither_0_nor_1_is_refused(clone: Clone) -> None:
    done = clone.make("serve", "GPU=yes")
    assert done.returncode != 0
    assert "GPU must be 0 or 1, found 'yes'" in done.stderr


def test_make_alone_lists_every_command(clone: Clone) -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    listed = re.findall(r"^  make ([a-z]+) ", clone.make().stdout, re.MULTILINE)
    assert sorted(listed) == sorted(phony[1].split())
