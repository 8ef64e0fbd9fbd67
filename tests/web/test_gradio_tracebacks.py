from __future__ import annotations

import logging
from types import ModuleType

import gradio.queueing
import gradio.route_utils
import gradio.routes
import gradio.utils
import pytest

from comfy_ui import logging as our_logging
from comfy_ui.errors import ValidationError
from comfy_ui.web.event_queue import log_tracebacks

MODULES = (gradio.queueing, gradio.route_utils, gradio.routes, gradio.utils)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in MODULES:
        monkeypatch.setattr(module, "traceback", module.traceback)
    logger = logging.getLogger("comfy_ui")
    monkeypatch.setattr(logger, "handlers", [])
    for name in ("level", "propagate"):
        monkeypatch.setattr(logger, name, getattr(logger, name))


def configure() -> None:
    our_logging.configure("info", secrets=["hunter2-token"])
    log_tracebacks()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_log_tracebacks_error_of_a_handler_is_redacted(
    module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    configure()
    try:
        raise RuntimeError("hunter2-token")
    except RuntimeError:
        module.traceback.print_exc()
    printed = capsys.readouterr().err
    assert "RuntimeError: [redacted]" in printed
    assert "hunter2" not in printed


def test_log_tracebacks_refusal_has_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        raise ValidationError("Too many requests.", hint="hunter2-token")
    except ValidationError:
        gradio.queueing.traceback.print_exc()
    printed = capsys.readouterr().err
    assert "Too many requests." in printed
    assert "Traceback" not in printed
    assert "hunter2" not in printed


def test_adopt_redacts_records_of_other_loggers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure()
    other = logging.getLogger("test.server")
    monkeypatch.setattr(other, "handlers", [logging.StreamHandler()])
    monkeypatch.setattr(other, "propagate", True)
    our_logging.adopt("test.server")
    try:
        raise RuntimeError("hunter2-token")
    except RuntimeError:
        other.exception("Exception in ASGI application")
    printed = capsys.readouterr().err
    assert printed.count("Exception in ASGI application") == 1
    assert "hunter2" not in printed
