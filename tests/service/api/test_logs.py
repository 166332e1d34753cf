import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from service.api.logs import configure_logging
from service.api.settings import Settings


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def fail(body: bytes) -> None:
    raise ValueError(f"a failure with {len(body)} bytes")


def log_a_failure() -> None:
    body = b"secret" + b"-body"
    for logger in (logging.getLogger("a.library"), structlog.stdlib.get_logger("service")):
        try:
            fail(body)
        except ValueError:
            logger.exception("it failed")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_tracebacks_show_code_and_no_values(log_format: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format=log_format))
    log_a_failure()
    said = capsys.readouterr().err
    assert said.count("ValueError: a failure with 11 bytes") == 2
    assert "secret-body" not in said


def test_what_pillow_thinks_of_a_file_of_a_client_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logging(Settings())
        warnings.warn_explicit("Skipping tag 1", UserWarning, "x.py", 1, module="PIL.TiffImagePlugin")
        warnings.warn_explicit("another", UserWarning, "x.py", 1, module="numpy")
    said = capsys.readouterr().err
    assert "another" in said
    assert "Skipping tag" not in said


def test_json_is_one_object_a_line_for_our_lines_and_those_of_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json", log_level="warning"))
    logging.getLogger("a.library").warning("two\nlines of %s", "text")
    structlog.stdlib.get_logger("service").warning("ours", number=3, odd={1}, path="ü")
    structlog.stdlib.get_logger("service").info("too quiet")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("a large image", stacklevel=1)
    library, ours, warning = map(json.loads, capsys.readouterr().err.splitlines())
    assert (warning["level"], warning["logger"]) == ("warning", "py.warnings")
    assert (library["event"], library["level"], library["logger"]) == ("two\nlines of text", "warning", "a.library")
    assert (ours["event"], ours["number"], ours["path"]) == ("ours", 3, "ü")
