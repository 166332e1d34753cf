"""Dependencies are pinned, packages know only what they may, and the two compose files are one service."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.api.settings import Settings

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CLIENT: dict[str, Any] = tomllib.loads((ROOT / "simvae_client" / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def direct_requirements() -> list[Requirement]:
    extras = [extra for project in (PROJECT, CLIENT) for extra in project["optional-dependencies"].values()]
    lists = (PROJECT["dependencies"], CLIENT["dependencies"], *extras)
    return [Requirement(line) for lines in lists for line in lines]


def test_every_dependency_is_pinned_to_a_version_that_pyproject_allows(pins: dict[str, str]) -> None:
    for requirement in direct_requirements():
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin, f"constraints.txt has no version of {requirement.name}; run make lock"
        assert requirement.specifier.contains(pin), f"constraints.txt: {pin} is not {requirement}"


def test_what_the_dependencies_depend_on_is_pinned_too(pins: dict[str, str]) -> None:
    waiting, seen = direct_requirements(), set[str]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        key = f"{name}[{','.join(sorted(requirement.extras))}]"
        if key in seen:
            continue
        seen.add(key)
        assert name in pins, f"constraints.txt has no version of {name}; run make lock"
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # the other ONNX Runtime, or what only torch with CUDA brings
        waiting += [need for need in map(Requirement, needs) if applies(need, requirement.extras)]


def applies(requirement: Requirement, extras: set[str]) -> bool:
    environment = default_environment()
    return requirement.marker is None or any(
        requirement.marker.evaluate(dict(environment) | {"extra": extra}) for extra in extras or {""}
    )


def imported_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_the_server_starts_without_torch_onnx_training_or_export() -> None:
    assert not imported_by("service.api.app") & {"torch", "onnx", "onnxscript", "training", "export"}


def test_what_workers_share_starts_no_threads_and_the_command_leaves_them_to_count() -> None:
    """ONNX Runtime and LanceDB may start threads when they are imported, which forks would not have."""
    assert not imported_by("service.api.server") & {"onnxruntime", "lancedb", "pyarrow"}
    assert "prometheus_client" not in imported_by("service.api.cli"), "it looks once for what counts processes together"


def test_the_engine_is_a_library_without_http() -> None:
    assert not imported_by("service.engine.engine") & {"fastapi", "starlette", "uvicorn", "service.api"}


def test_the_client_needs_what_it_says_and_nothing_else() -> None:
    needed = {Requirement(line).name for line in CLIENT["dependencies"]}
    sources = (ROOT / "simvae_client").glob("*.py")
    trees = [ast.walk(ast.parse(source.read_text())) for source in sources]
    nodes = [node for tree in trees for node in tree]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    imported = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"simvae_client"}
    assert imported == needed | {Requirement(line).name for line in CLIENT["optional-dependencies"]["progress"]}


def test_the_client_is_a_distribution_of_the_same_version(tmp_path: Path) -> None:
    source = tmp_path / "simvae_client"
    shutil.copytree(ROOT / "simvae_client", source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob(f"simvae_client-{PROJECT['version']}-*.whl")
    files = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("simvae_client/")}
    modules = {f"simvae_client/{path.name}" for path in (ROOT / "simvae_client").glob("*.py")}
    assert files == modules | {"simvae_client/py.typed"}


def test_onnx_runtime_reports_nothing_about_the_machine_or_its_models(tmp_path: Path) -> None:
    """It would leave an identifier and a queue of events in the home directory; CI=true would silence it anyway."""
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    code = "import service.engine.engine, onnxruntime"
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True)
    assert list(tmp_path.iterdir()) == []


def test_every_command_that_is_installed_starts() -> None:
    for name in PROJECT["scripts"]:
        done = subprocess.run(
            [Path(sys.executable).parent / name, "--help"], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, f"{name} --help: {done.stderr}"
        assert name in done.stdout


def test_the_gpu_file_is_the_cpu_service_under_the_same_name_and_port() -> None:
    cpu, gpu = (yaml.safe_load((ROOT / f"docker-compose{kind}.yml").read_text()) for kind in ("", ".gpu"))
    assert gpu["name"] == cpu["name"]
    assert list(gpu["services"]) == list(cpu["services"]) == ["simvae"]
    service = gpu["services"]["simvae"]
    assert service["extends"] == {"file": "docker-compose.yml", "service": "simvae"}
    assert service["build"]["args"] == {"RUNTIME": "gpu"}
    assert not service.keys() & {"ports", "container_name", "profiles"}
    assert service["image"] != cpu["services"]["simvae"]["image"]


def test_the_container_has_time_to_drain() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    grace = re.fullmatch(r"(\d+)s", compose["services"]["simvae"]["stop_grace_period"])
    assert grace
    assert int(grace[1]) > Settings.model_fields["drain_timeout_s"].default
