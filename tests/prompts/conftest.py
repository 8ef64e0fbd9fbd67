from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfy_ui.prompts.language_models import model_choice
from tests.prompts.support import LlmServer


@pytest.fixture(autouse=True)
def hide_local_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's settings and a local Ollama from the tests."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "COMFY_UI_LLM_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(model_choice, "_LOCAL", ())
    model_choice.forget_models()


@pytest.fixture
def llm() -> Iterator[LlmServer]:
    with LlmServer() as server:
        yield server
