"""Who is measured: this service and the servers people would take instead, each as its documentation recommends.

Every peer has an environment of its own below `runs/serve/envs`, made when it is first wanted.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from serving import forms
from serving.forms import Form
from serving.workload import Workload

__all__ = [
    "BARE",
    "FILES",
    "JSON",
    "LINES",
    "ONE",
    "TARGETS",
    "TENSOR",
    "Target",
    "environment",
    "service",
    "variables",
]

PEERS = Path(__file__).parent / "peers"
_WORK = ("onnxruntime==1.32.0", "pillow==13.0.0")
ONE, FILES, JSON, TENSOR, LINES = "one", "files", "json", "tensor", "lines"
_OCTETS = {"Content-Type": "application/octet-stream"}
_MULTIPART = {"Content-Type": f"multipart/form-data; boundary={forms.BOUNDARY}"}
_V2 = {"Inference-Header-Content-Length": str(forms.V2_HEAD), **_OCTETS}


@dataclass(frozen=True)
class Target:
    """A server.

    Attributes:
        name: In tables.
        command: Its words, given the folder of its environment, a scratch folder, the workload and the port.
        forms: How it is asked, by what a request holds, given the number of latent dimensions.
        packages: What its environment holds; none means this project's own.
        ready: The path that answers 200 once it serves.
        environ: Beside the environment variables of all.
        most_images: That one request may hold.
    """

    name: str
    command: Callable[[Path, Path, Workload, int], list[str]]
    forms: Callable[[int], dict[str, Form]]
    packages: tuple[str, ...] = ()
    ready: str = "/health"
    environ: dict[str, str] = field(default_factory=dict)
    most_images: int = 256


def environment(target: Target, folder: Path) -> Path:
    """The target's environment; made, with its packages, unless it is there."""
    if not target.packages:
        return Path(sys.prefix)
    place = folder / "envs" / target.name
    done = place / ".complete"
    if not done.exists():
        print(f"installing {' '.join(target.packages)} for {target.name} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([place / "bin" / "pip", "install", "-q", *target.packages, *_WORK], check=True)
        done.touch()
    return place


def service(workers: int) -> Target:
    """This service with so many workers."""

    def command(env: Path, _scratch: Path, workload: Workload, port: int) -> list[str]:
        words = [str(env / "bin" / "simvae-serve"), "--models", str(workload.bundle), "--port", str(port)]
        words += ["--device", "cpu", "--log-level", "warning"]
        return [*words, *(["--workers", str(workers)] if workers > 1 else [])]

    def asked(_dim: int) -> dict[str, Form]:
        binary = {"Accept": "application/x-npy"}
        return {
            ONE: Form("/embed", forms.raw, forms.json_rows, {"Content-Type": "image/png"}),
            FILES: Form("/embed", forms.multipart, forms.npy_rows, {**_MULTIPART, **binary}),
            JSON: Form("/embed", forms.json_images, forms.json_rows, {"Content-Type": "application/json"}),
            TENSOR: Form("/embed", forms.npy, forms.npy_rows, {"Content-Type": "application/x-npy", **binary}),
            LINES: Form("/embed", forms.lines, forms.line_rows, {"Content-Type": "application/x-ndjson"}),
        }

    return Target(f"simvae, {workers} worker{'s' * (workers > 1)}", command, asked, ready="/health/ready")


def _naive(workers: int) -> Target:
    def command(env: Path, _scratch: Path, _workload: Workload, port: int) -> list[str]:
        uvicorn = [str(env / "bin" / "uvicorn"), "--app-dir", str(PEERS), "naive:app", "--port", str(port)]
        return [*uvicorn, "--workers", str(workers), "--no-access-log", "--log-level", "warning"]

    def asked(dim: int) -> dict[str, Form]:
        return {
            ONE: Form("/one", forms.raw, forms.json_embedding, _OCTETS),
            FILES: Form("/many", forms.packed, forms.float_rows(dim), _OCTETS),
            TENSOR: Form("/tensor", forms.pixels, forms.float_rows(dim), _OCTETS),
        }

    return Target(f"naive FastAPI, {workers} worker{'s' * (workers > 1)}", command, asked, ready="/docs")


def _litserve() -> Target:
    def command(env: Path, _scratch: Path, _workload: Workload, port: int) -> list[str]:
        return [str(env / "bin" / "python"), str(PEERS / "litserve_server.py"), str(port)]

    def asked(_dim: int) -> dict[str, Form]:
        return {ONE: Form("/predict", forms.raw, forms.json_embedding, _OCTETS)}

    return Target("litserve", command, asked, ("litserve==0.2.19",))


def _bentoml() -> Target:
    def command(env: Path, _scratch: Path, _workload: Workload, port: int) -> list[str]:
        words = [str(env / "bin" / "bentoml"), "serve", "bento:Embedder", "--working-dir", str(PEERS)]
        return [*words, "--port", str(port), "--host", "127.0.0.1"]

    def asked(_dim: int) -> dict[str, Form]:
        form = Form("/embed", forms.multipart, forms.json_list, _MULTIPART)
        return {ONE: form, FILES: form}

    return Target("bentoml", command, asked, ("bentoml==1.4.39",), "/readyz", {"BENTOML_DO_NOT_TRACK": "True"}, 32)


_TRITON_CONFIG = """
backend: "python"
max_batch_size: 32
input [{{ name: "images", data_type: {kind}, dims: {dims} }}]
output [{{ name: "embeddings", data_type: TYPE_FP32, dims: [ {dim} ] }}]
instance_group [{{ kind: KIND_CPU, count: 2 }}]
dynamic_batching {{ }}
"""


def _triton() -> Target:
    def command(env: Path, scratch: Path, workload: Workload, port: int) -> list[str]:
        library = next(env.glob("lib/python3.*/site-packages/pytriton/tritonserver"))
        manifest = workload.manifest
        shape = ", ".join(map(str, manifest.input.shape))
        for name, kind, dims in (("files", "TYPE_STRING", "[ 1 ]"), ("pixels", "TYPE_UINT8", f"[ {shape} ]")):
            folder = scratch / "repository" / name / "1"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(PEERS / "triton_model.py", folder / "model.py")
            config = _TRITON_CONFIG.format(kind=kind, dims=dims, dim=manifest.embedding.dim)
            (folder.parent / "config.pbtxt").write_text(f'name: "{name}"' + config, encoding="utf-8")
        python = library / "python_backend_stubs" / f"{sys.version_info.major}.{sys.version_info.minor}"
        backends = scratch / "backends" / "python"
        shutil.copytree(library / "backends" / "python", backends, dirs_exist_ok=True)
        shutil.copy(python / "triton_python_backend_stub", backends)
        libraries = library.parents[1] / "nvidia_pytriton.libs"
        words = ["env", f"LD_LIBRARY_PATH={libraries}", str(library / "bin" / "tritonserver")]
        words += ["--model-repository", str(scratch / "repository")]
        words += ["--backend-directory", str(backends.parent), "--http-port", str(port), "--http-thread-count", "2"]
        return [*words, "--allow-grpc=false", "--allow-metrics=false", "--log-info=false", "--log-warning=false"]

    def asked(dim: int) -> dict[str, Form]:
        files, tensors = (f"/v2/models/{name}/infer" for name in ("files", "pixels"))
        encoded = Form(files, forms.infer_v2("images", "BYTES"), forms.v2_rows(dim), _V2)
        return {
            ONE: encoded,
            FILES: encoded,
            TENSOR: Form(tensors, forms.infer_v2("images", "UINT8"), forms.v2_rows(dim), _V2),
        }

    packages = ("nvidia-pytriton==0.7.0", "numpy<2")
    return Target("triton", command, asked, packages, "/v2/health/ready", most_images=32)


def variables(target: Target, env: Path) -> dict[str, str]:
    """Environment variables of a server: its own environment first, and where the peers' code is."""
    path = os.pathsep.join([str(env / "bin"), os.environ.get("PATH", "")])
    own = {"PATH": path, "SIMVAE_BENCH_PEERS": str(PEERS), **target.environ}
    if target.packages:  # Triton's interpreter is its own; it must find what the environment holds
        own["PYTHONPATH"] = str(next(env.glob("lib/python3.*/site-packages")))
    return own


def _bare() -> Target:
    def command(env: Path, _scratch: Path, _workload: Workload, port: int) -> list[str]:
        uvicorn = [str(env / "bin" / "uvicorn"), "--app-dir", str(Path(__file__).parent), "bare:app"]
        return [*uvicorn, "--port", str(port), "--no-access-log", "--log-level", "warning"]

    form = Form("/", forms.raw, forms.json_rows)
    return Target("bare uvicorn", command, lambda _dim: {ONE: form}, ready="/")


BARE = _bare()
TARGETS: tuple[Target, ...] = (
    service(1),
    service(2),
    _naive(1),
    _naive(2),
    _litserve(),
    _bentoml(),
    _triton(),
)
