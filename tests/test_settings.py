from __future__ import annotations

from pathlib import Path

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in ("COMFYUI_URL", "COMFYUI_TOKEN", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_load_settings_reads_documented_variables(monkeypatch) -> None:
    monkeypatch.setenv("COMFYUI_URL", "http://gpu:8188")
    monkeypatch.setenv("COMFYUI_TOKEN", "abc123")
    monkeypatch.setenv("COMFY_UI_PORT", "9000")
    settings = load_settings()
    assert settings.comfyui_url == "http://gpu:8188"
    assert settings.comfyui_token is not None
    assert settings.comfyui_token.get_secret_value() == "abc123"
    assert settings.port == 9000


def test_load_settings_argument_overrides_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("COMFY_UI_PORT", "9000")
    assert load_settings(port=9001).port == 9001
    assert load_settings(port=None).port == 9000


def test_load_settings_invalid_value_names_the_setting() -> None:
    with pytest.raises(ValidationError, match="port") as caught:
        load_settings(port="many")
    assert "docs/use/settings.md" in caught.value.hint


def test_settings_repr_hides_secrets(monkeypatch) -> None:
    monkeypatch.setenv("COMFYUI_TOKEN", "canary-token")
    monkeypatch.setenv("OPENAI_API_KEY", "canary-key")
    shown = repr(load_settings(auth="me:canary-password"))
    assert "canary" not in shown


def test_settings_data_dir_follows_xdg_data_home(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert load_settings().data_dir == tmp_path / "comfy-ui"


def test_settings_every_field_has_a_description() -> None:
    assert [n for n, field in Settings.model_fields.items() if not field.description] == []
