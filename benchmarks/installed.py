"""What a package adds to an installation of the service."""

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

__all__ = ["installed_mb"]

_SERVICE = ["fastapi", "fastapi-offline", "numpy", "orjson", "pillow", "prometheus-client", "pydantic-settings"]
_SERVICE += ["multipart", "rich", "structlog", "typer", "uvicorn", "httptools", "uvloop", "watchfiles", "onnxruntime"]


def installed_mb(packages: Sequence[str]) -> float:
    """Of its packages and all that they need, but for what the service needs anyway."""
    needed = with_dependencies(packages) - with_dependencies(_SERVICE)
    files = [file for package in needed for file in distribution(package).files or []]
    sizes = [Path(str(file.locate())).stat().st_size for file in files if Path(str(file.locate())).is_file()]
    return sum(sizes) / 2**20


def with_dependencies(packages: Iterable[str]) -> set[str]:
    """Names of packages, and of everything installed that they require without an extra."""
    waiting, found = list(packages), set[str]()
    while waiting:
        package = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        try:
            requires = distribution(package).requires or []
        except PackageNotFoundError:
            continue
        if package not in found:
            found.add(package)
            waiting += [re.split(r"[^\w.-]", need)[0] for need in requires if "extra ==" not in need]
    return found
