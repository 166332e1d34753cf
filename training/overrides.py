"""From a preset and flags to a configuration: TOML read, keys overridden, mistakes named."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from training.config import Config

__all__ = ["ConfigError", "load_preset", "preset_names", "with_overrides"]

_PRESETS = Path(__file__).parent / "presets"


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names the key, what was expected and what was found."""


def preset_names() -> list[str]:
    """The presets that come with the project, by name."""
    return sorted(file.stem for file in _PRESETS.glob("*.toml"))


def load_preset(name: str) -> dict[str, Any]:
    """Reads a preset by name, or a TOML file by path, as nested keys not yet validated.

    Raises:
        ConfigError: No such preset or file, or not TOML.
    """
    path = Path(name) if name.endswith(".toml") else _PRESETS / f"{name}.toml"
    if not path.is_file():
        raise ConfigError(
            f"expected a preset ({', '.join(preset_names())}) or the path of a .toml file, found {name!r}"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: expected TOML, found {error}") from error


def with_overrides(values: dict[str, Any], overrides: list[str]) -> Config:
    """Applies `section.key=value` overrides to nested keys and validates the whole.

    Args:
        values: What `load_preset` gave.
        overrides: For example `["epochs=3", "objective.rho=0.9", "views.crop_area=[0.5, 1]"]`; values are TOML,
            and a bare word is a string.

    Raises:
        ConfigError: A key that does not exist, or a value out of range.
    """
    merged = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ConfigError(f"expected key=value, for example objective.rho=0.9, found {override!r}")
        *sections, last = key.strip().split(".")
        place = merged
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{key}: expected {section} to be a section, found the value {place!r}")
        place[last] = _parse_value(text)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error.errors()[0])) from error


def _explain(problem: ErrorDetails) -> str:
    where = ".".join(map(str, problem["loc"])) or "configuration"
    if problem["type"] == "value_error":  # ours, and complete
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    found = "nothing" if problem["type"] == "missing" else repr(problem["input"])
    return f"{where}: {problem['msg']}, found {found}"


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
