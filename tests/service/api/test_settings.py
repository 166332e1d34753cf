import re
from pathlib import Path

import pytest

from service.api.settings import Settings, SettingsError, read_settings

ROOT = Path(__file__).parents[3]


def test_flags_override_the_environment_and_absent_flags_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMVAE_PORT", "9000")
    monkeypatch.setenv("SIMVAE_HOST", "0.0.0.0")  # noqa: S104
    settings = read_settings(port=9001, host=None)
    assert (settings.port, settings.host) == (9001, "0.0.0.0")  # noqa: S104


def test_an_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files pass empty strings for what is not set; an empty key would lock everyone out."""
    monkeypatch.setenv("SIMVAE_API_KEY", "")
    monkeypatch.setenv("SIMVAE_DEFAULT_MODEL", "")
    settings = read_settings()
    assert settings.api_keys == ()
    assert settings.default_model is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("MAX_BATCH", "0"),
        ("DEVICE", "tpu"),
        ("DEVICE", "cuda:0,"),
        ("CUDA_GRAPHS", "maybe"),
        ("REQUEST_TIMEOUT_S", "nan"),
        ("API_KEY", "schlüssel"),
        ("COLLECTIONS", "http://localhost:8000"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SIMVAE_{name}", value)
    with pytest.raises(SettingsError, match=rf"^SIMVAE_{name}: [^\n]+\.$"):
        read_settings()


def test_a_bad_flag_is_one_sentence_that_names_the_flag() -> None:
    with pytest.raises(SettingsError, match=r"^--log-level: [^\n]+\.$"):
        read_settings(log_level="loud", port=None)


def test_keys_and_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMVAE_API_KEY", "first, second,")
    monkeypatch.setenv("SIMVAE_CORS_ORIGINS", "https://a.example, https://b.example")
    settings = read_settings()
    assert settings.api_keys == ("first", "second")
    assert settings.cors_origins == ("https://a.example", "https://b.example")


def test_keys_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMVAE_API_KEY", "secret-\x07")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("SIMVAE_API_KEY", "secret")
    assert "secret" not in repr(read_settings())


def test_every_setting_stands_in_the_table_of_the_operations_page_with_its_default() -> None:
    rows = dict(
        re.findall(r"^\| `SIMVAE_([A-Z0-9_]+)` \|([^|]*)\|", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    )
    assert set(rows) == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = "" if field.default in {None, ()} else f"`{field.default}`"
        assert rows[name.upper()].strip() == default, name
