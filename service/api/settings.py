"""What the server can be told, read once at the edge: `SIMVAE_*` environment variables, then flags."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.engine.bundle import Precision
from service.engine.images import MOST_PIXELS
from service.engine.place import PATTERN

__all__ = ["PREFIX", "Settings", "SettingsError", "read_settings"]

PREFIX = "SIMVAE_"
MIB = 1024 * 1024

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class SettingsError(Exception):
    """A setting that cannot be used; the message names it, in one sentence."""


class Settings(BaseSettings):
    """All settings of the server; docs/operations.md describes each in one table."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    models: Path = Path("models")
    default_model: str | None = None
    device: Annotated[str, Field(pattern=rf"^({PATTERN})$")] = "auto"
    cuda_graphs: bool = False
    tensorrt_cache: Path | None = None
    precision: Precision = "float32"

    collections: str | None = None

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000

    workers: Annotated[int, Field(ge=1, le=256)] = 1
    max_body_bytes: Positive = 32 * MIB
    max_pixels: Annotated[int, Field(ge=1, le=MOST_PIXELS)] = 50_000_000
    max_items: Positive = 256
    queue_items: Positive = 1024
    max_queue_bytes: Positive = 512 * MIB
    max_batch: Positive = 64
    request_timeout_s: Seconds = 30.0
    drain_timeout_s: Seconds = 30.0
    decode_threads: Positive | None = None
    inference_threads: Positive | None = None

    api_key: SecretStr | None = None
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return _split(value) if isinstance(value, str) else value

    @field_validator("collections")
    @classmethod
    def _check_place(cls, value: str | None) -> str | None:
        if value is not None and "://" in value and not value.startswith(("s3://", "gs://", "az://")):
            raise ValueError("expected a folder, or the URL of an object store that starts with s3://, gs:// or az://")
        return value

    @field_validator("api_key")
    @classmethod
    def _check_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not all(
            key.isascii() and key.isprintable() for key in _split(value.get_secret_value())
        ):
            raise ValueError("expected keys of printable ASCII characters, separated by commas")
        return value if value is not None and _split(value.get_secret_value()) else None

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The keys that are accepted; none means that the service is open."""
        return () if self.api_key is None else _split(self.api_key.get_secret_value())


def read_settings(**flags: object) -> Settings:
    """Reads the environment, and lets every flag that is not None win over it.

    Raises:
        SettingsError: A value cannot be used.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        name = str(problem["loc"][0])
        source = PREFIX + name.upper() if flags.get(name) is None else "--" + name.replace("_", "-")
        raise SettingsError(f"{source}: {problem['msg']}.") from error


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
