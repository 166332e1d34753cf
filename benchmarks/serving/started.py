"""A target that serves a workload, for as long as a block lasts."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from serving.process import free_port, served
from serving.targets import Target, environment, variables
from serving.workload import Workload

__all__ = ["Server", "started"]


@dataclass(frozen=True)
class Server:
    """A server that is ready.

    Attributes:
        port: Where it listens, on this machine.
        process: The one that was started; it may have started others.
        scratch: A folder for files of this target and workload.
    """

    port: int
    process: subprocess.Popen[bytes]
    scratch: Path


@contextlib.contextmanager
def started(
    target: Target, workload: Workload, folder: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Server]:
    """Starts a server and ends it with the block.

    Args:
        target: Which.
        workload: What it serves.
        folder: Below it are the environments, the scratch folders and the logs.
        settings: Environment variables beside the target's own.

    Raises:
        SystemExit: It ended, or was not ready in time.
    """
    env, port = environment(target, folder), free_port()
    scratch = folder / "scratch" / target.name.replace(" ", "-").replace(",", "") / workload.name
    scratch.mkdir(parents=True, exist_ok=True)
    command = target.command(env, scratch, workload, port)
    environ = {**os.environ, **variables(target, env), "SIMVAE_BENCH_BUNDLE": str(workload.bundle), **settings}
    with served(command, environ, port, target.ready, scratch / "log") as process:
        yield Server(port, process, scratch)
