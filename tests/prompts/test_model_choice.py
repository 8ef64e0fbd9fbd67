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


def test_what_is_given_wins_over_what_is_configured() -> None:
    given = LanguageModel(ELSEWHERE, "x")
    assert find_model(given, settings=Settings(openai_base_url="http://other/v1")) is given


def test_the_configured_server_is_taken_with_its_key_and_model() -> None:
    settings = Settings(
        openai_base_url=ELSEWHERE + "/", openai_api_key=SecretStr("k"), llm_model="m"
    )
    assert find_model(settings=settings) == LanguageModel(ELSEWHERE, "m", "k")
    assert find_model("other", settings=settings) == LanguageModel(ELSEWHERE, "other", "k")


def test_a_key_alone_means_openai() -> None:
    found = find_model(settings=Settings(openai_api_key=SecretStr("k")))
    assert found is not None
    assert found.base_url == model_choice.OPENAI_URL
    assert found.name


def test_the_key_is_not_shown() -> None:
    assert "k3y" not in repr(LanguageModel(ELSEWHERE, "m", "k3y"))


@pytest.mark.parametrize("settings", [Settings(openai_base_url=ELSEWHERE, llm_model="rules")])
def test_rules_as_the_model_means_none(settings: Settings) -> None:
    assert find_model(settings=settings) is None
    assert find_model("rules", settings=Settings(openai_base_url=ELSEWHERE)) is None


def test_without_openai_there_is_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_choice, "FEATURES", {"ai": False})
    assert find_model(LanguageModel(ELSEWHERE, "x")) is None
    assert enhance_prompt("a cat", model=LanguageModel(ELSEWHERE, "x")).source == "rules"
    with pytest.raises(LanguageModelError, match="extra 'ai'"):
        enhance_prompt("a cat", on_failure="raise")


def test_a_server_on_this_machine_is_found_and_remembered(
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


def test_looking_around_ends_in_time_though_nobody_answers(
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


def test_nothing_heavy_is_loaded_until_a_model_is_asked() -> None:
    code = (
        "import sys, comfy_ui.prompts as p; p.enhance_prompt('a cat', model='rules');"
        "print({'openai', 'httpx', 'PIL', 'gradio'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "sees"),
    [("llava:13b", True), ("qwen2.5-vl-7b", True), ("qwen2.5vl:7b", True), ("llama3.2", False)],
)
def test_models_that_see_are_known_by_name(name: str, sees: bool) -> None:
    assert model_choice.takes_pictures(name) is sees


def test_a_model_that_sees_is_looked_for_on_this_machine(llm: LlmServer) -> None:
    def found(name: str, url: str = llm.url) -> str | None:
        model = model_choice.find_vision_model(
            settings=Settings(openai_base_url=url, llm_model=name, openai_api_key=SecretStr("k"))
        )
        return model.name if model else None

    llm.models = ["llama3.2", "qwen2.5vl:7b"]
    assert found("gemma3:4b") == "gemma3:4b"
    assert found("llama3.2") == "qwen2.5vl:7b"
    assert found("llama3.2", "http://192.0.2.1/v1") is None
    llm.models = ["llama3.2"]
    assert found("llama3.2") is None
    assert model_choice.find_vision_model(settings=Settings(llm_model="rules")) is None
