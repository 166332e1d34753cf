"""The models of one server: loaded in a thread while it already listens, found by name, closed at the end."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Literal

from service.api.errors import RequestError, UnknownModelError
from service.api.metrics import Metrics
from service.api.settings import Settings
from service.engine.bundle import BundleError, find_bundles
from service.engine.cpu import inference_threads, usable_cpus
from service.engine.engine import Engine, GpuOptions
from service.engine.errors import DeviceError, NotReadyError
from service.engine.images import DecodeLimits
from service.engine.inline import QUICK_S
from service.engine.priority import Priority
from service.engine.prompt import Prompt
from service.engine.runtime import Runtime

__all__ = ["Repository", "State"]

State = Literal["loading", "ready", "draining", "failed"]
_log = logging.getLogger(__name__)


class Repository:
    """Every bundle below `settings.models`, behind one runtime.

    Attributes:
        default: The model for requests that name none: the one of the settings, or the only name there is.
        metrics: Told of every batch and every model.
        failure: Why loading ended without models, if it did.
        on_failure: Called then, in the loading thread.
        on_loaded: Called in the loading thread once everything is loaded, before it is ready.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._draining = False
        self._runtime: Runtime | None = None
        self._engines: dict[str, Engine] = {}
        self.default: Engine | None = None
        self._prompt: Prompt | None = None
        self._thread = threading.Thread(target=self._load, name="load-models")
        self.metrics = Metrics(
            lambda: self._runtime.load if self._runtime is not None else 0,
            lambda: self._runtime.bulk_load if self._runtime is not None else 0,
        )
        self.failure: Exception | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.on_loaded: Callable[[], None] = lambda: None

    @property
    def state(self) -> State:
        """`failed` when no model could be loaded or an inference thread has died; only `ready` serves."""
        if self.failure is not None or (self._runtime is not None and not self._runtime.alive):
            return "failed"
        if self._draining:
            return "draining"
        return "ready" if self._engines else "loading"

    @property
    def prompt(self) -> Prompt | None:
        """A shorter way through the default model, if that is on the CPU and quick, and no crowd waits before it."""
        runtime = self._runtime
        crowded = runtime is None or runtime.load - runtime.bulk_load > self._settings.queue_items // 2
        return None if crowded or self.state != "ready" else self._prompt

    @property
    def engines(self) -> list[Engine]:
        """What is loaded, by name and version; empty until everything is."""
        return sorted(self._engines.values(), key=lambda engine: (engine.manifest.name, engine.manifest.version))

    def get(self, name: str | None) -> Engine:
        """The engine of `name` (its newest version) or `name@version`; the default for None.

        Raises:
            NotReadyError: Nothing is loaded yet.
            UnknownModelError: No such name or version.
            RequestError: No name, and no default.
        """
        self.check_loaded()
        engine = self.default if name is None else _find(self._engines, name)
        if engine is not None:
            return engine
        loaded = ", ".join(engine.manifest.reference for engine in self.engines)
        if name is None:
            raise RequestError(
                f"Expected a 'model', as several are loaded and none is the default: name one of {loaded}, "
                "or start the server with --default-model."
            )
        raise UnknownModelError(f"No model {name[:100]!r} is loaded; there is {loaded}.")

    def check_loaded(self) -> None:
        """Raises NotReadyError until everything is loaded."""
        if not self._engines:
            raise NotReadyError(f"No model is there yet ({self.state}); GET /health/ready says when.")

    def check_room(self, priority: Priority, within_s: float) -> None:
        """Raises QueueFullError where not even one image would be admitted now; see `Runtime.check_room`."""
        if self._runtime is not None:
            self._runtime.check_room(priority, within_s)

    def start(self) -> None:
        """Begins to load, unless that was done; returns at once."""
        if self._thread.ident is None:
            self._thread.start()

    def wait(self) -> None:
        """Waits until everything is loaded, or cannot be."""
        self._thread.join()

    def begin_drain(self) -> None:
        """Tells readiness that the end has come; what was accepted is still answered."""
        self._draining = True

    def close(self) -> None:
        """Ends all threads; waits for a load that is under way."""
        self._draining = True
        if self._thread.is_alive():
            self._thread.join()
        if self._runtime is not None:
            self._runtime.close()

    def _load(self) -> None:
        try:
            engines = self._load_engines()
            if not self._draining:
                default = self._choose_default(engines)
                prompt = self._open_prompt(default)
                self.on_loaded()
                self._engines, self._prompt, self.default = engines, prompt, default  # requests look from now on
                _log.info("ready: %s", ", ".join(engines))
                if self.default is None:
                    _log.warning("no default model: requests must name one; --default-model sets it")
        except Exception as error:
            if not isinstance(error, BundleError | DeviceError):
                _log.exception("loading failed")
            self._engines, self.default = {}, None
            self.failure = error
            self.on_failure()

    def _choose_default(self, engines: Mapping[str, Engine]) -> Engine | None:
        names = {engine.manifest.name for engine in engines.values()}
        only = names.pop() if len(names) == 1 else None
        name = self._settings.default_model or only
        return None if name is None else _find(engines, name)

    def _open_prompt(self, engine: Engine | None) -> Prompt | None:
        if engine is None or engine.model.device != "cpu":
            return None
        runtime = engine.runtime

        def on_batch(items: int, seconds: float) -> None:
            runtime.expect_interactive()
            self.metrics.batch(items, seconds)

        prompt = Prompt(engine.model, runtime.limits, runtime.max_batch, engine.statistics["embed"], on_batch)
        return prompt if prompt.cost_s <= QUICK_S else None

    def _load_engines(self) -> dict[str, Engine]:
        settings, engines = self._settings, dict[str, Engine]()
        paths = find_bundles(settings.models)
        cpus = max(1, usable_cpus() // settings.workers)
        self._runtime = Runtime(
            max_items=settings.queue_items,
            max_bytes=settings.max_queue_bytes,
            decode_threads=settings.decode_threads,
            cpus=cpus,
            max_batch=settings.max_batch,
            limits=DecodeLimits(settings.max_pixels),
            on_batch=self.metrics.batch,
        )
        for path in paths:
            if self._draining:
                break
            engine = Engine.load(
                path,
                device=settings.device,
                precision=settings.precision,
                threads=settings.inference_threads or inference_threads(cpus),
                threads_alone=settings.inference_threads,
                runtime=self._runtime,
                gpu=GpuOptions(settings.cuda_graphs, settings.tensorrt_cache),
            )
            manifest = engine.manifest
            if manifest.reference in engines:
                raise BundleError(f"{path}: {manifest.reference} is there twice; give one another name or version.")
            engines[manifest.reference] = engine
            self.metrics.model(manifest, engine.fingerprint, engine.model.provider)
        default = settings.default_model
        if default is not None and _find(engines, default) is None and not self._draining:
            raise BundleError(f"{settings.models}: expected the default model {default!r}, found {', '.join(engines)}.")
        return engines


def _find(engines: Mapping[str, Engine], name: str) -> Engine | None:
    """By reference, or the newest version of a name."""
    if name in engines:
        return engines[name]
    versions = [engine for engine in engines.values() if engine.manifest.name == name]
    return max(versions, key=lambda engine: engine.manifest.version, default=None)
