"""Whether exactly one ONNX Runtime is installed; asked before it is first imported."""

from collections.abc import Collection
from importlib import metadata

from service.engine.errors import DeviceError

__all__ = ["check_runtime"]

_WHEELS = ("onnxruntime", "onnxruntime-gpu")


def check_runtime(installed: Collection[str] | None = None) -> None:
    """Checks that one of the two ONNX Runtime wheels is installed, and not both: they overwrite each other's files.

    Args:
        installed: Names of distributions; None asks the environment.

    Raises:
        DeviceError: Both are installed, or none.
    """
    names = [wheel for wheel in _WHEELS if (_is_installed(wheel) if installed is None else wheel in installed)]
    if not names:
        raise DeviceError(
            "Expected ONNX Runtime, found none: install simvae with the extra cpu, or gpu for an NVIDIA GPU."
        )
    if len(names) > 1:
        raise DeviceError(
            "Expected one of onnxruntime and onnxruntime-gpu, found both, which overwrite each other: "
            "run `pip uninstall onnxruntime onnxruntime-gpu`, then install simvae with the extra cpu or gpu."
        )


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
