from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from comfy_ui.errors import LanguageModelError
from comfy_ui.prompts import LanguageModel, enhance_prompt, find_model
from comfy_ui.prompts.language_models import model_choice
from comfy_ui.settings import Settings
from tests.prompts.support import LlmServer

ELSEWHERE = "http://gpu.example.com/v1"


def test_find_model_argument_takes_precedence_over_settings() -> None:
    model = LanguageModel(ELSEWHERE, "x")
    assert find_model(model, settings=Settings(openai_base_url="http://other/v1")) is model


def test_find_model_configured_server_has_its_key_and_model() -> None:
    settings = Settings(
        openai_base_url=ELSEWHERE + "/", openai_api_key=SecretStr("k"), llm_model="m"
    )
    assert find_model(settings=settings) == LanguageModel(ELSEWHERE, "m", "k")
    assert find_model("other", settings=settings) == LanguageModel(ELSEWHERE, "other", "k")


def test_find_model_api_key_alone_selects_openai() -> None:
    model = find_model(settings=Settings(openai_api_key=SecretStr("k")))
    assert model is not None
    assert model.base_url == model_choice.OPENAI_URL
    assert model.name


def test_language_model_repr_omits_key() -> None:
    assert "k3y" not in repr(LanguageModel(ELSEWHERE, "m", "k3y"))


@pytest.mark.parametrize("settings", [Settings(openai_base_url=ELSEWHERE, llm_model="rules")])
def test_find_model_rules_setting_is_none(settings: Settings) -> None:
    assert find_model(settings=settings) is None
    assert find_model("rules", settings=Settings(openai_base_url=ELSEWHERE)) is None


def test_find_model_without_openai_package_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_choice, "FEATURES", {"ai": False})
    assert find_model(LanguageModel(ELSEWHERE, "x")) is None
    assert enhance_prompt("a cat", model=LanguageModel(ELSEWHERE, "x")).source == "rules"
    with pytest.raises(LanguageModelError, match="extra 'ai'"):
        enhance_prompt("a cat", on_failure="raise")


def test_find_model_local_server_is_detected_and_remembered(
    llm: LlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm.models = ["nomic-embed-text", "gemma3:4b", "llama3.2"]
    monkeypatch.setattr(model_choice, "_LOCAL", ("http://127.0.0.1:9/v1", llm.url))
    assert find_model() == LanguageModel(llm.url, "gemma3:4b")
    assert find_model("llama3.2") == LanguageModel(llm.url, "llama3.2")
    assert find_model("absent") is None
    llm.models = ["other"]
    assert find_model() == LanguageModel(llm.url, "gemma3:4b")
    model_choice.forget_models()
    assert find_model() == LanguageModel(llm.url, "other")


@contextmanager
def _silent_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


def test_find_model_silent_local_servers_time_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _silent_server() as one, _silent_server() as two:
        monkeypatch.setattr(model_choice, "_LOCAL", (one, two))
        find_model("rules")
        started = time.monotonic()
        assert find_model() is None
        assert time.monotonic() - started < 0.6  # 0.3, and a loaded machine
        started = time.monotonic()
        assert find_model() is None
        assert time.monotonic() - started < 0.1


def test_enhance_prompt_by_rules_imports_no_heavy_modules() -> None:
    code = (
        "import sys, comfy_ui.prompts as p; p.enhance_prompt('a cat', model='rules');"
        "print({'openai', 'httpx', 'PIL', 'gradio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "sees"),
    [("llava:13b", True), ("qwen2.5-vl-7b", True), ("qwen2.5vl:7b", True), ("llama3.2", False)],
)
def test_takes_pictures_is_decided_by_model_name(name: str, sees: bool) -> None:
    assert model_choice.takes_pictures(name) is sees


def test_find_vision_model_searches_local_server(llm: LlmServer) -> None:
    def vision_model(name: str, url: str = llm.url) -> str | None:
        model = model_choice.find_vision_model(
            settings=Settings(openai_base_url=url, llm_model=name, openai_api_key=SecretStr("k"))
        )
        return model.name if model else None

    llm.models = ["llama3.2", "qwen2.5vl:7b"]
    assert vision_model("gemma3:4b") == "gemma3:4b"
    assert vision_model("llama3.2") == "qwen2.5vl:7b"
    assert vision_model("llama3.2", "http://192.0.2.1/v1") is None
    llm.models = ["llama3.2"]
    assert vision_model("llama3.2") is None
    assert model_choice.find_vision_model(settings=Settings(llm_model="rules")) is None
